"""What a match comes to once the meters have counted: who owes whom, and what energy is sold.

**Allotment.**  An export is allotted to its seller's matches in the order of the gate, each up to
its energy, an import likewise to its buyer's.  Of a match's energy so much is `delivered`, so
much `taken`, and the lesser of both is sold.  It follows from the gate and the two readings
alone, so all compute the same, whatever is settled first.

**Deviations.**  What is sold costs the match's price.  What the buyer took and the seller did not
deliver, the buyer has from the grid: the seller owes what that costs it beyond the match's
price.  What the seller delivered and the buyer did not take, the grid has: the buyer owes what
the seller lost by it.  What neither kept, nobody has felt, so it costs nothing: were it paid for,
one who bids for energy without a wish for it would live on the shortfalls of honest sellers.  So

    owed = price * sold - max(0, import - price) * lacking + max(0, price - export) * left

with `import` and `export` the grid's prices.  Who keeps a match as well as its partner, or better,
pays or earns the match's price for all that its meter counted of it.  What is promised and not
delivered earns nothing, what is bid for and not taken neither, at any price of the match.
Between the grid's prices it costs the difference; a price beyond them (at or above `import` for a
seller, at or below `export` for a buyer) leaves nothing to lose, and there it costs nothing.

**Missing meters** count as what is worst for who has them: nothing was delivered, or all that came
was taken (nothing, where to take it was paid for).  Who is silent gains nothing by it, as long as
the grid asks something for its energy.

**Rounding.**  One division, over a kWh, of the whole sum, rounded down: the remainder, under one
micro-credit, stays with the buyer.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from currency.market.match import Match

KWH_MILLI_WH = 1_000_000
SILENT_INTERVALS_MAX = 8
"""So long after its end an interval's readings are waited for."""


class Grid(NamedTuple):
    """The grid's prices, micro-credits a kWh: it takes at least what it gives."""

    import_micro: int
    export_micro: int


class Terms(NamedTuple):
    """What the buyer owes the seller (less than nothing: the seller owes), and what is sold."""

    owed_micro: int
    sold_milli_wh: int


def delivered(matches: Iterable[Match], exports: Mapping[bytes, int]) -> list[int | None]:
    """What of each match's energy its seller delivered; None for one without a reading."""
    return _allotted(((match.seller, match.energy_milli_wh) for match in matches), exports)


def taken(matches: Iterable[Match], imports: Mapping[bytes, int]) -> list[int | None]:
    """What of each match's energy its buyer took; None for one without a reading."""
    return _allotted(((match.buyer, match.energy_milli_wh) for match in matches), imports)


def _allotted(
    wanted: Iterable[tuple[bytes, int]], metered: Mapping[bytes, int]
) -> list[int | None]:
    left = dict(metered)
    parts: list[int | None] = []
    for agent, energy in wanted:
        if agent not in left:
            parts.append(None)
            continue
        part = min(energy, left[agent])
        left[agent] -= part
        parts.append(part)
    return parts


def settled(
    price_micro: int, delivered_milli_wh: int | None, taken_milli_wh: int | None, grid: Grid
) -> Terms:
    """The terms of a match of which so much was delivered and taken; None for a missing reading."""
    came = delivered_milli_wh or 0
    worst = came if min(price_micro, grid.export_micro) >= 0 else 0
    took = worst if taken_milli_wh is None else taken_milli_wh
    sold = min(came, took)
    owed_pico = (
        price_micro * sold
        - max(0, grid.import_micro - price_micro) * (took - sold)
        + max(0, price_micro - grid.export_micro) * (came - sold)
    )
    return Terms(owed_pico // KWH_MILLI_WH, sold)


def settled_all(
    matches: Sequence[Match],
    exports: Mapping[bytes, int],
    imports: Mapping[bytes, int],
    grid: Grid,
) -> list[Terms]:
    """The terms of a gate's matches; who is not in `exports` or `imports` has no reading."""
    both = zip(matches, delivered(matches, exports), taken(matches, imports), strict=True)
    return [settled(match.price_micro, came, took, grid) for match, came, took in both]


def residual(
    matches: Sequence[Match],
    exports: Mapping[bytes, int],
    imports: Mapping[bytes, int],
    grid: Grid,
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """(exports, imports) that no match has sold."""
    unsold, unbought = dict(exports), dict(imports)
    terms = settled_all(matches, exports, imports, grid)
    for match, (_, sold) in zip(matches, terms, strict=True):
        if match.seller in unsold:
            unsold[match.seller] -= sold
        if match.buyer in unbought:
            unbought[match.buyer] -= sold
    return unsold, unbought
