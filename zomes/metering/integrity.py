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

zome = IntegrityZome("metering")


@zome.entry_type(by_hash=False)
@dataclass(frozen=True)
class IntervalReading:
    """Energy over one interval at one meter; the author is the meter.

    `import_milli_wh` and `export_milli_wh` are what flowed in and out between `start` and
    `end`; the registers are the meter's cumulative counts at `end`.
    """

    start: Timestamp
    end: Timestamp
    import_milli_wh: int
    export_milli_wh: int
    import_register_milli_wh: int
    export_register_milli_wh: int
    quality: Literal["measured", "estimated"]
    method: Literal["device", "meter", "substation"]


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
        begun = (
            reading.import_register_milli_wh - reading.import_milli_wh,
            reading.export_register_milli_wh - reading.export_milli_wh,
        )
        return Valid if min(begun) >= 0 else Invalid("registers smaller than the energy counted")
    before: IntervalReading = found.entry
    if reading.start < before.end:
        return Invalid("a reading that overlaps the one before it")
    if reading.start > before.end:
        return Invalid("a gap left unsaid; fill it with estimated readings")
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
