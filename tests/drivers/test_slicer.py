from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers.driver import Reading, ReadingRefused
from ioe_node.drivers.slicer import INTERVALS_PER_READING_MAX, Change, Interval, Slicer

INTERVAL_US = 900
CARRIED_MAX = 1_000
PLENTY = 10**12

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
    intervals = feed_all(Slicer(INTERVAL_US, None, PLENTY), readings)
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
    for interval in feed_all(Slicer(INTERVAL_US, None, PLENTY), readings):
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
    before = feed_all(Slicer(INTERVAL_US, None, PLENTY), readings[:crash])
    resume = (0, readings[0].import_milli_wh, readings[0].export_milli_wh)
    if before:
        last = before[-1]
        resume = (last.end_us, last.import_register_milli_wh, last.export_register_milli_wh)
    after = feed_all(Slicer(INTERVAL_US, resume, PLENTY), readings[crash:])
    assert all(two.start_us == one.end_us for one, two in pairwise(before + after))
    if after:
        total = sum(interval.import_milli_wh for interval in before + after)
        assert total == after[-1].import_register_milli_wh - readings[0].import_milli_wh
        assert after[0].start_us == resume[0]


@given(STEPS)
def test_quality_says_whether_the_ends_are_known(steps: list[tuple[int, int, int]]) -> None:
    readings = readings_of(steps)
    for interval in feed_all(Slicer(INTERVAL_US, None, PLENTY), readings):
        silent = any(
            two.at_us - one.at_us > INTERVAL_US
            and any(one.at_us < end < two.at_us for end in (interval.start_us, interval.end_us))
            for one, two in pairwise(readings)
        )
        assert interval.quality == ("estimated" if silent else "measured")


def test_a_gap_is_spread_evenly() -> None:
    intervals = feed_all(
        Slicer(INTERVAL_US, None, PLENTY), [Reading(0, 0, 0), Reading(3600, 402, 8)]
    )
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


# -- counts that break ----------------------------------------------------------------------------

# A meter that is sampled every 300, loses its count now and then, and shows odd values once.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["grow", "grow", "grow", "reset", "odd", "silent"]), st.integers(0, 300)
    ),
    max_size=60,
)


@given(EVENTS)
def test_over_resets_silences_and_odd_samples_nothing_is_lost_or_counted_twice(
    events: list[tuple[str, int]],
) -> None:
    slicer = Slicer(INTERVAL_US, None, CARRIED_MAX)
    at_us, register, expected = 0, 50_000, 0
    intervals = feed_all(slicer, [Reading(0, register, 0)])
    resets = 0
    for what, grown in [*events, *[("grow", 1)] * 6]:
        at_us += 300 if what != "silent" else 300 * 7
        if what == "odd":
            intervals += suppress_refusal(slicer, Reading(at_us, 10**9, 0))
            continue
        if what == "reset" and register > 3_000:
            register, resets = 0, resets + 1
            intervals += slicer.feed(Reading(at_us, 0, 0))
            at_us += 300
        register += grown
        expected += grown
        intervals += slicer.feed(Reading(at_us, register, 0))
    while at_us % INTERVAL_US:
        at_us += 300
        intervals += slicer.feed(Reading(at_us, register, 0))
    assert sum(each.import_milli_wh for each in intervals) == expected
    assert all(each.import_milli_wh >= 0 for each in intervals)
    for one, after in pairwise(intervals):
        assert after.start_us == one.end_us
        grows = after.import_register_milli_wh == one.import_register_milli_wh + (
            after.import_milli_wh
        )
        assert grows or after.change is not None
        if after.change is not None:
            assert one.quality == "estimated"
            assert after.change == Change("reset")
            assert after.import_register_milli_wh >= after.import_milli_wh
    assert sum(each.change is not None for each in intervals) <= resets


@given(EVENTS, st.data())
def test_a_crash_at_a_reset_makes_no_energy_and_no_gap(
    events: list[tuple[str, int]], data: st.DataObject
) -> None:
    crashes = data.draw(st.sets(st.integers(0, 60), max_size=4))
    slicer, written = Slicer(INTERVAL_US, None, CARRIED_MAX), list[Interval]()
    at_us, register, flowed = 0, 50_000, 0
    for number, (what, grown) in enumerate([*events, *[("grow", 1)] * 9]):
        if number in crashes and written:
            last = written[-1]
            resume = last.end_us, last.import_register_milli_wh, last.export_register_milli_wh
            slicer = Slicer(INTERVAL_US, resume, CARRIED_MAX)
        at_us += 300
        register = 0 if what == "reset" and register > 3_000 else register
        register, flowed = register + grown, flowed + grown
        written += slicer.feed(Reading(at_us, register, 0))
    assert all(after.start_us == one.end_us for one, after in pairwise(written))
    assert sum(each.import_milli_wh for each in written) <= flowed
    for one, after in pairwise(written):
        if after.change is None:
            counted = one.import_register_milli_wh + after.import_milli_wh
            assert after.import_register_milli_wh == counted
    assert written[-1].end_us > at_us - 4 * INTERVAL_US


def suppress_refusal(slicer: Slicer, reading: Reading) -> list[Interval]:
    try:
        return slicer.feed(reading)
    except ReadingRefused:
        return []


def slicer_at(register: int, **more: int) -> Slicer:
    """One that has counted up to 900, with this import register."""
    return Slicer(INTERVAL_US, (900, register, 0), CARRIED_MAX, **more)


def test_a_reset_finishes_its_interval_estimated_and_begins_anew() -> None:
    slicer = slicer_at(50_000)
    intervals = feed_all(
        slicer,
        [
            Reading(1200, 50_030, 0),
            Reading(1500, 4, 0),  # between these, nobody counted
            Reading(1800, 10, 0),
            Reading(2700, 25, 0),
        ],
    )
    first, second = intervals
    assert (first.import_milli_wh, first.import_register_milli_wh) == (36, 50_036)
    assert (first.quality, first.change) == ("estimated", None)
    assert (second.import_milli_wh, second.import_register_milli_wh) == (15, 25)
    assert (second.quality, second.change) == ("measured", Change("reset"))


def test_one_zero_among_right_samples_is_no_reset() -> None:
    for register in (50_000, 500):
        slicer = slicer_at(register)
        intervals = feed_all(
            slicer, [Reading(1200, 0, 0), Reading(1500, register + 5, 0), Reading(1800, 510, 0)]
        )[:1]
        assert [each.change for each in intervals] in ([], [None])


def test_a_meter_replaced_by_a_larger_count_waits_for_its_owner() -> None:
    slicer = slicer_at(50_000)
    for minute in range(1, 400):
        with pytest.raises(ReadingRefused, match=r"went from 50000 to 90000.*ioe meter changed"):
            slicer.feed(Reading(900 + 300 * minute, 90_000 + minute - 1, 0))
    slicer.begin_anew(Change("replaced", "77-1"))
    intervals = slicer.feed(Reading(900 + 300 * 400, 90_399, 0))
    assert sum(each.import_milli_wh for each in intervals) == 398  # up to the last boundary
    changed = [each for each in intervals if each.change]
    assert [each.change for each in changed] == [Change("replaced", "77-1")]
    assert intervals.index(changed[0]) == 1
    assert {each.quality for each in intervals} == {"estimated"}
    assert intervals[-1].end_us == 900 + 300 * 399


def test_a_smaller_count_that_outgrows_the_old_one_is_not_taken_for_it() -> None:
    slicer = slicer_at(50_000)
    for step in range(1, 60):
        with pytest.raises(ReadingRefused, match="ioe meter changed"):
            slicer.feed(Reading(900 + 300 * step, 45_000 + 200 * step, 0))


def test_one_jump_is_forgotten_when_the_old_count_goes_on() -> None:
    slicer = slicer_at(50_000)
    with pytest.raises(ReadingRefused):
        slicer.feed(Reading(1200, 90_000, 0))
    (interval,) = slicer.feed(Reading(1800, 50_010, 0))
    assert (interval.import_milli_wh, interval.change) == (10, None)


def test_an_owners_word_without_a_break_begins_with_the_next_sample() -> None:
    slicer = slicer_at(50_000)
    slicer.feed(Reading(1200, 50_030, 0))
    slicer.begin_anew(Change("replaced"))
    intervals = feed_all(slicer, [Reading(1500, 50_100, 0), Reading(2700, 50_100, 0)])
    assert [each.import_milli_wh for each in intervals] == [30, 0]
    assert [each.change for each in intervals] == [None, Change("replaced")]


def test_a_register_that_turns_over_goes_on() -> None:
    over = 2**20
    slicer = slicer_at(3 * over - 10, turns_over_milli_wh=over)
    (first,) = feed_all(slicer, [Reading(1200, over - 4, 0), Reading(1800, 6, 0)])
    assert (first.import_milli_wh, first.change) == (16, None)
    assert first.import_register_milli_wh == 3 * over + 6
    again = Slicer(INTERVAL_US, (1800, 3 * over + 6, 0), CARRIED_MAX, over)
    assert again.feed(Reading(2700, 9, 0))[0].import_register_milli_wh == 3 * over + 9


def test_a_small_step_back_of_the_clock_is_drift_and_a_large_one_is_said() -> None:
    slicer = slicer_at(50_000)
    slicer.feed(Reading(1700, 50_020, 0))
    assert slicer.feed(Reading(1650, 50_030, 0)) == []
    with pytest.raises(ReadingRefused, match=r"clock ran back behind 1970-01-01 00:00:00 UTC"):
        slicer.feed(Reading(500, 50_200, 0))
    (interval,) = slicer.feed(Reading(1800, 50_500, 0))
    assert (interval.import_milli_wh, interval.quality) == (500, "estimated")


def test_what_no_interval_can_hold_after_the_clock_ran_back_is_not_counted() -> None:
    slicer = slicer_at(50_000)
    with pytest.raises(ReadingRefused):
        slicer.feed(Reading(-5_000, 50_010, 0))
    intervals = feed_all(
        slicer, [Reading(1200, 59_000, 0), Reading(1500, 59_010, 0), Reading(2700, 59_050, 0)]
    )
    assert [each.import_milli_wh for each in intervals] == [20, 30]
    assert [each.change for each in intervals] == [None, Change("clock")]
    assert intervals[-1].import_register_milli_wh == 59_050


YEAR_US = (INTERVALS_PER_READING_MAX + 2) * INTERVAL_US


def test_a_clock_a_year_ahead_is_believed_at_the_second_sample() -> None:
    slicer = slicer_at(50_000)
    readings = [Reading(YEAR_US + at, 50_000 + at, 0) for at in (0, 900, 1800)]
    assert feed_all(slicer, readings[:1]) == []
    intervals = feed_all(slicer, readings[1:])
    assert [each.change for each in intervals] == [Change("clock"), None]
    assert [each.import_milli_wh for each in intervals] == [900, 900]


def test_a_clock_that_comes_back_before_anything_was_written_costs_nothing() -> None:
    slicer = slicer_at(50_000)
    assert feed_all(slicer, [Reading(YEAR_US + 1, 50_001, 0), Reading(1800, 50_009, 0)]) != []
    later = [Reading(YEAR_US + 2_001, 50_010, 0), Reading(YEAR_US + 2_002, 50_010, 0)]
    intervals = feed_all(slicer, [*later, *[Reading(at, 50_020, 0) for at in (2000, 2700, 3600)]])
    assert [each.start_us for each in intervals] == [2700]


@given(
    st.lists(st.tuples(st.integers(-4_000, 40_000_000), st.integers(0, 10**6)), max_size=40),
    st.lists(st.integers(0, 40), max_size=3),
)
def test_whatever_a_meter_shows_the_intervals_keep_the_chains_rules(
    shown: list[tuple[int, int]], words: list[int]
) -> None:
    slicer = Slicer(INTERVAL_US, None, CARRIED_MAX, 2**16)
    at_us, intervals = 10**6, []
    for number, (step_us, register) in enumerate(shown):
        at_us += step_us
        if number in words:
            slicer.begin_anew(Change("replaced"))
        intervals += suppress_refusal(slicer, Reading(at_us, register, register // 3))
    for one, after in pairwise(intervals):
        clock = after.change is not None and after.change.reason == "clock"
        assert after.start_us == one.end_us or (clock and after.start_us > one.end_us)
        for side in ("import", "export"):
            energy = getattr(after, f"{side}_milli_wh")
            now = getattr(after, f"{side}_register_milli_wh")
            assert energy >= 0
            assert now >= energy
            if after.change is None:
                assert now == getattr(one, f"{side}_register_milli_wh") + energy
