"""How far below zero a member may go: what all may, and more for export that was sold.

What raises a limit is a sale that the buyer signed for and whose payment is claimed as final;
what is only metered raises nothing.  It counts from the half window in which it was sold until
the next one is over, so an account keeps two sums and a validator adds one sale at a time, in
whatever order they are claimed.  Two who trade in a circle can raise each other's limit, so a
raise has an end (`Terms.raise_micro_max`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

BASIS_POINTS = 10_000


@dataclass(frozen=True)
class Terms:
    """What a community fixes: the limit that all begin with, and how export raises it.

    `share_bp` is what a kWh raises it by, in basis points of a credit.
    """

    start_micro: int
    share_bp: int
    window_us: int
    raise_micro_max: int


@dataclass(frozen=True)
class Proven:
    """Energy sold in the newest half window of a sale, which is the `half`-th, and in the last."""

    half: int = 0
    newer_milli_wh: int = 0
    older_milli_wh: int = 0


NOTHING = Proven()


def proven_after(proven: Proven, sales: Iterable[tuple[int, int]], window_us: int) -> Proven:
    """What is proven once sales, as (time in microseconds, energy), are paid for good."""
    half, newer, older = proven.half, proven.newer_milli_wh, proven.older_milli_wh
    for sold_us, energy_milli_wh in sales:
        sold_half = _half(sold_us, window_us)
        if sold_half > half:
            older = newer if sold_half == half + 1 else 0
            half, newer = sold_half, 0
        if sold_half == half:
            newer += energy_milli_wh
        elif sold_half == half - 1:
            older += energy_milli_wh
    return Proven(half, newer, older)


def limit_micro(proven: Proven, at_us: int, terms: Terms) -> int:
    """How far below zero an account may go at a time; the raise rounds down."""
    half = _half(at_us, terms.window_us)
    energy = proven.newer_milli_wh if half <= proven.half + 1 else 0
    energy += proven.older_milli_wh if half <= proven.half else 0
    raised = energy * terms.share_bp // BASIS_POINTS
    return terms.start_micro + min(raised, terms.raise_micro_max)


def is_near(free_micro: int, limit_micro: int, soft_bp: int) -> bool:
    """Whether a debt is past the part of its limit from which on its member is warned."""
    return free_micro * BASIS_POINTS < -limit_micro * soft_bp


def _half(at_us: int, window_us: int) -> int:
    return 2 * at_us // window_us
