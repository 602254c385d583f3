"""Everybody's account, and what an interval makes of it, without chains and signatures.

Matches are settled against both meters, and what no match has sold is shared out.  Every step goes
through both parties' accounts as a validator's does, and asserts what a validator would refuse.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from currency import delivery, ledger
from currency.delivery import Grid, Terms
from currency.ledger import Account
from currency.market.match import Match

Energies = Mapping[bytes, int]


class Accounts:
    """The accounts by agent, and how many times two of them have settled."""

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

    def settle(
        self,
        interval: int,
        matches: Sequence[Match],
        exports: Energies,
        imports: Energies,
        grid: Grid,
    ) -> list[Terms]:
        """Settle an interval's matches in the order of the gate; the terms of each."""
        terms = delivery.settled_all(matches, exports, imports, grid)
        for place, (match, (owed, sold)) in enumerate(zip(matches, terms, strict=True)):
            if not owed and not sold:
                continue
            self.transfer(match.buyer, match.seller, owed)
            after = ledger.settled(self.of[match.seller], interval, place)
            assert after is not None, "settled twice"
            self.of[match.seller] = after
            if sold:
                self._sell(match.seller, interval, sold, exports)
        return terms

    def share_out(
        self,
        interval: int,
        matches: Sequence[Match],
        exports: Energies,
        imports: Energies,
        grid: Grid,
        price_bp: int,
    ) -> tuple[dict[bytes, int], dict[bytes, int]]:
        """Share out what no match has sold; (exports, imports) that are left to the grid."""
        unsold, unbought = delivery.residual(matches, exports, imports, grid)
        for seller, buyer, energy in ledger.share_out(unsold, unbought):
            self.transfer(buyer, seller, ledger.price_of(energy, price_bp))
            self._sell(seller, interval, energy, exports)
            unsold[seller] -= energy
            unbought[buyer] -= energy
        assert min((*unsold.values(), *unbought.values()), default=0) >= 0, "more than was metered"
        return unsold, unbought

    def _sell(self, seller: bytes, interval: int, energy: int, exports: Energies) -> None:
        """Energy out of a reading, no more than was exported and in the order of readings."""
        after = ledger.sold(self.of[seller], interval, energy)
        assert after is not None, "readings are sold in their order"
        assert after.sold_milli_wh <= exports[seller], "sold twice"
        self.of[seller] = after

    def sum_micro(self) -> int:
        """What has been made or lost: nothing."""
        return sum(account.balance_micro for account in self.of.values())
