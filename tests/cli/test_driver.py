"""`ioe driver`: which drivers there are, what is near, whether it can be read."""

import json
import tomllib
from collections.abc import Callable
from shlex import split
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from zeroconf import IPVersion, ServiceInfo, Zeroconf

from discovery import mdns
from ioe_node import plugins
from ioe_node.cli import driver as subject
from ioe_node.config import load_config
from ioe_node.drivers.driver import Meter
from ioe_node.drivers.scan import SHELLY, Found
from ioe_node.errors import ConfigError

CONFIG = {
    "name": "Energy",
    "dev": {"ids": ["k"], "name": "Kettle $(true)"},
    "dev_cla": "energy",
    "unit_of_meas": "kWh",
    "stat_t": "kettle",
}


def test_every_driver_has_a_name_a_line_and_can_be_read(ioe: Any) -> None:
    rows = json.loads(ioe("driver", "list", "--json").out)
    assert {each["name"] for each in rows} >= {"mqtt", "profile", "shelly", "tasmota"}
    for each in rows:
        assert issubclass(plugins.load_driver(each["name"]), Meter)
        assert each["about"]
    shelly = next(each for each in rows if each["name"] == "shelly")
    assert shelly["can"] == ["switch", "live"]
    assert "shelly" in ioe("driver", "list").out


def test_other_packages_add_theirs_and_cannot_take_ours(
    monkeypatch: pytest.MonkeyPatch, ioe: Any
) -> None:
    theirs = [
        SimpleNamespace(name="theirs", value="steady_meter:Steady"),
        SimpleNamespace(name="shelly", value="evil:Shelly"),
        SimpleNamespace(name="gone", value="gone:Gone"),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: theirs)
    rows = {each["name"]: each for each in json.loads(ioe("driver", "list", "--json").out)}
    assert rows["theirs"]["driver"] == "steady_meter:Steady"
    assert rows["shelly"]["driver"] == "ioe_node.drivers.shelly:Shelly"
    assert "cannot be loaded" in rows["gone"]["about"]
    with pytest.raises(ConfigError, match=r"there are .*mqtt, .*, shelly"):
        plugins.load_driver("nonesuch")


def test_a_device_is_read_once(ioe: Any, plug: int) -> None:
    said = ioe("driver", "test", f"http://127.0.0.1:{plug}").out
    assert "power 3.600 W" in said
    assert "switched on" in said
    words = ("driver", "test", "--driver", "ioe_node.drivers.shelly:Shelly", "--json")
    reading = json.loads(ioe(*words, "--option", f"url=http://127.0.0.1:{plug}").out)
    assert reading["power_milli_w"] == 3600
    ioe("driver", "test", "steady_meter:Steady", "--option", "power_milli_w=5")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["http://127.0.0.1:1"], 4, "cannot connect"),
        (["ftp://127.0.0.1"], 1, "which driver"),
        (["nonesuch"], 1, "there is no driver 'nonesuch'"),
        (["shelly", "--option", "ulr=http://a"], 1, "ulr"),
        (["shelly"], 1, "url"),
        (["shelly", "--option", "url"], 1, "KEY=VALUE"),
        ([], 2, "--driver"),
    ],
)
def test_what_is_wrong_is_one_line(ioe: Any, words: list[str], code: int, says: str) -> None:
    said = ioe("driver", "test", *words, code=code)
    assert says in said.err
    assert said.out == ""


def test_a_scan_shows_the_lines_that_make_a_node(
    ioe: Any,
    plug: int,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    mosquitto: Callable[..., Any],
) -> None:
    """Whatever names devices give themselves, each line is one command, and it works."""
    broker = mosquitto()
    service = SimpleNamespace(kind=SHELLY, name="plug", host="127.0.0.1", port=plug)

    async def scan(interfaces: Any, kinds: Any, seconds: float) -> list[Any]:
        await trio.lowlevel.checkpoint()
        return [service]

    monkeypatch.setattr("discovery.mdns_scan.scan", scan)
    trio.run(announce, broker.url)
    found = json.loads(ioe("driver", "scan", "--mqtt", broker.url, "--json").out)
    assert found["faults"] == []
    shelly, kettle = found["found"]
    assert (shelly["driver"], kettle["name"]) == ("shelly", "Kettle $(true)")
    for number, row in enumerate((shelly, kettle)):
        home = f"made{number}"
        words = split(row["init"])
        assert words[:2] == ["ioe", "--home"]
        ioe(*words[3:], "--address", "127.0.0.1", home=home)
        device = load_config(tmp_path / home / "config.toml").device
        assert device is not None
        shown = tomllib.loads(row["config"].replace("[device.options]", "[options]"))
        assert (device.driver, device.options) == (shown["driver"], shown["options"])
    assert "init --role device" in ioe("driver", "scan", "--seconds", "1").out


@pytest.mark.skipif(not mdns._multicast_works("127.0.0.1"), reason="no multicast on loopback")
def test_a_plug_that_tells_of_itself_is_found(ioe: Any, plug: int) -> None:
    zeroconf = Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
    info = ServiceInfo(SHELLY, f"p.{SHELLY}", port=plug, parsed_addresses=["127.0.0.1"])
    zeroconf.register_service(info, cooperating_responders=True)
    try:
        words = ("driver", "scan", "--address", "127.0.0.1", "--seconds", "2", "--json")
        (found,) = json.loads(ioe(*words).out)["found"]
    finally:
        zeroconf.close()
    assert found["options"] == {"url": f"http://127.0.0.1:{plug}"}
    assert found["note"] == ""


def test_what_cannot_be_asked_is_said_and_the_rest_is_shown(
    ioe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scan(interfaces: Any, kinds: Any, seconds: float) -> list[Any]:
        await trio.lowlevel.checkpoint()
        return []

    monkeypatch.setattr("discovery.mdns_scan.scan", scan)
    said = ioe("driver", "scan", "--mqtt", "mqtt://127.0.0.1:1").out
    assert "cannot connect" in said
    assert "nothing found" in said


async def announce(url: str) -> None:
    from ioe_node.drivers.mqtt_broker import parse_broker
    from ioe_node.drivers.mqtt_connection import Message, open_connection

    async with open_connection(parse_broker(url), lambda message: None) as connection:
        topic = "homeassistant/sensor/k/config"
        sent = connection.publish(Message(topic, json.dumps(CONFIG).encode(), True))
        await connection.serve(sent)


@pytest.mark.parametrize("topic", ["plug", "1234", "true", '"a"', "[1]", "with space", "-x"])
def test_options_come_back_as_they_were(topic: str) -> None:
    found = Found("tasmota", "\x1b[31m", "", {"topic": topic, "export": True, "channel": 2})
    words = split(subject._init_line(found))
    pairs = tuple(words[at + 1] for at, word in enumerate(words) if word == "--option")
    assert subject._values(pairs) == {"topic": topic, "export": True, "channel": 2}
    assert "\x1b" not in subject._init_line(found)
