"""Which devices are on the local network, each with the options by which it is read.

What tells of itself by mDNS is asked what it is; what has announced itself to an MQTT broker
(Home Assistant's discovery, Tasmota's own) is read out of what the broker has kept.  Nothing is
logged in to, and nothing is switched.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import trio

from ioe_node.clock import SystemClock
from ioe_node.drivers import home_assistant
from ioe_node.drivers.decimals import parse_json
from ioe_node.drivers.mqtt_broker import Broker
from ioe_node.drivers.mqtt_connection import Message, open_connection
from ioe_node.drivers.shelly import Shelly
from ioe_node.errors import IoeError

SHELLY = "_shelly._tcp.local."
HTTP_PORT = 80
ASK_DEADLINE_S = 3.0
ASKED_AT_ONCE_MAX = 16
TASMOTA = "tasmota/discovery"
ANNOUNCEMENTS_MAX = 4_096
ANNOUNCED_BYTES_MAX = 16 * 1024 * 1024
QUIET_S = 1.5
"""A broker sends what it has kept at once: silence for so long means that it was all."""


Value = str | bool | int
"""Of an option."""


class Told(Protocol):
    """A service that told of itself by DNS-SD."""

    kind: str
    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Found:
    """A device; `note` is empty, or what must be done before it can be read."""

    driver: str
    name: str
    model: str
    options: Mapping[str, Value]
    note: str = ""


# --- by mDNS -------------------------------------------------------------------------------------


async def ask_services(services: Iterable[Told]) -> list[Found]:
    """The devices among these services, in their order; all are asked at once what they are."""
    found: dict[int, list[Found]] = {}
    limit = trio.CapacityLimiter(ASKED_AT_ONCE_MAX)

    async def ask(place: int, service: Told) -> None:
        async with limit:
            found[place] = await _ask_shelly(service)

    async with trio.open_nursery() as nursery:
        for place, service in enumerate(services):
            if service.kind == SHELLY:
                nursery.start_soon(ask, place, service)
    return [each for place in sorted(found) for each in found[place]]


async def _ask_shelly(service: Told) -> list[Found]:
    """One for each switch that counts; one that says why, if it could not be told."""
    port = "" if service.port == HTTP_PORT else f":{service.port}"
    options: dict[str, Value] = {"url": f"http://{service.host}{port}"}
    device = Shelly(service.host, service.port, 0, None, SystemClock(), ASK_DEADLINE_S)
    name, model = service.name, ""
    try:
        info = await device.device_info()
        name, model = info.device_id, info.model
        if info.auth_on:
            options["password_file"] = "PASSWORD-FILE"
            note = "it has a password: write it into a file and name that"
            return [Found("shelly", name, model, options, note)]
        numbers = await device.meters()
    except IoeError as error:
        return [Found("shelly", name, model, options, str(error))]
    if not numbers:
        return [Found("shelly", name, model, options, "none of its switches counts energy")]
    return [
        Found("shelly", name, model, {**options, "component_id": number} if number else options)
        for number in numbers
    ]


# --- by a broker ---------------------------------------------------------------------------------


@dataclass
class _Kept:
    """What the broker had kept; `at_s` is when the last of it came."""

    messages: list[Message] = field(default_factory=list)
    size_bytes: int = 0
    at_s: float = field(default_factory=trio.current_time)

    def take(self, message: Message) -> None:
        if not self._full():
            self.messages.append(message)
            self.size_bytes += len(message.payload)
            self.at_s = trio.current_time()

    def complete(self) -> bool:
        return self._full() or trio.current_time() - self.at_s >= QUIET_S

    def _full(self) -> bool:
        too_many = len(self.messages) >= ANNOUNCEMENTS_MAX
        return too_many or self.size_bytes >= ANNOUNCED_BYTES_MAX


async def ask_broker(
    broker: Broker, options: Mapping[str, str], prefix: str = home_assistant.PREFIX
) -> list[Found]:
    """The devices that have announced themselves to a broker, which `options` name.

    Raises TransportError and LocalError as `open_connection` does.
    """
    kept = _Kept()
    async with open_connection(broker, kept.take) as connection:
        connection.subscribe([f"{prefix}/#", f"{TASMOTA}/#"])
        kept.at_s = trio.current_time()
        await connection.serve(kept.complete)
    tasmotas = tasmota_devices(kept.messages, options)
    others = [
        Found("mqtt", each.name, each.model, {**options, **each.options})
        for each in home_assistant.announced(kept.messages, prefix)
    ]
    return [*tasmotas, *others]


def tasmota_devices(messages: Iterable[Message], options: Mapping[str, str]) -> list[Found]:
    """Those that count energy, of what Tasmota devices announce (pure)."""
    said: dict[tuple[str, str], dict[str, object]] = {}
    for message in messages:
        parts = message.topic.split("/")
        if len(parts) == 4 and message.topic.startswith(f"{TASMOTA}/"):
            try:
                fields = parse_json(message.payload)
            except ValueError:
                continue
            if isinstance(fields, dict):
                said[parts[2], parts[3]] = fields
    found = []
    for (device, what), fields in sorted(said.items()):
        sensors = said.get((device, "sensors"), {}).get("sn")
        energy = sensors.get("ENERGY") if isinstance(sensors, dict) else None
        topic, full_topic = fields.get("t"), fields.get("ft")
        if what != "config" or not isinstance(energy, dict) or not isinstance(topic, str):
            continue
        made: dict[str, Value] = {**options, "topic": topic}
        if isinstance(full_topic, str) and full_topic != "%prefix%/%topic%/":
            made["full_topic"] = full_topic
        if "ExportActive" in energy:
            made["export"] = True
        found.append(Found("tasmota", str(fields.get("dn") or topic), str(fields.get("md")), made))
    return found
