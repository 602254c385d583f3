"""The network bench's arithmetic: percentiles, deliveries, and the lines made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.accounting import Deliveries, at_least, at_most, count, deliveries, percentile, times

ADA, BEN = b"ada", b"ben"


@pytest.mark.parametrize(
    ("samples", "share", "found"),
    [
        ([], 0.95, 0.0),
        ([7.0], 0.5, 7.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        (list(range(1, 101)), 0.95, 95),
        (list(range(1, 101)), 1.0, 100),
        (list(range(1, 101)), 0.0, 1),
        (list(range(1, 22)), 0.95, 20),
    ],
)
def test_a_percentile_is_a_sample(samples: list[float], share: float, found: float) -> None:
    assert percentile(samples, share) == found


@given(
    st.lists(st.floats(0, 1e6), min_size=1),
    st.integers(1, 100).map(lambda percent: percent / 100),
)
def test_so_many_do_not_exceed_it_and_no_smaller_sample_has_that(
    samples: list[float], share: float
) -> None:
    found = percentile(samples, share)
    within = sum(each <= found for each in samples)
    below = sum(each < found for each in samples)
    assert found in samples
    assert within >= share * len(samples) - 1e-6
    assert below < share * len(samples) + 1e-6


def test_every_observer_owes_every_write_once() -> None:
    made = Deliveries(2)
    made.write(ADA, 1)
    made.write(ADA, 2)
    made.write(BEN, 1)
    assert (made.expected, made.delivered, made.lost) == (6, 0, 6)
    made.notice(0, ADA, 1, 10.0)
    made.notice(0, ADA, 1, 99.0)
    made.notice(1, ADA, 1, 20.0)
    assert (made.expected, made.delivered, made.lost) == (6, 2, 4)
    assert made.lags_ms == [10.0, 20.0]
    assert not made.complete(0)
    made.notice(0, ADA, 2, 5.0)
    made.notice(0, BEN, 1, 5.0)
    assert made.complete(0)
    assert not made.complete(1)


def test_what_is_read_before_its_writer_hears_of_it_counts_then() -> None:
    made = Deliveries(1)
    made.notice(0, ADA, 1, 3.0)
    assert (made.expected, made.delivered, made.lost) == (0, 0, 0)
    made.write(ADA, 1)
    assert (made.expected, made.delivered, made.lost) == (1, 1, 0)


def test_the_lines_carry_counts_aims_and_ratios() -> None:
    made = Deliveries(1)
    for value in range(4):
        made.write(ADA, value)
    for value in range(3):
        made.notice(0, ADA, value, 1_000.0)
    lines = {line.work: line for line in deliveries("lag", made, 2.0, 6.0)}
    assert lines["lag, writes"].value == 4
    assert lines["lag, rate"].value == 2.0
    assert lines["lag, deliveries lost"].value == 1
    assert lines["lag, CPU per write"].value == 1_500.0
    assert lines["lag, CPU per delivery"].value == 2_000.0
    share = lines["lag, delivered"]
    assert (share.value, share.ratio, share.reached) == (75.0, 0.75, False)


def test_a_figure_without_an_aim_misses_none() -> None:
    assert count("x", 1, "s").reached is None
    assert at_most("x", 2, "s", 1, None).reached is None
    assert at_most("x", 2, "s", 1, 1).reached is False
    assert at_most("x", 2, "s", 1, 2).reached is True
    assert at_least("x", 2, "s", 1, 3).reached is False
    assert at_least("x", 3, "s", 1, 3).reached is True
    assert at_most("x", 0, "chains", 1, 0).ratio is None


def test_times_are_p50_p95_and_the_longest() -> None:
    lines = times("call", [1.0, 2.0, 3.0, 4.0], p95=3.5)
    assert [line.value for line in lines] == [2.0, 4.0, 4.0]
    assert [line.reached for line in lines] == [None, False, None]
    assert [line.value for line in times("nothing", [])] == [0.0, 0.0, 0.0]
