"""Posted prices: the mid-market rate, and a price by how much of the demand is met.

Everyone whose limit allows the price takes part, the longer side in proportion to its energy; the
limits do not rank.  With the rest bought from and sold to the grid, this is the mid-market rate of
Long et al. (2017, "Peer-to-peer energy trading in a community microgrid"): in a deficit buyers
pay the average of mid and import price over the volumes, in a surplus sellers get that of mid
and export price.
"""

from collections.abc import Sequence

from currency.market.book import Clearing, Order, Price, Trades
from currency.market.merit import (
    Accepted,
    Crossing,
    best_pico,
    clean_first,
    pair,
    share,
    sides,
)

BASIS_POINTS = 10_000


def mid_market(orders: Sequence[Order], import_micro: int, export_micro: int) -> Clearing:
    """Clear at the middle of the grid's prices, rounded down."""
    return at_price(orders, (import_micro + export_micro) // 2)


def at_price(orders: Sequence[Order], price_micro: int) -> Clearing:
    """Clear at a price that is set beforehand; the longer side shares by the tie rule."""
    bids, asks = sides(orders)
    bids = [order for order in bids if order.limit_micro >= price_micro]
    asks = [order for order in asks if order.limit_micro <= price_micro]
    volume = min(sum(order.energy_milli_wh for order in side) for side in (bids, asks))
    best = best_pico(orders)
    if not volume:
        return Clearing(Trades.of(()), (), 0, best)
    crossing = Crossing(_part(bids, volume), _part(asks, volume), None)
    price = Price(
        price_micro,
        price_micro,
        price_micro,
        max(order.limit_micro for order in asks),
        min(order.limit_micro for order in bids),
    )
    pairs = pair(*clean_first(crossing))
    trades = Trades(*pairs, [price_micro] * len(pairs[0]))
    return Clearing(trades, (price,), crossing.welfare_pico(), best)


def _part(orders: list[Order], volume: int) -> Accepted:
    by_id = sorted(orders, key=lambda order: order.id)
    return Accepted(by_id, share([order.energy_milli_wh for order in by_id], volume), None)


def price_by_ratio(
    steps: Sequence[tuple[int, int]], supply_milli_wh: int, demand_milli_wh: int
) -> int:
    """The price, micro-credits a kWh, that a table gives to supply over demand.

    `steps` are (ratio in basis points, price), ratios rising; linear between them, rounded down,
    and flat beyond the first and the last.  Without any demand it is the last.
    """
    last_bp, price = steps[0]
    if supply_milli_wh * BASIS_POINTS < last_bp * demand_milli_wh:
        return price
    for ratio_bp, next_price in steps[1:]:
        beyond = supply_milli_wh * BASIS_POINTS - last_bp * demand_milli_wh
        width = (ratio_bp - last_bp) * demand_milli_wh
        if beyond < width:
            return price + (next_price - price) * beyond // width
        last_bp, price = ratio_bp, next_price
    return price
