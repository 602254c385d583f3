"""A new zome is as short to write as this, and does what it says."""

from typing import Any

import pytest

from ioe_node.core.sys_validate import Rules
from ioe_node.errors import CallError
from ioe_node.hdi import (
    CreateOp,
    IntegrityZome,
    Invalid,
    Timestamp,
    Valid,
    ValidationHost,
    Verdict,
)
from ioe_node.hdk import ActionHash, CoordinatorZome, DnaDef, Host, Modifiers, Zome, arguments

# -- integrity.py: deterministic, synchronous -------------------------------------------------

integrity = IntegrityZome("meter")


@integrity.entry_type
class MeterReading:
    """Registers of one meter at one instant; the author is the meter."""

    measured_at: Timestamp
    import_wh: int
    export_wh: int


@integrity.validate_create
def import_never_runs_backwards(
    reading: MeterReading, op: CreateOp, host: ValidationHost
) -> Verdict:
    previous = host.must_get_previous(op, MeterReading)
    if previous is not None and reading.import_wh < previous.entry.import_wh:
        return Invalid("import register ran backwards")
    return Valid


# -- coordinator.py ---------------------------------------------------------------------------

zome = CoordinatorZome(integrity)


@zome.function
async def record(host: Host, reading: MeterReading) -> ActionHash:
    return await host.create(reading)


# -- and a DNA of it --------------------------------------------------------------------------

DNA = DnaDef("meters", (Zome(integrity, zome),), properties=None)


def reading(import_wh: int) -> Any:
    return MeterReading(Timestamp(1), import_wh, 0)  # type: ignore[call-arg]


@pytest.fixture
def world(new_world: Any) -> Any:
    return new_world(Rules(DNA))


@pytest.fixture
def meter(world: Any, new_author: Any) -> Any:
    author = new_author(1, DNA.hash)
    world.keep(*author.genesis())
    return author


def test_its_rule_is_run(world: Any, meter: Any) -> None:
    world.keep(meter.create(reading(5), "meter.MeterReading"))
    world.keep(meter.create(reading(5), "meter.MeterReading"))
    verdict = world.judge(meter.create(reading(4), "meter.MeterReading"))
    assert verdict == Invalid("import register ran backwards")


def test_its_rule_is_run_within_a_bundle(world: Any, meter: Any) -> None:
    for wh in (5, 6, 4):
        meter.stage_entry(reading(wh), "meter.MeterReading")
    bundle = meter.seal()
    world.keep(*bundle[:2])
    assert isinstance(world.judge(bundle[2]), Invalid)


def test_what_is_not_declared_is_refused(world: Any, meter: Any) -> None:
    assert isinstance(world.judge(meter.create(b"\x80", "meter.Other")), Invalid)


def test_an_entry_of_other_bytes_is_invalid_and_no_more(world: Any, meter: Any) -> None:
    verdict = world.judge(meter.create(b"\xc1", "meter.MeterReading"))
    assert isinstance(verdict, Invalid)


async def test_its_function_takes_a_payload_and_creates() -> None:
    created: list[Any] = []

    class Scratch:
        """Of the host, what the function uses."""

        async def create(self, entry: Any) -> ActionHash:
            created.append(entry)
            return ActionHash(bytes(39))

    payload = {"reading": {"measured_at": 1, "import_wh": 5, "export_wh": 0}}
    function = zome.functions["record"]
    await function(Scratch(), **arguments(function, payload, skip=1))
    assert created == [reading(5)]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ({}, "needs 'reading'"),
        ({"reading": {}}, "reading"),
        ({"reading": None}, "reading"),
        ({"reading": {"measured_at": 1, "import_wh": 5.5, "export_wh": 0}}, "reading"),
        ({"reading": {"measured_at": 1, "import_wh": 5, "export_wh": 0}, "more": 1}, "no 'more'"),
    ],
)
def test_a_payload_that_does_not_fit_names_what_is_wrong(payload: Any, why: str) -> None:
    with pytest.raises(CallError, match=why):
        arguments(zome.functions["record"], payload, skip=1)


def test_seed_properties_and_rules_name_the_network() -> None:
    clone = DNA.clone(Modifiers("seed", DNA.modifiers.properties))
    assert clone.hash != DNA.hash
    assert DNA.clone(DNA.modifiers).hash == DNA.hash == Rules(DNA).hash


def test_a_float_has_no_place_in_an_entry() -> None:
    other = IntegrityZome("other")
    with pytest.raises(TypeError, match="integer with its unit"):

        @other.entry_type
        class Reading:
            import_kwh: float
