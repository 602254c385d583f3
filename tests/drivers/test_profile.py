import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.drivers.citylearn import Home, load_home
from ioe_node.drivers.driver import Reading
from ioe_node.drivers.profile import (
    BATTERY_CAPACITY_MILLI_WH,
    BATTERY_POWER_MILLI_W,
    HOUR_US,
    MINUTE_US,
    YEAR_START_US,
    NetMeter,
    Profile,
    Source,
    Timeline,
    battery_source,
    draw_at,
    home_source,
    load_source,
    parse_source,
    start_us,
)
from ioe_node.drivers.slicer import Interval, Slicer
from ioe_node.errors import ConfigError, LocalError

HOURS = 6

# Nets near zero are where minutes of both signs meet in one hour.
NET = st.one_of(st.integers(-200, 200), st.integers(-10_000_000, 10_000_000))
SOURCE = st.lists(NET, min_size=HOURS, max_size=HOURS).map(tuple)
SOURCES = st.lists(SOURCE, min_size=1, max_size=5)
MINUTE = st.integers(0, 3 * HOURS * 60)


class StoppedClock:
    def __init__(self, at_us: int) -> None:
        self.at_us = at_us

    def now_us(self) -> int:
        return self.at_us


def at_minute(meter: NetMeter, minute: int) -> tuple[int, int]:
    return meter.at_minute(YEAR_START_US + minute * MINUTE_US)


@given(SOURCES, MINUTE, MINUTE)
def test_the_feeder_is_exactly_the_sum_of_its_members(
    sources: list[Source], one: int, other: int
) -> None:
    def net(meter: NetMeter) -> int:
        (import_1, export_1), (import_2, export_2) = at_minute(meter, one), at_minute(meter, other)
        return (import_2 - import_1) - (export_2 - export_1)

    assert net(NetMeter(sources)) == sum(net(NetMeter([source])) for source in sources)


@given(SOURCES)
def test_registers_never_run_backwards_and_minutes_have_one_sign(sources: list[Source]) -> None:
    meter = NetMeter(sources)
    for before, after in pairwise(at_minute(meter, minute) for minute in range(HOURS * 60 * 2)):
        imported, exported = after[0] - before[0], after[1] - before[1]
        assert imported >= 0
        assert exported >= 0
        assert imported == 0 or exported == 0


@given(SOURCE)
def test_a_lone_source_integrates_each_hour_by_its_sign(source: Source) -> None:
    meter = NetMeter([source])
    assert at_minute(meter, 0) == (0, 0)
    assert at_minute(meter, HOURS * 60) == (
        sum(net for net in source if net > 0),
        -sum(net for net in source if net < 0),
    )


@given(SOURCE.map(lambda nets: tuple(map(abs, nets))), MINUTE)
def test_the_plug_and_the_meter_agree_at_whole_minutes(source: Source, minute: int) -> None:
    at_us = YEAR_START_US + minute * MINUTE_US
    meter = NetMeter([source])
    assert draw_at(source, at_us) == (meter.power_milli_w(at_us), meter.at_minute(at_us)[0])


@given(st.lists(SOURCE, min_size=1, max_size=3))
def test_the_battery_keeps_within_its_bounds_and_loses_a_tenth(sources: list[Source]) -> None:
    battery = battery_source(sources)
    stored = 0
    for flow, *nets in zip(battery, *sources, strict=True):
        assert abs(flow) <= BATTERY_POWER_MILLI_W
        assert flow * sum(nets) <= 0  # it only ever evens out
        assert abs(flow) <= abs(sum(nets))
        stored += flow * 9 // 10 if flow > 0 else flow
        assert 0 <= stored <= BATTERY_CAPACITY_MILLI_WH


def test_a_battery_fills_to_the_brim_and_empties() -> None:
    battery = battery_source([(-5_000_000, -5_000_000, -5_000_000, 9_000_000, 9_000_000)])
    assert battery == (5_000_000, 2_111_111, 1, -5_000_000, -1_399_999)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "home",
        "home:",
        "home:0",
        "home:18",
        "home:+1",
        "home:1 ",
        "home:１",
        "pv:1",
        "load:1*0",
        "load:1*10001",
        "battery:",
        "battery:1,",
        "home:" + "9" * 5000,
    ],
)
def test_a_source_that_cannot_be_read_is_quoted(text: str) -> None:
    with pytest.raises(ConfigError, match="sources"):
        parse_source(text, lambda number: Home((1,), (2,)))


@given(st.text())
def test_any_text_is_a_source_or_a_config_error(text: str) -> None:
    try:
        parse_source(text, lambda number: Home((1,), (2,)))
    except ConfigError:
        return


def test_sources() -> None:
    homes = {1: Home((70, 10), (20, 30)), 2: Home((0, 5), (100, 0))}
    assert parse_source("home:1", homes.__getitem__) == (50, -20)
    assert parse_source("load:1*2500", homes.__getitem__) == (17, 2)
    assert parse_source("load:1", homes.__getitem__) == (70, 10)
    assert parse_source("battery:1,2", homes.__getitem__) == (50, 15)


@given(st.integers(0, 10**18), st.integers(1, 86_400), st.integers(0, 10**15))
def test_a_simulated_instant_is_reached_when_it_says(real: int, rate: int, later: int) -> None:
    timeline = Timeline(YEAR_START_US, real, rate)
    wanted = YEAR_START_US + later
    assert timeline.simulated_us(timeline.real_us(wanted)) >= wanted
    assert later == 0 or timeline.simulated_us(timeline.real_us(wanted) - 1) < wanted


def test_before_the_start_time_stands() -> None:
    assert Timeline(YEAR_START_US, 1000, 60).simulated_us(10) == YEAR_START_US


@given(st.integers(0, 10**18), st.integers(1, 86_400), st.integers(1, 8760), st.integers(0, 10**15))
def test_time_stands_still_once_its_hours_are_played(
    real: int, rate: int, hours: int, later: int
) -> None:
    endless = Timeline(YEAR_START_US, real, rate)
    timeline = Timeline(YEAR_START_US, real, rate, hours)
    end = YEAR_START_US + hours * HOUR_US
    ended = timeline.real_us(end)
    assert timeline.simulated_us(ended - 1) == endless.simulated_us(ended - 1) < end
    assert timeline.simulated_us(ended + later) == end


def test_days() -> None:
    assert start_us(0) == YEAR_START_US
    assert start_us(24) == start_us(datetime.date(2026, 1, 2))
    with pytest.raises(ConfigError, match="2026"):
        start_us(datetime.date(2025, 12, 31))


# --- with the real homes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"sorces": []}, "sorces"),
        ({"sources": []}, "sources"),
        ({"rate": 0}, "rate"),
        ({"rate": 1.5}, "rate"),
        ({"day": "soon"}, "day"),
        ({"hours": 0}, "hours"),
        ({"hours": 1.5}, "hours"),
        ({"day": 8760}, "day"),
        ({"update_minutes": 7}, "update_minutes"),
    ],
)
def test_bad_options_are_named(changed: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Profile.from_options({"sources": ["home:1"], **changed})


def test_without_data_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="ioe data fetch"):
        Profile.from_options({"sources": ["home:1"], "data": str(tmp_path)})


async def test_a_reading_is_of_the_last_update(citylearn_cache: Path) -> None:
    clock = StoppedClock(10_000_000)
    options = {
        "sources": ["home:1"],
        "day": datetime.date(2026, 6, 1),
        "rate": 60,
        "started_at_us": 0,
        "data": str(citylearn_cache),
    }
    profile = Profile.from_options(options, clock)
    start = start_us(datetime.date(2026, 6, 1))
    assert (await profile.read()).at_us == start + 10 * MINUTE_US
    clock.at_us += 999_999
    first = await profile.read()
    assert first.at_us == start + 10 * MINUTE_US
    slow = Profile.from_options({**options, "update_minutes": 15}, clock)
    assert (await slow.read()).at_us == start
    home = load_home(citylearn_cache, 1)
    hour = (start - YEAR_START_US) // HOUR_US
    assert first.power_milli_w == home.load_milli_wh[hour] - home.pv_milli_wh[hour]
    assert first.switched_on is None


async def test_the_registers_stand_still_after_the_hours_of_the_option(
    citylearn_cache: Path,
) -> None:
    clock = StoppedClock(0)
    options = {
        "sources": ["home:1"],
        "rate": 3600,
        "started_at_us": 0,
        "hours": 2,
        "data": str(citylearn_cache),
    }
    profile = Profile.from_options(options, clock)
    before = await profile.read()
    clock.at_us = 2_000_000
    last = await profile.read()
    assert (before.at_us, last.at_us) == (YEAR_START_US, YEAR_START_US + 2 * HOUR_US)
    home = load_home(citylearn_cache, 1)
    assert last.import_milli_wh - last.export_milli_wh == sum(home_source(home)[:2])
    clock.at_us = 10**15
    assert await profile.read() == last


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 8760 - 24))
def test_a_metered_day_of_a_street_closes_exactly(citylearn_cache: Path, hour: int) -> None:
    """Three homes, a battery and an appliance against the feeder, sliced into quarter hours."""
    homes = {number: load_home(citylearn_cache, number) for number in (1, 2, 3)}
    members = [home_source(home) for home in homes.values()]
    members += [battery_source(members), load_source(homes[2], 2500)]

    def day(sources: list[Source]) -> list[Interval]:
        meter, slicer = NetMeter(sources), Slicer(15 * MINUTE_US)
        start = YEAR_START_US + hour * HOUR_US
        return [
            interval
            for minute in range(0, 24 * 60 + 1, 5)
            for interval in slicer.feed(
                Reading(start + minute * MINUTE_US, *meter.at_minute(start + minute * MINUTE_US))
            )
        ]

    feeder, *each = (day(sources) for sources in [members, *([member] for member in members)])
    assert len(feeder) == 96
    for quarter, total in enumerate(feeder):
        assert total.quality == "measured"
        assert total.import_milli_wh - total.export_milli_wh == sum(
            intervals[quarter].import_milli_wh - intervals[quarter].export_milli_wh
            for intervals in each
        )
