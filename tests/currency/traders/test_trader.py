"""A trader keeps its owner's bounds, and says why in words that hold."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currency.delivery import Grid
from currency.traders.battery import HOUR_US, Battery, follow
from currency.traders.policy import POLICIES, Policy
from currency.traders.trader import (
    Trader,
    expected,
    foreseen,
    orders_of,
    set_points_of,
    trader_of,
    watched,
)

BATTERY = Battery(6_400_000, 5_000_000, 948_683, 948_683)
DAY = 24
TARIFF = [Grid(500_000 if 16 <= hour < 21 else 210_000, 0) for hour in range(DAY)]
nets = st.integers(-6_000_000, 6_000_000)
policies = st.builds(
    Policy,
    st.just("any"),
    st.booleans(),
    st.booleans(),
    st.integers(-100_000, 600_000),
    st.integers(-100_000, 600_000),
    st.integers(0, 10_000),
)


def after_days(policy: Policy, days: list[list[int]], battery: Battery | None = BATTERY) -> Trader:
    """A trader that has watched whole days without doing anything."""
    trader = trader_of(b"me", HOUR_US, policy, battery, clean=True)
    for day in days:
        for net in day:
            trader = watched(trader, net, net, 0)
    return foreseen(trader, TARIFF)


days = st.lists(st.lists(nets, min_size=DAY, max_size=DAY), min_size=1, max_size=2)


@given(policies, days, st.integers(0, BATTERY.capacity_milli_wh), st.integers(0, 23))
def test_no_order_is_beyond_the_owners_bounds_or_the_battery(
    policy: Policy, past: list[list[int]], stored: int, hour: int
) -> None:
    trader = replace(after_days(policy, past), stored_milli_wh=stored)
    decision = orders_of(trader, HOUR_US, 0, TARIFF[hour])
    bids = [order for order in decision.orders if order.side == "bid"]
    asks = [order for order in decision.orders if order.side == "ask"]
    assert all(order.limit_micro <= policy.buy_max_micro for order in bids)
    assert all(order.limit_micro >= policy.sell_min_micro for order in asks)
    assert all(order.energy_milli_wh > 0 for order in decision.orders)
    assert len({order.id for order in decision.orders}) == len(decision.orders)
    assert not (bids and asks)
    assert trader.battery is not None
    usable = trader.battery.gives(stored - trader.battery.reserve_milli_wh)
    surplus = max(0, -expected(trader))
    assert sum(ask.energy_milli_wh for ask in asks) <= surplus + min(usable, 5_000_000)
    price = TARIFF[hour]
    assert all(bid.limit_micro <= price.import_micro for bid in bids)
    if policy.sell_min_micro < price.import_micro:
        assert all(ask.limit_micro < price.import_micro for ask in asks)
    if policy.clean_only:
        assert all(order.wants is not None and order.wants.clean_only for order in bids)


@given(policies, days, st.integers(0, BATTERY.capacity_milli_wh), nets, nets)
def test_the_reserve_is_kept_and_the_reason_holds(
    policy: Policy, past: list[list[int]], stored: int, bought: int, net: int
) -> None:
    trader = replace(after_days(policy, past), stored_milli_wh=stored)
    planned = set_points_of(trader, bought, TARIFF[0])
    assert planned is not None
    assert trader.battery is not None
    points, why = planned
    reserve = trader.battery.reserve_milli_wh
    assert reserve == BATTERY.capacity_milli_wh * policy.reserve_bp // 10_000
    flow = follow(trader.battery, points, stored, net, HOUR_US)
    assert flow.stored_milli_wh >= min(stored, reserve)
    match why.act:
        case "charge":
            assert why.price_micro <= why.worth_micro
            assert not policy.clean_only
        case "cover":
            assert why.price_micro >= why.worth_micro
        case "hold" | "absorb":
            assert why.price_micro <= why.worth_micro
    assert why.text()


def test_it_buys_cheap_before_a_dear_evening_and_says_so() -> None:
    usual = [300_000] * 16 + [1_500_000] * 5 + [300_000] * 3
    trader = after_days(POLICIES["lowest-cost"], [usual] * 7)
    for hour in range(15):
        trader = watched(trader, usual[hour], usual[hour], 0)
    planned = set_points_of(trader, 0, TARIFF[15])
    assert planned is not None
    points, why = planned
    assert points.charge_to == BATTERY.capacity_milli_wh
    assert why.text() == (
        "charge: the grid's 0.210 is below 0.449, what a kWh kept will save, by the last 7 days"
    )


def test_clean_only_charges_from_no_grid() -> None:
    usual = [300_000] * 16 + [1_500_000] * 5 + [300_000] * 3
    trader = after_days(POLICIES["clean-only"], [usual] * 7)
    planned = set_points_of(trader, 0, TARIFF[0])
    assert planned is not None
    assert planned[0].charge_to == 0
    bids = orders_of(trader, HOUR_US, 0, TARIFF[0]).orders
    assert bids
    assert all(bid.wants is not None and bid.wants.clean_only for bid in bids)


def test_without_a_day_to_learn_from_it_serves_its_own_home() -> None:
    trader = foreseen(trader_of(b"me", HOUR_US, POLICIES["reserve"], BATTERY), TARIFF)
    assert orders_of(trader, HOUR_US, 0, TARIFF[0]).orders == ()
    planned = set_points_of(trader, 0, TARIFF[0])
    assert planned is not None
    assert planned[0] == (0, 1_280_000, 1_280_000, 6_400_000)


def test_without_a_battery_it_sells_what_it_expects_to_have_over() -> None:
    trader = after_days(POLICIES["local-first"], [[-2_000_000] * DAY], None)
    (ask,) = orders_of(trader, HOUR_US, 0, TARIFF[0]).orders
    assert (ask.side, ask.energy_milli_wh, ask.limit_micro, ask.clean) == (
        "ask",
        2_000_000,
        0,
        True,
    )
    assert ask.wants is not None
    assert ask.wants.local_first
    assert set_points_of(trader, 0, TARIFF[0]) is None


@pytest.mark.parametrize(("last", "next_one"), [(2_000_000, 1_500_000), (0, 500_000)])
def test_half_of_what_was_unusual_is_expected_again(last: int, next_one: int) -> None:
    trader = after_days(POLICIES["lowest-cost"], [[1_000_000] * DAY] * 3)
    assert expected(watched(trader, last, last, 0)) == next_one
