"""Alerts: what an owner wants to hear of, kept over restarts and told to whoever listens.

An alert has a number, a time, a kind and one plain sentence.  The newest `ALERTS_MAX` stand in
one small file.  What strangers can cause (a flood of cards) is told at most
`ALERTS_PER_MINUTE_MAX` times a minute for each kind; the next one says how many were not told.
Nothing here makes the node wait: the file and the hooks follow on their own.  (I-025, I-042)
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import trio

from ioe_node.clock import Clock
from ioe_node.conductor.home import Home
from ioe_node.conductor.hooks import Hook
from ioe_node.errors import StoreError
from ioe_node.model.hashes import HASH_BYTES, to_text

log = logging.getLogger("ioe.alerts")

ALERTS_MAX = 500
ALERTS_PER_MINUTE_MAX = 30
ALERTS_BYTES_MAX = 2 * 1024 * 1024
TEXT_CHARS_MAX = 500
WRITE_EVERY_S = 1.0
_MINUTE_US = 60_000_000

Kind = Literal[
    "appeared",
    "left",
    "guesses",
    "confirm",
    "owned",
    "offered",
    "new owner",
    "new keys",
    "revoked",
    "owner's key",
    "succeeded",
    "leaving",
    "device gone",
    "policy",
    "meter",
    "fault",
]
_OF_CARDS = ("appeared", "left")
TEXTS: dict[str, str] = {
    "appeared": "{device_kind} '{name}' ({state}) appeared near here: {agent}",
    "left": "{device_kind} '{name}' ({state}) is no longer near here: {agent}",
    "guesses": "a stranger keeps trying codes: {failed} attempts to pair have failed",
    "confirm": "{owner} has proved the code of this device: press its button, or run "
    "'ioe device confirm', within {seconds} s",
    "owned": "this device, '{name}', now belongs to {owner}",
    "offered": "{seller} offers us the device {agent}: 'ioe device accept {seller}' takes it",
    "new owner": "the device {agent} has a new owner: {owner}",
    "new keys": "{agent} has changed its keys: it is now {successor}",
    "revoked": "the key {agent} is revoked; nobody deals with it any more",
    "owner's key": "the owner of this device has another key now: {owner}",
    "succeeded": "this node's key is its owner's no more; {owner} has taken its place",
    "leaving": "this device is leaving its owner",
    "device gone": "the device {agent} has left our portfolio",
    "meter": "the count of meter {agent} began anew ({reason}): import {import_milli_wh} mWh, "
    "export {export_milli_wh} mWh; what flowed meanwhile is not known and counts as nothing",
    "policy": "policy version {version} of {owner} is in force",
}
"""What a kind says unless its event brings a `text` of its own."""


class Alert(msgspec.Struct, frozen=True):
    """One alert; `facts` holds what the text was made of, keys and hashes as text."""

    id: int
    at_us: int
    kind: Kind
    text: str
    facts: dict[str, str | int | bool | None]


def describe(event: Mapping[str, Any], number: int, at_us: int) -> Alert:
    """The alert of an event: its `kind`, and `text` or the facts that the kind's sentence takes."""
    kind = event["event"] if event["kind"] == "device" else event["kind"]
    assert kind in get_args(Kind), f"no alert is of the kind '{kind}'"
    facts = {
        name: _readable(value)
        for name, value in event.items()
        if name not in ("kind", "event", "text")
    }
    text = event["text"] if "text" in event else TEXTS[kind].format_map(facts)
    return Alert(number, at_us, kind, text[:TEXT_CHARS_MAX], facts)


def _readable(value: Any) -> str | int | None:
    if isinstance(value, bytes):
        return to_text(value) if len(value) == HASH_BYTES else value.hex()
    return value if value is None or isinstance(value, int | str) else str(value)


class Alerts:
    """The alerts of one node; `emit` takes them as signals, `hooks` to elsewhere."""

    def __init__(
        self,
        home: Home,
        clock: Clock,
        emit: Callable[[dict[str, Any]], None],
        hooks: Sequence[Hook] = (),
    ) -> None:
        self._home = home
        self._path = home.path / "alerts.json"
        self._clock = clock
        self._emit = emit
        self._hooks = hooks
        self._kept: deque[Alert] = deque(_read(self._path), ALERTS_MAX)
        self._written = self._kept[-1].id if self._kept else 0
        self._told: dict[str, tuple[int, int]] = {}
        """By kind: the minute of its newest event, and how many events that minute had."""
        self._changed = trio.Event()

    def tell(self, event: Mapping[str, Any]) -> None:
        """Keep an event as an alert, signal it, and hand it to the hooks."""
        number = self._kept[-1].id + 1 if self._kept else 1
        alert = describe(event, number, self._clock.now_us())
        untold = self._untold(alert)
        if untold is None:
            log.debug("one alert too many in a minute: %s", alert.text)
            return
        if untold:
            text = f"{alert.text} (and {untold} more of this kind were not told)"
            alert = msgspec.structs.replace(alert, text=text)
        self._make_room()
        self._kept.append(alert)
        self._changed.set()
        self._emit({"kind": "alert", "alert": msgspec.to_builtins(alert)})
        body = msgspec.json.encode(alert)
        for hook in self._hooks:
            hook.offer(body)

    def _make_room(self) -> None:
        """Let the oldest go; first of what strangers cause, so that it pushes nothing else out."""
        if len(self._kept) == ALERTS_MAX:
            of_cards = (each for each in self._kept if each.kind in _OF_CARDS)
            self._kept.remove(next(of_cards, self._kept[0]))

    def _untold(self, alert: Alert) -> int | None:
        """How many of its kind were left out in an earlier minute; None to leave this one out."""
        minute = alert.at_us // _MINUTE_US
        last, count = self._told.get(alert.kind, (minute, 0))
        if last != minute:
            self._told[alert.kind] = (minute, 1)
            return max(0, count - ALERTS_PER_MINUTE_MAX)
        self._told[alert.kind] = (minute, count + 1)
        return 0 if count < ALERTS_PER_MINUTE_MAX else None

    def since(self, number: int = 0, limit: int = ALERTS_MAX) -> list[dict[str, Any]]:
        """The newest `limit` after alert `number`, oldest first, as plain values."""
        found = [alert for alert in self._kept if alert.id > number]
        return [msgspec.to_builtins(alert) for alert in found[-limit:]]

    def told(self, kind: Kind, about: str, hash_: bytes) -> bool:
        """Whether an alert of this kind is kept whose fact of the name `about` is this hash."""
        name = to_text(hash_)
        return any(each.kind == kind and each.facts.get(about) == name for each in self._kept)

    def forget(self) -> None:
        """Keep nothing of what was told: a device that leaves its owner takes nothing along."""
        self._kept.clear()
        self._told.clear()
        self._changed.set()

    async def run(self) -> None:
        """Write and hand on until cancelled; what was told last is written then."""
        try:
            async with trio.open_nursery() as nursery:
                for hook in self._hooks:
                    nursery.start_soon(hook.run)
                while True:
                    await self._changed.wait()
                    self._changed = trio.Event()
                    # Taken here: the loop goes on telling while a thread writes.
                    await trio.to_thread.run_sync(self._write, list(self._kept))
                    await trio.sleep(WRITE_EVERY_S)
        finally:
            if self._kept and self._kept[-1].id != self._written:
                self._write(list(self._kept))

    def _write(self, alerts: list[Alert]) -> None:
        try:
            self._home.write(self._path, msgspec.json.encode(alerts))
        except StoreError as error:
            log.error("alerts are not kept: %s", error)
        else:
            self._written = alerts[-1].id if alerts else 0


def _read(path: Path) -> list[Alert]:
    """What the file holds; nothing when it is damaged, as a node must start without it too."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(ALERTS_BYTES_MAX), type=list[Alert])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        log.error("%s cannot be read, so earlier alerts are lost: %s", path, error)
        return []
