"""The history file: sums that are always those of its quarter hours, read once from each chain."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.errors import StoreError
from ioe_node.history.periods import STEPS, Calendar, Step, instant_us
from ioe_node.history.point import QUARTER_US, SECOND_US, Point
from ioe_node.store.history import History, Sample

BERLIN = ZoneInfo("Europe/Berlin")
ROOF, CELLAR, CHAIN = b"r" * 39, b"c" * 39, "uhC0k-street"
EVER = 4_000_000_000 * SECOND_US
MANY = 10**6
MIDNIGHT = instant_us(datetime(2026, 3, 29, tzinfo=BERLIN))


def quarters(count: int, from_us: int = MIDNIGHT, energy: int = 10) -> list[Point]:
    starts = range(from_us, from_us + count * QUARTER_US, QUARTER_US)
    return [Point(at, at + QUARTER_US, energy, 1, False) for at in starts]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "history.sqlite", BERLIN)
    yield made
    made.close()


def found(history: History, step: Step, device: bytes = ROOF, **more: Any) -> list[Point]:
    asked = {"source": None, "from_us": 0, "to_us": EVER, "limit": MANY, **more}
    return history.points(device, step=step, **asked)


def test_days_of_23_and_24_hours_are_summed_whole(history: History) -> None:
    history.add(ROOF, CHAIN, 0, 5, quarters(2 * 96))
    one, two, three = found(history, "day")
    assert (one.start_us, one.end_us - one.start_us) == (MIDNIGHT, 23 * 4 * QUARTER_US)
    assert [each.import_milli_wh for each in (one, two, three)] == [920, 960, 40]
    assert len(found(history, "hour")) == 48
    assert [each.import_milli_wh for each in found(history, "week")] == [920, 1_000]
    assert [each.import_milli_wh for each in found(history, "month")] == [1_920]
    assert [each.import_milli_wh for each in found(history, "year")] == [1_920]


READINGS = st.lists(
    st.tuples(
        st.integers(0, 3),  # intervals left out before
        st.integers(0, 10**6),
        st.integers(0, 10**6),
        st.booleans(),
    ),
    max_size=60,
)


@given(READINGS, st.sampled_from([300, 900, 3_600]), st.sampled_from(STEPS), st.data())
def test_every_sum_is_the_sum_of_what_was_added(
    readings: list[tuple[int, int, int, bool]], length_s: int, step: Step, data: st.DataObject
) -> None:
    history, calendar = History(Path(":memory:"), BERLIN), Calendar(BERLIN)
    at_us, points = MIDNIGHT - 86_400 * SECOND_US, []
    for left_out, imported, exported, estimated in readings:
        at_us += left_out * length_s * SECOND_US
        points.append(Point(at_us, at_us + length_s * SECOND_US, imported, exported, estimated))
        at_us = points[-1].end_us
    cut = data.draw(st.integers(0, len(points)))
    assert history.add(ROOF, CHAIN, 0, 7, points[:cut])
    assert history.add(ROOF, CHAIN, 7, 9, points[cut:])
    assert not history.add(ROOF, CHAIN, 7, 9, points[cut:]), "nothing is counted twice"
    expected: dict[int, list[Point]] = {}
    for each in points:
        expected.setdefault(calendar.period(each.start_us, step)[0], []).append(each)
    shown = found(history, step)
    assert [each.start_us for each in shown] == sorted(expected)
    for each in shown:
        parts = expected[each.start_us]
        assert each.import_milli_wh == sum(part.import_milli_wh for part in parts)
        assert each.export_milli_wh == sum(part.export_milli_wh for part in parts)
        assert each.estimated == any(part.estimated for part in parts)
    history.close()


def test_a_span_begins_with_a_whole_period_and_ends_before_its_end(history: History) -> None:
    history.add(ROOF, CHAIN, 0, 5, quarters(192))
    noon, next_noon = MIDNIGHT + 48 * QUARTER_US, MIDNIGHT + 144 * QUARTER_US
    days = found(history, "day", from_us=noon, to_us=next_noon)
    assert [each.import_milli_wh for each in days] == [920, 960]
    assert len(found(history, "15m", from_us=noon, to_us=next_noon)) == 96
    assert len(found(history, "15m", limit=7)) == 7
    assert found(history, "day", device=CELLAR) == []


def test_what_was_imported_stands_apart_and_is_replaced(history: History) -> None:
    history.add(ROOF, CHAIN, 0, 5, quarters(4))
    history.put(ROOF, "grid.csv", quarters(8, energy=3))
    history.put(ROOF, "grid.csv", quarters(2, energy=5))
    assert [each.import_milli_wh for each in found(history, "15m")] == [10] * 4
    imported = found(history, "15m", source="grid.csv")
    assert [each.import_milli_wh for each in imported] == [5, 5, *[3] * 6]
    assert [each.import_milli_wh for each in found(history, "day", source="grid.csv")] == [28]
    assert [(each.source, each.chain) for each in history.series()] == [
        (CHAIN, True),
        ("grid.csv", False),
    ]
    history.forget_chains()
    assert found(history, "15m") == []
    assert found(history, "day") == []
    assert history.next_seq(ROOF, CHAIN) == 0
    assert len(found(history, "15m", source="grid.csv")) == 8


def test_an_import_that_fails_leaves_nothing(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.put(ROOF, "grid.csv", quarters(3))
    before = found(history, "15m", source="grid.csv"), found(history, "day", source="grid.csv")

    def breaks(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(history, "_sum_up", breaks)
    with pytest.raises(StoreError):
        history.put(ROOF, "grid.csv", quarters(9, energy=1))
    after = found(history, "15m", source="grid.csv"), found(history, "day", source="grid.csv")
    assert after == before


def test_another_time_zone_has_other_days(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    first = History(path, BERLIN)
    first.add(ROOF, CHAIN, 0, 5, quarters(92))
    assert len(found(first, "day")) == 1
    first.close()
    again = History(path, ZoneInfo("America/New_York"))
    assert [each.import_milli_wh for each in found(again, "day")] == [200, 720]
    assert again.next_seq(ROOF, CHAIN) == 5
    again.close()


def test_the_ring_of_samples_is_bounded_by_number_and_by_age(history: History) -> None:
    samples = [Sample(at, at, 0, None) for at in range(100)]
    history.keep_samples(samples, 0, 40)
    assert [each.at_us for each in history.samples(MANY)] == list(range(99, 59, -1))
    history.keep_samples([Sample(100, 5, 6, -7)], 90, 40)
    assert [each.at_us for each in history.samples(MANY)] == list(range(100, 89, -1))
    assert history.samples(1) == [Sample(100, 5, 6, -7)]
    history.keep_samples([], 1_000, 40)
    assert history.samples(MANY) == []


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    path.write_bytes(b"no database, but long enough to look like one" * 100)
    with pytest.raises(StoreError, match="cannot open"):
        History(path, BERLIN)


def test_a_device_that_took_its_next_key_is_one_meter(history: History) -> None:
    """Also in the very quarter hour in which it did, and over several keys."""
    half = MIDNIGHT + 48 * QUARTER_US
    history.add(ROOF, CHAIN, 0, 5, quarters(49))
    history.add(CELLAR, CHAIN, 0, 5, quarters(40, half), before=ROOF)
    newest = b"n" * 39
    history.add(newest, CHAIN, 0, 5, quarters(4, half + 40 * QUARTER_US), before=CELLAR)
    history.put(ROOF, "bill", quarters(3))
    assert history.keys(newest) == [newest, CELLAR, ROOF]
    by_quarter = found(history, "15m", newest)
    assert [each.start_us for each in by_quarter] == [each.start_us for each in quarters(92)]
    assert by_quarter[48] == Point(half, half + QUARTER_US, 20, 2, False)
    for step in STEPS:
        assert sum(each.import_milli_wh for each in found(history, step, newest)) == 930
    assert len(found(history, "15m", newest, limit=50)) == 50
    assert sum(each.import_milli_wh for each in found(history, "day", ROOF)) == 490
    assert found(history, "day", newest, source="bill") == found(
        history, "day", ROOF, source="bill"
    )
    history.forget_chains()
    assert history.keys(newest) == [newest, CELLAR, ROOF]


def test_keys_that_follow_one_another_in_a_ring_end(history: History) -> None:
    history.add(ROOF, CHAIN, 0, 5, quarters(1), before=CELLAR)
    history.add(CELLAR, CHAIN, 0, 5, quarters(1), before=ROOF)
    assert history.keys(ROOF) == [ROOF, CELLAR]
