"""Two weeks of the seventeen homes: figures by a plain formula, money, and nothing foreseen."""

from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import pytest

from bench.homes17 import foresight_micro
from currency.traders.policy import POLICIES, Policy
from sim.homes17 import perfect_sharing_pico, street_of
from sim.homes_market import BATTERY, GRID, Outcome, Street, play

HOURS = 14 * 24
SUMMER = slice(24 * 14, 24 * 14 + HOURS)


@pytest.fixture(scope="module")
def street(citylearn_cache: Path) -> Street:
    return street_of(citylearn_cache, range(1, 18), SUMMER)


@pytest.fixture(scope="module")
def shared(street: Street) -> Outcome:
    return play(street, None, BATTERY, log_from=0)


def test_nobody_shares_and_each_pays_for_its_imports(street: Street) -> None:
    outcome = play(street, sharing=False)
    plain = sum(
        max(Fraction(0), Fraction(net, 10**6)) * Fraction(price.import_micro, 10**6)
        for home in street.nets
        for net, price in zip(home, street.prices, strict=True)
    )
    assert Fraction(outcome.cost_pico, 10**12) == plain
    bills = HOURS * len(street.nets)
    assert 0 <= outcome.cost_pico // 10**6 - outcome.paid_micro <= bills


def test_without_batteries_sharing_costs_what_perfect_sharing_does(street: Street) -> None:
    outcome = play(street)
    assert outcome.cost_pico == perfect_sharing_pico(street)
    imports = sum(max(0, net) for net in chain.from_iterable(street.nets))
    assert outcome.grid_import + outcome.delivered + outcome.shared == imports
    assert 0 < outcome.delivered <= outcome.matched


def test_money_and_readings_add_up(street: Street, shared: Outcome) -> None:
    assert shared.accounts.sum_micro() == 0
    assert shared.accounts.of[GRID].balance_micro == shared.paid_micro > 0


def test_batteries_save_most_of_what_foresight_would(street: Street, shared: Outcome) -> None:
    """The oracle knows everything; the bound leaves room for the first days, which know nothing."""
    whole = [sum(nets) for nets in zip(*street.nets, strict=True)]
    prices = [price.import_micro for price in street.prices]
    best = foresight_micro(whole, prices, len(street.nets)) / 1e6
    perfect, ours = perfect_sharing_pico(street) / 1e12, shared.cost_pico / 1e12
    assert best <= ours
    assert (perfect - ours) / (perfect - best) >= 0.8


def test_nothing_of_the_future_is_known(street: Street, shared: Outcome) -> None:
    """Other loads and suns from an hour on change no decision up to that hour."""
    turn = 10 * 24 + 13
    other = replace(
        street,
        nets=tuple(
            (*home[:turn], *(5_000_000 - net for net in home[turn:])) for home in street.nets
        ),
    )
    changed = play(other, None, BATTERY, log_from=0)

    def until_turn(outcome: Outcome) -> list[object]:
        return [each for each in outcome.reasons if each[0] <= turn]

    assert until_turn(changed) == until_turn(shared)
    assert changed.reasons != shared.reasons


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "lowest-cost"])
def test_other_policies_beside_the_default(street: Street, name: str) -> None:
    short = Street(street.nets[:6], street.prices[: 5 * 24], street.carbon_mg[: 5 * 24])
    policies = [POLICIES[name] if home % 2 else Policy() for home in range(6)]
    outcome = play(short, policies, BATTERY, log_from=0)
    assert outcome.cost_pico > 0
    if name == "clean-only":
        acts = {reason.act for _, agent, reason in outcome.reasons if int(agent[-2:]) % 2 == 0}
        assert "charge" not in acts


def test_the_data_is_the_published_ladders(citylearn_cache: Path) -> None:
    """The year's first two steps as CityLearn's own engine has them, without any of our code."""
    year = street_of(citylearn_cache, range(1, 18), slice(None))
    alone = sum(
        max(0, net) * price.import_micro
        for home in year.nets
        for net, price in zip(home, year.prices, strict=True)
    )
    carbon = sum(
        max(0, net) * mg for home in year.nets for net, mg in zip(home, year.carbon_mg, strict=True)
    )
    assert round(alone / 1e12, 2) == 33_394.79
    assert round(carbon / 1e12, 1) == 17_870.1
    assert round(perfect_sharing_pico(year) / 1e12, 2) == 28_916.99
