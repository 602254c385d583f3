"""From samples of cumulative registers to settlement intervals (pure).

Boundaries are the whole multiples of the interval since 1970 UTC.  The registers at a boundary
are sampled there or interpolated linearly (integer, rounded down) between the two samples around
it; an interval's energy is the difference of the registers at its ends.  So the energies of
adjacent intervals telescope: whatever was sampled when, nothing is lost and nothing counted
twice.  A slicer that resumes from the last stored boundary picks up there: after a crash the
energy of the silence is spread over estimated intervals.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from ioe_node.drivers.driver import Reading, ReadingRefused

Quality = Literal["measured", "estimated"]

# A leap year of quarter hours.  More than that between two samples is a wrong clock.
INTERVALS_PER_READING_MAX = 35_136


class Registers(NamedTuple):
    """Import and export counters at one instant."""

    at_us: int
    import_milli_wh: int
    export_milli_wh: int


@dataclass(frozen=True, slots=True)
class Interval:
    """The energy from `start_us` to `end_us`, and the registers at its end.

    "measured": both ends were sampled, or lie between samples at most one interval apart.
    "estimated": an end lies in a longer silence of the meter, where the power is not known.
    """

    start_us: int
    end_us: int
    import_milli_wh: int
    export_milli_wh: int
    import_register_milli_wh: int
    export_register_milli_wh: int
    quality: Quality


class Slicer:
    """Feed it each reading of one meter in turn; it returns the intervals that are complete.

    Without `resume` counting starts at the first boundary at or after the first reading.  With
    `resume`, the end of the last stored interval and its registers, it goes on exactly there.
    """

    def __init__(self, interval_us: int, resume: tuple[int, int, int] | None = None) -> None:
        assert interval_us > 0
        self._interval_us = interval_us
        self._last: Registers | None = None  # the newest sample
        self._boundary: Registers | None = None  # the end of the newest interval
        self._boundary_measured = True
        if resume is not None:
            assert resume[0] % interval_us == 0, "resume at the end of an interval"
            self._last = self._boundary = Registers(*resume)

    def feed(self, reading: Reading) -> list[Interval]:
        """The intervals that `reading` completes, oldest first; [] for a duplicate or older one.

        Raises ReadingRefused, and stays as it was, if a register ran backwards or the reading's
        time is more than INTERVALS_PER_READING_MAX intervals after the one before.
        """
        sample = Registers(reading.at_us, reading.import_milli_wh, reading.export_milli_wh)
        last = self._last
        if last is not None:
            if sample.at_us <= last.at_us:
                return []
            self._refuse_backwards(last, sample)
        else:
            last = sample
        measured = sample.at_us - last.at_us <= self._interval_us
        intervals = []
        boundary_us = self._next_boundary_us(last.at_us)
        while boundary_us <= sample.at_us:
            end = _interpolate(last, sample, boundary_us)
            end_measured = measured or boundary_us == sample.at_us
            if self._boundary is not None:
                quality: Quality = (
                    "measured" if end_measured and self._boundary_measured else "estimated"
                )
                intervals.append(_interval(self._boundary, end, quality))
            self._boundary, self._boundary_measured = end, end_measured
            boundary_us += self._interval_us
        self._last = sample
        return intervals

    def _next_boundary_us(self, last_us: int) -> int:
        if self._boundary is not None:
            return self._boundary.at_us + self._interval_us
        return -(-last_us // self._interval_us) * self._interval_us

    def _refuse_backwards(self, last: Registers, sample: Registers) -> None:
        if (sample.at_us - last.at_us) // self._interval_us > INTERVALS_PER_READING_MAX:
            raise ReadingRefused(
                f"the meter's clock jumped from {last.at_us} to {sample.at_us} us: set its clock, "
                "or acknowledge the new time so that counting starts anew"
            )
        for name, before, now in (
            ("import", last.import_milli_wh, sample.import_milli_wh),
            ("export", last.export_milli_wh, sample.export_milli_wh),
        ):
            if now < before:
                raise ReadingRefused(
                    f"the {name} register ran back from {before} to {now} mWh: if the meter was "
                    "replaced or reset, acknowledge it so that counting starts anew"
                )


def _interval(start: Registers, end: Registers, quality: Quality) -> Interval:
    return Interval(
        start_us=start.at_us,
        end_us=end.at_us,
        import_milli_wh=end.import_milli_wh - start.import_milli_wh,
        export_milli_wh=end.export_milli_wh - start.export_milli_wh,
        import_register_milli_wh=end.import_milli_wh,
        export_register_milli_wh=end.export_milli_wh,
        quality=quality,
    )


def _interpolate(before: Registers, after: Registers, at_us: int) -> Registers:
    """The registers at `at_us`, rounded down; exact at `before` and `after` themselves."""
    if at_us == after.at_us:
        return after
    part_us, whole_us = at_us - before.at_us, after.at_us - before.at_us
    return Registers(
        at_us,
        before.import_milli_wh
        + (after.import_milli_wh - before.import_milli_wh) * part_us // whole_us,
        before.export_milli_wh
        + (after.export_milli_wh - before.export_milli_wh) * part_us // whole_us,
    )
