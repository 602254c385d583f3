"""Merit order: both sides sorted by price, crossed by bisection; n log n, no solver.

The energy traded is the most for which every unit's buyer would pay what its seller wants,
which is an optimum of the linear program max Σ limit·bought - Σ limit·sold, bought = sold.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter, mul

from currency.market.book import Order, Price

ID, ENERGY, LIMIT, WANTS = map(
    Order._fields.index, ("id", "energy_milli_wh", "limit_micro", "wants")
)
_id, _energy, _limit, _wants = map(itemgetter, (ID, ENERGY, LIMIT, WANTS))


@dataclass(frozen=True)
class Accepted:
    """One side's orders that trade, best first, and how much each; both empty if none does.

    `next_micro` is the best limit that has energy left, None if none has.
    """

    orders: list[Order]
    energies: list[int]
    next_micro: int | None

    def worth_pico(self) -> int:
        """Energy times limit."""
        total: int = sum(map(mul, self.energies, map(_limit, self.orders)))
        return total


@dataclass(frozen=True)
class Crossing:
    """Where the two curves meet: who trades how much; `price` is None if nobody does."""

    bids: Accepted
    asks: Accepted
    price: Price | None

    def welfare_pico(self) -> int:
        """What the buyers would have paid less what the sellers wanted."""
        return self.bids.worth_pico() - self.asks.worth_pico()


def sides(orders: Sequence[Order]) -> tuple[list[Order], list[Order]]:
    """(bids, asks); orders of no energy drop out."""
    return (
        [order for order in orders if order.side == "bid" and order.energy_milli_wh > 0],
        [order for order in orders if order.side == "ask" and order.energy_milli_wh > 0],
    )


def cross(orders: Sequence[Order]) -> Crossing:
    """Accept by merit all that can trade."""
    bids, asks = sides(orders)
    bids.sort(key=_limit, reverse=True)
    asks.sort(key=_limit)
    demand: list[int] = [0, *accumulate(map(_energy, bids))]
    supply: list[int] = [0, *accumulate(map(_energy, asks))]

    def demand_at(ask: int) -> int:
        return demand[bisect_right(bids, -asks[ask].limit_micro, key=_falling)]

    # An ask trades if the asks before it leave some of the demand at its price.
    trading = bisect_left(range(len(asks)), True, key=lambda ask: supply[ask] >= demand_at(ask))
    volume = min(supply[trading], demand_at(trading - 1)) if trading else 0
    accepted_bids = accept(bids, demand, volume, falling=True)
    accepted_asks = accept(asks, supply, volume)
    price = _price(accepted_bids, accepted_asks) if volume else None
    return Crossing(accepted_bids, accepted_asks, price)


def _falling(order: Order) -> int:
    return -order.limit_micro


def accept(orders: list[Order], sums: list[int], volume: int, falling: bool = False) -> Accepted:
    """The best orders up to `volume`; the last price level shares by the tie rule.

    `orders` are sorted by price, falling for bids; `sums` the energy before each and after all.
    Only what trades is put in the order of ids, and not by pairs of price and id: to make and
    collect those costs more than a second sorting.
    """
    if not volume:
        return Accepted([], [], None)
    step = _falling if falling else _limit
    last = step(orders[bisect_left(sums, volume) - 1])
    first, end = bisect_left(orders, last, key=step), bisect_right(orders, last, key=step)
    accepted = sorted(orders[:end], key=_id)
    accepted.sort(key=_limit, reverse=falling)
    energies = list(map(_energy, accepted))
    if sums[end] > volume:
        energies[first:] = share(energies[first:], volume - sums[first])
        return Accepted(accepted, energies, accepted[-1].limit_micro)
    return Accepted(accepted, energies, orders[end].limit_micro if end < len(orders) else None)


def share(energies: Sequence[int], part: int) -> list[int]:
    """`part` of their sum in proportion, rounded down, the rest one each to the first."""
    whole = sum(energies)
    shares = [energy * part // whole for energy in energies]
    for place in range(part - sum(shares)):
        shares[place] += 1
    return shares


def _price(bids: Accepted, asks: Accepted) -> Price:
    low = ask = asks.orders[-1].limit_micro
    high = bid = bids.orders[-1].limit_micro
    if bids.next_micro is not None:
        low = max(low, bids.next_micro)
    if asks.next_micro is not None:
        high = min(high, asks.next_micro)
    return Price(low, high, (low + high) // 2, ask, bid)


def clean_first(crossing: Crossing) -> tuple[Accepted, Accepted]:
    """Bids that want clean energy, and asks that have it, before the others.

    So they miss each other only where there is too little.  To be used where every accepted bid
    can be paired with every accepted ask.
    """
    bids, asks = crossing.bids, crossing.asks
    if not any(map(_wants, bids.orders)):
        return bids, asks
    return (
        _sorted(bids, lambda each: not wants_clean(each[0])),
        _sorted(asks, lambda each: not each[0].clean),
    )


def _sorted(side: Accepted, rank: Callable[[tuple[Order, int]], bool]) -> Accepted:
    rows = sorted(zip(side.orders, side.energies, strict=True), key=rank)
    return Accepted([row[0] for row in rows], [row[1] for row in rows], side.next_micro)


def pair(bids: Accepted, asks: Accepted) -> tuple[list[bytes], list[bytes], list[int]]:
    """What both sides had accepted, each in its order: trades' bids, asks and energies."""
    buyers: list[bytes] = []
    suppliers: list[bytes] = []
    energies: list[int] = []
    sellers = zip(map(_id, asks.orders), asks.energies, strict=True)
    ask, left = b"", 0
    for bid, wanted in zip(map(_id, bids.orders), bids.energies, strict=True):
        while wanted:
            while not left:
                ask, left = next(sellers)
            energy = wanted if wanted < left else left
            buyers.append(bid)
            suppliers.append(ask)
            energies.append(energy)
            wanted -= energy
            left -= energy
    return buyers, suppliers, energies


def wants_clean(order: Order) -> bool:
    """Whether a bid may be served with clean energy only."""
    return order.wants is not None and order.wants.clean_only


def best_pico(orders: Sequence[Order]) -> int:
    """The most welfare that prices alone allow, in pico-credits."""
    return cross(orders).welfare_pico()
