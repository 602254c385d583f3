"""The poller: reads one device again and again, and hands on whole intervals.

It owns timing and backoff; the driver only reads.  A device that tells of its changes by itself
is watched too: what it tells counts as read, and the next poll is put off by it.  What could not
be recorded (a settlement holds the chain, the disk is full) is kept, said, and offered again with
the next reading; nothing is lost over a restart either, since slicing resumes at the last interval
that was recorded.  A driver that breaks its promise and raises anything else is taken to be
retried: somebody's fault in a driver must not end the node that it runs in.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import trio

from ioe_node.drivers.driver import Meter, Reading, ReadingRefused, Switch, Watch
from ioe_node.drivers.slicer import Interval, Slicer
from ioe_node.errors import CallError, IoeError, LocalError, TransportError

log = logging.getLogger("ioe.driver")

BACKOFF_MAX_S = 300.0
INTERVALS_PER_RECORD_MAX = 1_000
CLOSED = "the chain is closed: they are recorded when it is open"


@dataclass
class Poller:
    """One device: `state` is "starting", "ok", "retrying" or "stopped", `why` says more.

    `record(intervals)` commits them, or raises `IoeError` and is asked again; while `is_open()`
    says no it is not asked at all.  `heard` is given each reading, `refused` once what the slicer
    says of one that it cannot count.  `live` is True while the device tells of its changes.
    `changed` is set, and another event put in its place, when there is something new to see here.
    """

    meter: Meter
    slicer: Slicer
    poll_s: float
    rng: Random
    record: Callable[[list[Interval]], Awaitable[None]]
    is_open: Callable[[], bool] = lambda: True
    heard: Callable[[Reading], None] = lambda reading: None
    refused: Callable[[str], None] = lambda why: None
    state: str = "starting"
    why: str = ""
    live: bool = False
    latest: Reading | None = None
    changed: trio.Event = field(default_factory=trio.Event)
    _waiting: list[Interval] = field(default_factory=list)
    _told: Reading | None = None
    _wake: trio.Event = field(default_factory=trio.Event)
    _said: str = ""

    async def run(self) -> None:
        """Poll until cancelled, or until the device says that retrying is of no use."""
        async with trio.open_nursery() as nursery:
            if isinstance(self.meter, Watch):
                nursery.start_soon(self._watch, self.meter)
            await self._poll()
            nursery.cancel_scope.cancel()

    async def set_on(self, on: bool) -> None:
        """Switch the load and look at once what came of it.

        Raises as the driver does, and `CallError` where there is nothing to switch.
        """
        if not isinstance(self.meter, Switch):
            raise CallError("this device has nothing to switch")
        await self.meter.set_on(on)
        self._wake.set()

    # -- reading ------------------------------------------------------------------------------

    async def _poll(self) -> None:
        failures, wait_s = 0, 0.0
        while True:
            try:
                self.latest = await self._next(wait_s)
                self.heard(self.latest)
                self._waiting += self.slicer.feed(self.latest)
                self.state, self.why, failures = "ok", await self._hand_on(), 0
            except ReadingRefused as error:
                if self.why != str(error):
                    self.refused(str(error))
                self.state, self.why, failures = "retrying", str(error), 0
            except TransportError as error:
                failures += 1
                self.state, self.why = "retrying", str(error)
                log.info("reading the device: %s", error)
            except LocalError as error:
                self.state, self.why = "stopped", str(error)
                log.error("the device is not read any more: %s", error)
                return self._show()
            except Exception as error:
                failures += 1
                self.state, self.why = "retrying", f"the driver failed: {error!r}; see the log"
                log.exception("the driver failed")
            self._show()
            wait_s = self._backoff_s(failures) if failures else self.poll_s

    async def _next(self, wait_s: float) -> Reading:
        """What the device tells meanwhile, or else what is read after `wait_s`."""
        with trio.move_on_after(wait_s):
            await self._wake.wait()
        told, self._told, self._wake = self._told, None, trio.Event()
        return told or await self.meter.read()

    def _backoff_s(self, failures: int) -> float:
        longest: float = min(BACKOFF_MAX_S, self.poll_s * 2 ** min(failures, 16))
        return longest * (0.5 + self.rng.random() / 2)

    def _show(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    # -- being told ---------------------------------------------------------------------------

    async def _watch(self, meter: Watch) -> None:
        failures = 0
        while True:
            try:
                await meter.watch(self._tell)
            except TransportError as error:
                log.info("watching the device: %s", error)
            except LocalError as error:
                self.live = False
                log.warning("the device is polled only: %s", error)
                return
            except Exception:
                log.exception("the driver's watch failed")
            failures = 0 if self.live else failures + 1
            self.live = False
            await trio.sleep(self._backoff_s(failures))

    def _tell(self, reading: Reading) -> None:
        self.live = True
        self._told = reading
        self._wake.set()

    # -- recording ----------------------------------------------------------------------------

    async def _hand_on(self) -> str:
        """Record what waits; why some of it has to wait on, or nothing."""
        while self._waiting:
            if not self.is_open():
                return self._say(CLOSED)
            page = self._waiting[:INTERVALS_PER_RECORD_MAX]
            try:
                await self.record(page)
            except IoeError as error:
                return self._say(str(error))
            del self._waiting[: len(page)]
        self._said = ""
        return ""

    def _say(self, why: str) -> str:
        """Log why readings wait, once for each reason; what to show meanwhile."""
        text = f"{len(self._waiting)} readings wait: {why}"
        if why != self._said:
            self._said = why
            log.warning("%s", text)
        return text
