"""Settling what a market has matched, as the currency does it, without chains and signatures.

Every meter counts something else than was ordered, some nothing at all.  Each match is settled
against both readings, the distributors on the way get their fee on what is sold, and what no match
has sold is shared out.
"""

from collections.abc import Iterable, Sequence
from random import Random

from currency.delivery import KWH_MILLI_WH, Grid
from currency.market import gate
from currency.market.book import Fees, Order
from currency.market.zones import GRID, Routed
from sim.accounts import Accounts

KEPT_PER_MILLE = (700, 1_100)
"""What a meter counts of what was ordered."""
SILENT_ONE_IN = 200


def metered(rng: Random, orders: Iterable[Order]) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """(exports, imports) of those that ordered, each by its own meter."""
    exports: dict[bytes, int] = {}
    imports: dict[bytes, int] = {}
    for order in orders:
        if rng.randrange(SILENT_ONE_IN):
            counted = order.energy_milli_wh * rng.randrange(*KEPT_PER_MILLE) // 1_000
            exports[order.agent] = counted if order.side == "ask" else 0
            imports[order.agent] = counted if order.side == "bid" else 0
    return exports, imports


def settle(
    accounts: Accounts,
    slot: int,
    routed: Sequence[Routed],
    orders: Sequence[Order],
    exports: dict[bytes, int],
    imports: dict[bytes, int],
    grid: Grid,
    price_bp: int,
) -> None:
    """Everything that a slot's trades and readings come to."""
    inside = [each for each in routed if GRID not in each.trade[:2]]
    matches = gate.matches(orders, (each.trade for each in inside))
    terms = accounts.settle(slot, matches, exports, imports, grid)
    for each, match, (_, sold) in zip(inside, matches, terms, strict=True):
        if sold:
            _pay_fees(accounts, match.buyer, each.bid_fees, sold)
            _pay_fees(accounts, match.seller, each.ask_fees, sold)
    accounts.share_out(slot, matches, exports, imports, grid, price_bp)


def _pay_fees(accounts: Accounts, payer: bytes, fees: Fees, energy: int) -> None:
    for zone, fee_micro in fees:
        accounts.transfer(payer, zone.encode(), energy * fee_micro // KWH_MILLI_WH)
