"""What is found is asked what it is; what has announced itself is read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.clock import SystemClock
from ioe_node.drivers import scan as subject
from ioe_node.drivers.mqtt_broker import parse_broker
from ioe_node.drivers.mqtt_connection import Message, open_connection
from ioe_node.drivers.scan import SHELLY, Found, ask_broker, ask_services, tasmota_devices
from sim.shelly_plug import Plug
from sim.shelly_server import serve

# What Tasmota 13.4 keeps at the broker, shortened.
CONFIG = {
    "ip": "192.168.1.30",
    "dn": "Washer",
    "fn": ["Washer"],
    "hn": "tasmota-5F3A10-6672",
    "mac": "C45BBE5F3A10",
    "md": "Nous A1T",
    "t": "washer",
    "ft": "%prefix%/%topic%/",
    "tp": ["cmnd", "stat", "tele"],
    "rl": [1, 0],
    "ver": 1,
}
SENSORS = {"sn": {"Time": "2024-03-01T10:00:00", "ENERGY": {"Total": 3.185, "Power": 5}}, "ver": 1}


def said(what: str, fields: object) -> Message:
    return Message(f"tasmota/discovery/C45BBE5F3A10/{what}", json.dumps(fields).encode(), True)


@dataclass
class Told:
    port: int
    kind: str = SHELLY
    name: str = "shellyplusplugs-1"
    host: str = "127.0.0.1"


async def test_shellys_are_asked_what_they_are(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "ASK_DEADLINE_S", 0.5)
    ports = [
        await nursery.start(serve, Plug(lambda at_us: (0, 0), SystemClock(), password=password))
        for password in (None, "secret")
    ]
    silent = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ports.append(silent[0].socket.getsockname()[1])
    found = await ask_services([*map(Told, ports), Told(1, "_other._tcp.local.")])
    await silent[0].aclose()
    url = "http://127.0.0.1:{}".format
    assert found[0] == Found(
        "shelly", "shellyplusplugs-a8032ab1c2d3", "SNPL-00112EU", {"url": url(ports[0])}
    )
    assert found[1].options["password_file"]
    assert "password" in found[1].note
    assert "no answer" in found[2].note
    assert len(found) == 3


def test_tasmota_devices_that_count_energy() -> None:
    (found,) = tasmota_devices([said("config", CONFIG), said("sensors", SENSORS)], {"broker": "b"})
    assert found == Found("tasmota", "Washer", "Nous A1T", {"broker": "b", "topic": "washer"})
    other = {**CONFIG, "ft": "home/%topic%/%prefix%/"}
    both = {"sn": {"ENERGY": {"Total": 1, "ExportActive": 0}}}
    (found,) = tasmota_devices([said("sensors", both), said("config", other)], {})
    assert found.options == {
        "topic": "washer",
        "full_topic": "home/%topic%/%prefix%/",
        "export": True,
    }
    bulb = {"sn": {"Time": "2024-03-01T10:00:00"}}
    assert tasmota_devices([said("config", CONFIG), said("sensors", bulb)], {}) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["t", "sn", "ENERGY", "ft"]), inner)
    ),
)


@given(st.lists(st.tuples(st.sampled_from(["config", "sensors"]), JSON)))
def test_whatever_tasmota_devices_announce(announced: list[tuple[str, object]]) -> None:
    tasmota_devices([said(*each) for each in announced], {})


async def test_a_broker_is_asked_for_what_it_has_kept(mosquitto: Callable[..., Any]) -> None:
    url = mosquitto().url
    config = {
        "name": "Energy",
        "uniq_id": "m",
        "dev_cla": "energy",
        "unit_of_meas": "kWh",
        "stat_t": "meter",
    }
    async with open_connection(parse_broker(url), lambda message: None) as connection:
        entity = Message("homeassistant/sensor/m/config", json.dumps(config).encode(), True)
        sent = [
            connection.publish(each)
            for each in (entity, said("config", CONFIG), said("sensors", SENSORS))
        ]
        await connection.serve(lambda: all(each() for each in sent))
    with trio.fail_after(10):
        found = await ask_broker(parse_broker(url), {"broker": url})
    assert [(each.driver, each.name) for each in found] == [
        ("tasmota", "Washer"),
        ("mqtt", "Energy"),
    ]
    assert {each.options["broker"] for each in found} == {url}


async def test_a_broker_that_never_ends_is_left(
    mosquitto: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither many announcements nor large ones are taken without end."""
    url = mosquitto().url
    async with open_connection(parse_broker(url), lambda message: None) as connection:
        sent = [
            connection.publish(Message(f"homeassistant/sensor/{n}/config", bytes(1_000), True))
            for n in range(50)
        ]
        await connection.serve(lambda: all(each() for each in sent))
    monkeypatch.setattr(subject, "QUIET_S", 3_600)
    for limit, most in (("ANNOUNCEMENTS_MAX", 10), ("ANNOUNCED_BYTES_MAX", 10_000)):
        with monkeypatch.context() as patch, trio.fail_after(10):
            patch.setattr(subject, limit, most)
            assert await ask_broker(parse_broker(url), {}) == []
