"""Reductions: what the readings show and nothing else is paid for (I-093, I-132)."""

from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest

from ioe_node.hdi import Invalid, Timestamp, Valid
from ioe_node.model.action import CreateLink
from tests.zomes.test_metering import FIRST, LENGTH_US, after
from zomes.demand import integrity
from zomes.demand.integrity import (
    BASELINE_READINGS,
    OFFERS,
    Incentive,
    Reduction,
    earns_micro,
    saved_milli_wh,
)

MOST = 2_000_000
BEGIN_US = FIRST.start - 20 * LENGTH_US
DRAWS = [400_000] * BASELINE_READINGS + [100_000, 0] + [400_000] * 6


class Peak:
    """A payer's incentive over all day, and a meter that drew as `DRAWS` says."""

    def __init__(self, neighbourhood: Any) -> None:
        self.place = neighbourhood
        self.payer, self.meter = neighbourhood.member(2), neighbourhood.member(3)
        day_us = 96 * LENGTH_US
        offer = Incentive(
            Timestamp(BEGIN_US), Timestamp(BEGIN_US + day_us), 2_000_000, 5_000_000, MOST
        )
        self.incentive_entry = offer
        self.incentive = neighbourhood.create(self.payer, offer)
        first = replace(FIRST, start=Timestamp(BEGIN_US), end=Timestamp(BEGIN_US + LENGTH_US))
        entries = list(accumulate(DRAWS, after, initial=first))
        self.last = entries[-1]
        self.readings = [neighbourhood.create(self.meter, each) for each in entries]

    def reduction(self, at: int = 1, count: int = 2, **changed: Any) -> Reduction:
        """That of the readings from `at` on: a baseline, then `count` more."""
        run = [each.hash for each in self.readings[at : at + BASELINE_READINGS + count]]
        drawn = DRAWS[at - 1 : at - 1 + len(run)]
        saved = saved_milli_wh(drawn[:BASELINE_READINGS], drawn[BASELINE_READINGS:])
        made = Reduction(
            self.incentive.hash,
            tuple(run[:BASELINE_READINGS]),
            tuple(run[BASELINE_READINGS:]),
            saved,
            saved * 2,
        )
        return replace(made, **changed)


@pytest.fixture
def peak(neighbourhood: Any) -> Peak:
    return Peak(neighbourhood)


def test_what_was_drawn_less_than_the_baseline_is_saved(peak: Peak) -> None:
    entry = peak.reduction()
    assert entry.saved_milli_wh == 700_000
    assert earns_micro(entry.saved_milli_wh, peak.incentive_entry, 0) == 1_400_000
    assert peak.place.verdict(peak.meter, entry) is Valid


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"saved_milli_wh": 700_001}, "another saving"),
        ({"saved_milli_wh": 0}, "another saving"),
        ({"before": ()}, "has 8 readings before"),
        ({"during": ()}, "1 to 8 during"),
    ],
)
def test_another_saving_is_refused(peak: Peak, changed: dict[str, Any], why: str) -> None:
    verdict = peak.place.verdict(peak.meter, peak.reduction(**changed))
    assert isinstance(verdict, Invalid)
    assert why in verdict.reason


def test_only_the_meters_own_run_of_measured_readings_counts(peak: Peak) -> None:
    entry = peak.reduction()
    assert isinstance(peak.place.verdict(peak.payer, entry), Invalid)
    holes = (entry.before[0], *entry.before[:1], *entry.before[2:])
    assert isinstance(peak.place.verdict(peak.meter, replace(entry, before=holes)), Invalid)
    guess = replace(after(peak.last, 1), quality="estimated")
    guessed = peak.place.create(peak.meter, guess)
    run = tuple(each.hash for each in peak.readings[-BASELINE_READINGS:])
    drawn = Reduction(peak.incentive.hash, run, (guessed.hash,), 1, 2)
    assert "estimated" in peak.place.verdict(peak.meter, drawn).reason


def test_nothing_is_saved_twice_nor_is_a_saving_a_baseline(peak: Peak) -> None:
    peak.place.create(peak.meter, peak.reduction())
    for at in (1, 2, 3, 6):
        verdict = peak.place.verdict(peak.meter, peak.reduction(at, count=1, saved_milli_wh=1))
        assert verdict == Invalid("a baseline with energy in it that was saved already")


def again(peak: Peak, **changed: Any) -> Reduction:
    """The next reduction: eight readings after those of the first, and two of nothing."""
    entries = list(accumulate([400_000, 400_000, 0, 0], after, initial=peak.last))[1:]
    made = [peak.place.create(peak.meter, each) for each in entries]
    run = [each.hash for each in (*peak.readings[11:], *made)]
    before, during = tuple(run[:BASELINE_READINGS]), tuple(run[BASELINE_READINGS:])
    return replace(Reduction(peak.incentive.hash, before, during, 800_000, 600_000), **changed)


def test_one_device_earns_so_much_a_day_and_no_more(peak: Peak) -> None:
    for wrong in (0, 1_399_999, 1_400_001):
        verdict = peak.place.verdict(peak.meter, peak.reduction(earns_micro=wrong))
        assert "another earning" in verdict.reason
    peak.place.create(peak.meter, peak.reduction())
    entry = again(peak)
    assert peak.place.verdict(peak.meter, entry) is Valid
    greedy = peak.place.verdict(peak.meter, replace(entry, earns_micro=1_600_000))
    assert "another earning" in greedy.reason


def test_on_another_day_or_from_another_payer_it_earns_anew(
    peak: Peak, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak.place.create(peak.meter, peak.reduction())
    entry = again(peak, earns_micro=1_600_000)
    other = peak.place.create(peak.payer, replace(peak.incentive_entry, budget_micro=9_000_000))
    assert peak.place.verdict(peak.meter, replace(entry, incentive=other.hash)) is Valid
    monkeypatch.setattr(integrity, "DAY_US", 2 * LENGTH_US)
    assert peak.place.verdict(peak.meter, entry) is Valid


def test_a_device_claims_a_few_times_a_day(peak: Peak, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "REDUCTIONS_PER_DAY_MAX", 1)
    peak.place.create(peak.meter, peak.reduction())
    assert "in one day" in peak.place.verdict(peak.meter, again(peak)).reason


def test_outside_the_incentives_time_nothing_counts(peak: Peak) -> None:
    day_us = 96 * LENGTH_US
    for start, end in ((BEGIN_US + day_us, BEGIN_US + 2 * day_us), (BEGIN_US, BEGIN_US + 1)):
        offer = Incentive(Timestamp(start), Timestamp(end), 1, 1, 1)
        other = peak.place.create(peak.payer, offer)
        verdict = peak.place.verdict(peak.meter, peak.reduction(incentive=other.hash))
        assert verdict == Invalid("a reduction outside its incentive's time")
    no_incentive = peak.reduction(incentive=peak.readings[0].hash)
    assert isinstance(peak.place.verdict(peak.meter, no_incentive), Invalid)


@pytest.mark.parametrize(
    "changed",
    [
        {"end": Timestamp(BEGIN_US)},
        {"micro_per_kwh": 0},
        {"budget_micro": 0},
        {"device_day_micro": 0},
        {"device_day_micro": 2},
    ],
)
def test_an_incentive_within_reason(peak: Peak, changed: dict[str, Any]) -> None:
    offer = Incentive(Timestamp(BEGIN_US), Timestamp(BEGIN_US + 1), 1, 1, 1)
    assert peak.place.verdict(peak.payer, offer) is Valid
    assert isinstance(peak.place.verdict(peak.payer, replace(offer, **changed)), Invalid)


def test_an_offer_is_linked_by_who_pays(peak: Peak) -> None:
    def link(target: Any) -> dict[str, Any]:
        base = peak.place.rules.hash
        return {"base": base, "target": target.hash, "link_type": OFFERS, "tag": b""}

    on = peak.place.verdict_on
    assert on(peak.payer, CreateLink, **link(peak.incentive)) is Valid
    assert isinstance(on(peak.meter, CreateLink, **link(peak.incentive)), Invalid)
    assert isinstance(on(peak.payer, CreateLink, **link(peak.readings[0])), Invalid)
