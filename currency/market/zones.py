"""A tree of zones: what does not trade in one goes up, a fee dearer, and at last to the grid.

A zone is its path (`nem/vic/melbourne/carlton`).  Zones clear from the innermost out, each by
the community's mechanism.  An order that crosses a zone's border pays that zone's distributor:
bids go up with the fee off their limit, asks with it on theirs.  So a trade clears at the lowest
common zone; its buyer pays that zone's price and the fees on the way, its seller gets the price
less those on its side.  Beyond the outermost zone, the empty path, the grid buys and sells any
energy at its own prices.

To look first at home costs welfare when a better match is further away.  `best_pico` says what the
linear program over the whole tree would gain, fees counted as costs: forwarding not only what
is unmatched but also what would rather give its match up, at its own limit, lets the
same sorting find that optimum.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from currency.delivery import Grid
from currency.market.book import Clearing, Fees, Mechanism, Money, Order, Trade, left_of, money_of
from currency.market.merit import wants_clean
from currency.market.preferences import cleared

GRID = b"grid"
"""Stands for the grid's order in a trade."""


class Routed(NamedTuple):
    """A trade, the zone that it cleared in and the fees on either side's way there."""

    trade: Trade
    zone: str
    bid_fees: Fees
    ask_fees: Fees

    def money(self) -> Money:
        """Who pays and gets what."""
        return money_of(self.trade, self.bid_fees, self.ask_fees)


@dataclass(frozen=True)
class TreeClearing:
    """Every trade, and each zone's clearing (of limits with fees); what no one took is left.

    `welfare_pico` is after fees.  The grid's gain is none: it trades at its own limit.
    """

    routed: tuple[Routed, ...]
    clearings: Mapping[str, Clearing]
    welfare_pico: int


def outward(zone: str) -> Iterator[str]:
    """A zone, the one around it, and so on to the outermost, the empty path."""
    while zone:
        yield zone
        zone = zone.rpartition("/")[0]
    yield ""


def _innermost_first(zones: Iterable[str]) -> list[str]:
    every = {around for zone in zones for around in outward(zone)}
    return sorted(every, key=lambda zone: (-zone.count("/") if zone else 1, zone))


def clear_tree(
    orders: Sequence[Order],
    mechanism: Mechanism,
    fees_micro: Mapping[str, int],
    grid: Grid | None = None,
) -> TreeClearing:
    """Clear every zone from the innermost out; `fees_micro` are those of leaving a zone, a kWh."""
    home = {order.id: order.zone for order in orders}
    home[GRID] = ""
    waiting: defaultdict[str, list[Order]] = defaultdict(list)
    for order in orders:
        waiting[order.zone].append(order)
    routed: list[Routed] = []
    clearings: dict[str, Clearing] = {}
    welfare_pico = 0
    for zone in _innermost_first(waiting):
        here = waiting.pop(zone, [])
        clearing = cleared(here, mechanism)
        left = left_of(here, clearing.trades)
        trades = list(clearing.trades)
        welfare_pico += clearing.welfare_pico
        if not zone and grid is not None:
            outside = list(_with_grid(left, grid))
            trades += [trade for trade, _ in outside]
            welfare_pico += sum(gain for _, gain in outside)
        clearings[zone] = clearing
        for trade in trades:
            ways = (_fees_between(home[order], zone, fees_micro) for order in trade[:2])
            routed.append(Routed(trade, zone, *ways))
        if zone:
            waiting[zone.rpartition("/")[0]] += _dearer(left, fees_micro.get(zone, 0))
    return TreeClearing(tuple(routed), clearings, welfare_pico)


def _dearer(orders: Iterable[Order], fee_micro: int) -> Iterator[Order]:
    """The orders as they stand beyond a border."""
    for order in orders:
        fee = -fee_micro if order.side == "bid" else fee_micro
        yield order._replace(limit_micro=order.limit_micro + fee) if fee else order


def _fees_between(zone: str, to: str, fees_micro: Mapping[str, int]) -> Fees:
    fees = []
    for crossed in outward(zone):
        if crossed == to:
            break
        if fees_micro.get(crossed):
            fees.append((crossed, fees_micro[crossed]))
    return tuple(fees)


def _with_grid(orders: Iterable[Order], grid: Grid) -> Iterator[tuple[Trade, int]]:
    """(trade, welfare) of each order that accepts the grid's price, and its mix of energy."""
    for order in sorted(orders, key=lambda order: order.id):
        energy = order.energy_milli_wh
        if order.side == "bid":
            if order.limit_micro < grid.import_micro or wants_clean(order):
                continue
            gain = energy * (order.limit_micro - grid.import_micro)
            yield Trade(order.id, GRID, energy, grid.import_micro), gain
        elif order.limit_micro <= grid.export_micro:
            gain = energy * (grid.export_micro - order.limit_micro)
            yield Trade(GRID, order.id, energy, grid.export_micro), gain


Offers = list[tuple[int, int]]
"""(limit in micro-credits a kWh, milli-Wh)."""


def best_pico(
    orders: Sequence[Order], fees_micro: Mapping[str, int], grid: Grid | None = None
) -> int:
    """The most welfare that prices and fees allow over the whole tree, in pico-credits."""
    bids: defaultdict[str, Offers] = defaultdict(list)
    asks: defaultdict[str, Offers] = defaultdict(list)
    for order in orders:
        side = bids if order.side == "bid" else asks
        side[order.zone].append((order.limit_micro, order.energy_milli_wh))
    if grid is not None:
        enough = sum(order.energy_milli_wh for order in orders)
        asks[""].append((grid.import_micro, enough))
        bids[""].append((grid.export_micro, enough))
    welfare_pico = 0
    for zone in _innermost_first({*bids, *asks}):
        gain, buying, selling = _crossed(bids.pop(zone, []), asks.pop(zone, []))
        welfare_pico += gain
        around, fee = zone.rpartition("/")[0], fees_micro.get(zone, 0)
        bids[around] += [(limit - fee, energy) for limit, energy in buying]
        asks[around] += [(limit + fee, energy) for limit, energy in selling]
    return welfare_pico


def _crossed(bids: Offers, asks: Offers) -> tuple[int, Offers, Offers]:
    """(welfare, bids, asks) after merit: what traded stands on the other side, to be undone."""
    bids, asks = sorted(bids), sorted(asks, reverse=True)
    gain, buying, selling = 0, [], []
    while bids and asks and bids[-1][0] >= asks[-1][0]:
        (bid, wanted), (ask, offered) = bids.pop(), asks.pop()
        energy = min(wanted, offered)
        gain += energy * (bid - ask)
        selling.append((bid, energy))
        buying.append((ask, energy))
        if wanted > energy:
            bids.append((bid, wanted - energy))
        if offered > energy:
            asks.append((ask, offered - energy))
    return gain, bids + buying, asks + selling
