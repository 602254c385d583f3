"""Continuous double auction: each order meets the best that stands when it comes.

It trades at the limit of the order that stood there first; orders of one moment, which a
periodic double auction has only of, are all there before any trades, the best first, at the
midpoint of both limits, rounded down.  In this market an order's place in time is its moment and
then its id.  At every moment the welfare gained is the linear program's for the orders that stand;
not to know those that come later is given up, and reported.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import groupby

from currency.market.book import Clearing, Order, Trade, Trades
from currency.market.merit import best_pico

Side = list[tuple[int, int, bytes, Order]]


def double_auction(orders: Sequence[Order]) -> Clearing:
    """Match in the order of place in time; an order stands until its `valid_until_us`."""
    coming = sorted(orders, key=lambda order: (order.placed_us, order.id))
    left = {order.id: order.energy_milli_wh for order in coming}
    bids: Side = []
    asks: Side = []
    trades: list[Trade] = []
    welfare_pico = 0
    for now_us, arrived in groupby(coming, key=lambda order: order.placed_us):
        for order in arrived:
            side, sign = (bids, -1) if order.side == "bid" else (asks, 1)
            heappush(side, (sign * order.limit_micro, now_us, order.id, order))
        while (bid := _best(bids, left, now_us)) and (ask := _best(asks, left, now_us)):
            if bid.limit_micro < ask.limit_micro:
                break
            energy = min(left[bid.id], left[ask.id])
            trades.append(Trade(bid.id, ask.id, energy, _price_micro(bid, ask)))
            welfare_pico += energy * (bid.limit_micro - ask.limit_micro)
            left[bid.id] -= energy
            left[ask.id] -= energy
    return Clearing(Trades.of(trades), (), welfare_pico, best_pico(orders))


def _best(side: Side, left: dict[bytes, int], now_us: int) -> Order | None:
    """The best order that stands; those that are filled or past leave the book."""
    while side:
        order = side[0][3]
        if left[order.id] > 0 and order.valid_until_us > now_us:
            return order
        heappop(side)
    return None


def _price_micro(bid: Order, ask: Order) -> int:
    if bid.placed_us == ask.placed_us:
        return (bid.limit_micro + ask.limit_micro) // 2
    return min(bid, ask, key=lambda order: order.placed_us).limit_micro
