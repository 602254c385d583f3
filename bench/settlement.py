"""Settling what a market has matched, as the currency does it, without chains and signatures.

Every meter counts something else than was ordered, some nothing at all.  Each match is settled
against both readings, the distributors on the way get their fee on what is sold, what no match
has sold is shared out; every step goes through both parties' accounts, as a validator's does.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from random import Random

from currency import delivery, ledger
from currency.delivery import KWH_MILLI_WH, Grid
from currency.ledger import Account
from currency.market.book import Fees, Order
from currency.market.match import Match
from currency.market.zones import GRID, Routed
from ioe_node.hdi import ActionHash, AgentPubKey

KEPT_PER_MILLE = (700, 1_100)
"""What a meter counts of what was ordered."""
SILENT_ONE_IN = 200


class Accounts:
    """Everybody's account, and how many times two of them have settled."""

    def __init__(self) -> None:
        self.of: defaultdict[bytes, Account] = defaultdict(Account)
        self.settled = 0

    def transfer(self, payer: bytes, payee: bytes, amount_micro: int) -> None:
        """One pays another; less than nothing the other way round."""
        if amount_micro < 0:
            payer, payee, amount_micro = payee, payer, -amount_micro
        self.of[payer] = ledger.paid(self.of[payer], amount_micro)
        self.of[payee] = ledger.received(self.of[payee], amount_micro)
        self.settled += 1

    def sell(self, seller: bytes, reading_seq: int, energy: int, exported: int) -> None:
        """Energy out of a reading, no more than was exported and in the order of readings."""
        after = ledger.sold(self.of[seller], reading_seq, energy)
        assert after is not None, "readings are sold in their order"
        assert after.sold_milli_wh <= exported, "sold twice"
        self.of[seller] = after

    def sum_micro(self) -> int:
        """What has been made or lost: nothing."""
        return sum(account.balance_micro for account in self.of.values())


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
    agent_of = {order.id: order.agent for order in orders}
    inside = [each for each in routed if GRID not in each.trade[:2]]
    matches = [
        Match(
            ActionHash(bid),
            ActionHash(ask),
            AgentPubKey(agent_of[bid]),
            AgentPubKey(agent_of[ask]),
            energy,
            price,
        )
        for (bid, ask, energy, price), *_ in inside
    ]
    terms = delivery.settled_all(matches, exports, imports, grid)
    rows = zip(inside, matches, terms, strict=True)
    for place, (each, match, (owed, sold)) in enumerate(rows):
        if not owed and not sold:
            continue
        accounts.transfer(match.buyer, match.seller, owed)
        after = ledger.settled(accounts.of[match.seller], slot, place)
        assert after is not None, "settled twice"
        accounts.of[match.seller] = after
        if sold:
            accounts.sell(match.seller, slot, sold, exports[match.seller])
            _pay_fees(accounts, match.buyer, each.bid_fees, sold)
            _pay_fees(accounts, match.seller, each.ask_fees, sold)
    unsold, unbought = delivery.residual(matches, exports, imports, grid)
    for seller, buyer, energy in ledger.share_out(unsold, unbought):
        accounts.transfer(buyer, seller, ledger.price_of(energy, price_bp))
        accounts.sell(seller, slot, energy, exports[seller])


def _pay_fees(accounts: Accounts, payer: bytes, fees: Fees, energy: int) -> None:
    for zone, fee_micro in fees:
        accounts.transfer(payer, zone.encode(), energy * fee_micro // KWH_MILLI_WH)
