"""A plug with a load of 36 kW on the machine's clock, that counts while it is on."""

from collections.abc import Mapping

from ioe_node.clock import SystemClock
from ioe_node.drivers.driver import Reading

MILLI_WH_PER_S = 10_000


class TamePlug:
    """A `Meter` and a `Switch`."""

    def __init__(self) -> None:
        self.on = True
        self._counted = 0
        self._since_us = SystemClock().now_us()

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "TamePlug":
        return cls()

    def _count(self) -> int:
        now_us = SystemClock().now_us()
        if self.on:
            self._counted += MILLI_WH_PER_S * (now_us - self._since_us) // 1_000_000
        self._since_us = now_us
        return now_us

    async def read(self) -> Reading:
        now_us = self._count()
        return Reading(now_us, self._counted, 0, None, self.on)

    async def set_on(self, on: bool) -> None:
        self._count()
        self.on = on
