"""Readings: whole intervals, registers that grow by what was counted, nothing left unsaid."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.errors import Malformed
from ioe_node.hdi import Invalid, Timestamp, Valid
from ioe_node.model.codec import encode
from zomes.metering.integrity import IntervalReading, MeterChange, zome

LENGTH_US = 15 * 60 * 1_000_000
BEGIN_US = 1_700_000_100_000_000 // LENGTH_US * LENGTH_US
FIRST = IntervalReading(
    Timestamp(BEGIN_US),
    Timestamp(BEGIN_US + LENGTH_US),
    import_milli_wh=100,
    export_milli_wh=20,
    import_register_milli_wh=5_100,
    export_register_milli_wh=20,
    quality="measured",
    method="device",
)


def after(before: IntervalReading, imported: int = 7, exported: int = 0) -> IntervalReading:
    """The right next reading."""
    return replace(
        before,
        start=before.end,
        end=Timestamp(before.end + LENGTH_US),
        import_milli_wh=imported,
        export_milli_wh=exported,
        import_register_milli_wh=before.import_register_milli_wh + imported,
        export_register_milli_wh=before.export_register_milli_wh + exported,
    )


SECOND = after(FIRST)


@pytest.fixture
def meter(neighbourhood: Any) -> Any:
    made = neighbourhood.member(2)
    neighbourhood.create(made, FIRST)
    return made


def test_readings_that_follow_are_valid(neighbourhood: Any, meter: Any) -> None:
    reading = FIRST
    for imported in (0, 5, 1_000_000):
        reading = after(reading, imported, 3)
        neighbourhood.create(meter, reading)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"import_register_milli_wh": 5_106}, "run backwards"),
        ({"export_register_milli_wh": 19}, "run backwards"),
        ({"import_register_milli_wh": 5_108}, "jump"),
        ({"start": FIRST.start, "end": FIRST.end}, "overlaps"),
        ({"start": SECOND.end, "end": SECOND.end + LENGTH_US}, "gap"),
        ({"end": SECOND.end - 1}, "whole interval"),
        ({"end": SECOND.end + LENGTH_US}, "whole interval"),
        ({"start": SECOND.start + 1, "end": SECOND.end + 1}, "whole interval"),
        ({"import_milli_wh": -1, "import_register_milli_wh": 5_099}, "never negative"),
        ({"export_milli_wh": -1, "export_register_milli_wh": 19}, "never negative"),
        ({"import_milli_wh": 25_000_001}, "largest connection"),
        ({"export_milli_wh": 25_000_001}, "largest connection"),
    ],
)
def test_readings_that_do_not(neighbourhood: Any, meter: Any, changed: Any, why: str) -> None:
    verdict = neighbourhood.verdict(meter, replace(SECOND, **changed))
    assert isinstance(verdict, Invalid)
    assert why in verdict.reason


def test_the_rating_itself_may_flow(neighbourhood: Any, meter: Any) -> None:
    assert neighbourhood.verdict(meter, after(FIRST, 25_000_000)) is Valid


def test_a_first_reading_brings_its_registers(neighbourhood: Any) -> None:
    member = neighbourhood.member(3)
    assert neighbourhood.verdict(member, FIRST) is Valid
    short = replace(FIRST, import_register_milli_wh=99)
    assert isinstance(neighbourhood.verdict(member, short), Invalid)


ANEW = replace(
    SECOND, import_register_milli_wh=7, export_register_milli_wh=0, change=MeterChange("reset", "")
)


@pytest.mark.parametrize("reason", ["reset", "replaced", "clock", "unshared"])
def test_a_count_that_begins_anew_says_why(neighbourhood: Any, meter: Any, reason: Any) -> None:
    neighbourhood.create(meter, replace(ANEW, change=MeterChange(reason, "77-1")))
    neighbourhood.create(meter, replace(after(ANEW), change=None))
    jump = replace(after(after(ANEW)), change=None, import_register_milli_wh=900)
    assert isinstance(neighbourhood.verdict(meter, jump), Invalid)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"import_register_milli_wh": 6}, "smaller than the energy"),
        ({"import_milli_wh": 25_000_001, "import_register_milli_wh": 10**9}, "largest connection"),
        ({"start": FIRST.start, "end": FIRST.end}, "overlaps"),
        ({"start": SECOND.end, "end": SECOND.end + LENGTH_US}, "gap"),
        ({"change": MeterChange("reset", "x" * 65)}, "too many letters"),
    ],
)
def test_a_change_brings_no_energy_and_hides_no_time(
    neighbourhood: Any, meter: Any, changed: Any, why: str
) -> None:
    verdict = neighbourhood.verdict(meter, replace(ANEW, **changed))
    assert isinstance(verdict, Invalid)
    assert why in verdict.reason


@pytest.mark.parametrize("reason", ["clock", "unshared"])
def test_only_a_clock_or_its_owner_leaves_a_gap(
    neighbourhood: Any, meter: Any, reason: Any
) -> None:
    later = {"start": SECOND.end, "end": Timestamp(SECOND.end + LENGTH_US)}
    change = MeterChange(reason, "")
    assert neighbourhood.verdict(meter, replace(ANEW, **later, change=change)) is Valid


def test_nothing_changes_before_the_first_reading(neighbourhood: Any) -> None:
    verdict = neighbourhood.verdict(neighbourhood.member(3), ANEW)
    assert isinstance(verdict, Invalid)
    assert "before its first" in verdict.reason


def test_meters_do_not_follow_each_other(neighbourhood: Any, meter: Any) -> None:
    other = neighbourhood.member(3)
    assert neighbourhood.verdict(other, FIRST) is Valid
    assert neighbourhood.verdict(other, replace(FIRST, import_register_milli_wh=100)) is Valid


def test_readings_are_neither_amended_nor_removed(neighbourhood: Any, meter: Any) -> None:
    from ioe_node.model.action import Delete, Update
    from ioe_node.model.hashes import entry_hash

    reading = meter.chain[-1]
    head = meter.head
    entry = encode(SECOND)
    meter.draft(
        Update,
        entry,
        original_action=reading.hash,
        original_entry=reading.action.entry_hash,
        entry_type="metering.IntervalReading",
        entry_hash=entry_hash(entry),
    )
    update = meter.seal()[0]
    meter.head = head
    meter.draft(Delete, deletes_action=reading.hash, deletes_entry=reading.action.entry_hash)
    for record in (update, meter.seal()[0]):
        verdict = neighbourhood.world.judge(record)
        assert isinstance(verdict, Invalid)
        assert "cannot be" in verdict.reason


@given(st.data())
def test_any_bytes_are_a_reading_or_malformed(data: Any) -> None:
    declared = zome.entry_types["metering.IntervalReading"]
    whole = encode(SECOND)
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    junk = data.draw(st.binary(max_size=80))
    for entry in (bytes(flipped), whole[:at], whole + whole, whole[:at] + junk, junk):
        try:
            reading = declared.decode(entry)
        except Malformed:
            continue
        assert encode(reading) == entry
