"""Somebody's own driver of a battery: steady until it is told to give no more than so much."""

from collections.abc import Mapping
from dataclasses import replace

from steady_meter import Steady, SteadyOptions

from ioe_node.drivers.driver import Reading, parse_options

STORED_BP = 6_400


class Battery(Steady):
    """A steady meter that holds something, and obeys a limit of its power."""

    _limit_milli_w: int | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "Battery":
        return cls(parse_options(options, SteadyOptions, "battery"))

    async def read(self) -> Reading:
        reading = await super().read()
        given = -reading.power_milli_w
        if self._limit_milli_w is None:
            return reading
        return replace(reading, power_milli_w=-min(given, self._limit_milli_w))

    async def stored_bp(self) -> int:
        return STORED_BP

    async def limit_power(self, milli_w: int | None) -> None:
        self._limit_milli_w = milli_w
