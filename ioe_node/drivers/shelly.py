"""Shelly Gen2+ plugs and relays: JSON-RPC 2.0 over HTTP, one `switch:<id>` component each.

After the vendor's public documentation (shelly-api-docs.shelly.cloud, Gen2+: RPC protocol,
Authentication, Switch).  A device with authentication on asks for a digest; its one user is
`admin`.  `http_digest` speaks HTTP, one connection per exchange: plugs have few channels, and an
idle one would hold one of them.

`aenergy` counts the energy that flowed in either direction, `ret_aenergy` the part that was
returned, so import is their difference.  Both are in Wh with decimals; they are parsed as decimal
text, never as floats, and rounded down to milli-Wh.
"""

import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec

from ioe_node.clock import Clock, SystemClock
from ioe_node.drivers.driver import Reading, parse_options
from ioe_node.drivers.http_digest import UNAUTHORISED, Answer, HttpClient
from ioe_node.errors import ConfigError, LocalError, TransportError

EXCHANGE_DEADLINE_S = 10.0
USER = "admin"  # the only one a device has

# A terawatt-hour, in Wh: no plug counts or draws so much, and no decimal gets out of hand.
QUANTITY_MAX = Decimal(10**12)
UNIX_SECONDS_MAX = 10**11

# RPC errors that pass: deadline exceeded, resource exhausted, unavailable.
RPC_CODES_TO_RETRY = (-104, -108, -114, 429, 500, 503)
TOO_MANY_REQUESTS = 429


class ShellyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`password_file` holds the device's password, trailing newline ignored."""

    url: str
    component_id: Annotated[int, msgspec.Meta(ge=0, le=99)] = 0
    password_file: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What the device says it is; told without a password."""

    device_id: str
    model: str
    generation: int
    firmware: str
    auth_on: bool


class Shelly:
    """A `Meter` and a `Switch`."""

    def __init__(
        self,
        host: str,
        port: int,
        component_id: int,
        password: str | None,
        clock: Clock,
        deadline_s: float = EXCHANGE_DEADLINE_S,
    ) -> None:
        self._http = HttpClient(host, port, USER, password, deadline_s)
        self._component_id = component_id
        self._clock = clock

    @classmethod
    def from_options(cls, options: Mapping[str, object], clock: Clock | None = None) -> "Shelly":
        """ConfigError names the key."""
        parsed = parse_options(options, ShellyOptions, "shelly")
        host, port = parse_url(parsed.url)
        password = None
        if parsed.password_file is not None:
            try:
                text = Path(parsed.password_file).expanduser().read_text("utf-8")
            except (OSError, UnicodeDecodeError) as refusal:
                raise ConfigError(f"driver shelly: password_file: {refusal}") from None
            password = text.rstrip("\r\n")
        return cls(host, port, parsed.component_id, password, clock or SystemClock())

    async def read(self) -> Reading:
        """Power, registers and switch position, at the device's own time if it knows it."""
        status = await self._call("Shelly.GetStatus", {})
        return decode_status(status, self._component_id, self._clock.now_us())

    async def set_on(self, on: bool) -> None:
        """Switch the load; done when the device says so."""
        await self._call("Switch.Set", {"id": self._component_id, "on": on})

    async def device_info(self) -> DeviceInfo:
        """Ask the device what it is; it answers without a password."""
        return decode_device_info(await self._call("Shelly.GetDeviceInfo", {}))

    async def _call(self, method: str, params: dict[str, object]) -> dict[str, object]:
        """The `result` of one RPC; raises TransportError or LocalError, naming the device."""
        frame = {"jsonrpc": "2.0", "id": 1, "src": "ioe-node", "method": method, "params": params}
        try:
            return decode_answer(await self._post(json.dumps(frame).encode()))
        except (LocalError, TransportError) as failure:
            raise type(failure)(f"shelly {self._http.authority}: {failure}") from None

    async def _post(self, body: bytes) -> Answer:
        try:
            return await self._http.post("/rpc", body)
        except LocalError as failure:
            raise _not_a_shelly(str(failure)) from None


_HOST = re.compile(r"[\w.:%-]+")


def parse_url(url: str) -> tuple[str, int]:
    """(host, port) of `http://host[:port]`; ConfigError otherwise."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # refuses a label that no name server could look up
    except ValueError:
        host, port, parts = "", None, urllib.parse.urlsplit("")
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != "http" or not _HOST.fullmatch(host) or extra:
        raise ConfigError(
            f"driver shelly: url: {url!r} is not of the form http://192.168.1.20 or "
            "http://192.168.1.20:80"
        )
    return host, 80 if port is None else port


# --- decoding (pure) ---------------------------------------------------------------------------


def decode_answer(answer: Answer) -> dict[str, object]:
    """The RPC's `result`; TransportError where the device may yet answer, else LocalError."""
    status = answer.status
    if status == UNAUTHORISED:
        raise _unauthorised()
    if status == TOO_MANY_REQUESTS or status >= 500:
        raise TransportError(f"the device answered HTTP {status}")
    if status != 200:
        raise _not_a_shelly(f"it answered HTTP {status} to /rpc")
    frame = decode_json(answer.body)
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
        raise _not_a_shelly("its answer is no RPC response")
    return result


def decode_json(body: bytes) -> dict[str, object]:
    """A JSON object with its decimals as Decimal; LocalError for anything else."""
    try:
        value = json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        raise _not_a_shelly("its answer is not JSON") from None
    if not isinstance(value, dict):
        raise _not_a_shelly("its answer is not a JSON object")
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
        raise _not_a_shelly("it does not say what it is")
    if not isinstance(generation, int) or generation < 2:
        raise _not_a_shelly(f"it is of generation {generation}")
    return DeviceInfo(device_id, model, generation, firmware, info.get("auth_en") is True)


def _counter_milli_wh(switch: dict[str, object], name: str) -> int | None:
    counter = switch.get(name)
    if counter is None:
        return None
    total = _quantity(counter, "total") if isinstance(counter, dict) else None
    if total is None or total < 0:
        raise _not_a_shelly(f"its {name} has no total")
    return int(total * 1000)


def _quantity(fields: dict[str, object], name: str) -> Decimal | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise _not_a_shelly(f"its {name} is not a number")
    number = Decimal(value)
    # Compared, not computed with: the exponent of a hostile number overflows arithmetic.
    if not -QUANTITY_MAX <= number <= QUANTITY_MAX:
        raise _not_a_shelly(f"its {name} is out of all bounds")
    return number


def _unix_us(unixtime: object) -> int:
    if (
        isinstance(unixtime, bool)
        or not isinstance(unixtime, int)
        or not 0 < unixtime < UNIX_SECONDS_MAX
    ):
        raise _not_a_shelly("its unixtime is not a time")
    return unixtime * 1_000_000


def _unauthorised() -> LocalError:
    return LocalError(
        "the device refused the password: put the right one into `password_file` (its user is "
        f"always {USER})"
    )


def _not_a_shelly(what: str) -> LocalError:
    return LocalError(f"{what}: check that `url` is that of a Shelly Gen2 or later")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
