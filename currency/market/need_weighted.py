"""Need-weighted matching: who needs energy most chooses first, within what everyone can pay.

Bids rank by limit times the weight of their agent's need; each takes the cheapest asks left that
its own limit allows.  A trade's price is the midpoint of both limits, rounded down, so no one
pays more than its limit for another's need.  With equal weights this is the merit order, and
loses no welfare; otherwise the clearing says how much.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby

from currency.market.book import Clearing, Order, Trades
from currency.market.merit import (
    Accepted,
    Crossing,
    accept,
    best_pico,
    pair,
    share,
    sides,
)

BASIS_POINTS = 10_000


def _rising(order: Order) -> int:
    return order.limit_micro


def need_weighted(orders: Sequence[Order], need_bp: Mapping[bytes, int]) -> Clearing:
    """Clear by weighted rank; `need_bp` is each agent's weight, 10,000 where it names none."""

    def rank(order: Order) -> tuple[int, int]:
        weight = need_bp.get(order.agent, BASIS_POINTS) if order.limit_micro > 0 else BASIS_POINTS
        return -order.limit_micro * weight, -order.limit_micro

    bids, asks = sides(orders)
    bids.sort(key=lambda order: (*rank(order), order.id))
    asks.sort(key=_rising)
    supply = [0, *accumulate(order.energy_milli_wh for order in asks)]
    chosen: list[Order] = []
    energies: list[int] = []
    volume = 0
    for (_, below), level in groupby(bids, key=rank):
        equals = list(level)
        wanted = [order.energy_milli_wh for order in equals]
        served = min(sum(wanted), supply[bisect_right(asks, -below, key=_rising)] - volume)
        if served > 0:
            chosen += equals
            energies += share(wanted, served)
            volume += served
    buyers = Accepted(chosen, energies, None)
    crossing = Crossing(buyers, accept(asks, supply, volume), None)
    limits = {order.id: order.limit_micro for order in (*bids, *asks)}
    pairs = pair(crossing.bids, crossing.asks)
    prices = [(limits[bid] + limits[ask]) // 2 for bid, ask in zip(*pairs[:2], strict=True)]
    return Clearing(Trades(*pairs, prices), (), crossing.welfare_pico(), best_pico(orders))
