from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers.driver import Reading, ReadingRefused
from ioe_node.drivers.slicer import INTERVALS_PER_READING_MAX, Interval, Slicer

INTERVAL_US = 900

# (time step, import step, export step) between samples, from dense to sparse polling.
STEPS = st.lists(
    st.tuples(st.integers(1, 4000), st.integers(0, 10**7), st.integers(0, 10**7)),
    min_size=1,
    max_size=40,
)


def readings_of(steps: list[tuple[int, int, int]], start_us: int = 0) -> list[Reading]:
    at_us, imported, exported = start_us, 17, 5
    readings = [Reading(at_us, imported, exported)]
    for step_us, more_import, more_export in steps:
        at_us, imported, exported = at_us + step_us, imported + more_import, exported + more_export
        readings.append(Reading(at_us, imported, exported))
    return readings


def feed_all(slicer: Slicer, readings: list[Reading]) -> list[Interval]:
    return [interval for reading in readings for interval in slicer.feed(reading)]


@given(STEPS, st.integers(0, 5000))
def test_intervals_adjoin_telescope_and_never_run_backwards(
    steps: list[tuple[int, int, int]], start_us: int
) -> None:
    readings = readings_of(steps, start_us)
    intervals = feed_all(Slicer(INTERVAL_US), readings)
    for interval in intervals:
        assert interval.start_us % INTERVAL_US == 0
        assert interval.end_us == interval.start_us + INTERVAL_US
        assert interval.import_milli_wh >= 0
        assert interval.export_milli_wh >= 0
        assert readings[0].at_us <= interval.start_us
        assert interval.end_us <= readings[-1].at_us
    for one, next_one in pairwise(intervals):
        assert next_one.start_us == one.end_us
        assert (
            next_one.import_register_milli_wh
            == one.import_register_milli_wh + next_one.import_milli_wh
        )
        assert (
            next_one.export_register_milli_wh
            == one.export_register_milli_wh + next_one.export_milli_wh
        )
    first_us = -(-readings[0].at_us // INTERVAL_US)
    assert len(intervals) == max(0, readings[-1].at_us // INTERVAL_US - first_us)


@given(STEPS)
def test_registers_at_sampled_boundaries_are_the_samples(steps: list[tuple[int, int, int]]) -> None:
    readings = readings_of([(step * 300, *rest) for step, *rest in steps])
    sampled = {reading.at_us: reading for reading in readings}
    for interval in feed_all(Slicer(INTERVAL_US), readings):
        if interval.end_us in sampled:
            reading = sampled[interval.end_us]
            assert interval.import_register_milli_wh == reading.import_milli_wh
            assert interval.export_register_milli_wh == reading.export_milli_wh


@given(STEPS, st.data())
def test_a_crash_anywhere_loses_no_energy(
    steps: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    readings = readings_of(steps)
    crash = data.draw(st.integers(1, len(readings)))
    before = feed_all(Slicer(INTERVAL_US), readings[:crash])
    resume = (0, readings[0].import_milli_wh, readings[0].export_milli_wh)
    if before:
        last = before[-1]
        resume = (last.end_us, last.import_register_milli_wh, last.export_register_milli_wh)
    after = feed_all(Slicer(INTERVAL_US, resume), readings[crash:])
    assert all(two.start_us == one.end_us for one, two in pairwise(before + after))
    if after:
        total = sum(interval.import_milli_wh for interval in before + after)
        assert total == after[-1].import_register_milli_wh - readings[0].import_milli_wh
        assert after[0].start_us == resume[0]


@given(STEPS)
def test_quality_says_whether_the_ends_are_known(steps: list[tuple[int, int, int]]) -> None:
    readings = readings_of(steps)
    for interval in feed_all(Slicer(INTERVAL_US), readings):
        silent = any(
            two.at_us - one.at_us > INTERVAL_US
            and any(one.at_us < end < two.at_us for end in (interval.start_us, interval.end_us))
            for one, two in pairwise(readings)
        )
        assert interval.quality == ("estimated" if silent else "measured")


def test_a_gap_is_spread_evenly() -> None:
    intervals = feed_all(Slicer(INTERVAL_US), [Reading(0, 0, 0), Reading(3600, 402, 8)])
    assert [interval.import_milli_wh for interval in intervals] == [100, 101, 100, 101]
    assert [interval.export_milli_wh for interval in intervals] == [2, 2, 2, 2]
    assert {interval.quality for interval in intervals} == {"estimated"}


def test_after_a_crash_the_silence_is_estimated() -> None:
    slicer = Slicer(INTERVAL_US, (900, 100, 0))
    intervals = feed_all(slicer, [Reading(3000, 310, 0), Reading(3700, 400, 0)])
    assert [interval.quality for interval in intervals] == ["estimated"] * 3
    assert [interval.start_us for interval in intervals] == [900, 1800, 2700]
    assert slicer.feed(Reading(4500, 500, 0))[0].quality == "measured"


def test_duplicates_and_older_samples_are_ignored() -> None:
    slicer = Slicer(INTERVAL_US)
    slicer.feed(Reading(100, 50, 0))
    assert slicer.feed(Reading(100, 50, 0)) == []
    assert slicer.feed(Reading(50, 10, 0)) == []


@pytest.mark.parametrize(
    ("reading", "word"),
    [
        (Reading(2000, 49, 9), "import"),
        (Reading(2000, 51, 6), "export"),
        (Reading((INTERVALS_PER_READING_MAX + 2) * INTERVAL_US, 60, 9), "clock"),
    ],
)
def test_what_cannot_be_the_same_meter_is_refused_and_changes_nothing(
    reading: Reading, word: str
) -> None:
    slicer = Slicer(INTERVAL_US)
    slicer.feed(Reading(900, 50, 7))
    with pytest.raises(ReadingRefused, match=f"{word}.*acknowledge"):
        slicer.feed(reading)
    (interval,) = slicer.feed(Reading(1800, 60, 9))
    assert (interval.import_milli_wh, interval.export_milli_wh) == (10, 2)
