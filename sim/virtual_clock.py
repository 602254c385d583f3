"""Virtual time: a trio run whose clock jumps to the next deadline, the same way every time."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

import trio
from trio._core import _run as scheduler
from trio.testing import MockClock

T = TypeVar("T")

EPOCH_US = 1_767_261_600_000_000
"""2026-01-01T10:00Z, when every run begins: the sun is up."""


class VirtualClock:
    """A node's `Clock` inside `run_virtual`: the run's own time, or one that is set wrong.

    A skewed clock is `offset_us` off at the time it is set, and `drift_ppm` microseconds more
    for every second since.
    """

    def __init__(self) -> None:
        self._offset_us = 0
        self._drift_ppm = 0
        self._set_s = 0.0

    def skew(self, offset_us: int, drift_ppm: int = 0) -> None:
        """Set it wrong from now on; `skew(0)` sets it right."""
        self._offset_us, self._drift_ppm = offset_us, drift_ppm
        self._set_s = trio.current_time()

    def now_us(self) -> int:
        now_s = trio.current_time()
        now_us = EPOCH_US + round(now_s * 1_000_000)
        if not self._offset_us and not self._drift_ppm:
            return now_us
        return now_us + self._offset_us + round((now_s - self._set_s) * self._drift_ppm)


def run_virtual(main: Callable[..., Awaitable[T]], *args: Any, seed: int) -> T:
    """`trio.run` on virtual time, scheduled by `seed`.

    Trio shuffles the tasks that are ready together; here in the order of their making, by a
    generator of ours.  The two names are private to trio; no public ones do this.
    """
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r
    changed: Any = scheduler
    changed._ALLOW_DETERMINISTIC_SCHEDULING, changed._r = True, Random(f"scheduler {seed}")
    try:
        return trio.run(main, *args, clock=MockClock(autojump_threshold=0))
    finally:
        changed._ALLOW_DETERMINISTIC_SCHEDULING, changed._r = before
