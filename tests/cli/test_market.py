"""`ioe market` before two real nodes: a book, a clearing, and what a watcher is told of it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ioe_node.cli.market import line, moment_us
from ioe_node.errors import LocalError

INTERVAL_US = 16_000_000
MINUTES_AHEAD = timedelta(minutes=5)


def until(ready: Any, most_s: float = 45.0) -> Any:
    deadline = time.monotonic() + most_s
    while not (found := ready()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def started(ioe: Any, daemon: Any, folder: Path, name: str, known: str = "") -> Any:
    """An owner's node that votes twice a second; its status."""
    ioe("init", "--address", "127.0.0.1", home=name)
    path = folder / name / "config.toml"
    text = path.read_text().replace('mdns = ["127.0.0.1"]', "mdns = []")
    text = text.replace("every_ms = 10000", "every_ms = 500")
    path.write_text(text.replace("bootstrap = []", f'bootstrap = ["{known}"]') if known else text)
    daemon(name).wait_ready()
    return json.loads(ioe("status", "--json", home=name).out)


def test_two_neighbours_trade_by_hand(ioe: Any, daemon: Any, tmp_path: Path) -> None:
    (address,) = started(ioe, daemon, tmp_path, "owner")["addresses"]
    started(ioe, daemon, tmp_path, "buyer", address)
    ioe("community", "create", "street", "--set", f"interval_us={INTERVAL_US}")
    theirs = json.loads(ioe("key", "show", "--json", home="buyer").out)
    made = ioe("community", "invite", theirs["agent"], theirs["recovery"])
    ioe("community", "join", made.out.strip(), home="buyer")
    until(lambda: ioe("market", "book", home="buyer", code=None).code == 0)

    ahead = ("--at", (datetime.now() + MINUTES_AHEAD).strftime("%Y-%m-%d %H:%M"))
    placed = ioe("market", "offer", "0.25", "0.10", *ahead).out.split()[-1]
    assert "you stand on the other side" in ioe("market", "bid", "0.1", "1", *ahead, code=1).err
    shown = ioe("market", "book", *ahead).out
    assert all(word in shown for word in ("offer", "0.250", "0.100", placed))
    assert "taken back" in ioe("market", "cancel", placed).out
    assert json.loads(ioe("market", "book", *ahead, "--json").out) == []
    assert "ioe market offer" in ioe("market", "book", *ahead).out
    assert "--intervals" in ioe("market", "matches").out
    assert "taken back already" in ioe("market", "cancel", placed, code=1).err

    told = tmp_path / "told"
    with watcher(tmp_path / "buyer", told):
        until(lambda: heard_of_an_order(ioe, told, ahead))
        until_early_in_an_interval()
        ioe("market", "offer", "0.25", "0.10", "--clean")
        ioe("market", "bid", "0.1", "0.30", "--clean", home="buyer")
        (found,) = until(lambda: json.loads(ioe("market", "matches", "--json").out))
        assert found["energy_milli_wh"] == 100_000
        assert found["price_micro"] == 100_000
        assert found["buyer"] == theirs["agent"]
        assert "0.100" in ioe("market", "matches", home="buyer").out
        until(lambda: "0.100 kWh trade at 0.100 credits a kWh" in told.read_text())


@contextmanager
def watcher(home: Path, told: Path) -> Iterator[None]:
    """`ioe market watch` on a node, its output in a file."""
    command = [sys.executable, "-u", "-W", "ignore", "-m", "ioe_node.cli.main", "--home", str(home)]
    with told.open("w") as out, subprocess.Popen([*command, "market", "watch"], stdout=out) as made:
        try:
            yield
        finally:
            made.kill()


def heard_of_an_order(ioe: Any, told: Path, ahead: tuple[str, str]) -> bool:
    """Whether the watcher hears by now what the buyer does."""
    placed = ioe("market", "bid", "0.1", "0.05", *ahead, home="buyer").out.split()[-1]
    ioe("market", "cancel", placed, home="buyer")
    return "placed" in told.read_text()


def until_early_in_an_interval() -> None:
    """Orders of two nodes for the next interval are for the same one, and there in time."""
    until(lambda: 0 < time.time() * 1e6 % INTERVAL_US < INTERVAL_US // 4)


def test_times_as_people_write_them() -> None:
    noon = int(datetime(2026, 7, 1, 12, 0).timestamp()) * 1_000_000
    assert moment_us("2026-07-01 12:00", 0) == noon
    assert moment_us("12:00", noon - 5 * 3_600 * 1_000_000) == noon
    for wrong in ("noon", "25:00", "2026-07-01"):
        with pytest.raises(LocalError, match="is no time"):
            moment_us(wrong, noon)


def test_a_clearing_without_trades_says_so() -> None:
    said = line({"cleared": 0, "price_micro": None, "energy_milli_wh": 0})
    assert said.endswith("cleared: nothing trades")
