"""When a load is off: while power is dear, never too long, too often or against a hand.

(I-130, I-131)
"""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zomes.demand.decide import (
    HOUR_US,
    SECOND_US,
    Load,
    Price,
    Settings,
    average_micro,
    decide,
    seen,
    switched,
)

DAY = [100_000] * 18 + [400_000, 500_000, 300_000] + [100_000] * 3
PEAK_US = 18 * HOUR_US
NO_RESTS: dict[str, Any] = {"min_off_s": 0, "min_on_s": 0}


def day(prices: list[int]) -> list[Price]:
    return [Price(h * HOUR_US, (h + 1) * HOUR_US, each) for h, each in enumerate(prices)]


def on_since(at_us: int) -> Load:
    return Load(True, at_us)


def test_a_load_is_off_while_the_price_is_more_than_so_many_percent_over_the_average() -> None:
    mean = average_micro(day(DAY), 6 * HOUR_US, 30 * HOUR_US)
    assert mean is not None
    found = decide(Settings(), day(DAY), on_since(0), PEAK_US)
    assert (found.on, found.micro_per_kwh) == (False, 400_000)
    assert found.threshold_micro == mean + mean * 20 // 100
    assert "more than 20 %" in found.why
    assert decide(Settings(), day(DAY), on_since(0), PEAK_US - 1).on is None
    just = Settings(over_average_percent=(400_000 - mean) * 100 // mean + 1)
    assert decide(just, day(DAY), on_since(0), PEAK_US).on is None


def test_who_is_paid_to_draw_is_not_switched_off_for_the_average() -> None:
    """Percent of a price below zero lie above it too."""
    paid = [Price(0, HOUR_US, -100_000), Price(HOUR_US, 2 * HOUR_US, -90_000)]
    for at_us in (0, HOUR_US):
        assert decide(Settings(), paid, on_since(0), at_us).on is None
    dear = [*paid, Price(2 * HOUR_US, 3 * HOUR_US, -10_000)]
    assert decide(Settings(), dear, on_since(0), 2 * HOUR_US).on is False


def test_it_comes_back_when_power_is_cheap_again_and_was_its_own_doing() -> None:
    off = switched(on_since(0), False, PEAK_US)
    assert decide(Settings(), day(DAY), off, 21 * HOUR_US).on is True
    someone_else_s = Load(False, PEAK_US)
    assert decide(Settings(), day(DAY), someone_else_s, 21 * HOUR_US).on is None


@pytest.mark.parametrize(
    ("load", "settings", "at_us", "on", "why"),
    [
        (Load(False, 0, False), {"max_off_s": 600}, 600 * SECOND_US, True, "the longest"),
        (Load(False, 0, False), {"max_off_s": 600}, 599 * SECOND_US, None, "the price is more"),
        (Load(True, 0, True), {"min_on_s": 300}, 299 * SECOND_US, None, "rests for 300 s"),
        (Load(True, 0, True), {"min_on_s": 300}, 300 * SECOND_US, False, "the price is more"),
        (Load(True, 0), {"min_on_s": 300}, 0, False, "the price is more"),
        (Load(True, 0, None, 0), {"override_s": 60}, 59 * SECOND_US, None, "by hand"),
        (Load(True, 0, None, 0), {"override_s": 60}, 60 * SECOND_US, False, "the price is more"),
        (
            Load(False, 0, False),
            {"enabled": False},
            0,
            None,
            "may not switch; it rests for 300 s",
        ),
        (Load(False, 0, False), {"enabled": False}, 300 * SECOND_US, True, "may not switch"),
        (Load(True, 0), {"enabled": False}, 0, None, "may not switch"),
    ],
)
def test_rests_hands_and_the_longest_time(
    load: Load, settings: dict[str, Any], at_us: int, on: bool | None, why: str
) -> None:
    dear = [Price(0, HOUR_US, 200_000), Price(HOUR_US, 10 * HOUR_US, 10_000)]
    found = decide(Settings(**settings), dear, load, at_us)
    assert found.on is on
    assert why in found.why


def test_an_event_asks_for_less_whatever_power_costs() -> None:
    event = [Price(0, HOUR_US, None, level=1)]
    assert decide(Settings(), event, on_since(0), 0).on is False
    assert decide(Settings(), [Price(0, HOUR_US, None)], on_since(0), 0).on is None


def test_without_a_price_the_load_is_given_back() -> None:
    off = switched(on_since(0), False, 0)
    for prices in ([], day(DAY)[:2]):
        assert decide(Settings(), prices, off, 12 * HOUR_US).on is True


def test_a_change_that_is_not_ours_is_a_hands() -> None:
    load = seen(None, True, 1)
    assert load.by_hand_us is None
    ours = switched(load, False, 2)
    assert seen(ours, False, 3) == ours
    assert seen(ours, True, 4).by_hand_us == 4


@example([100_000, 500_000], 0, [1_000] * 6 + [900, 301])
@given(
    st.lists(st.integers(-1_000_000, 1_000_000), min_size=1, max_size=48),
    st.integers(0, 200),
    st.lists(st.integers(1, 1_000), min_size=1, max_size=60),
)
def test_it_never_switches_within_a_rest_nor_leaves_off_too_long(
    prices: list[int], percent: int, steps_s: list[int]
) -> None:
    settings = Settings(over_average_percent=percent, min_on_s=600, min_off_s=600, max_off_s=1_800)
    load, now_us, last_us = on_since(0), 0, None
    for step_s in steps_s:
        now_us += step_s * SECOND_US
        load = seen(load, load.on, now_us)
        found = decide(settings, day(prices), load, now_us)
        if found.on is None:
            ours_off = not load.on and load.wanted is False
            assert not ours_off or now_us - load.since_us < 1_800 * SECOND_US
            continue
        assert last_us is None or now_us - last_us >= 600 * SECOND_US
        load, last_us = switched(load, found.on, now_us), now_us
