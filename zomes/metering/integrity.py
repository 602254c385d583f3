"""Interval readings and the rules that make them worth trusting (I-058, I-060, M-001)."""

from dataclasses import dataclass
from typing import Literal

from ioe_node.hdi import (
    CreateOp,
    IntegrityZome,
    Invalid,
    Timestamp,
    Valid,
    ValidationHost,
    Verdict,
)

AHEAD_INTERVALS_MAX = 4
"""A device's clock may run ahead of its node's, but nobody reads the future."""

SERIAL_CHARS_MAX = 64

zome = IntegrityZome("metering")


@dataclass(frozen=True)
class MeterChange:
    """Why the registers do not go on from the reading before: what is counted begins anew.

    "reset": the meter lost its count; "replaced": it is another meter; "clock": its time made no
    sense; "unshared": its owner kept to themselves what it counted until then.  `serial` is the
    meter's number as its owner gives it, or nothing.
    """

    reason: Literal["reset", "replaced", "clock", "unshared"]
    serial: str


@zome.entry_type(by_hash=False)
@dataclass(frozen=True)
class IntervalReading:
    """Energy over one interval at one meter; the author is the meter.

    `import_milli_wh` and `export_milli_wh` are what flowed in and out between `start` and
    `end`; the registers are the meter's cumulative counts at `end`.  `change` stands on the first
    reading of a count that began anew.  Energies add up over it, as a change brings none of its
    own: what flowed while nobody counted is not known, and counts as nothing.
    """

    start: Timestamp
    end: Timestamp
    import_milli_wh: int
    export_milli_wh: int
    import_register_milli_wh: int
    export_register_milli_wh: int
    quality: Literal["measured", "estimated"]
    method: Literal["device", "meter", "substation"]
    change: MeterChange | None = None


@zome.validate_create
def an_interval_of_the_grid(
    reading: IntervalReading, op: CreateOp, host: ValidationHost
) -> Verdict:
    length = host.properties.interval_us
    if reading.end - reading.start != length or reading.start % length:
        return Invalid("a reading that is not one whole interval of this community")
    if reading.end > op.action.timestamp_us + AHEAD_INTERVALS_MAX * length:
        return Invalid("a reading of an interval that is still far ahead")
    energies = (reading.import_milli_wh, reading.export_milli_wh)
    if min(energies) < 0:
        return Invalid("energy is never negative; import and export are counted apart")
    energy_max = host.properties.power_milli_w_max * (length // 1_000_000) // 3_600
    if max(energies) > energy_max:
        return Invalid("more energy than the community's largest connection can carry")
    return Valid


@zome.validate_create
def registers_never_run_backwards(
    reading: IntervalReading, op: CreateOp, host: ValidationHost
) -> Verdict:
    found = host.must_get_previous(op, IntervalReading)
    if found is None:
        if reading.change is not None:
            return Invalid("a change of the meter before its first reading")
        return _a_count_begins(reading)
    before: IntervalReading = found.entry
    if reading.start < before.end:
        return Invalid("a reading that overlaps the one before it")
    said = reading.change is not None and reading.change.reason in ("clock", "unshared")
    if reading.start > before.end and not said:
        return Invalid("a gap left unsaid; fill it with estimated readings")
    if reading.change is not None:
        if len(reading.change.serial) > SERIAL_CHARS_MAX:
            return Invalid("a meter's number of too many letters")
        return _a_count_begins(reading)
    counted = (
        before.import_register_milli_wh + reading.import_milli_wh,
        before.export_register_milli_wh + reading.export_milli_wh,
    )
    registers = (reading.import_register_milli_wh, reading.export_register_milli_wh)
    if registers != counted:
        backwards = registers[0] < counted[0] or registers[1] < counted[1]
        what = "registers that run backwards" if backwards else "registers that jump"
        return Invalid(f"{what}: they must grow by the energy of the interval")
    return Valid


def _a_count_begins(reading: IntervalReading) -> Verdict:
    begun = (
        reading.import_register_milli_wh - reading.import_milli_wh,
        reading.export_register_milli_wh - reading.export_milli_wh,
    )
    return Valid if min(begun) >= 0 else Invalid("registers smaller than the energy counted")
