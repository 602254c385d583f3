"""Any device behind an MQTT broker, by its topics: for each figure a topic and a place in its JSON.

`import_path = "energy.total"` takes the member `total` of the member `energy`, a number takes a
place in a list; without a path the whole message is the figure.  Home Assistant's discovery is
read into these options by `ioe driver scan --mqtt`.  Of a device that counts only what it exports,
a positive power is export.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ioe_node.clock import Clock, SystemClock
from ioe_node.drivers.decimals import parse_json, quantity
from ioe_node.drivers.driver import parse_options
from ioe_node.drivers.mqtt_broker import parse_broker
from ioe_node.drivers.mqtt_connection import Message
from ioe_node.drivers.mqtt_meter import SILENT_S, WAIT_S, MqttMeter, Told
from ioe_node.errors import ConfigError

Topic = Annotated[str, Meta(max_length=256, pattern=r"^[^#+\x00]*$")]
Path = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=256)]
Seconds = Annotated[int, Meta(ge=1, le=86_400)]
EnergyUnit = Literal["Wh", "kWh", "MWh"]
PowerUnit = Literal["mW", "W", "kW"]
MILLI = {"mW": 1, "W": 10**3, "kW": 10**6, "Wh": 10**3, "kWh": 10**6, "MWh": 10**9}


class BrokerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`silent_s`: how long after its last word a device is taken to be away; `wait_s`: how long
    its first word is waited for.
    """

    broker: str
    user: str = ""
    password_file: str | None = None
    ca_file: str | None = None
    silent_s: Seconds = SILENT_S
    wait_s: Seconds = WAIT_S


class MqttOptions(BrokerOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of `import_topic` and `export_topic` is needed."""

    import_topic: Topic = ""
    import_path: Path = ""
    import_unit: EnergyUnit = "kWh"
    export_topic: Topic = ""
    export_path: Path = ""
    export_unit: EnergyUnit = "kWh"
    power_topic: Topic = ""
    power_path: Path = ""
    power_unit: PowerUnit = "W"
    state_topic: Topic = ""
    state_path: Path = ""
    state_on: Text = "ON"
    state_off: Text = "OFF"
    command_topic: Topic = ""
    command_on: Text = "ON"
    command_off: Text = "OFF"


class Mqtt(MqttMeter):
    """A `Meter` and a `Switch`, which can be watched."""

    @classmethod
    def from_options(cls, options: Mapping[str, object], clock: Clock | None = None) -> "Mqtt":
        """ConfigError names the key."""
        parsed = parse_options(options, MqttOptions, "mqtt")
        if not (parsed.import_topic or parsed.export_topic):
            raise ConfigError(
                "driver mqtt: import_topic or export_topic: name where its energy counter is said"
            )
        broker = parse_broker(parsed.broker, parsed.user, parsed.password_file, parsed.ca_file)
        return cls(
            "mqtt", broker, Topics(parsed), clock or SystemClock(), parsed.silent_s, parsed.wait_s
        )


# --- decoding (pure) -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Topics:
    """The `Speech` that the options describe."""

    options: MqttOptions

    @property
    def topics(self) -> tuple[str, ...]:
        """Where the device speaks."""
        o = self.options
        return tuple(
            each for each in (o.import_topic, o.export_topic, o.power_topic, o.state_topic) if each
        )

    @property
    def questions(self) -> tuple[Message, ...]:
        """Nothing is known that makes it speak."""
        return ()

    @property
    def directions(self) -> tuple[bool, bool]:
        """By the topics that were given."""
        return bool(self.options.import_topic), bool(self.options.export_topic)

    @property
    def confirms(self) -> bool:
        """Where it says its state."""
        return bool(self.options.state_topic)

    def decode(self, message: Message) -> Told:
        """What it says; ValueError if there is nothing in it that was looked for, or nonsense."""
        o = self.options
        found = Told(
            import_milli_wh=_energy(message, o.import_topic, o.import_path, o.import_unit),
            export_milli_wh=_energy(message, o.export_topic, o.export_path, o.export_unit),
            power_milli_w=self._power(message),
            switched_on=self._switched_on(message),
        )
        if found == Told():
            raise ValueError("has nothing at the paths that are configured")
        return found

    def command(self, on: bool) -> Message | None:
        """What switches it."""
        o = self.options
        if not o.command_topic:
            return None
        return Message(o.command_topic, (o.command_on if on else o.command_off).encode())

    def _power(self, message: Message) -> int | None:
        o = self.options
        if message.topic != o.power_topic:
            return None
        value = dig(message.payload, o.power_path)
        if value is None:
            return None
        power = milli(value, o.power_unit)
        return -power if self.directions == (False, True) else power

    def _switched_on(self, message: Message) -> bool | None:
        o = self.options
        if message.topic != o.state_topic:
            return None
        text = str(dig(message.payload, o.state_path)).casefold()
        return {o.state_off.casefold(): False, o.state_on.casefold(): True}.get(text)


def _energy(message: Message, topic: str, path: str, unit: str) -> int | None:
    if message.topic != topic:
        return None
    value = dig(message.payload, path)
    if value is None:
        return None
    energy = milli(value, unit)
    if energy < 0:
        raise ValueError("counts less than nothing")
    return energy


def dig(payload: bytes, path: str) -> object:
    """What stands at `path` in a message; None where nothing does.  ValueError if it is no JSON.

    Without a path the message itself, as text where it is no JSON.
    """
    if not path:
        try:
            return parse_json(payload)
        except ValueError:
            return payload.decode("utf-8", "replace").strip()
    found = parse_json(payload)
    for part in path.split("."):
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isascii() and part.isdigit() and len(part) < 4:
            found = found[int(part)] if int(part) < len(found) else None
        else:
            return None
    return found


def milli(value: object, unit: str) -> int:
    """In thousandths of W or Wh, rounded towards zero; ValueError for what is no such figure."""
    number = quantity(value) * MILLI[unit]
    return int(number) if abs(number) >= Decimal("1e-3") else 0
