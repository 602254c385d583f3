"""A machine that does what it is told: a switch, a limit and a battery."""

from collections.abc import Mapping

import msgspec

from ioe_node.clock import SystemClock
from ioe_node.drivers.driver import Reading, parse_options

BEGAN_US = 1_700_000_000_000_000
US_PER_HOUR = 3_600_000_000


class TameOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Import positive, export negative."""

    power_milli_w: int


class Tame:
    """Energy grows by the clock; only the power shown follows the switch and the limit."""

    def __init__(self, options: TameOptions) -> None:
        self._power_milli_w = options.power_milli_w
        self._on = True
        self.limit_milli_w: int | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "Tame":
        return cls(parse_options(options, TameOptions, "tame"))

    async def read(self) -> Reading:
        now_us = SystemClock().now_us()
        energy = abs(self._power_milli_w) * (now_us - BEGAN_US) // US_PER_HOUR
        drawn = self._power_milli_w > 0
        power = self._power_milli_w if self._on else 0
        return Reading(now_us, energy if drawn else 0, 0 if drawn else energy, power, self._on)

    async def set_on(self, on: bool) -> None:
        self._on = on

    async def limit_power(self, milli_w: int | None) -> None:
        self.limit_milli_w = milli_w

    async def stored_bp(self) -> int:
        return 5_000
