"""OCPP 1.6J messages: frames, the requests that a charge point makes, and its meter values (pure).

After the Open Charge Alliance's OCPP 1.6 edition 2 and OCPP-J 1.6: a frame is a JSON array, a
call `[2, id, action, payload]`, its result `[3, id, payload]`, or its error `[4, id, code, text,
details]`.  Payloads are held to the fields that are used here; what else they hold is ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, TypeVar

import msgspec

MESSAGE_BYTES_MAX = 64 * 1024
VALUES_MAX = 200
QUANTITY_MAX = Decimal(10**12)
"""A terawatt-hour, in Wh: no charge point counts or draws so much."""
CALL, RESULT, ERROR = 2, 3, 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

StructT = TypeVar("StructT", bound=msgspec.Struct)
Payload = Mapping[str, object]
Identifier = Annotated[str, msgspec.Meta(max_length=36)]
IdTag = Annotated[str, msgspec.Meta(max_length=20)]
Connector = Annotated[int, msgspec.Meta(ge=0, le=1000)]
WattHours = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
TransactionId = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
Word = Annotated[str, msgspec.Meta(max_length=50)]


class Violation(Exception):
    """What the charge point sent is no message, or not one that we know; `code` says it to it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Call:
    """It asks us; `payload` is undecoded JSON."""

    id: str
    action: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """It answers us."""

    id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Error:
    """It refuses what we asked."""

    id: str
    code: str
    text: str


class Boot(msgspec.Struct, frozen=True, rename="camel"):
    """BootNotification."""

    charge_point_vendor: Word
    charge_point_model: Word


class Authorize(msgspec.Struct, frozen=True, rename="camel"):
    """Authorize."""

    id_tag: IdTag


class StatusNotification(msgspec.Struct, frozen=True, rename="camel"):
    """StatusNotification."""

    connector_id: Connector
    error_code: Word
    status: Word


class StartTransaction(msgspec.Struct, frozen=True, rename="camel"):
    """StartTransaction."""

    connector_id: Connector
    id_tag: IdTag
    meter_start: WattHours
    timestamp: Word


class StopTransaction(msgspec.Struct, frozen=True, rename="camel"):
    """StopTransaction."""

    transaction_id: TransactionId
    meter_stop: WattHours
    timestamp: Word


class SampledValue(msgspec.Struct, frozen=True, rename="camel"):
    """One number of a meter; what is left out is what the specification says it then is."""

    value: Annotated[str, msgspec.Meta(max_length=2500)]
    format: Word = "Raw"
    measurand: Word = "Energy.Active.Import.Register"
    phase: Word | None = None
    location: Word = "Outlet"
    unit: Word | None = None


class MeterValue(msgspec.Struct, frozen=True, rename="camel"):
    """What a meter said at one time."""

    timestamp: Word
    sampled_value: Annotated[list[SampledValue], msgspec.Meta(max_length=VALUES_MAX)]


class MeterValues(msgspec.Struct, frozen=True, rename="camel"):
    """MeterValues."""

    connector_id: Connector
    meter_value: Annotated[list[MeterValue], msgspec.Meta(max_length=VALUES_MAX)]
    transaction_id: TransactionId | None = None


class Status(msgspec.Struct, frozen=True):
    """What every command of ours is answered with."""

    status: Word


_FRAME = msgspec.json.Decoder(
    Annotated[list[msgspec.Raw], msgspec.Meta(min_length=3, max_length=6)]
)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def decode_frame(text: str) -> Call | Result | Error:
    """One WebSocket message; `Violation` where it is no frame."""
    try:
        parts = _FRAME.decode(text)
        kind = msgspec.json.decode(parts[0], type=int)
        identifier = msgspec.json.decode(parts[1], type=Identifier)
        if kind == CALL and len(parts) == 4:
            return Call(identifier, msgspec.json.decode(parts[2], type=Word), bytes(parts[3]))
        if kind == RESULT:
            return Result(identifier, bytes(parts[2]))
        if kind == ERROR and len(parts) >= 4:
            code = msgspec.json.decode(parts[2], type=Word)
            return Error(identifier, code, msgspec.json.decode(parts[3], type=str)[:255])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    raise Violation("ProtocolError", "this is no frame of OCPP 1.6J")


def decode_payload(payload: bytes, shape: type[StructT]) -> StructT:
    """A call's or a result's payload; `Violation` says what is wrong with it."""
    try:
        return msgspec.json.decode(payload, type=shape)
    except msgspec.ValidationError as refusal:
        raise Violation("TypeConstraintViolation", str(refusal)[:255]) from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Violation("FormationViolation", "the payload is not JSON") from None


def call_frame(identifier: str, action: str, payload: Payload) -> str:
    """A call of ours."""
    return _ENCODER.encode([CALL, identifier, action, payload]).decode()


def result_frame(identifier: str, payload: Payload) -> str:
    """Our answer to a call."""
    return _ENCODER.encode([RESULT, identifier, payload]).decode()


def error_frame(identifier: str, code: str, text: str) -> str:
    """Our refusal of a call."""
    return _ENCODER.encode([ERROR, identifier, code, text, {}]).decode()


# --- meter values ------------------------------------------------------------------------------

IMPORTED, EXPORTED = "Energy.Active.Import.Register", "Energy.Active.Export.Register"
DRAWN, GIVEN = "Power.Active.Import", "Power.Active.Export"
_MILLI = {"Wh": 1_000, "kWh": 1_000_000, "W": 1_000, "kW": 1_000_000}
_DEFAULT_UNIT = {IMPORTED: "Wh", EXPORTED: "Wh", DRAWN: "W", GIVEN: "W"}
PHASES = ("L1", "L2", "L3", "L1-N", "L2-N", "L3-N")


@dataclass(frozen=True, slots=True)
class Sample:
    """What a meter value says of energy and power; None where it is silent.

    In milli-Wh and milliwatts.
    """

    at_us: int
    imported: int | None
    exported: int | None
    drawn: int | None
    given: int | None


def decode_meter_value(value: MeterValue) -> Sample:
    """The outlet's totals, summed over the phases where it tells no total."""
    at_us = time_us(value.timestamp)
    return Sample(at_us, *(_total(value.sampled_value, name) for name in _DEFAULT_UNIT))


def _total(values: Sequence[SampledValue], measurand: str) -> int | None:
    told: dict[str | None, int] = {}
    for each in values:
        if (each.measurand, each.location, each.format) == (measurand, "Outlet", "Raw"):
            told[each.phase] = milli(each.value, each.unit or _DEFAULT_UNIT[measurand])
    if None in told:
        return told[None]
    phases = [told[phase] for phase in PHASES if phase in told]
    return sum(phases) if phases else None


def milli(number: str, unit: str) -> int:
    """A decimal of this unit in thousandths of Wh or W, rounded down."""
    if unit not in _MILLI:
        raise Violation("PropertyConstraintViolation", f"the unit {unit!r} is unknown")
    try:
        value = Decimal(number)
        if -QUANTITY_MAX <= value <= QUANTITY_MAX:  # false for NaN, which also may raise
            return int((value * _MILLI[unit]).to_integral_value(ROUND_FLOOR))
    except ArithmeticError:
        pass
    raise Violation("PropertyConstraintViolation", f"{number[:40]!r} is no quantity")


def time_us(text: str) -> int:
    """An ISO 8601 time in microseconds since 1970; UTC where it names no zone."""
    try:
        told = datetime.fromisoformat(text)
        zoned = told if told.tzinfo else told.replace(tzinfo=UTC)
        return (zoned - EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise Violation("PropertyConstraintViolation", f"{text!r} is no time") from None


def time_text(at_us: int) -> str:
    """The same time as OCPP writes it."""
    at = EPOCH + timedelta(microseconds=at_us)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


# --- commands ----------------------------------------------------------------------------------

PROFILE_ID = 1


def limit_profile(connector_id: int, unit: str, limit: Decimal, phases: int) -> Payload:
    """SetChargingProfile: no more than `limit`, from now on, running transaction or not."""
    period = {"startPeriod": 0, "limit": limit, "numberPhases": phases}
    return {
        "connectorId": connector_id,
        "csChargingProfiles": {
            "chargingProfileId": PROFILE_ID,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Relative",
            "chargingSchedule": {"chargingRateUnit": unit, "chargingSchedulePeriod": [period]},
        },
    }


def limit_of(milli_w: int, unit: str, volts: int, phases: int) -> Decimal:
    """The bound in W, or A for each phase, in steps of a tenth, rounded down."""
    tenths = max(milli_w, 0) // (100 if unit == "W" else 100 * volts * phases)
    return Decimal(tenths) / 10
