"""From samples of cumulative registers to settlement intervals (pure).

Boundaries are the whole multiples of the interval since 1970 UTC.  The registers at a boundary
are sampled there or interpolated linearly (integer, rounded down) between the two samples around
it; an interval's energy is the difference of the registers at its ends.  So the energies of
adjacent intervals telescope: whatever was sampled when, nothing is lost and nothing counted
twice.  A slicer that resumes from the last stored boundary picks up there: after a crash the
energy of the silence is spread over estimated intervals.

Where a sample does not follow the one before, the count may have to begin anew:

- Registers near zero that ran back: the meter lost its count (`reset`).
- Registers that ran back or jumped in any other way: only the owner can say that the meter was
  `replaced` (`begin_anew`); until then nothing is counted.
- A time more than a year ahead, or registers that jumped after the time ran back: the `clock`.

One odd sample proves nothing: a break is believed when the next sample follows it, and forgotten
when that follows the one before.  What flowed between the last sample of the old count and the
first of the new one is not known and counts as nothing; the interval that it fell in is finished
as if the old registers went on, and is estimated; the next one carries the change.  A register
that turns over at what its driver says it can hold goes on as if it had not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from ioe_node.drivers.driver import Reading, ReadingRefused

Quality = Literal["measured", "estimated"]
Reason = Literal["reset", "replaced", "clock"]

# A leap year of quarter hours.  More than that between two samples is a wrong clock.
INTERVALS_PER_READING_MAX = 35_136
INTERVAL_MILLI_WH_MAX = 25_000_000
"""A quarter hour at 100 kW."""

ASK_OWNER = "if the meter was replaced, say so with 'ioe meter changed --reason replaced'"


class Registers(NamedTuple):
    """Import and export counters at one instant."""

    at_us: int
    import_milli_wh: int
    export_milli_wh: int

    def plus(self, imported: int, exported: int) -> "Registers":
        """The same instant with more on the counters."""
        return Registers(
            self.at_us, self.import_milli_wh + imported, self.export_milli_wh + exported
        )


@dataclass(frozen=True, slots=True)
class Change:
    """Why a count began anew, and the meter's number if its owner gave it."""

    reason: Reason
    serial: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """The energy from `start_us` to `end_us`, and the registers at its end.

    "measured": both ends were sampled, or lie between samples at most one interval apart.
    "estimated": an end lies in a longer silence of the meter, where the power is not known, or the
    count began anew meanwhile.  `change` says that this is the first interval of a new count.
    """

    start_us: int
    end_us: int
    import_milli_wh: int
    export_milli_wh: int
    import_register_milli_wh: int
    export_register_milli_wh: int
    quality: Quality
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class _Break:
    """Samples that do not follow the count: the first and the newest, and what may be made of it.

    Without a `reason` the owner is asked, by `why`.
    """

    first: Registers
    newest: Registers
    reason: Reason | None
    ran_back: bool
    why: str

    @property
    def lasts(self) -> bool:
        """Whether more than one sample says so."""
        return self.first != self.newest

    def followed_by(
        self, shown: Registers, could_carry: Callable[[Registers, Registers], int]
    ) -> bool:
        """Whether the registers of the break have grown to `shown` since."""
        could = could_carry(self.newest, shown)
        return shown.at_us > self.newest.at_us and all(
            old <= new <= old + could for old, new in zip(self.newest[1:], shown[1:], strict=True)
        )


class Slicer:
    """Feed it each reading of one meter in turn; it returns the intervals that are complete.

    Without `resume` counting starts at the first boundary at or after the first reading.  With
    `resume`, the end of the last stored interval and its registers, it goes on exactly there.
    `interval_milli_wh_max` is what the connection can carry in one interval.
    """

    def __init__(
        self,
        interval_us: int,
        resume: tuple[int, int, int] | None = None,
        interval_milli_wh_max: int = INTERVAL_MILLI_WH_MAX,
        turns_over_milli_wh: int | None = None,
    ) -> None:
        assert interval_us > 0
        self._interval_us = interval_us
        self._carried_max = interval_milli_wh_max
        self._turns_over = turns_over_milli_wh
        self._ahead = (0, 0)  # what our count is ahead of the meter's registers
        self._last: Registers | None = None  # the newest sample, as counted
        self._boundary: Registers | None = None  # the end of the newest interval
        self._boundary_measured = True
        self._told_us = -1  # where a count ended that the clock has left
        self._clock_ran_back = False
        self._break: _Break | None = None
        self._word: Change | None = None  # the owner's, until the next sample
        self._pending: Change | None = None  # to be told after the next boundary
        self._change: Change | None = None  # to be told by the next interval
        if resume is not None:
            assert resume[0] % interval_us == 0, "resume at the end of an interval"
            self._last = self._boundary = Registers(*resume)
            if turns_over_milli_wh is not None:
                self._ahead = (
                    resume[1] - resume[1] % turns_over_milli_wh,
                    resume[2] - resume[2] % turns_over_milli_wh,
                )

    def begin_anew(self, change: Change) -> None:
        """The owner's word: the count begins anew, where it broke or else with the next sample."""
        self._word = change

    def feed(self, reading: Reading) -> list[Interval]:
        """The intervals that `reading` completes, oldest first; [] for a duplicate or older one.

        Raises ReadingRefused, and counts nothing, while the owner's word is needed or the clock is
        behind; the next reading may be fed all the same.
        """
        shown = Registers(reading.at_us, reading.import_milli_wh, reading.export_milli_wh)
        last = self._last
        if last is None or (self._boundary is None and self._told_us < shown.at_us < last.at_us):
            self._ahead, self._break = (0, 0), None  # nothing was counted yet
            return self._slice(shown, shown)
        if shown.at_us <= last.at_us:
            self._refuse_behind(last, shown)
            return []
        held = self._break
        follows = held is not None and held.followed_by(shown, self._could_carry)
        if self._word is not None:
            word, self._word = self._word, None
            return self._count_anew(word, held.first if held and follows else shown, shown)
        ahead = self._turned(last, shown)
        sample = shown.plus(*ahead)
        found = self._broken(last, sample, shown)
        if held is not None and follows:
            if held.reason is not None and not (held.ran_back and found is None):
                return self._count_anew(Change(held.reason), held.first, shown)
            if held.lasts or found is not None or not held.ran_back:
                return self._hold(replace(held, newest=shown))
        if found is not None:
            return self._hold(held if held and held.newest == shown else found)
        self._ahead, self._break = ahead, None
        return self._slice(last, sample)

    # -- does it follow? ----------------------------------------------------------------------

    def _refuse_behind(self, last: Registers, shown: Registers) -> None:
        """A little behind is a duplicate or drift."""
        if last.at_us - shown.at_us > self._interval_us:
            self._clock_ran_back = True
            raise ReadingRefused(
                f"the meter's clock ran back behind {_moment(last.at_us)}, up to where it has "
                "counted; it counts on from there: set the clock if it is wrong now"
            )

    def _turned(self, last: Registers, shown: Registers) -> tuple[int, int]:
        """How far our count is ahead, when each register may have turned over once more."""
        if self._turns_over is None or self._pending is not None:
            return self._ahead
        found = []
        for before, now, ahead in zip(last[1:], shown[1:], self._ahead, strict=True):
            over = now + ahead + self._turns_over
            turned = now + ahead < before and over - before <= self._could_carry(last, shown)
            found.append(ahead + self._turns_over if turned else ahead)
        return found[0], found[1]

    def _could_carry(self, since: Registers, sample: Registers) -> int:
        """At most this much energy in the intervals begun between."""
        intervals = -(-(sample.at_us - since.at_us) // self._interval_us)
        return self._carried_max * max(1, intervals)

    def _broken(self, last: Registers, sample: Registers, shown: Registers) -> _Break | None:
        """Why `sample`, the counted form of `shown`, does not follow; None if it does."""
        if (sample.at_us - last.at_us) // self._interval_us > INTERVALS_PER_READING_MAX:
            return _Break(shown, shown, "clock", False, "")
        counted = self._boundary or last
        most = counted.plus(*[self._could_carry(counted, sample)] * 2)
        for name, before, now, at_most in zip(
            ("import", "export"), last[1:], sample[1:], most[1:], strict=True
        ):
            why = f"the {name} register went from {before} to {now} mWh; {ASK_OWNER}"
            if now < before:
                near_zero = max(shown[1:]) <= self._carried_max
                return _Break(shown, shown, "reset" if near_zero else None, True, why)
            if now > at_most:
                reason: Reason | None = "clock" if self._clock_ran_back else None
                return _Break(shown, shown, reason, False, why)
        return None

    def _hold(self, found: _Break) -> list[Interval]:
        self._break = found
        if found.reason is None:
            raise ReadingRefused(found.why)
        return []

    # -- counting -----------------------------------------------------------------------------

    def _count_anew(self, change: Change, first: Registers, shown: Registers) -> list[Interval]:
        """Go on from `first` with a new count: the old registers stand still until then."""
        last = self._last
        assert last is not None
        self._break = None
        too_far = (first.at_us - last.at_us) // self._interval_us > INTERVALS_PER_READING_MAX
        if self._boundary is None or too_far:
            if self._boundary is not None:
                self._change = Change("clock", change.serial)
                self._told_us = self._boundary.at_us
            self._ahead, self._pending, self._boundary = (0, 0), None, None
            return [*self._slice(first, first), *self._slice(first, shown)]
        self._ahead = (
            last.import_milli_wh - first.import_milli_wh,
            last.export_milli_wh - first.export_milli_wh,
        )
        self._pending = change
        intervals = self._slice(last, first.plus(*self._ahead))
        assert self._last is not None
        return [*intervals, *self._slice(self._last, shown.plus(*self._ahead))]

    def _slice(self, last: Registers, sample: Registers) -> list[Interval]:
        """Count from `last` to `sample`, which follows it."""
        measured = sample.at_us - last.at_us <= self._interval_us
        sure, self._clock_ran_back = not self._clock_ran_back, False
        intervals = []
        boundary_us = self._next_boundary_us(last.at_us)
        while boundary_us <= sample.at_us:
            end = _interpolate(last, sample, boundary_us)
            end_measured = sure and (measured or boundary_us == sample.at_us)
            if self._boundary is not None:
                certain = end_measured and self._boundary_measured and self._pending is None
                quality: Quality = "measured" if certain else "estimated"
                intervals.append(_interval(self._boundary, end, quality, self._change))
                self._change = None
            if self._pending is not None:
                imported, exported = self._ahead
                end, last, sample = (
                    each.plus(-imported, -exported) for each in (end, last, sample)
                )
                self._ahead, self._change, self._pending = (0, 0), self._pending, None
            self._boundary, self._boundary_measured = end, end_measured
            boundary_us += self._interval_us
        self._last = sample
        return intervals

    def _next_boundary_us(self, last_us: int) -> int:
        if self._boundary is not None:
            return self._boundary.at_us + self._interval_us
        return -(-last_us // self._interval_us) * self._interval_us


def _moment(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _interval(
    start: Registers, end: Registers, quality: Quality, change: Change | None
) -> Interval:
    return Interval(
        start_us=start.at_us,
        end_us=end.at_us,
        import_milli_wh=end.import_milli_wh - start.import_milli_wh,
        export_milli_wh=end.export_milli_wh - start.export_milli_wh,
        import_register_milli_wh=end.import_milli_wh,
        export_register_milli_wh=end.export_milli_wh,
        quality=quality,
        change=change,
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
