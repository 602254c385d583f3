"""The market bench's day adds up, and its book is the linear program's."""

from random import Random

import pytest

from bench.market import book, linear_program, simulate, solved
from currency.market.uniform import uniform


def test_a_short_day_of_a_street_loses_no_money() -> None:
    day = simulate(houses=40, slots=60)
    assert (day.orders, day.sum_micro, day.settled_sum_micro) == (7_200, 0, 0)
    assert day.settled > day.crossing
    assert 0 < day.crossing < day.trades
    assert 0 < day.welfare_pico <= day.best_pico


def test_both_solve_the_same_program() -> None:
    orders = book(Random(1), 50)
    assert solved(linear_program(orders)) == pytest.approx(uniform(orders).welfare_pico)
