"""Fees on energy that is sold: parts of what its seller earns, each to a named account.

A settlement has two parties, so fees are no part of its payment: they accrue in the seller's
account, where they cannot be spent, and the seller pays each payee once a day what it owes by then.

**Rounding.** Each part rounds down; what that leaves, under one micro-credit a fee, stays with the
seller.  The parts never exceed the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ioe_node.hdi import AgentPubKey

BASIS_POINTS = 10_000
FEES_MAX = 16
NAME_CHARS_MAX = 40


@dataclass(frozen=True)
class Fee:
    """`part_bp` basis points of a sale go to `payee`: of each, or of those that cross a `zone`."""

    name: str
    payee: AgentPubKey
    part_bp: int
    zone: str = ""


def crosses(zone: str, source: str, destination: str) -> bool:
    """Whether energy on its way from one zone to another leaves or enters this one."""
    return _inside(zone, source) != _inside(zone, destination)


def _inside(zone: str, path: str) -> bool:
    return path == zone or path.startswith(f"{zone}/")


def parts(
    fees: Sequence[Fee], seller: AgentPubKey, earned_micro: int, source: str, destination: str
) -> tuple[int, ...]:
    """What a seller owes of what it earned by energy on its way between two zones, fee by fee.

    Nobody owes a fee to itself.
    """
    return tuple(
        earned_micro * fee.part_bp // BASIS_POINTS
        if fee.payee != seller and (not fee.zone or crosses(fee.zone, source, destination))
        else 0
        for fee in fees
    )


def fault(fees: Sequence[Fee]) -> str | None:
    """What is wrong with a community's fees."""
    if len(fees) > FEES_MAX or any(len(fee.name) > NAME_CHARS_MAX for fee in fees):
        return f"there are at most {FEES_MAX} fees, of names of {NAME_CHARS_MAX} characters"
    if any(fee.part_bp < 0 for fee in fees) or sum(fee.part_bp for fee in fees) > BASIS_POINTS:
        return "fees are no less than nothing, and together no more than the whole, 10000"
    return None
