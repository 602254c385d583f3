"""The hub: signals and live values for whoever watches, made into JSON once for all of them.

Every message has a number, `seq`, one higher than the last.  A watcher that reads too slowly
keeps what fits (`WAITING_MAX` messages, `WAITING_CHARS_MAX` together), and is told where and how
many it missed.  While nobody watches, nothing is made and no device is asked.
"""

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from ioe_node.api.http_errors import TooMany
from ioe_node.api.http_live import Live
from ioe_node.api.http_types import Machine
from ioe_node.errors import IoeError
from ioe_node.model.plain import plain
from ioe_node.workflows.space import log

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

WAITING_MAX = 2_048
WAITING_CHARS_MAX = 8_000_000
WATCHERS_MAX = 64
LIVE_EVERY_S = 3.0
BEAT_EVERY_S = 15.0


def gap(missed: int) -> str:
    """The message that says how many are missing at its place."""
    return msgspec.json.encode({"kind": "gap", "missed": missed}).decode()


class Watcher:
    """What waits for one who watches."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._chars = 0
        self._missed = 0
        self._woken = trio.Event()

    def put(self, text: str) -> None:
        """Queue a message, or count it as missed; never waits."""
        full = len(self._waiting) + bool(self._missed) >= WAITING_MAX
        if full or self._chars + len(text) > WAITING_CHARS_MAX:
            self._missed += 1
            return
        if self._missed:
            self._waiting.append(gap(self._missed))
            self._chars += len(self._waiting[-1])
            self._missed = 0
        self._waiting.append(text)
        self._chars += len(text)
        self._woken.set()

    async def next(self) -> str:
        """The next message, or the notice of a gap where one is."""
        while True:
            if self._waiting:
                text = self._waiting.popleft()
                self._chars -= len(text)
                return text
            if self._missed:
                missed, self._missed = self._missed, 0
                return gap(missed)
            self._woken = trio.Event()
            await self._woken.wait()


class Hub:
    """Everybody who watches this node."""

    def __init__(self, conductor: "Conductor", live: Live) -> None:
        self._conductor = conductor
        self._live = live
        self._watchers: set[Watcher] = set()
        self._seq = 0
        self._wanted = trio.Event()
        self._running = trio.Event()
        self._alone = trio.Event()

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Watcher]:
        """Everything from now on; raises `TooMany`."""
        if len(self._watchers) >= WATCHERS_MAX:
            raise TooMany(f"{WATCHERS_MAX} programs watch already; close one")
        watcher = Watcher()
        self._watchers.add(watcher)
        self._wanted.set()
        try:
            await self._running.wait()
            yield watcher
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._wanted = trio.Event()
                self._alone.set()

    def tell(self, value: Mapping[str, Any]) -> None:
        """Give a message to everybody who watches."""
        self._seq += 1
        try:
            text = msgspec.json.encode({**value, "seq": self._seq}).decode()
        except (TypeError, ValueError, OverflowError):
            log.warning("a signal that JSON cannot say: %.200r", value)
            text = msgspec.json.encode({"kind": "untold", "seq": self._seq}).decode()
        for watcher in self._watchers:
            watcher.put(text)

    async def run(self) -> None:
        """Follow the node whenever somebody watches; until cancelled."""
        while True:
            await self._wanted.wait()
            self._alone = trio.Event()
            with self._conductor.signals.tapped(self._signalled):
                self._running.set()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._values)
                    nursery.start_soon(self._beat)
                    await self._alone.wait()
                    nursery.cancel_scope.cancel()
            self._running = trio.Event()

    def _signalled(self, signal: dict[str, Any]) -> None:
        self.tell(plain(signal))

    async def _values(self) -> None:
        """Tell of each device whose values have changed."""
        told: dict[str, Machine] = {}
        while True:
            try:
                for each in await self._live.machines():
                    if told.get(each.agent) != each:
                        self.tell({"kind": "live", **_value(each)})
                        told[each.agent] = each
            except IoeError as error:
                log.info("asking our devices: %s", error)
            except Exception:
                # One that nobody expected must not end the node that everything runs in.
                log.exception("asking our devices")
            await trio.sleep(LIVE_EVERY_S)

    async def _beat(self) -> None:
        """So that both ends notice when the other has gone."""
        while True:
            await trio.sleep(BEAT_EVERY_S)
            self.tell({"kind": "beat"})


def _value(machine: Machine) -> dict[str, Any]:
    return {
        "device": machine.agent,
        "state": machine.state,
        "power_milli_w": machine.power_milli_w,
        "switched_on": machine.switched_on,
        "stored_bp": machine.stored_bp,
        "at_us": machine.at_us,
    }
