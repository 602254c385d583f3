"""The main job, with an owner and two devices as real processes over libp2p on loopback.

The devices are read by a driver that lives outside the node, named in their config.
"""

import io
import json
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 25.0
INTERVAL_US = 1_000_000


def make(ioe: Any, home: Path, mdns: bool, bootstrap: str = "", **device: Any) -> None:
    """`ioe init`, and the config as its owner would edit it."""
    words = ["init", "--address", "127.0.0.1"]
    if device:
        words += ["--role", "device", "--driver", "steady_meter:Steady"]
        words += ["--kind", device["kind"], "--name", home.name]
        words += ["--option", f"power_milli_w={device['power_milli_w']}"]
    ioe(*words, home=home.name)
    path = home / "config.toml"
    text = path.read_text().replace("poll_ms = 10000", "poll_ms = 100")
    text = text.replace("every_ms = 60000", "every_ms = 300")
    if not mdns:
        text = text.replace('mdns = ["127.0.0.1"]', "mdns = []")
        text = text.replace("bootstrap = []", f'bootstrap = ["{bootstrap}"]' if bootstrap else "")
    path.write_text(text)


class Street:
    """Readings of the three nodes' commands."""

    def __init__(self, ioe: Any) -> None:
        self._ioe = ioe

    def read(self, *words: str, home: str = "owner") -> Any:
        return json.loads(self._ioe(*words, "--json", home=home).out)

    def until(self, ready: Callable[[Any], Any], *words: str, home: str = "owner") -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not ready(found := self.read(*words, home=home)):
            assert time.monotonic() < deadline, (words, found)
            time.sleep(0.1)
        return found


def code_of(node: Any) -> str:
    (code,) = re.findall(r"^pairing code: (.*)$", node.said(), re.MULTILINE)
    return str(code)


def told_by_name(ioe: Any, street: Street, sale: Any) -> None:
    """A device's account is found by the device's name, and a sale of it is explained."""
    assert street.read("credit", "balance", "load")["balance_micro"] < 0
    assert "the community's price" in ioe("credit", "why", sale["hash"]).out
    assert sale["hash"] in ioe("credit", "history", "load", "--limit", "10000").out


@pytest.mark.parametrize("mdns", [True, False], ids=["mdns", "bootstrap only"])
def test_a_device_is_claimed_meters_and_is_paid(
    ioe: Any, daemon: Any, tmp_path: Path, mdns: bool
) -> None:
    street = Street(ioe)
    make(ioe, tmp_path / "owner", mdns)
    daemon("owner").wait_ready()
    (address,) = street.read("status")["addresses"]
    make(ioe, tmp_path / "roof", mdns, address, kind="generator", power_milli_w=-36_000_000)
    make(ioe, tmp_path / "load", mdns, address, kind="consumer", power_milli_w=18_000_000)
    devices = {name: daemon(name) for name in ("roof", "load")}
    ioe("community", "create", "street", "--set", f"interval_us={INTERVAL_US}")
    for node in devices.values():
        node.wait_ready()

    near = street.until(lambda found: len(found["near"]) == 2, "device", "list")["near"]
    assert {each["state"] for each in near} == {"unowned"}
    if mdns:
        assert "read it off" in ioe("device", "claim", "roof", "0000-0000", code=3).err
    for name, node in devices.items():
        assert "claimed" in ioe("device", "claim", name, code_of(node)).out
    owned = street.until(
        lambda found: [each["acknowledged"] for each in found["owned"]] == [True, True],
        "device",
        "list",
    )["owned"]
    agents = {each["name"]: each["device"] for each in owned}

    # Another node reads what the roof metered, as held and validated there.
    readings = street.until(lambda found: len(found) >= 2, "meter", "history", agents["roof"])
    assert readings[0]["start"] == readings[1]["end"]
    assert abs(readings[0]["export_milli_wh"] - 10_000) <= 1
    assert street.read("meter", "read", home="roof")["power_milli_w"] == -36_000_000
    street.until(bool, "meter", "history", agents["roof"], home="load")

    # Half of what the roof gives is what the load takes, and is paid at one credit a kWh.
    (sale, *_) = street.until(bool, "credit", "history", agents["load"])
    assert sale["with"] == agents["roof"]
    assert sale["amount_micro"] == -sale["energy_milli_wh"] < 0
    assert abs(sale["energy_milli_wh"] - 5_000) <= 1
    told_by_name(ioe, street, sale)
    if mdns:
        street.until(lambda found: found["balance_micro"] > 0, "credit", "balance", home="roof")
        balance = street.read("credit", "balance", home="roof")["balance_micro"]
        assert "paid" in ioe("credit", "pay", agents["roof"], "0.5").out
        street.until(
            lambda found: found["balance_micro"] >= balance + 500_000, "credit", "balance",
            home="roof",
        )  # fmt: skip
        from_panel_to_socket(ioe, street, agents)

    for name in ("owner", "roof", "load"):
        audit = street.until(lambda found: found["sum_micro"] == 0, "credit", "audit", home=name)
        assert len(audit["balances"]) == 3
        found = street.read("chain", "verify", home=name)
        assert len(found) == 3
        assert not any(each["fault"] for each in found)
        status = street.read("status", home=name)
        assert status["faults"] == []
        assert status["communities"][0]["records_refused"] == 0
        assert status["communities"][0]["blocked"] == []


def from_panel_to_socket(ioe: Any, street: Street, agents: dict[str, str]) -> None:
    """The roof certifies what it makes, and another node reads how the load used it up."""
    assert "declared pv_roof" in ioe("certificate", "declare", "pv_roof", home="roof").out
    listed = ("certificate", "list", agents["load"], "--retired")
    (used, *_) = street.until(lambda found: "consumed" in str(found), *listed)
    assert (used["issuer"], used["source"]) == (agents["roof"], "pv_roof")
    assert abs(used["energy_milli_wh"] - 5_000) <= 1
    life = street.read("certificate", "trace", used["certificate"])
    assert life["unread"] == []
    assert sum(life["sums"].values()) == used["issued_milli_wh"]
    assert street.read("certificate", "audit")["doubled"] == []


def test_a_flipped_bit_is_found_from_the_disk_and_said_by_the_node(
    ioe: Any, daemon: Any, tmp_path: Path
) -> None:
    street = Street(ioe)
    make(ioe, tmp_path / "owner", mdns=False)
    node = daemon("owner").wait_ready()
    ioe("community", "create", "street")
    node.signal(15)
    (path,) = (tmp_path / "owner" / "cells").glob("*.sqlite")
    with sqlite3.connect(path) as db:
        row, data = db.execute("SELECT id, action FROM record ORDER BY id").fetchone()
        spoilt = bytes([*data[:-1], data[-1] ^ 4])
        db.execute("UPDATE record SET action=? WHERE id=?", (spoilt, row))
    db.close()
    said = ioe("chain", "verify", code=1)
    assert "action 0" in said.out
    assert "the other nodes give back" in said.err
    assert said.err.count("\n") == 1
    assert "action 0" in json.loads(ioe("chain", "verify", "--json", code=1).out)[0]["fault"]
    node.restart()
    (fault,) = street.until(lambda found: found["faults"], "status")["faults"]
    assert "action 0" in fault
    assert "FAULT street-" in ioe("status").out


def owned(found: Any) -> bool:
    """Whether one device is ours by both words."""
    return [each["acknowledged"] for each in found["owned"]] == [True]


def test_a_key_is_rotated_and_a_device_sold(
    ioe: Any, daemon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    street = Street(ioe)
    words = {}
    for name in ("owner", "buyer"):
        made = ioe("init", "--address", "127.0.0.1", home=name)
        (words[name],) = re.findall(r"^  ((?:[a-z]+ ){23}[a-z]+)$", made.out, re.MULTILINE)
        path = tmp_path / name / "config.toml"
        path.write_text(path.read_text().replace('mdns = ["127.0.0.1"]', "mdns = []"))
        if name == "buyer":
            (address,) = street.read("status")["addresses"]
            path.write_text(path.read_text().replace("[]", f'["{address}"]', 1))
        daemon(name).wait_ready()
    ioe("community", "create", "street", "--set", f"interval_us={INTERVAL_US}")
    buyer = street.read("key", "show", home="buyer")
    made = ioe("community", "invite", buyer["agent"], buyer["recovery"])
    ioe("community", "join", made.out.strip(), home="buyer")
    make(ioe, tmp_path / "roof", False, address, kind="generator", power_milli_w=-36_000_000)
    buyer_address = street.read("status", home="buyer")["addresses"][0]
    path = tmp_path / "roof" / "config.toml"
    path.write_text(path.read_text().replace(f'["{address}"]', f'["{address}", "{buyer_address}"]'))
    roof = daemon("roof").wait_ready()
    street.until(lambda found: found["near"], "device", "list")
    ioe("device", "claim", "roof", code_of(roof))
    street.until(owned, "device", "list")
    assert "no device of ours" in ioe("device", "release", "cellar", code=1).err

    monkeypatch.setattr("sys.stdin", io.StringIO(words["buyer"]))
    assert "another identity" in ioe("key", "rotate", code=1).err
    monkeypatch.setattr("sys.stdin", io.StringIO(words["owner"]))
    old = street.read("key", "show")["agent"]
    assert "number 1" in ioe("key", "rotate").out
    street.until(owned, "device", "list")
    agent = street.read("key", "show")["agent"]
    history = street.until(lambda found: len(found) == 2, "key", "history", old)
    assert [(each["agent"], each["how"]) for each in history] == [
        (old, "rotated"),
        (agent, "in use"),
    ]

    street.until(lambda found: found["owner"] != old, "status", home="roof")
    assert "offered" in ioe("device", "transfer", "roof", buyer["agent"]).out
    accept = ("device", "accept", agent)
    street.until(
        lambda _: "accepted" in ioe(*accept, home="buyer", code=None).out, "status", home="buyer"
    )
    status = street.until(lambda found: found["code"], "status", home="roof")
    street.until(
        lambda found: status["agent"] in [each["agent"] for each in found["near"]],
        "device",
        "list",
        home="buyer",
    )
    ioe("device", "claim", status["agent"], status["code"], home="buyer")
    street.until(owned, "device", "list", home="buyer")
    street.until(lambda found: found["owned"] == [], "device", "list")
