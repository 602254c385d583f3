"""Pay as bid: those trade who would at a uniform price, each at the limit of the trade's bid.

The best bid meets the lowest ask, and so on down both lists.
"""

from collections.abc import Sequence

from currency.market.book import Clearing, Order, Trades
from currency.market.merit import clean_first, cross, pair


def pay_as_bid(orders: Sequence[Order]) -> Clearing:
    """Clear by merit, every trade at its buyer's limit."""
    crossing = cross(orders)
    welfare = crossing.welfare_pico()
    limits = {order.id: order.limit_micro for order in crossing.bids.orders}
    buyers, sellers, energies = pair(*clean_first(crossing))
    trades = Trades(buyers, sellers, energies, [limits[bid] for bid in buyers])
    prices = () if crossing.price is None else (crossing.price,)
    return Clearing(trades, prices, welfare, welfare)
