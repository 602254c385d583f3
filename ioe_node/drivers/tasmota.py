"""Plugs and meters with the Tasmota firmware, behind an MQTT broker.

After Tasmota's documentation (MQTT, Commands): under `cmnd/TOPIC/` it is told, under `stat/TOPIC/`
it answers, under `tele/TOPIC/` it says by itself, every five minutes unless `TelePeriod` is set.
`ENERGY.Total` and `ENERGY.ExportActive` are counters in kWh; they have three decimals, and five
after `EnergyRes 5`.  `LWT` tells whether it is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ioe_node.clock import Clock, SystemClock
from ioe_node.drivers.decimals import parse_json
from ioe_node.drivers.driver import parse_options
from ioe_node.drivers.mqtt import BrokerOptions, milli
from ioe_node.drivers.mqtt_broker import parse_broker
from ioe_node.drivers.mqtt_connection import Message
from ioe_node.drivers.mqtt_meter import MqttMeter, Told
from ioe_node.errors import ConfigError

PREFIX, TOPIC = "%prefix%", "%topic%"
CHANNELS_MAX = 32


class TasmotaOptions(BrokerOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`topic` is the device's own, `full_topic` the order in which it stands, as in its settings.

    `channel` is the relay, and the counter where the device has several.
    """

    topic: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^#+\x00]*$")]
    full_topic: Annotated[str, Meta(max_length=128, pattern=r"^[^#+\x00]*$")] = "%prefix%/%topic%/"
    channel: Annotated[int, Meta(ge=1, le=CHANNELS_MAX)] = 1
    export: bool = False


class Tasmota(MqttMeter):
    """A `Meter` and a `Switch`, which can be watched."""

    @classmethod
    def from_options(cls, options: Mapping[str, object], clock: Clock | None = None) -> "Tasmota":
        """ConfigError names the key."""
        parsed = parse_options(options, TasmotaOptions, "tasmota")
        if PREFIX not in parsed.full_topic or TOPIC not in parsed.full_topic:
            raise ConfigError(
                f"driver tasmota: full_topic: write {PREFIX} and {TOPIC}, as the device shows it"
            )
        return cls(
            f"tasmota {parsed.topic}",
            parse_broker(parsed.broker, parsed.user, parsed.password_file, parsed.ca_file),
            Speaking(parsed),
            clock or SystemClock(),
            parsed.silent_s,
            parsed.wait_s,
        )


# --- decoding (pure) -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Speaking:
    """The `Speech` of one relay of one device."""

    options: TasmotaOptions

    @property
    def topics(self) -> tuple[str, ...]:
        """Where it speaks; a device with one relay calls it POWER, one with several POWER1."""
        answers = [self._at("stat", name) for name in ("STATUS10", "STATUS11", *self._relays())]
        return (*answers, *(self._at("tele", name) for name in ("SENSOR", "STATE", "LWT")))

    @property
    def questions(self) -> tuple[Message, ...]:
        """Its counters and its relays."""
        at = self._at("cmnd", "STATUS")
        return Message(at, b"10"), Message(at, b"11")

    @property
    def directions(self) -> tuple[bool, bool]:
        """It always counts imports; exports if it is said to."""
        return True, self.options.export

    @property
    def confirms(self) -> bool:
        """It answers every command."""
        return True

    def command(self, on: bool) -> Message:
        """What switches the relay."""
        return Message(self._at("cmnd", f"POWER{self.options.channel}"), b"ON" if on else b"OFF")

    def decode(self, message: Message) -> Told:
        """ValueError for a message that makes no sense."""
        said = message.payload
        name = message.topic.rstrip("/").rpartition("/")[2]
        if message.topic == self._at("tele", "LWT"):
            return Told(online=said != b"Offline")
        if name in self._relays():
            return Told(switched_on={b"ON": True, b"OFF": False}.get(said))
        fields = parse_json(said)
        if not isinstance(fields, dict):
            raise ValueError("is not a JSON object")
        if name == "STATUS10":
            fields = fields.get("StatusSNS")
        elif name == "STATUS11":
            fields = fields.get("StatusSTS")
        if not isinstance(fields, dict):
            raise ValueError("lacks its status")
        energy = fields.get("ENERGY")
        told = self._energy(energy) if isinstance(energy, dict) else Told()
        relay = next((fields[each] for each in self._relays() if each in fields), None)
        on = {"ON": True, "OFF": False}.get(relay) if isinstance(relay, str) else None
        return Told(told.import_milli_wh, told.export_milli_wh, told.power_milli_w, on)

    def _energy(self, energy: dict[str, object]) -> Told:
        total = self._figure(energy, "Total", "kWh")
        export = self._figure(energy, "ExportActive", "kWh") if self.options.export else None
        if min(total or 0, export or 0) < 0:
            raise ValueError("counts less than nothing")
        return Told(total, export, self._figure(energy, "Power", "W"))

    def _figure(self, energy: dict[str, object], name: str, unit: str) -> int | None:
        """A figure, or ours of a list with one for each channel."""
        value = energy.get(name)
        if isinstance(value, list):
            value = value[self.options.channel - 1] if len(value) >= self.options.channel else None
        return None if value is None else milli(value, unit)

    def _relays(self) -> tuple[str, ...]:
        own = f"POWER{self.options.channel}"
        return ("POWER", own) if self.options.channel == 1 else (own,)

    def _at(self, prefix: str, name: str) -> str:
        whole = self.options.full_topic.replace(PREFIX, prefix).replace(TOPIC, self.options.topic)
        return f"{whole.rstrip('/')}/{name}"
