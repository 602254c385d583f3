"""Somebody's own driver, outside the node: a meter with steady power on the machine's clock."""

from collections.abc import Mapping

import msgspec

from ioe_node.clock import SystemClock
from ioe_node.drivers.driver import Reading, parse_options

BEGAN_US = 1_700_000_000_000_000
US_PER_HOUR = 3_600_000_000


class SteadyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Import positive, export negative."""

    power_milli_w: int


class Steady:
    """Energy grows by the clock, so a restart finds the registers where they must be."""

    def __init__(self, options: SteadyOptions) -> None:
        self._power_milli_w = options.power_milli_w

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "Steady":
        return cls(parse_options(options, SteadyOptions, "steady"))

    async def read(self) -> Reading:
        now_us = SystemClock().now_us()
        energy_milli_wh = abs(self._power_milli_w) * (now_us - BEGAN_US) // US_PER_HOUR
        drawn = self._power_milli_w > 0
        return Reading(
            now_us,
            energy_milli_wh if drawn else 0,
            0 if drawn else energy_milli_wh,
            self._power_milli_w,
        )
