"""The poller: reads one device again and again, and hands on whole intervals.

It owns timing and backoff; the driver only reads.  What could not be recorded (a settlement
holds the chain, the disk is full) is kept and offered again with the next reading; nothing is
lost over a restart either, since slicing resumes at the last interval that was recorded.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import trio

from ioe_node.drivers.driver import Meter, Reading
from ioe_node.drivers.slicer import Interval, Slicer
from ioe_node.errors import LocalError, TransportError

log = logging.getLogger("ioe.driver")

BACKOFF_MAX_S = 300.0
INTERVALS_PER_RECORD_MAX = 1_000


@dataclass
class Poller:
    """One device: `state` is "starting", "ok", "retrying" or "stopped", `why` says more.

    `record(intervals)` commits them and returns True, or False to be asked again.
    """

    meter: Meter
    slicer: Slicer
    poll_s: float
    rng: Random
    record: Callable[[list[Interval]], Awaitable[bool]]
    state: str = "starting"
    why: str = ""
    latest: Reading | None = None
    _waiting: list[Interval] = field(default_factory=list)

    async def run(self) -> None:
        """Poll until cancelled, or until the device says that retrying is of no use."""
        failures = 0
        while True:
            try:
                await self._poll()
                self.state, self.why, failures = "ok", "", 0
            except TransportError as error:
                failures += 1
                self.state, self.why = "retrying", str(error)
                log.info("reading the device: %s", error)
            except LocalError as error:
                self.state, self.why = "stopped", str(error)
                log.error("the device is not read any more: %s", error)
                return
            backoff = min(BACKOFF_MAX_S, self.poll_s * 2 ** min(failures, 16)) if failures else 0
            await trio.sleep(backoff * (0.5 + self.rng.random() / 2) or self.poll_s)

    async def _poll(self) -> None:
        self.latest = await self.meter.read()
        self._waiting += self.slicer.feed(self.latest)
        while self._waiting:
            page = self._waiting[:INTERVALS_PER_RECORD_MAX]
            if not await self.record(page):
                return
            del self._waiting[: len(page)]
