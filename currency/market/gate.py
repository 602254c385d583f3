"""A gate: which orders of an interval count, and who thereby sells what to whom.

The same for everyone from the same orders, in whatever order they are given; every validator of
a gate computes it again.  In a gate no order has a place in time: a moment is the word of a clock
that its owner sets.

**Who counts.**  An agent stands on one side of an interval, that of the first of its orders that
is there: nobody sells to itself.  Of each agent the first `ORDERS_PER_AGENT_MAX` count.  Where
there are more than `ORDERS_MAX` in all, everyone's first counts before anyone's second, and among
equals the lower id: nobody crowds others out by placing many.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter

from currency.market.book import Mechanism, Order, Trade
from currency.market.double_auction import double_auction
from currency.market.match import Match
from currency.market.pay_as_bid import pay_as_bid
from currency.market.preferences import cleared
from currency.market.uniform import uniform
from ioe_node.hdi import ActionHash, AgentPubKey, external_hash

ORDERS_PER_AGENT_MAX = 16
ORDERS_MAX = 1_000
MECHANISMS: Mapping[str, Mechanism] = {
    "uniform": uniform,
    "pay_as_bid": pay_as_bid,
    "double_auction": double_auction,
}
"""Those that need to know nothing but the orders."""


def counted(orders: Iterable[Order]) -> list[Order]:
    """The orders that count, by id; `placed_us` is each one's place among its agent's."""
    ranked: list[tuple[int, bytes, Order]] = []
    in_place = sorted(orders, key=lambda order: (order.agent, order.placed_us, order.id))
    for _, placed in groupby(in_place, key=attrgetter("agent")):
        first, *later = placed
        own = [first, *(order for order in later if order.side == first.side)]
        ranked += [(rank, order.id, order) for rank, order in enumerate(own)]
    kept = sorted(each for each in ranked if each[0] < ORDERS_PER_AGENT_MAX)[:ORDERS_MAX]
    return sorted((order for _, _, order in kept), key=lambda order: order.id)


def clear(orders: Iterable[Order], mechanism: str) -> list[Trade]:
    """The trades of orders that all count, by a mechanism of `MECHANISMS`.

    Ids are drawn by lot for it, from all of them: an id that its author has chosen would meet the
    best of the other side first, which is worth money where each trade has a price of its own.
    """
    placed = {order.id: order for order in orders}
    lot = external_hash(b"".join(sorted(placed)))
    drawn: dict[bytes, bytes] = {external_hash(lot + id_): id_ for id_ in placed}
    at_once = [placed[id_]._replace(id=draw, placed_us=0) for draw, id_ in sorted(drawn.items())]
    return [
        trade._replace(bid=drawn[trade.bid], ask=drawn[trade.ask])
        for trade in cleared(at_once, MECHANISMS[mechanism]).trades
    ]


def matches(orders: Iterable[Order], trades: Iterable[Trade]) -> list[Match]:
    """What trades of these orders say, with their parties."""
    agent_of = {order.id: AgentPubKey(order.agent) for order in orders}
    return [
        Match(ActionHash(bid), ActionHash(ask), agent_of[bid], agent_of[ask], energy, price_micro)
        for bid, ask, energy, price_micro in trades
    ]
