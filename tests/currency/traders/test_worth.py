"""A stored kWh's worth: cases done by hand, and the form that the traders rely on."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from currency.delivery import Grid
from currency.traders.battery import HOUR_US, Battery
from currency.traders.worth import CELLS, NOTHING, cell_of, worth_before

BATTERY = Battery(6_400_000, 5_000_000, 1_000_000, 800_000)
PEAK, NIGHT = Grid(500_000, 0), Grid(200_000, 0)


def test_what_replaces_an_import_is_worth_it_less_the_loss() -> None:
    """Two kWh of need take 2.5 kWh of store, at 0.8 of the price; the rest is worth nothing."""
    worth = worth_before(BATTERY, HOUR_US, NOTHING, PEAK, (2_000_000,))
    covered = 2_500_000 / cell_of(BATTERY)
    assert worth[:12] == (400_000,) * 12
    assert worth[12] == 400_000 * (covered - 12)
    assert worth[13:] == (0,) * (CELLS - 13)


def test_a_surplus_to_come_makes_what_is_stored_worthless() -> None:
    evening = worth_before(BATTERY, HOUR_US, NOTHING, PEAK, (5_000_000,))
    assert worth_before(BATTERY, HOUR_US, evening, NIGHT, (-5_000_000,))[7:] == (0,) * 25


def test_a_night_to_come_makes_it_worth_the_nights_price() -> None:
    """Five kWh can be bought at night: the first cells are worth that, and no more."""
    evening = worth_before(BATTERY, HOUR_US, NOTHING, PEAK, (5_000_000,))
    assert evening[0] == 400_000
    assert worth_before(BATTERY, HOUR_US, evening, NIGHT, (0,))[7] == 200_000


def test_days_that_differ_count_by_their_mean() -> None:
    worth = worth_before(BATTERY, HOUR_US, NOTHING, PEAK, (4_000_000, 0))
    assert worth[0] == 200_000


@given(
    st.lists(
        st.tuples(
            st.integers(1, 1_000_000),
            st.integers(0, 1_000_000),
            st.lists(st.integers(-9_000_000, 9_000_000), max_size=4),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_worths_fall_and_stay_between_the_prices(
    hours: list[tuple[int, int, list[int]]],
) -> None:
    worth, dearest = NOTHING, 0
    for asked, below, nets in hours:
        price = Grid(asked, min(asked, below))
        dearest = max(dearest, asked)
        worth = worth_before(BATTERY, HOUR_US, worth, price, tuple(nets))
        assert len(worth) == CELLS
        assert all(one >= next_one for one, next_one in pairwise(worth))
        assert 0 <= worth[-1] <= worth[0] <= dearest
