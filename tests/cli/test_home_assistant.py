"""Real processes: a claimed plug is in Home Assistant's topics, and switched from there."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.drivers.home_assistant import announced
from ioe_node.drivers.mqtt_broker import parse_broker
from ioe_node.drivers.mqtt_connection import Message, open_connection

PATIENCE_S = 45.0


def until(ioe: Any, ready: Callable[[Any], Any], *words: str, home: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        said = ioe(*words, "--json", home=home, code=None)
        if said.code == 0 and ready(found := json.loads(said.out)):
            return found
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


async def switch_off(url: str) -> tuple[str, dict[str, str]]:
    """(the device's name, its state once it is off), as Home Assistant would go about it."""
    said: dict[str, Message] = {}
    with trio.fail_after(PATIENCE_S):
        async with open_connection(
            parse_broker(url), lambda message: said.update({message.topic: message})
        ) as connection:
            connection.subscribe(["#"])
            await connection.serve(lambda: any(each.endswith("/state") for each in said))
            (found,) = announced(said.values())
            connection.publish(Message(found.options["command_topic"], b"OFF"))
            topic = found.options["state_topic"]
            await connection.serve(lambda: b'"OFF"' in said[topic].payload)
            return found.name, json.loads(said[topic].payload)


@pytest.fixture
def kettle(
    ioe: Any, daemon: Any, tmp_path: Path, mosquitto: Callable[..., Any], plug: int
) -> tuple[str, Any]:
    """(the broker's URL, the node) of a claimed plug that is told to Home Assistant."""
    ioe("init", "--address", "127.0.0.1")
    daemon("owner").wait_ready()
    ioe("community", "create", "street")
    url = mosquitto().url
    words = ("--role", "device", "--kind", "consumer", "--name", "kettle", "--driver", "shelly")
    option = f"url=http://127.0.0.1:{plug}"
    near = json.loads(ioe("status", "--json").out)["addresses"][0]
    ioe("init", *words, "--option", option, "--address", "127.0.0.1", "--peer", near, home="kettle")
    config = tmp_path / "kettle" / "config.toml"
    config.write_text(config.read_text().replace('publish = ""', f'publish = "{url}"'))
    node = daemon("kettle").wait_ready()
    code = json.loads(ioe("status", "--json", home="kettle").out)["code"]
    until(ioe, lambda found: found["near"], "device", "list", home="owner")
    ioe("device", "claim", "kettle", code)
    return url, node


def test_a_claimed_plug_is_told_and_switched(ioe: Any, kettle: tuple[str, Any], plug: int) -> None:
    url, _ = kettle
    name, state = trio.run(switch_off, url)
    assert (name, state["power"]) == ("kettle", "0.000")
    found = until(ioe, lambda found: found["mqtt"]["state"] == "ok", "status", home="kettle")
    assert found["driver"] == {"state": "ok", "why": "", "live": True}
    shown = ioe("status", home="kettle").out
    assert "driver ok, told at once" in shown
    assert "Home Assistant by broker 127.0.0.1" in shown
    assert "switched off" in ioe("driver", "test", f"http://127.0.0.1:{plug}").out
