"""Where the intervals of our own meter go: on the chain, or, at the owner's word, no further than
this machine.

Either way counting resumes where the newer of the two ends.  The first reading that is shared
after others were not says so and begins a count anew, so that nobody takes what was kept back for
energy that flowed in it; the meter's register tells the sum of that time all the same.
"""

from typing import TYPE_CHECKING, Any

import trio

from ioe_node.drivers.slicer import Interval
from ioe_node.history.point import Point
from ioe_node.model.hashes import to_text
from ioe_node.store.history import Unshared

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor


class Recorder:
    """Takes the intervals of one meter; `method` is who verifies them."""

    def __init__(self, conductor: "Conductor", cell: "Cell", method: str) -> None:
        self._conductor, self._cell, self._method = conductor, cell, method
        self._series = (cell.space.agent, to_text(cell.space.dna))

    async def resume(self) -> tuple[int, int, int] | None:
        """The end of the newest interval, and the registers then; None for a new meter."""
        found = []
        if last := await self._newest():
            registers = last["import_register_milli_wh"], last["export_register_milli_wh"]
            found.append((last["end"], *registers))
        file = self._conductor.history.file
        if kept := await trio.to_thread.run_sync(file.unshared_until, *self._series):
            found.append(kept)
        return max(found, default=None)

    async def record(self, intervals: list[Interval]) -> None:
        """Commit intervals, oldest first, or keep them here; raises `IoeError`."""
        if self._conductor.policy.rules.share == "nothing":
            counted = [_unshared(each) for each in intervals]
            file = self._conductor.history.file
            await trio.to_thread.run_sync(file.keep_unshared, *self._series, counted)
            return
        readings = [self._reading(each) for each in intervals]
        last = await self._newest()
        if last is None:
            readings[0]["change"] = None
        elif readings[0]["start"] > last["end"] and not _is_of_clock(intervals[0]):
            readings[0]["change"] = {"reason": "unshared", "serial": ""}
        await self._cell.call("metering", "record", {"readings": readings})

    async def _newest(self) -> dict[str, Any] | None:
        return next(iter(await self._cell.call("metering", "history", {"limit": 1})), None)

    def _reading(self, each: Interval) -> dict[str, Any]:
        return {
            "start": each.start_us,
            "end": each.end_us,
            "import_milli_wh": each.import_milli_wh,
            "export_milli_wh": each.export_milli_wh,
            "import_register_milli_wh": each.import_register_milli_wh,
            "export_register_milli_wh": each.export_register_milli_wh,
            "quality": each.quality,
            "method": self._method,
            "change": each.change and {"reason": each.change.reason, "serial": each.change.serial},
        }


def _is_of_clock(interval: Interval) -> bool:
    return interval.change is not None and interval.change.reason == "clock"


def _unshared(each: Interval) -> Unshared:
    point = Point(
        each.start_us,
        each.end_us,
        each.import_milli_wh,
        each.export_milli_wh,
        each.quality == "estimated",
    )
    return Unshared(point, each.import_register_milli_wh, each.export_register_milli_wh)
