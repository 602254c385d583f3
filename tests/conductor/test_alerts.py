"""Alerts: kept, bounded, one sentence each, and never in the node's way."""

import ast
import json
import logging
from pathlib import Path
from typing import Any, get_args

import pytest
import trio

from ioe_node.conductor import alerts as alerts_module
from ioe_node.conductor.alerts import (
    ALERTS_MAX,
    ALERTS_PER_MINUTE_MAX,
    TEXTS,
    Alerts,
    Kind,
    describe,
)
from ioe_node.conductor.home import Home
from ioe_node.conductor.hooks import Hook
from ioe_node.errors import StoreError

ROOT = Path(__file__).parents[2]
AGENT = bytes([0x84, 0x20, 0x24]) + bytes(36)
CARD = {
    "kind": "device",
    "event": "appeared",
    "agent": AGENT,
    "device_kind": "storage",
    "state": "unowned",
    "name": "cellar",
}
FACTS = {
    **dict.fromkeys(("agent", "owner", "seller", "successor"), AGENT),
    **dict.fromkeys(("name", "device_kind", "state", "reason"), "roof"),
    **dict.fromkeys(("failed", "seconds", "version", "import_milli_wh", "export_milli_wh"), 3),
}
MINUTE_US = 60_000_000


class Wall:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def now_us(self) -> int:
        return self.us


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "node")
    home.create()
    return home


class Book:
    """Alerts with what they emitted."""

    def __init__(self, home: Home, *hooks: Hook) -> None:
        self.wall = Wall()
        self.emitted: list[dict[str, Any]] = []
        self.alerts = Alerts(home, self.wall, self.emitted.append, hooks)

    def texts(self) -> list[str]:
        return [each["text"] for each in self.alerts.since()]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_is_one_sentence(kind: str) -> None:
    event = {"kind": kind, **FACTS} if kind in TEXTS else {"kind": kind, "text": "the disk is full"}
    alert = describe(event, 1, 2)
    assert alert.kind == kind
    assert "{" not in alert.text
    assert "\n" not in alert.text
    json.dumps(alert.facts)


def alerts_told() -> list[dict[str, str]]:
    """The dict literals with a "kind" that are passed to `alert` or `_notify`, as source text."""
    calls = [
        node
        for folder in ("ioe_node", "discovery")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".alert", "_notify"))
    ]
    return [
        {ast.literal_eval(key): ast.unparse(value) for key, value in zip(*parts, strict=True)}
        for call in calls
        for each in call.args
        if isinstance(each, ast.Dict) and (parts := (each.keys, each.values))
    ]


def test_every_alert_that_the_source_tells_has_its_sentence() -> None:
    told = alerts_told()
    assert len(told) > 5
    for event in told:
        kind = ast.literal_eval(event["kind"])
        assert kind in get_args(Kind), kind
        assert "text" in event or TEXTS[kind].format_map(event)


def test_a_card_that_came_is_told_in_plain_words() -> None:
    alert = describe(CARD, 7, 8)
    assert (alert.id, alert.at_us, alert.kind) == (7, 8, "appeared")
    assert alert.text.startswith("storage 'cellar' (unowned) appeared near here: uhCAk")
    assert alert.facts["agent"] == alert.text.split()[-1]
    with pytest.raises(AssertionError, match="no alert is of the kind 'nonsense'"):
        describe({"kind": "nonsense"}, 1, 1)


async def test_alerts_are_signalled_and_kept_over_a_restart(home: Home, autojump: Any) -> None:
    book = Book(home)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.alerts.run)
        book.alerts.tell(CARD)
        await trio.sleep(5)
        book.alerts.tell({"kind": "fault", "text": "the disk is full"})
        nursery.cancel_scope.cancel()
    assert [each["alert"]["id"] for each in book.emitted] == [1, 2]
    again = Book(home)
    assert again.alerts.since() == book.alerts.since()
    again.alerts.tell({"kind": "fault", "text": "again"})
    assert [each["id"] for each in again.alerts.since(1)] == [2, 3]
    assert [each["id"] for each in again.alerts.since(limit=1)] == [3]


async def test_what_is_forgotten_is_gone_from_the_disk_too(home: Home, autojump: Any) -> None:
    book = Book(home)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.alerts.run)
        book.alerts.tell(CARD)
        await trio.sleep(5)
        book.alerts.forget()
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert book.alerts.since() == []
    assert (home.path / "alerts.json").read_bytes() == b"[]"


async def test_what_is_told_at_once_is_written_at_once(
    home: Home, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, writes = Book(home), 0
    write = Home.write

    def counted(self: Home, path: Path, data: bytes) -> None:
        nonlocal writes
        writes += 1
        write(self, path, data)

    monkeypatch.setattr(Home, "write", counted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.alerts.run)
        for _ in range(100):
            book.alerts.tell({"kind": "fault", "text": "x"})
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert writes <= 3


def test_a_flood_of_one_kind_hides_no_other_and_is_counted(home: Home) -> None:
    book = Book(home)
    for _ in range(1_000):
        book.alerts.tell(CARD)
    book.alerts.tell({"kind": "fault", "text": "the disk is full"})
    assert len(book.texts()) == ALERTS_PER_MINUTE_MAX + 1
    book.wall.us += MINUTE_US
    book.alerts.tell(CARD)
    untold = 1_000 - ALERTS_PER_MINUTE_MAX
    assert book.texts()[-1].endswith(f"(and {untold} more of this kind were not told)")
    book.alerts.tell(CARD)
    assert book.texts()[-1].endswith(str(describe(CARD, 1, 1).facts["agent"]))


def test_only_the_newest_are_kept(home: Home) -> None:
    book = Book(home)
    for number in range(ALERTS_MAX + 60):
        book.wall.us += MINUTE_US
        book.alerts.tell({"kind": "fault", "text": str(number)})
    assert len(book.texts()) == ALERTS_MAX
    assert book.texts()[-1] == str(ALERTS_MAX + 59)


def test_cards_push_nothing_else_out(home: Home) -> None:
    book = Book(home)
    book.alerts.tell(CARD)
    book.alerts.tell({"kind": "fault", "text": "the disk is full"})
    for _ in range(ALERTS_MAX):
        book.wall.us += MINUTE_US
        book.alerts.tell(CARD)
    assert len(book.texts()) == ALERTS_MAX
    assert book.texts()[0] == "the disk is full"


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'[{"id": "x"}]', b"\xff\xfe"])
def test_a_damaged_file_is_said_and_stops_nothing(
    home: Home, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (home.path / "alerts.json").write_bytes(data)
    book = Book(home)
    assert "cannot be read" in caplog.text
    book.alerts.tell(CARD)
    assert len(book.texts()) == 1


async def test_a_full_disk_is_said_and_stops_nothing(
    home: Home, autojump: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Home, path: Path, data: bytes) -> None:
        raise StoreError("no space")

    monkeypatch.setattr(Home, "write", full)
    book = Book(home)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.alerts.run)
        book.alerts.tell(CARD)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert "alerts are not kept: no space" in caplog.text
    assert len(book.texts()) == 1


async def test_a_hook_that_hangs_holds_nothing_up(
    home: Home, autojump: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def hangs(body: bytes) -> None:
        await trio.sleep_forever()

    hook = Hook(hangs, 1)
    book = Book(home, hook)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.alerts.run)
        for _ in range(300):
            book.wall.us += MINUTE_US
            book.alerts.tell(CARD)
        await trio.sleep(2 * alerts_module.WRITE_EVERY_S)
        nursery.cancel_scope.cancel()
    assert len(book.texts()) == 300
    assert "a hook is too slow" in caplog.text


async def test_the_node_tells_of_devices_near_and_shows_the_last_five(
    near: Any, autojump: Any
) -> None:
    owner, roof = await near()
    told = await owner.call("alerts")
    assert [each["kind"] for each in told] == ["appeared"]
    assert "generator 'roof' (unowned) appeared" in told[0]["text"]
    for number in range(9):
        owner.conductor.alert({"kind": "fault", "text": str(number)})
    shown = (await owner.call("status"))["alerts"]
    assert [each["text"] for each in shown] == ["4", "5", "6", "7", "8"]
    await owner.stop()
    await owner.start()
    assert len(await owner.call("alerts", since=told[0]["id"])) >= 9
    assert roof.conductor.role == "unowned"
