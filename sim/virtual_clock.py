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
    """The node's `Clock` inside `run_virtual`."""

    def now_us(self) -> int:
        return EPOCH_US + round(trio.current_time() * 1_000_000)


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
