"""What SunSpec's information models say, of the little that a meter, battery or limit needs (pure).

Offsets count registers from a model's own ID register, as in the published model files
(sunspec/models); a test holds this table to them.  Numbers are scaled integers (value x 10^factor)
or IEEE floats; both become exact integers of a smaller unit, rounded down, and `None` where the
device says that it does not implement a point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ioe_node.errors import LocalError

Registers = Sequence[int]
Kind = Literal["int16", "uint16", "acc32", "uint64", "float32"]

SCALE_MAX = 10
QUANTITY_MAX = 10**18
"""In milli-units: a million GWh, or GW; no home's device says so much."""
_BITS: Mapping[Kind, int] = {"int16": 16, "uint16": 16, "acc32": 32, "uint64": 64, "float32": 32}


@dataclass(frozen=True, slots=True)
class Point:
    """Where a number stands in its model, and where its scale factor; None for a float."""

    offset: int
    kind: Kind
    scale: int | None = None

    @property
    def end(self) -> int:
        """The offset behind the last register that it needs."""
        return max(self.offset + _BITS[self.kind] // 16, (self.scale or 0) + 1)

    def raw(self, model: Registers) -> int | None:
        """The number as sent, its sign applied; None where it is not implemented."""
        value = 0
        for register in model[self.offset : self.offset + _BITS[self.kind] // 16]:
            value = value << 16 | register
        if self.kind == "int16":
            return None if value == 0x8000 else value - (value >> 15 << 16)
        if self.kind in ("acc32", "float32"):  # an accumulator without a meter stays at 0
            return value
        return None if value == (1 << _BITS[self.kind]) - 1 else value

    def scaled(self, model: Registers, digits: int) -> int | None:
        """The number in units of 10^-digits, rounded down; LocalError for a nonsense factor."""
        raw = self.raw(model)
        if raw is None:
            return None
        if self.scale is None:
            value = float32_scaled(raw, 10**digits)
        else:
            exponent = scale_factor(model[self.scale])
            if exponent is None:
                return None
            exponent += digits
            value = raw * 10**exponent if exponent >= 0 else raw // 10**-exponent
        if value is not None and abs(value) > QUANTITY_MAX:
            raise LocalError("the device tells a quantity out of all bounds")
        return value


def scale_factor(register: int) -> int | None:
    """The exponent that a `sunssf` register holds; None where it is not implemented."""
    if register == 0x8000:
        return None
    exponent = register - (register >> 15 << 16)
    if abs(exponent) > SCALE_MAX:
        raise LocalError(f"the device tells a scale factor of {exponent}, beyond +-{SCALE_MAX}")
    return exponent


def float32_scaled(bits: int, times: int) -> int | None:
    """floor(times x the IEEE 754 number of these bits), exactly; None for NaN and infinity."""
    exponent, fraction = bits >> 23 & 0xFF, bits & 0x7FFFFF
    if exponent == 0xFF:
        return None
    mantissa = (fraction | 0x800000 if exponent else fraction) * times
    if bits >> 31:
        mantissa = -mantissa
    shift = max(exponent, 1) - 150
    return mantissa << shift if shift >= 0 else mantissa >> -shift


@dataclass(frozen=True, slots=True)
class Counter:
    """A model that counts energy.  `generates`: its power is positive when it gives."""

    power: Point
    exported: Point
    imported: Point | None
    generates: bool

    @property
    def span(self) -> int:
        """How many registers of the model it needs."""
        return max(point.end for point in (self.power, self.exported, self.imported) if point)


_INVERTER = Counter(Point(14, "int16", 15), Point(24, "acc32", 26), None, True)
_INVERTER_FLOAT = Counter(Point(22, "float32"), Point(32, "float32"), None, True)
_METER = Counter(Point(18, "int16", 22), Point(38, "acc32", 54), Point(46, "acc32", 54), False)
_METER_FLOAT = Counter(Point(28, "float32"), Point(60, "float32"), Point(68, "float32"), False)
COUNTERS: Mapping[int, Counter] = {
    **dict.fromkeys((101, 102, 103), _INVERTER),
    **dict.fromkeys((111, 112, 113), _INVERTER_FLOAT),
    **dict.fromkeys((201, 202, 203, 204), _METER),
    **dict.fromkeys((211, 212, 213, 214), _METER_FLOAT),
    701: Counter(Point(10, "int16", 116), Point(19, "uint64", 120), Point(23, "uint64", 120), True),
}

# State of charge, in percent, of each model that knows it.
CHARGES: Mapping[int, Point] = {
    124: Point(8, "uint16", 22),
    713: Point(4, "uint16", 8),
    802: Point(11, "uint16", 56),
}

# What a power limit's percentage is of, the first that the device has: settings before nameplate.
FULL_POWER: Mapping[int, Point] = {
    121: Point(2, "uint16", 22),
    120: Point(3, "uint16", 4),
    702: Point(26, "uint16", 45),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A model that bounds the power given: a percentage, and whether it holds."""

    percent: Point
    enabled: int
    of: tuple[int, ...]


LIMITS: Mapping[int, Limit] = {
    704: Limit(Point(15, "uint16", 54), 14, (702,)),
    123: Limit(Point(5, "uint16", 23), 9, (121, 120)),
}


def text(registers: Registers) -> str:
    """A string point: two bytes a register, NUL-padded; what is not printable becomes `?`."""
    data = b"".join((register & 0xFFFF).to_bytes(2, "big") for register in registers)
    shown = data.partition(b"\0")[0].decode("utf-8", "replace").strip()
    return "".join(each if each.isprintable() and each != "\ufffd" else "?" for each in shown)
