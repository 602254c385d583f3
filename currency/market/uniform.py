"""Periodic uniform price: all trade at the midpoint of the price interval, which is published.

No bid pays more than its limit, no ask gets less, and the welfare is the linear program's.
"""

from collections.abc import Sequence

from currency.market.book import Clearing, Order
from currency.market.merit import clean_first, cross, pair


def uniform(orders: Sequence[Order]) -> Clearing:
    """Clear by merit at one price."""
    crossing = cross(orders)
    welfare = crossing.welfare_pico()
    price = crossing.price
    if price is None:
        return Clearing((), (), 0, 0)
    trades = pair(*clean_first(crossing), price.price_micro)
    return Clearing(tuple(trades), (price,), welfare, welfare)
