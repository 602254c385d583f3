"""The credit limit and what raises it, in whatever order sales are claimed."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from currency.limit import NOTHING, Proven, Terms, is_near, limit_micro, proven_after

WINDOW_US = 100
HALF_US = WINDOW_US // 2
TERMS = Terms(start_micro=1_000, share_bp=5_000, window_us=WINDOW_US, raise_micro_max=400)
sales = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 100)), max_size=20)


@given(sales, st.randoms(use_true_random=False))
def test_the_order_of_claims_changes_nothing(sold: list[tuple[int, int]], random: Random) -> None:
    at_once = proven_after(NOTHING, sold, WINDOW_US)
    shuffled, one_by_one = list(sold), NOTHING
    random.shuffle(shuffled)
    for each in shuffled:
        one_by_one = proven_after(one_by_one, [each], WINDOW_US)
    assert one_by_one == at_once


@given(sales, st.integers(0, 150))
def test_a_sale_counts_until_the_next_half_window_is_over(
    sold: list[tuple[int, int]], later_us: int
) -> None:
    at_us = max((time for time, _ in sold), default=0) + later_us
    half = at_us // HALF_US
    counted = sum(energy for time, energy in sold if time // HALF_US >= half - 1)
    proven = proven_after(NOTHING, sold, WINDOW_US)
    assert limit_micro(proven, at_us, TERMS) == 1_000 + min(counted // 2, 400)


def test_a_limit_by_hand() -> None:
    proven = Proven(half=3, newer_milli_wh=101, older_milli_wh=50)
    assert limit_micro(proven, 150, TERMS) == 1_075, "rounded down"
    assert limit_micro(proven, 200, TERMS) == 1_050
    assert limit_micro(proven, 250, TERMS) == 1_000
    assert limit_micro(proven, 100, TERMS) == 1_075, "a clock that is behind takes nothing away"
    assert limit_micro(Proven(3, 10_000, 0), 150, TERMS) == 1_400


def test_a_warning_comes_before_the_limit() -> None:
    assert not is_near(-800, 1_000, 8_000)
    assert is_near(-801, 1_000, 8_000)
    assert not is_near(0, 0, 0)
