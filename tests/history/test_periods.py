"""Periods: they tile time, and are as long as the people of a place say."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.history.periods import (
    HOUR_US,
    STEPS,
    Calendar,
    Step,
    instant_us,
    machine_zone,
    moment,
    zone_of,
)

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo", "Asia/Beirut", "UTC")


def at(text: str, zone: ZoneInfo = BERLIN) -> int:
    return instant_us(datetime.fromisoformat(text).replace(tzinfo=zone))


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25)]
)
def test_days_on_which_clocks_change_are_shorter_or_longer(day: str, hours: int) -> None:
    start_us, end_us = Calendar(BERLIN).period(at(f"{day}T12:00"), "day")
    assert start_us == at(f"{day}T00:00")
    assert end_us - start_us == hours * HOUR_US


def test_a_day_begins_after_a_midnight_that_is_left_out() -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    start_us, end_us = Calendar(zone).period(at("2018-11-04T12:00", zone), "day")
    assert moment(start_us, zone).hour == 1
    assert end_us - start_us == 23 * HOUR_US


@pytest.mark.parametrize(
    ("step", "begin", "end"),
    [
        ("hour", "2026-02-11T14:00", "2026-02-11T15:00"),
        ("day", "2026-02-11T00:00", "2026-02-12T00:00"),
        ("week", "2026-02-09T00:00", "2026-02-16T00:00"),
        ("month", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("year", "2026-01-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_periods_as_a_calendar_has_them(step: Step, begin: str, end: str) -> None:
    assert Calendar(BERLIN).period(at("2026-02-11T14:37"), step) == (at(begin), at(end))


@given(
    st.sampled_from(ZONES),
    st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=20),
    st.sampled_from(STEPS),
)
def test_periods_tile_time(name: str, seconds: list[int], step: Step) -> None:
    calendar = Calendar(ZoneInfo(name))
    for second in seconds:
        instant = second * 1_000_000
        start_us, end_us = calendar.period(instant, step)
        assert start_us <= instant < end_us
        assert calendar.period(start_us, step) == (start_us, end_us)
        assert calendar.period(end_us - 1, step) == (start_us, end_us)
        assert calendar.period(end_us, step)[0] == end_us
        assert Calendar(calendar.zone).period(instant, step) == (start_us, end_us)


def test_the_machine_has_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert machine_zone().key == "Asia/Tokyo"
    assert zone_of("").key == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "../../etc/passwd")
    assert machine_zone().key != ""
    with pytest.raises(KeyError):
        zone_of("Nowhere/Land")
