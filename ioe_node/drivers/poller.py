"""The poller: reads one device again and again, and hands on whole intervals.

It owns timing and backoff; the driver only reads.  What could not be recorded (a settlement
holds the chain, the disk is full) is kept, said, and offered again with the next reading;
nothing is lost over a restart either, since slicing resumes at the last interval that was
recorded.  A driver that breaks its promise and raises anything else is taken to be retried:
somebody's fault in a driver must not end the node that it runs in.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import trio

from ioe_node.drivers.driver import Meter, Reading, ReadingRefused
from ioe_node.drivers.slicer import Interval, Slicer
from ioe_node.errors import IoeError, LocalError, TransportError

log = logging.getLogger("ioe.driver")

BACKOFF_MAX_S = 300.0
INTERVALS_PER_RECORD_MAX = 1_000


@dataclass
class Poller:
    """One device: `state` is "starting", "ok", "retrying" or "stopped", `why` says more.

    `record(intervals)` commits them, or raises `IoeError` and is asked again.  `heard` is given
    each reading, `refused` once what the slicer says of one that it cannot count.
    """

    meter: Meter
    slicer: Slicer
    poll_s: float
    rng: Random
    record: Callable[[list[Interval]], Awaitable[None]]
    heard: Callable[[Reading], None] = lambda reading: None
    refused: Callable[[str], None] = lambda why: None
    state: str = "starting"
    why: str = ""
    latest: Reading | None = None
    _waiting: list[Interval] = field(default_factory=list)

    async def run(self) -> None:
        """Poll until cancelled, or until the device says that retrying is of no use."""
        failures = 0
        while True:
            try:
                self.latest = await self.meter.read()
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
                return
            except Exception as error:
                failures += 1
                self.state, self.why = "retrying", f"the driver failed: {error!r}; see the log"
                log.exception("the driver failed")
            backoff = min(BACKOFF_MAX_S, self.poll_s * 2 ** min(failures, 16)) if failures else 0
            await trio.sleep(backoff * (0.5 + self.rng.random() / 2) or self.poll_s)

    async def _hand_on(self) -> str:
        """Record what waits; why some of it has to wait on, or nothing."""
        while self._waiting:
            page = self._waiting[:INTERVALS_PER_RECORD_MAX]
            try:
                await self.record(page)
            except IoeError as error:
                log.warning("%d readings wait: %s", len(self._waiting), error)
                return f"{len(self._waiting)} readings wait: {error}"
            del self._waiting[: len(page)]
        return ""
