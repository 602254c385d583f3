"""Holdings: no step makes energy, and what is held is bounded whatever comes."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.hdi import Timestamp
from zomes.origin import holdings
from zomes.origin.holdings import (
    BASIS_POINTS,
    DAY_US,
    DRAWN_MAX,
    LOT_DAYS_MAX,
    LOTS_MAX,
    PARTS_MAX,
    Holdings,
    Lot,
    decayed,
    kept_of,
)

energies = st.integers(1, 1_000)
steps = st.lists(
    st.tuples(
        st.sampled_from(["gain", "spend", "store", "discharge", "write off"]),
        st.integers(1, 200),
        energies,
        st.integers(0, 400),
        st.integers(0, BASIS_POINTS),
    ),
    max_size=200,
)


def total(held: Holdings) -> int:
    return sum(held.energy_of(number) for number in held.numbers)


def stepped(held: Holdings, step: tuple[str, int, int, int, int]) -> tuple[Holdings | None, int]:
    """The holdings after a step, and the most that they may have grown by."""
    what, number, energy, days, bp = step
    if what == "gain":
        return holdings.gained(held, energy), energy
    if what == "store":
        left = holdings.spent(held, number, energy)
        kept = kept_of(energy, bp)
        return left and holdings.stored(left, kept, Timestamp(days * DAY_US)), kept - energy
    if what == "discharge":
        return holdings.discharged(held, number, energy, days * DAY_US, bp), -energy
    less = holdings.spent if what == "spend" else holdings.written_off
    return less(held, number, energy), -energy


@settings(max_examples=200)
@given(steps)
def test_what_is_held_came_from_somewhere_and_is_bounded(taken: list[Any]) -> None:
    held = Holdings()
    for step in taken:
        after, most = stepped(held, step)
        if after is None:
            continue
        assert total(after) <= total(held) + most
        assert len(after.parts) <= PARTS_MAX
        assert len(after.lots) <= LOTS_MAX
        assert all(held.energy_of(number) > 0 for number in held.numbers)
        assert len(set(after.numbers)) == len(after.numbers)
        held = after


def test_of_too_many_the_smallest_lapses_the_oldest_among_equals() -> None:
    held = Holdings()
    for energy in [5, 3, 3, *range(10, 10 + PARTS_MAX)]:
        held = holdings.gained(held, energy)
    assert [part.energy_milli_wh for part in held.parts] == list(range(10, 10 + PARTS_MAX))
    held = Holdings()
    for energy in [7] * (PARTS_MAX + 1):
        held = holdings.gained(held, energy)
    assert held.numbers == list(range(2, PARTS_MAX + 2))
    assert holdings.gained(held, 1).numbers == held.numbers, "the newcomer itself"
    assert holdings.gained(held, 1).brought == PARTS_MAX + 2


@given(st.lists(st.tuples(st.integers(0, 40), energies), max_size=80))
def test_no_import_is_accounted_for_twice(draws: list[tuple[int, int]]) -> None:
    held, sums = Holdings(), dict.fromkeys(range(41), 0)
    for seq, energy in draws:
        free = holdings.undrawn(held, seq, 1_500)
        after = holdings.drawn(held, seq, energy, 1_500)
        assert (after is not None) == (energy <= free)
        if after is not None:
            sums[seq] += energy
            held = after
        assert len(held.drawn) <= DRAWN_MAX
    assert max(sums.values()) <= 1_500


@given(st.lists(st.tuples(st.integers(0, 10), energies, st.booleans()), max_size=40))
def test_no_export_is_certified_twice(issues: list[tuple[int, int, bool]]) -> None:
    held, sums = Holdings(), dict.fromkeys(range(11), 0)
    for seq, energy, again in issues:
        after = holdings.issued(held, seq, energy, 1_000, again)
        if after is not None:
            assert seq >= held.issued_seq
            sums[seq] += energy
            held = after
    assert max(sums.values()) <= 1_000


@given(energies, st.integers(0, BASIS_POINTS), st.integers(0, 500), st.integers(0, 500))
def test_a_lot_decays_by_the_day_and_not_by_how_often_one_looks(
    energy: int, bp: int, first: int, second: int
) -> None:
    lot = Lot(1, energy, Timestamp(0))
    once = decayed(lot, (first + second) * DAY_US + 5, bp)
    twice = decayed(decayed(lot, first * DAY_US + 3, bp), (first + second) * DAY_US + 5, bp)
    assert 0 <= once.energy_milli_wh <= energy
    if first + second <= LOT_DAYS_MAX:
        assert once == twice
    assert decayed(lot, 0, bp) == lot


def test_what_decays_is_rounded_down_and_gone_after_a_year() -> None:
    lot = Lot(1, 1_000, Timestamp(0))
    assert [decayed(lot, days * DAY_US, 100).energy_milli_wh for days in (0, 1, 2, 3)] == [
        1_000,
        990,
        980,
        970,
    ]
    assert decayed(lot, LOT_DAYS_MAX * DAY_US, 0).energy_milli_wh == 1_000
    assert decayed(lot, (LOT_DAYS_MAX + 1) * DAY_US, 0).energy_milli_wh == 0
    assert kept_of(999, 9_000) == 899
