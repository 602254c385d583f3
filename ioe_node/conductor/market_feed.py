"""The community's own market as a feed of prices: `feed = "market"` in an app's config.

Gates of intervals that are over do not change, so each is read once.
"""

from typing import TYPE_CHECKING

from ioe_node.drivers.feed import Period

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell

MARKET = "market"
INTERVALS_KEPT = 192
READ_AGAIN = 2
"""The interval that runs, and the one before it: their gate may still come."""


class MarketFeed:
    """A `PriceFeed`: what each of the last intervals cleared at, the one that runs too."""

    def __init__(self, cell: "Cell") -> None:
        self._cell = cell
        self._known: dict[int, Period] = {}

    async def periods(self) -> tuple[Period, ...]:
        """All that is known now, by their start."""
        space = self._cell.space
        length_us: int = space.rules.definition.properties.interval_us
        newest_us = max(self._known, default=0)
        since = (space.clock.now_us() - newest_us) // length_us + READ_AGAIN
        payload = {"intervals": min(since, INTERVALS_KEPT)}
        for each in await self._cell.call("market", "prices", payload):
            start_us = each["start"]
            price = each["price_micro"]
            self._known[start_us] = Period(start_us, start_us + length_us, MARKET, price)
        kept = sorted(self._known.items())[-INTERVALS_KEPT:]
        self._known = dict(kept)
        return tuple(self._known.values())
