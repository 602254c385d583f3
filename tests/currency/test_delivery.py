"""Matches against meters: no credit made or lost, no energy sold twice, deviating wins nothing."""

from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from currency.delivery import (
    KWH_MILLI_WH,
    Grid,
    Terms,
    delivered,
    residual,
    settled,
    settled_all,
    taken,
)
from currency.ledger import share_out
from currency.market.match import Match
from ioe_node.hdi import ActionHash, AgentPubKey

AGENTS = [AgentPubKey(bytes([number]) * 39) for number in range(6)]
ORDER = ActionHash(bytes(39))
GRID = Grid(300_000, 80_000)

energies = st.integers(0, 30_000_000)
prices = st.integers(-1_000_000_000, 1_000_000_000)
grids = st.builds(
    lambda low, more: Grid(max(0, low + more), low),
    st.integers(-10_000_000, 10_000_000),
    st.integers(0, 10_000_000),
)


@st.composite
def gates(draw: st.DrawFn) -> list[Match]:
    """Matches of a few agents, each on one side."""
    pairs = st.tuples(st.sampled_from(AGENTS[:3]), st.sampled_from(AGENTS[3:]))
    rows = st.tuples(pairs, st.integers(1, 10_000_000), prices)
    return [
        Match(ORDER, ORDER, buyer, seller, energy, price)
        for (seller, buyer), energy, price in draw(st.lists(rows, max_size=12))
    ]


exports = st.dictionaries(st.sampled_from(AGENTS[:3]), energies)
imports = st.dictionaries(st.sampled_from(AGENTS[3:]), energies)
Metered = dict[AgentPubKey, int]


@given(gates(), exports, imports, grids)
def test_energy_is_sold_once_and_what_is_left_is_shared_out(
    gate: list[Match], exported: Metered, imported: Metered, grid: Grid
) -> None:
    terms = settled_all(gate, exported, imported, grid)
    for match, (_, sold) in zip(gate, terms, strict=True):
        assert 0 <= sold <= match.energy_milli_wh
    unsold, unbought = residual(gate, exported, imported, grid)
    shared = share_out(unsold, unbought)
    for agent in AGENTS:
        out = sum(t.sold_milli_wh for m, t in zip(gate, terms, strict=True) if m.seller == agent)
        into = sum(t.sold_milli_wh for m, t in zip(gate, terms, strict=True) if m.buyer == agent)
        if agent in exported or out:
            assert unsold[agent] == exported[agent] - out >= 0
        if agent in imported:
            assert unbought[agent] == imported[agent] - into >= 0
        assert out + sum(energy for seller, _, energy in shared if seller == agent) <= exported.get(
            agent, 0
        )


@given(gates(), exports, imports)
def test_readings_are_allotted_in_the_order_of_the_gate(
    gate: list[Match], exported: Metered, imported: Metered
) -> None:
    for parts, metered, side in (
        (delivered(gate, exported), exported, "seller"),
        (taken(gate, imported), imported, "buyer"),
    ):
        for agent in AGENTS:
            own = [
                (m.energy_milli_wh, p)
                for m, p in zip(gate, parts, strict=True)
                if getattr(m, side) == agent
            ]
            if agent not in metered:
                assert all(part is None for _, part in own)
                continue
            wanted = sum(energy for energy, _ in own)
            assert sum(part or 0 for _, part in own) == min(wanted, metered[agent])
            short = [energy != part for energy, part in own]
            assert short == sorted(short), "the earlier is whole before the later gets any"


@given(gates(), exports, imports, grids, st.randoms(use_true_random=False))
def test_money_in_is_money_out_in_whatever_order_matches_are_settled(
    gate: list[Match], exported: Metered, imported: Metered, grid: Grid, random: Random
) -> None:
    """Each is known from its own place and two readings, as a validator knows it."""
    whole = settled_all(gate, exported, imported, grid)
    places = list(range(len(gate)))
    random.shuffle(places)
    balances, ends = dict.fromkeys(AGENTS, 0), dict.fromkeys(AGENTS, 0)
    for place in places:
        match, until = gate[place], gate[: place + 1]
        own_export = {k: v for k, v in exported.items() if k == match.seller}
        own_import = {k: v for k, v in imported.items() if k == match.buyer}
        came, took = delivered(until, own_export)[-1], taken(until, own_import)[-1]
        terms = settled(match.price_micro, came, took, grid)
        assert terms == whole[place]
        balances[match.buyer] -= terms.owed_micro
        balances[match.seller] += terms.owed_micro
        assert sum(balances.values()) == 0
    for match, terms in zip(gate, whole, strict=True):
        ends[match.buyer] -= terms.owed_micro
        ends[match.seller] += terms.owed_micro
    assert balances == ends


@given(prices, energies, energies, grids)
def test_the_remainder_is_less_than_a_micro_credit_and_stays_with_the_buyer(
    price: int, came: int, took: int, grid: Grid
) -> None:
    sold = min(came, took)
    exact = Fraction(
        price * sold
        - max(0, grid.import_micro - price) * (took - sold)
        + max(0, price - grid.export_micro) * (came - sold),
        KWH_MILLI_WH,
    )
    assert 0 <= exact - settled(price, came, took, grid).owed_micro < 1


@given(prices, energies, energies, grids)
def test_who_keeps_it_as_well_as_the_other_has_the_price_for_what_it_metered(
    price: int, came: int, took: int, grid: Grid
) -> None:
    """With the grid's bill for the rest: nobody is hurt by what the other did not keep."""
    owed, sold = settled(price, came, took, grid)
    if came <= took and price <= grid.import_micro:
        costs = owed + Fraction(grid.import_micro * (took - sold), KWH_MILLI_WH)
        assert 0 <= Fraction(price * took, KWH_MILLI_WH) - costs < 1
    if came >= took and price >= grid.export_micro:
        earns = owed + Fraction(grid.export_micro * (came - sold), KWH_MILLI_WH)
        assert 0 <= Fraction(price * came, KWH_MILLI_WH) - earns < 1


@given(prices, st.none() | energies, grids)
def test_who_sells_what_it_never_produces_gains_nothing(
    price: int, took: int | None, grid: Grid
) -> None:
    """Nor by a price beyond the grid's: what was not delivered never earns."""
    for missing in (0, None):
        assert settled(price, missing, took, grid).owed_micro <= 0
    if took and grid.export_micro <= price < grid.import_micro:
        assert settled(price, 0, took, grid).owed_micro < 0, "and within them it costs"


@given(prices, st.none() | energies, grids)
def test_who_buys_what_it_never_takes_gains_nothing(
    price: int, came: int | None, grid: Grid
) -> None:
    assert settled(price, came, 0, grid).owed_micro >= 0


@given(prices, energies, energies, grids)
def test_nobody_gains_by_hiding_its_meter(price: int, came: int, took: int, grid: Grid) -> None:
    told = settled(price, came, took, grid)
    assert settled(price, None, took, grid).owed_micro <= told.owed_micro
    assert settled(price, came, None, grid).owed_micro >= told.owed_micro
    assert settled(price, None, None, grid) == Terms(0, 0)


def test_terms_by_hand() -> None:
    """A kWh is matched at 0.2, the grid sells at 0.3 and buys at 0.08."""
    kwh = KWH_MILLI_WH
    for came, took, owed, sold in (
        (kwh, kwh, 200_000, kwh),
        (kwh // 2, kwh, 100_000 - 50_000, kwh // 2),
        (0, kwh, -100_000, 0),
        (kwh, kwh // 2, 100_000 + 60_000, kwh // 2),
        (kwh, 0, 120_000, 0),
        (kwh // 2, kwh // 2, 100_000, kwh // 2),
        (0, 0, 0, 0),
        (None, kwh, -100_000, 0),
        (kwh, None, 200_000, kwh),
        (7, 3, 1, 3),
    ):
        assert settled(200_000, came, took, GRID) == Terms(owed, sold)
    assert settled(-10, 7, None, GRID) == Terms(0, 0), "to take it would be paid for"
    assert settled(400_000, 0, kwh, GRID) == Terms(0, 0), "above the grid's price: no worse off"
