"""Mutual credit arithmetic: integers, no clock, no rounding that is not said.

An account is where an agent's last settlement left it.  What one side pays the other earns,
so the sum over a community is zero after any sequence.  A seller's account also remembers the
reading it last sold from and how much of it is sold, so that no metered energy is sold twice:
readings are sold in the order of the chain.
"""

from collections.abc import Mapping
from dataclasses import dataclass

BASIS_POINTS = 10_000


@dataclass(frozen=True)
class Account:
    """An agent's standing: balance (micro-credits), last reading sold from, energy sold of it.

    `reading_seq` is that reading's place on the seller's chain, -1 before the first sale.
    """

    balance_micro: int = 0
    reading_seq: int = -1
    sold_milli_wh: int = 0


def paid(account: Account, amount_micro: int) -> Account:
    """The account after it gained `amount_micro` (lost, where negative)."""
    return Account(account.balance_micro + amount_micro, account.reading_seq, account.sold_milli_wh)


def sold(account: Account, reading_seq: int, energy_milli_wh: int) -> Account | None:
    """The account after a sale out of a reading; None for a reading before the last one."""
    if reading_seq < account.reading_seq:
        return None
    before = account.sold_milli_wh if reading_seq == account.reading_seq else 0
    return Account(account.balance_micro, reading_seq, before + energy_milli_wh)


def price_of(energy_milli_wh: int, price_bp: int) -> int:
    """Micro-credits for an energy at `price_bp` basis points of a credit a kWh.

    Rounds down; the remainder, under one micro-credit, stays with the buyer.
    """
    return energy_milli_wh * price_bp // BASIS_POINTS


def spendable(account: Account, credit_limit_micro: int) -> int:
    """How much the account may still pay."""
    return max(0, account.balance_micro + credit_limit_micro)


def share_out(
    exports: Mapping[bytes, int], imports: Mapping[bytes, int]
) -> list[tuple[bytes, bytes, int]]:
    """(seller, buyer, energy) of one interval, so that all who look compute the same.

    The smaller of export and import is traded.  Each side's agents take part in proportion to
    what they metered, rounded down, and what rounding leaves goes to the first in key order.
    Sellers are then matched to buyers, both in key order.  Everything in milliwatt-hours.
    """
    total_export, total_import = sum(exports.values()), sum(imports.values())
    if not total_export or not total_import:
        return []
    traded = min(total_export, total_import)
    supply = _portions(exports, traded)
    demand = _portions(imports, traded)
    matches: list[tuple[bytes, bytes, int]] = []
    buyers = sorted(demand)
    at, left = 0, demand[buyers[0]]
    for seller in sorted(supply):
        offered = supply[seller]
        while offered:
            while not left:
                at += 1
                left = demand[buyers[at]]
            energy = min(offered, left)
            matches.append((seller, buyers[at], energy))
            offered -= energy
            left -= energy
    return matches


def _portions(shares: Mapping[bytes, int], total: int) -> dict[bytes, int]:
    """`total` split in proportion to `shares`; what rounding leaves goes to the first keys."""
    whole = sum(shares.values())
    portions = {key: share * total // whole for key, share in sorted(shares.items())}
    rest = total - sum(portions.values())
    for key in sorted(shares):
        extra = min(rest, shares[key] - portions[key])
        portions[key] += extra
        rest -= extra
    return portions
