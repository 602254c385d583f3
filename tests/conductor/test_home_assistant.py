"""Our device at a real broker: announced, told, switched, and gone by its last will."""

import hashlib
import json
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from ioe_node.conductor import home_assistant as subject
from ioe_node.conductor.home_assistant import HomeAssistant
from ioe_node.config import parse_config
from ioe_node.drivers.driver import Reading
from ioe_node.drivers.home_assistant import announced
from ioe_node.drivers.mqtt_broker import parse_broker
from ioe_node.drivers.mqtt_connection import Message, open_connection
from ioe_node.drivers.poller import Poller
from ioe_node.drivers.slicer import Slicer
from ioe_node.errors import TransportError
from ioe_node.model.signing import Signer

SEED = b"d" * 32
KEY = hashlib.sha256(Signer(SEED).agent).hexdigest()[:20]
CONFIG = """
role = "device"
[device]
kind = "consumer"
name = "kettle"
driver = "profile"
[mqtt]
publish = "mqtt://127.0.0.1"
prefix = "other"
"""


class Lamp:
    def __init__(self) -> None:
        self.on, self.away, self.at = True, False, 0

    async def read(self) -> Reading:
        if self.away:
            raise TransportError("the lamp does not answer")
        self.at += 1
        return Reading(self.at, 1_234_567, 0, 40_000 if self.on else 0, self.on)

    async def set_on(self, on: bool) -> None:
        self.on = on


class Listener:
    """What stands at the broker, by topic."""

    def __init__(self, url: str) -> None:
        self.broker = parse_broker(url)
        self.said: dict[str, Message] = {}

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        async with open_connection(self.broker, self._take) as self.connection:
            self.connection.subscribe(["#"])
            task_status.started()
            await self.connection.serve()

    def _take(self, message: Message) -> None:
        self.said[message.topic] = message

    async def until(self, topic: str, fits: Callable[[Any], bool]) -> None:
        """Until what is said under the topic fits, read as JSON where it is."""
        with trio.fail_after(10):
            while True:
                message = self.said.get(f"ioe/{KEY}/{topic}")
                if message is not None:
                    text = message.payload.decode()
                    if fits(json.loads(text) if text.startswith("{") else text):
                        return
                await trio.sleep(0.02)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "TOLD_EVERY_S", 0.05)
    monkeypatch.setattr(subject, "LOOK_S", 0.05)
    monkeypatch.setattr(subject, "BACKOFF_MIN_S", 0.1)


@pytest.fixture
async def poller(nursery: trio.Nursery) -> Poller:
    async def record(intervals: Any) -> None:
        await trio.lowlevel.checkpoint()

    made = Poller(Lamp(), Slicer(900_000_000), 0.1, Random(1), record)
    nursery.start_soon(made.run)
    return made


def node(poller: Poller | None, url: str) -> tuple[Any, HomeAssistant]:
    conductor: Any = SimpleNamespace(
        poller=poller,
        keystore=SimpleNamespace(secrets={"enrolment": SEED, "device": b"another"}),
        config=parse_config(CONFIG, "config.toml"),
        rng=Random(1),
    )
    return conductor, HomeAssistant(conductor, parse_broker(url))


async def test_it_is_announced_told_and_switched(
    nursery: trio.Nursery, mosquitto: Callable[..., Any], poller: Poller
) -> None:
    url = mosquitto().url
    heard = Listener(url)
    await nursery.start(heard.run)
    early = Message(f"ioe/{KEY}/set", b"OFF", retained=True)
    heard.connection.publish(early)  # kept from another time
    _, ours = node(poller, url)
    nursery.start_soon(ours.run)
    await heard.until("availability", lambda text: text == "online")
    said = {"import": "1.234567", "export": "0.000000", "power": "40.000", "switch": "ON"}
    await heard.until("state", lambda state: state == said)
    (found,) = announced(heard.said.values(), "other")
    assert (found.name, found.options["command_topic"]) == ("kettle", f"ioe/{KEY}/set")
    for payload in (b"junk", b"OFF"):
        heard.connection.publish(Message(f"ioe/{KEY}/set", payload))
    await heard.until("state", lambda state: state["switch"] == "OFF")
    assert poller.meter.on is False  # type: ignore[attr-defined]
    assert ours.status()["state"] == "ok"


async def test_one_that_cannot_be_read_is_unavailable(
    nursery: trio.Nursery, mosquitto: Callable[..., Any], poller: Poller
) -> None:
    url = mosquitto().url
    heard = Listener(url)
    await nursery.start(heard.run)
    _, ours = node(poller, url)
    nursery.start_soon(ours.run)
    for away in (False, True, False):
        poller.meter.away = away  # type: ignore[attr-defined]
        text = "offline" if away else "online"
        await heard.until("availability", lambda found, text=text: found == text)


async def test_a_node_that_ends_or_loses_its_device_says_so(
    nursery: trio.Nursery, mosquitto: Callable[..., Any], poller: Poller
) -> None:
    url = mosquitto().url
    heard = Listener(url)
    await nursery.start(heard.run)
    conductor, ours = node(None, url)
    async with trio.open_nursery() as life:
        life.start_soon(ours.run)
        await trio.sleep(0.2)
        assert ours.status()["why"] == "this device has no owner yet"
        for there in (poller, None, poller):
            conductor.poller = there
            text = "online" if there else "offline"
            await heard.until("availability", lambda found, text=text: found == text)
        life.cancel_scope.cancel()
    await heard.until("availability", lambda found: found == "offline")


async def test_a_broker_that_goes_is_tried_again(
    nursery: trio.Nursery, mosquitto: Callable[..., Any], poller: Poller
) -> None:
    broker = mosquitto()
    _, ours = node(poller, broker.url)
    nursery.start_soon(ours.run)
    for state in ("ok", "retrying", "ok"):
        with trio.fail_after(10):
            while ours.state != state:  # noqa: ASYNC110  # it is looked at as its clients do
                await trio.sleep(0.02)
        if state == "ok":
            broker.stop()
        else:
            assert "broker 127.0.0.1" in ours.why
            broker.start()
