"""Devices by their topics: recorded messages, a real broker, another client on it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers.driver import Meter, Reading, Switch, Watch
from ioe_node.drivers.mqtt import Mqtt, MqttOptions, Topics, dig, milli
from ioe_node.drivers.mqtt_broker import parse_broker
from ioe_node.drivers.mqtt_connection import Message, open_connection
from ioe_node.drivers.mqtt_meter import Told
from ioe_node.errors import ConfigError, TransportError

NOW_US = 1_767_225_600_000_000
# Zigbee2MQTT, a plug of Tuya's.
PLUG = (
    b'{"child_lock":"UNLOCK","current":0.36,"energy":12.34,"linkquality":156,"power":79,'
    b'"power_outage_memory":"restore","state":"ON","update":{"state":"idle"},"voltage":229}'
)
ZIGBEE = {
    "import_topic": "zigbee2mqtt/kettle",
    "import_path": "energy",
    "power_topic": "zigbee2mqtt/kettle",
    "power_path": "power",
    "state_topic": "zigbee2mqtt/kettle",
    "state_path": "state",
    "command_topic": "zigbee2mqtt/kettle/set",
}


class FixedClock:
    def now_us(self) -> int:
        return NOW_US


def topics(**options: Any) -> Topics:
    return Topics(MqttOptions(broker="mqtt://a", **options))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b", "0"]), inner),
)


# --- pure ----------------------------------------------------------------------------------------


def test_a_recorded_message() -> None:
    assert topics(**ZIGBEE).decode(Message("zigbee2mqtt/kettle", PLUG)) == Told(
        import_milli_wh=12_340_000, power_milli_w=79_000, switched_on=True
    )


@pytest.mark.parametrize(
    ("payload", "path", "found"),
    [
        (b"12.5", "", "12.5"),
        (b" ON ", "", "ON"),
        (b'{"a": {"b": [1, 2.25]}}', "a.b.1", "2.25"),
        (b'{"a": {"b": [1]}}', "a.b.1", "None"),
        (b'{"a": 1}', "a.b", "None"),
        (b"[7]", "0", "7"),
    ],
)
def test_paths(payload: bytes, path: str, found: str) -> None:
    assert str(dig(payload, path)) == found


@given(st.integers(0, 10**14))
def test_registers_are_exact(milli_wh: int) -> None:
    text = f"{milli_wh // 10**6}.{milli_wh % 10**6:06}"
    for payload in (text, f'"{text}"'):
        value = dig(f'{{"a": {payload}}}'.encode(), "a")
        assert milli(value, "kWh") == milli_wh


def test_of_a_device_that_counts_only_exports_power_is_export() -> None:
    speech = topics(export_topic="pv/total", power_topic="pv/now", export_unit="Wh")
    assert speech.decode(Message("pv/total", b"1500.5")) == Told(export_milli_wh=1_500_500)
    assert speech.decode(Message("pv/now", b"800")) == Told(power_milli_w=-800_000)


@pytest.mark.parametrize(
    "payload",
    [b"", b"-1", b"NaN", b"1e999999999", b"1e13", b"on", b"true", b"\xff", b"{}", b"9" * 5000],
)
def test_a_counter_that_makes_no_sense(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        topics(import_topic="t").decode(Message("t", payload))


@given(
    st.binary() | JSON.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["", "a", "a.b", "a.0"]),
)
def test_any_message_is_told_or_refused(payload: bytes, path: str) -> None:
    speech = topics(
        import_topic="t",
        import_path=path,
        power_topic="t",
        power_path=path,
        state_topic="t",
        state_path=path,
    )
    try:
        told = speech.decode(Message("t", payload))
    except ValueError:
        return
    assert (told.import_milli_wh or 0) >= 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "broker"),
        ({"broker": "mqtt://a"}, "import_topic"),
        ({"broker": "http://a", "import_topic": "t"}, "broker"),
        ({"broker": "mqtt://u:p@a", "import_topic": "t"}, "broker"),
        ({"broker": "mqtt://a/x", "import_topic": "t"}, "broker"),
        ({"broker": "mqtt://a", "import_topic": "#"}, "import_topic"),
        ({"broker": "mqtt://a", "import_topic": "t", "import_unit": "J"}, "import_unit"),
        ({"broker": "mqtt://a", "import_topic": "t", "password_file": "/none"}, "password_file"),
        ({"broker": "mqtt://a", "import_topic": "t", "ca_file": "/none"}, "ca_file"),
        ({"broker": "mqtt://a", "import_topic": "t", "wait_s": 0}, "wait_s"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Mqtt.from_options(options)


def test_brokers() -> None:
    assert parse_broker("mqtts://[::1]").port == 8883
    assert parse_broker("mqtt://a").name == "broker a:1883"


# --- with a broker -------------------------------------------------------------------------------


class Device:
    """Another client of the broker: it says things, and hears commands."""

    def __init__(self, url: str) -> None:
        self.broker = parse_broker(url)
        self.heard: list[bytes] = []

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        async with open_connection(self.broker, self._take) as self.connection:
            self.connection.subscribe(["zigbee2mqtt/kettle/set"])
            task_status.started()
            await self.connection.serve()

    def _take(self, message: Message) -> None:
        self.heard.append(message.payload)
        self.say(PLUG.replace(b'"state":"ON"', b'"state":"' + message.payload + b'"'))

    def say(self, payload: bytes, retained: bool = False) -> None:
        self.connection.publish(Message("zigbee2mqtt/kettle", payload, retained))


@pytest.fixture
async def device(nursery: trio.Nursery, mosquitto: Callable[..., Any]) -> Device:
    made = Device(mosquitto().url)
    await nursery.start(made.run)
    return made


def driver_of(device: Device, **more: Any) -> Mqtt:
    broker = device.broker
    url = f"mqtt://{broker.host}:{broker.port}"
    return Mqtt.from_options({"broker": url, **ZIGBEE, **more}, FixedClock())


async def test_read_alone_waits_for_the_next_word(nursery: trio.Nursery, device: Device) -> None:
    plug = driver_of(device)
    assert isinstance(plug, Meter)
    assert isinstance(plug, Switch)
    assert isinstance(plug, Watch)
    send, read = trio.open_memory_channel[Reading](1)

    async def reading() -> None:
        send.send_nowait(await plug.read())

    device.say(PLUG.replace(b"12.34", b"99.99"), retained=True)  # of whatever time it may be
    nursery.start_soon(reading)
    await trio.sleep(0.3)
    with pytest.raises(trio.WouldBlock):
        read.receive_nowait()
    device.say(b"not json")
    device.say(PLUG)
    with trio.fail_after(5):
        assert await read.receive() == Reading(NOW_US, 12_340_000, 0, 79_000, True)


async def test_a_device_that_says_nothing(device: Device) -> None:
    with pytest.raises(TransportError, match="nothing of its energy for 1 s"):
        await driver_of(device, wait_s=1).read()


async def test_watched_it_tells_at_once_and_is_switched_over_the_same_connection(
    nursery: trio.Nursery, device: Device
) -> None:
    plug = driver_of(device)
    send, told = trio.open_memory_channel[Reading](10)
    nursery.start_soon(plug.watch, send.send_nowait)
    await trio.sleep(0.2)
    device.say(PLUG)
    with trio.fail_after(5):
        assert (await told.receive()).switched_on is True
        assert (await plug.read()).import_milli_wh == 12_340_000
        await plug.set_on(False)
        assert device.heard == [b"OFF"]
        assert (await told.receive()).switched_on is False
        await plug.set_on(True)
    assert device.heard == [b"OFF", b"ON"]


async def test_alone_it_is_switched_too(device: Device) -> None:
    with trio.fail_after(5):
        await driver_of(device).set_on(False)
        await driver_of(device, state_topic="").set_on(True)
    assert device.heard == [b"OFF", b"ON"]


async def test_watched_and_without_a_state_the_broker_s_word_will_do(
    nursery: trio.Nursery, device: Device
) -> None:
    plug = driver_of(device, state_topic="", command_topic="nobody/set")
    nursery.start_soon(plug.watch, lambda reading: None)
    await trio.sleep(0.2)
    with trio.fail_after(3):
        await plug.set_on(False)
