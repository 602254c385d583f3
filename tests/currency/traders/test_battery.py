"""A battery keeps its power, its capacity and its reserve, whatever it is told."""

from hypothesis import given
from hypothesis import strategies as st

from currency.traders.battery import HOUR_US, Battery, SetPoints, follow

levels = st.integers(-20_000_000, 20_000_000)
batteries = st.builds(
    Battery,
    st.integers(1, 10_000_000),
    st.integers(0, 10_000_000),
    st.integers(500_000, 1_000_000),
    st.integers(500_000, 1_000_000),
)
HOME = Battery(6_400_000, 5_000_000, 948_683, 948_683, 1_280_000)


@given(batteries, st.builds(SetPoints, levels, levels, levels, levels), st.data())
def test_no_set_points_break_a_limit(
    battery: Battery, points: SetPoints, data: st.DataObject
) -> None:
    reserve = data.draw(st.integers(0, battery.capacity_milli_wh))
    battery = Battery(
        battery.capacity_milli_wh,
        battery.power_milli_w,
        battery.charge_ppm,
        battery.discharge_ppm,
        reserve,
    )
    stored, net = data.draw(st.integers(0, battery.capacity_milli_wh)), data.draw(levels)
    length_us = data.draw(st.sampled_from([HOUR_US, HOUR_US // 4]))
    after, meter = follow(battery, points, stored, net, length_us)
    assert min(stored, reserve) <= after <= battery.capacity_milli_wh
    into = meter - net
    assert abs(into) <= battery.power_milli_w * length_us // HOUR_US
    # Nothing is gained: what went in is stored at a loss, what came out cost more than itself.
    if into >= 0:
        assert (after - stored) * 1_000_000 <= into * battery.charge_ppm
    else:
        assert (stored - after) * battery.discharge_ppm >= -into * 1_000_000


def test_the_meter_is_held_where_it_is_told() -> None:
    points = SetPoints(-500_000, 0, 0, HOME.capacity_milli_wh)
    for net in (-2_000_000, 0, 1_500_000):
        assert follow(HOME, points, 4_000_000, net, HOUR_US).meter_milli_wh == -500_000


def test_the_reserve_is_not_sold() -> None:
    points = SetPoints(-5_000_000, 0, 0, 0)
    flow = follow(HOME, points, 2_280_000, 0, HOUR_US)
    assert flow.stored_milli_wh == HOME.reserve_milli_wh
    assert flow.meter_milli_wh == -948_683


def test_a_full_day_there_and_back_keeps_nine_tenths() -> None:
    battery = Battery(6_400_000, 5_000_000, 948_683, 948_683)
    up = follow(battery, SetPoints(0, 5_000_000, 0, 0), 0, 0, HOUR_US)
    down = follow(battery, SetPoints(-9_000_000, 0, 0, 0), up.stored_milli_wh, 0, HOUR_US)
    assert -down.meter_milli_wh / up.meter_milli_wh <= 0.9
    assert round(-down.meter_milli_wh / up.meter_milli_wh, 5) == 0.9
    assert down.stored_milli_wh == 0
