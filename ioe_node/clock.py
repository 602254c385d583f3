"""Time, passed in.  Microseconds since 1970 UTC, as the chain wants it."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the node asks for the time; the simulator answers with virtual time."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00Z."""


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000
