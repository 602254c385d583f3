"""A member's month in figures, from its meters' readings and its settlements.

What the market saved is what the same meters would have cost with the grid alone, less what they
cost: every kWh bought from a neighbour was not bought from the grid, and every kWh sold was not
fed into it.  A settlement counts in the month in which it was signed.  A household's own devices
are one member, so what they settle with each other is neither bought nor sold.

What was drawn weighs what its certificates of origin say, and what the grid's energy weighs where
there is none.  What a battery drew weighs nothing yet: it does where it is used.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from ioe_node.hdi import AgentPubKey

MILLI_WH_PER_KWH = 1_000_000
MILLI_WH_PER_WH = 1_000


@dataclass(frozen=True)
class Tariff:
    """What the grid takes for a kWh and what it pays for one, in micro-credits."""

    import_micro: int
    export_micro: int


@dataclass(frozen=True)
class Carbon:
    """What energy that was used weighs, in milligrams of CO2; of `unweighed_milli_wh` nobody knows.

    `co2_saved_milli_g` is what it weighs less than the grid's would; None where that is not known.
    """

    co2_milli_g: int = 0
    unweighed_milli_wh: int = 0
    co2_saved_milli_g: int | None = None


@dataclass(frozen=True)
class Movement:
    """A settlement as one of its parties sees it, `other` being the other one.

    `amount_micro` is negative where it paid, `energy_milli_wh` where it bought; `kind` says what
    the money was for.
    """

    other: AgentPubKey
    amount_micro: int
    energy_milli_wh: int
    kind: Literal["energy", "fee", "other"]


@dataclass(frozen=True)
class Statement:
    """`paid_micro` and `earned_micro` are for energy; `sent_micro`, `received_micro` for the rest.

    `fees_micro` was paid in fees; who is paid fees receives them.
    `saved_micro` is negative where the market cost more than the grid would have.
    """

    imported_milli_wh: int = 0
    exported_milli_wh: int = 0
    bought_milli_wh: int = 0
    sold_milli_wh: int = 0
    paid_micro: int = 0
    earned_micro: int = 0
    fees_micro: int = 0
    sent_micro: int = 0
    received_micro: int = 0
    saved_micro: int = 0


def statement_of(
    own: Collection[AgentPubKey],
    metered: Iterable[tuple[int, int]],
    movements: Iterable[Movement],
    tariff: Tariff,
) -> Statement:
    """The statement of a member whose own agents these are.

    `metered` is (import, export) of each meter, in milliwatt-hours.
    """
    imports, exports = zip(*metered, strict=True) if (metered := list(metered)) else ((), ())
    foreign = [each for each in movements if each.other not in own]
    energy = [each.amount_micro for each in foreign if each.kind == "energy"]
    fees = [each.amount_micro for each in foreign if each.kind == "fee"]
    rest = [each.amount_micro for each in foreign if each.kind == "other"]
    moved = [each.energy_milli_wh for each in foreign]
    bought, sold, paid, earned = _out(moved), _in(moved), _out(energy), _in(energy)
    return Statement(
        sum(imports),
        sum(exports),
        bought,
        sold,
        paid,
        earned,
        _out(fees),
        _out(rest),
        _in(rest) + _in(fees),
        saved_micro(bought, sold, paid + _out(fees), earned, tariff),
    )


def saved_micro(bought: int, sold: int, paid: int, earned: int, tariff: Tariff) -> int:
    """What was saved against the grid's prices, rounded down to a micro-credit; fees are paid."""
    grid = bought * tariff.import_micro - sold * tariff.export_micro
    return grid // MILLI_WH_PER_KWH - paid + earned


def carbon_of(
    drawn_milli_wh: int, used: Iterable[tuple[int, int | None]], grid_g_per_kwh: int | None
) -> Carbon:
    """What was drawn and used weighs; rounded down to a milligram.

    `used` is (milli-Wh, grams a kWh) of the certificates that were used up for it.
    """
    certified = list(used)
    rest = max(0, drawn_milli_wh - sum(energy for energy, _ in certified))
    parts = [*certified, (rest, grid_g_per_kwh)]
    weighed = [(energy, grams) for energy, grams in parts if grams is not None]
    co2 = sum(energy * grams for energy, grams in weighed) // MILLI_WH_PER_WH
    unweighed = sum(energy for energy, _ in parts) - sum(energy for energy, _ in weighed)
    if grid_g_per_kwh is None:
        return Carbon(co2, unweighed)
    grid = sum(energy for energy, _ in weighed) * grid_g_per_kwh // MILLI_WH_PER_WH
    return Carbon(co2, unweighed, grid - co2)


def _out(amounts: Iterable[int]) -> int:
    return -sum(each for each in amounts if each < 0)


def _in(amounts: Iterable[int]) -> int:
    return sum(each for each in amounts if each > 0)
