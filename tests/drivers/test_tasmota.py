"""Tasmota: messages as its documentation and devices show them, and a broker with such a device."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers.driver import Reading
from ioe_node.drivers.mqtt_broker import parse_broker
from ioe_node.drivers.mqtt_connection import Message, open_connection
from ioe_node.drivers.mqtt_meter import Told
from ioe_node.drivers.tasmota import Speaking, Tasmota, TasmotaOptions
from ioe_node.errors import ConfigError, TransportError

NOW_US = 1_767_225_600_000_000
SENSOR = (
    b'{"Time":"2024-03-01T10:00:00","ENERGY":{"TotalStartTime":"2023-01-01T00:00:00",'
    b'"Total":3.185,"Yesterday":0.141,"Today":0.073,"Period":5,"Power":61,"ApparentPower":74,'
    b'"ReactivePower":41,"Factor":0.83,"Voltage":233,"Current":0.316}}'
)
TWO_WAY = b'{"ENERGY":{"Total":[10.5,2.25],"ExportActive":[0,7.125],"Power":[5,-300]}}'
STATE = b'{"Time":"2024-03-01T10:00:00","Uptime":"1T02:03:04","POWER":"ON","Wifi":{"RSSI":88}}'


class FixedClock:
    def now_us(self) -> int:
        return NOW_US


def speaking(**options: Any) -> Speaking:
    return Speaking(TasmotaOptions(broker="mqtt://a", topic="plug", **options))


@pytest.mark.parametrize(
    ("topic", "payload", "told"),
    [
        ("tele/plug/SENSOR", SENSOR, Told(3_185_000, None, 61_000)),
        ("stat/plug/STATUS10", b'{"StatusSNS":' + SENSOR + b"}", Told(3_185_000, None, 61_000)),
        ("stat/plug/STATUS11", b'{"StatusSTS":' + STATE + b"}", Told(switched_on=True)),
        ("tele/plug/STATE", STATE, Told(switched_on=True)),
        ("stat/plug/POWER", b"OFF", Told(switched_on=False)),
        ("stat/plug/POWER1", b"ON", Told(switched_on=True)),
        ("stat/plug/POWER", b"HOLD", Told()),
        ("tele/plug/LWT", b"Offline", Told(online=False)),
        ("tele/plug/LWT", b"Online", Told(online=True)),
        ("tele/plug/SENSOR", b'{"Time":"x","AM2301":{"Temperature":21.5}}', Told()),
    ],
)
def test_recorded_messages(topic: str, payload: bytes, told: Told) -> None:
    assert speaking().decode(Message(topic, payload)) == told


def test_several_channels_and_exports() -> None:
    two = speaking(channel=2, export=True)
    message = Message("tele/plug/SENSOR", TWO_WAY)
    assert two.decode(message) == Told(2_250_000, 7_125_000, -300_000)
    assert two.decode(Message("stat/plug/POWER2", b"ON")) == Told(switched_on=True)
    assert speaking(channel=3).decode(message) == Told()


def test_topics_in_another_order() -> None:
    speech = speaking(full_topic="home/%topic%/%prefix%/")
    assert "home/plug/tele/SENSOR" in speech.topics
    assert speech.command(True) == Message("home/plug/cmnd/POWER1", b"ON")
    assert speech.decode(Message("home/plug/tele/LWT", b"Offline")) == Told(online=False)


@pytest.mark.parametrize("total", [b"-1", b'"x"', b"1e99", b"true", b"{}"])
def test_counters_that_make_no_sense(total: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        speaking().decode(Message("tele/plug/SENSOR", b'{"ENERGY":{"Total":%s}}' % total))


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff"])
def test_messages_that_make_no_sense(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        speaking().decode(Message("tele/plug/SENSOR", payload))


KEYS = ["ENERGY", "Total", "Power", "ExportActive", "StatusSNS", "StatusSTS", "POWER"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)
PAYLOAD = st.binary() | JSON.map(lambda value: json.dumps(value).encode())


@given(st.sampled_from(speaking(export=True).topics), PAYLOAD)
def test_any_message_is_told_or_refused(topic: str, payload: bytes) -> None:
    try:
        told = speaking(export=True).decode(Message(topic, payload))
    except ValueError:
        return
    assert min(told.import_milli_wh or 0, told.export_milli_wh or 0) >= 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"topic": "plug"}, "broker"),
        ({"broker": "mqtt://a"}, "topic"),
        ({"broker": "mqtt://a", "topic": "#"}, "topic"),
        ({"broker": "mqtt://a", "topic": "plug", "full_topic": "%prefix%/x"}, "full_topic"),
        ({"broker": "mqtt://a", "topic": "plug", "channel": 0}, "channel"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Tasmota.from_options(options)


class Plug:
    """A device with that firmware, as far as it is asked."""

    def __init__(self, url: str) -> None:
        self.broker = parse_broker(url)
        self.on = True
        self.total = "3.185"

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        will = Message("tele/plug/LWT", b"Offline", retained=True)
        async with open_connection(self.broker, self._take, will) as self.connection:
            self.say("tele/plug/LWT", b"Online", retained=True)
            self.connection.subscribe(["cmnd/plug/+"])
            task_status.started()
            await self.connection.serve()

    def say(self, topic: str, payload: bytes, retained: bool = False) -> None:
        self.connection.publish(Message(topic, payload, retained))

    def _take(self, message: Message) -> None:
        what = message.topic.removeprefix("cmnd/plug/")
        if what.startswith("POWER"):
            self.on = message.payload == b"ON"
            self.say("stat/plug/POWER", message.payload)
        elif message.payload == b"10":
            sensor = SENSOR.replace(b"3.185", self.total.encode())
            self.say("stat/plug/STATUS10", b'{"StatusSNS":' + sensor + b"}")
        elif message.payload == b"11":
            state = STATE.replace(b"ON", b"ON" if self.on else b"OFF")
            self.say("stat/plug/STATUS11", b'{"StatusSTS":' + state + b"}")


async def test_it_is_asked_switched_and_missed(
    nursery: trio.Nursery, mosquitto: Callable[..., Any]
) -> None:
    url = mosquitto().url
    plug = Plug(url)
    await nursery.start(plug.run)
    driver = Tasmota.from_options({"broker": url, "topic": "plug", "wait_s": 3}, FixedClock())
    with trio.fail_after(20):
        reading = await driver.read()
        assert (reading.at_us, reading.import_milli_wh, reading.power_milli_w) == (
            NOW_US,
            3_185_000,
            61_000,
        )
        send, told = trio.open_memory_channel[Reading](100)
        nursery.start_soon(driver.watch, send.send_nowait)
        await told.receive()
        await trio.sleep(0.3)  # what the watch has asked is answered
        plug.total = "3.186"
        assert (await driver.read()).import_milli_wh == 3_186_000, "it is asked at each poll"
        await driver.set_on(False)
        assert not plug.on
        assert (await driver.read()).switched_on is False
        plug.say("tele/plug/LWT", b"Offline", retained=True)
        await trio.sleep(0.2)
        with pytest.raises(TransportError, match="offline"):
            await driver.read()
        plug.say("tele/plug/LWT", b"Online", retained=True)
        await trio.sleep(0.2)
        await driver.read()
