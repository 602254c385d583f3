"""Periodic uniform price: all trade at the midpoint of the price interval, which is published.

No bid pays more than its limit, no ask gets less, and the welfare is the linear program's.
"""

from collections.abc import Sequence

from currency.market.book import Clearing, Order, Trades
from currency.market.merit import clean_first, cross, pair


def uniform(orders: Sequence[Order]) -> Clearing:
    """Clear by merit at one price."""
    crossing = cross(orders)
    welfare = crossing.welfare_pico()
    if crossing.price is None:
        return Clearing(Trades.of(()), (), 0, 0)
    pairs = pair(*clean_first(crossing))
    trades = Trades(*pairs, [crossing.price.price_micro] * len(pairs[0]))
    return Clearing(trades, (crossing.price,), welfare, welfare)
