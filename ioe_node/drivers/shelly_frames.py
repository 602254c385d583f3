"""What a Shelly Gen2+ answers and tells, decoded (pure).

After the vendor's public documentation (shelly-api-docs.shelly.cloud, Gen2+: RPC protocol, Switch,
Notifications).  `aenergy` counts the energy that flowed in either direction, `ret_aenergy` the
part that was returned, so import is their difference.  Both are in Wh with decimals; they are
parsed as decimal text, never as floats, and rounded down to milli-Wh.
"""

from dataclasses import dataclass
from decimal import Decimal

from ioe_node.drivers.decimals import parse_json, quantity
from ioe_node.drivers.driver import Reading
from ioe_node.drivers.http_digest import UNAUTHORISED, Answer
from ioe_node.errors import LocalError, TransportError

UNIX_SECONDS_MAX = 10**11

# RPC errors that pass: deadline exceeded, resource exhausted, unavailable.
RPC_CODES_TO_RETRY = (-104, -108, -114, 429, 500, 503)
TOO_MANY_REQUESTS = 429
USER = "admin"  # the only one a device has


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What the device says it is; told without a password."""

    device_id: str
    model: str
    generation: int
    firmware: str
    auth_on: bool


def decode_answer(answer: Answer) -> dict[str, object]:
    """The RPC's `result`; TransportError where the device may yet answer, else LocalError."""
    status = answer.status
    if status == UNAUTHORISED:
        raise _unauthorised()
    if status == TOO_MANY_REQUESTS or status >= 500:
        raise TransportError(f"the device answered HTTP {status}")
    if status != 200:
        raise not_a_shelly(f"it answered HTTP {status} to /rpc")
    return decode_result(decode_json(answer.body))


def decode_result(frame: dict[str, object]) -> dict[str, object]:
    """The `result` of a response frame; TransportError where asking again may help."""
    result, error = frame.get("result"), frame.get("error")
    if isinstance(error, dict):
        code, message = error.get("code"), error.get("message")
        if code == UNAUTHORISED:
            raise _unauthorised()
        what = f"the device refused (error {code}: {str(message)[:200]!r})"
        if code in RPC_CODES_TO_RETRY:
            raise TransportError(what)
        raise LocalError(f"{what}: check `component_id` and that the device has such a switch")
    # Switch.Set on old firmware answers null.
    if result is None and "result" in frame:
        return {}
    if not isinstance(result, dict):
        raise not_a_shelly("its answer is no RPC response")
    return result


def decode_json(body: bytes) -> dict[str, object]:
    """A JSON object with its decimals as Decimal; LocalError for anything else."""
    try:
        value = parse_json(body)
    except ValueError:
        raise not_a_shelly("its answer is not JSON") from None
    if not isinstance(value, dict):
        raise not_a_shelly("its answer is not a JSON object")
    return value


def decode_status(status: dict[str, object], component_id: int, now_us: int) -> Reading:
    """A Shelly.GetStatus result as a Reading; `now_us` stands in for a device without a clock."""
    key = f"switch:{component_id}"
    switch = status.get(key)
    if not isinstance(switch, dict):
        raise LocalError(f"the device has no {key}: set `component_id` to one it has")
    counted = _counter_milli_wh(switch, "aenergy")
    if counted is None:
        raise LocalError(f"{key} does not meter energy: this device cannot be read")
    returned = _counter_milli_wh(switch, "ret_aenergy") or 0
    if returned > counted:
        raise LocalError(
            f"{key} says it returned more than it counted ({returned} > {counted} mWh): reset "
            "its counters"
        )
    power = _quantity(switch, "apower")
    output = switch.get("output")
    system = status.get("sys")
    unixtime = system.get("unixtime") if isinstance(system, dict) else None
    return Reading(
        at_us=now_us if unixtime is None else _unix_us(unixtime),
        import_milli_wh=counted - returned,
        export_milli_wh=returned,
        power_milli_w=None if power is None else int(power * 1000),
        switched_on=output if isinstance(output, bool) else None,
    )


def decode_device_info(info: dict[str, object]) -> DeviceInfo:
    """A Shelly.GetDeviceInfo result; LocalError for a first-generation device."""
    device_id, model, firmware = info.get("id"), info.get("model"), info.get("ver")
    generation = info.get("gen")
    if not (isinstance(device_id, str) and isinstance(model, str) and isinstance(firmware, str)):
        raise not_a_shelly("it does not say what it is")
    if not isinstance(generation, int) or generation < 2:
        raise not_a_shelly(f"it is of generation {generation}")
    return DeviceInfo(device_id, model, generation, firmware, info.get("auth_en") is True)


def _counter_milli_wh(switch: dict[str, object], name: str) -> int | None:
    counter = switch.get(name)
    if counter is None:
        return None
    total = _quantity(counter, "total") if isinstance(counter, dict) else None
    if total is None or total < 0:
        raise not_a_shelly(f"its {name} has no total")
    return int(total * 1000)


def _quantity(fields: dict[str, object], name: str) -> Decimal | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, str):
            raise ValueError("is not a number")
        return quantity(value)
    except ValueError as refusal:
        raise not_a_shelly(f"its {name} {refusal}") from None


def _unix_us(unixtime: object) -> int:
    if (
        isinstance(unixtime, bool)
        or not isinstance(unixtime, int)
        or not 0 < unixtime < UNIX_SECONDS_MAX
    ):
        raise not_a_shelly("its unixtime is not a time")
    return unixtime * 1_000_000


def _unauthorised() -> LocalError:
    return LocalError(
        "the device refused the password: put the right one into `password_file` (its user is "
        f"always {USER})"
    )


def not_a_shelly(what: str) -> LocalError:
    """The refusal of what no Shelly would say."""
    return LocalError(f"{what}: check that `url` is that of a Shelly Gen2 or later")
