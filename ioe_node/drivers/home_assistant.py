"""Home Assistant's MQTT discovery, both ways (pure).

Read: what other devices announce under `homeassistant/.../config` becomes options of the driver
`mqtt`.  Written: the announcement of a device of ours, and its state.  After Home Assistant's
documentation of MQTT discovery, its abbreviations and its two forms (a message an entity, or a
message a device).  Templates other than a place in the message's JSON are left out: they are
programs.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ioe_node.drivers.decimals import parse_json
from ioe_node.drivers.driver import Reading
from ioe_node.drivers.mqtt import MILLI
from ioe_node.drivers.mqtt_connection import Message

PREFIX = "homeassistant"
DEVICES_MAX = 256
ENTITIES_PER_DEVICE_MAX = 128
TEXT_CHARS_MAX = 256
ONLINE, OFFLINE = b"online", b"offline"

_LONG = {
    "cmd_t": "command_topic",
    "dev": "device",
    "dev_cla": "device_class",
    "cmps": "components",
    "ids": "identifiers",
    "mdl": "model",
    "p": "platform",
    "pl_off": "payload_off",
    "pl_on": "payload_on",
    "stat_cla": "state_class",
    "stat_off": "state_off",
    "stat_on": "state_on",
    "stat_t": "state_topic",
    "unit_of_meas": "unit_of_measurement",
    "uniq_id": "unique_id",
    "val_tpl": "value_template",
}
_PLACE = re.compile(
    r"""\{\{\s*value(_json(?P<path>(\.\w+|\[\s*('[^'\]]+'|"[^"\]]+"|\d+)\s*\])+))?\s*"""
    r"""(\|\s*(float|int|round)(\([\d, ]*\))?\s*)*\}\}""",
    re.ASCII,
)
_STEP = re.compile(r"""\.(\w+)|\[\s*'?"?([^'"\]]+?)'?"?\s*\]""", re.ASCII)
_PERIOD = re.compile(r"today|yesterday|dai?ly|hour|week|month|year", re.IGNORECASE)
_EXPORT = re.compile(r"export|return|produc|feed|inject|sent", re.IGNORECASE)


# --- what others announce ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Announced:
    """A device that its energy can be read of; `options` are those of the driver `mqtt`."""

    name: str
    model: str
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Entity:
    device: str
    name: str
    model: str
    fields: dict[str, str]


def announced(messages: Iterable[Message], prefix: str = PREFIX) -> list[Announced]:
    """The devices among what was said under `prefix`, by name; the rest is left out."""
    devices: dict[str, list[_Entity]] = {}
    for message in messages:
        for entity in _entities(message, prefix):
            if entity.device in devices or len(devices) < DEVICES_MAX:
                found = devices.setdefault(entity.device, [])
                if len(found) < ENTITIES_PER_DEVICE_MAX:
                    found.append(entity)
    made = [
        Announced(entities[0].name, entities[0].model, options)
        for entities in devices.values()
        if (options := _options(entities))
    ]
    return sorted(made, key=lambda each: each.name)


def _entities(message: Message, prefix: str) -> Iterator[_Entity]:
    parts = message.topic.split("/")
    if parts[0] != prefix or parts[-1] != "config" or len(parts) not in (4, 5):
        return
    try:
        fields = _long(parse_json(message.payload))
    except ValueError:
        return
    device = _long(fields.get("device"))
    identifiers = device.get("identifiers")
    named = identifiers[0] if isinstance(identifiers, list) and identifiers else identifiers
    whose = str(named or fields.get("unique_id") or message.topic)[:TEXT_CHARS_MAX]
    name = str(device.get("name") or fields.get("name") or whose)[:TEXT_CHARS_MAX]
    model = str(device.get("model") or "")[:TEXT_CHARS_MAX]
    if parts[1] != "device":
        yield _Entity(whose, name, model, _texts(fields, parts[1], parts[-2]))
        return
    components = fields.pop("components", None)
    for key, component in components.items() if isinstance(components, dict) else ():
        inner = _long(component)
        yield _Entity(whose, name, model, _texts(fields | inner, inner.get("platform"), key))


def _long(value: object) -> dict[str, object]:
    """A JSON object's members by their long names; none of what is no object."""
    members = value if isinstance(value, dict) else {}
    return {_LONG.get(str(key), str(key)): each for key, each in members.items()}


def _texts(fields: dict[str, object], component: object, object_id: str) -> dict[str, str]:
    """What is text in an announcement, the base topic put in for `~`."""
    base = fields.get("~")
    found = {"component": str(component), "object_id": object_id}
    for key, value in fields.items():
        if isinstance(value, str) and len(value) <= TEXT_CHARS_MAX:
            if isinstance(base, str) and key.endswith("_topic"):
                value = f"{base}{value[1:]}" if value.startswith("~") else value
                value = f"{value[:-1]}{base}" if value.endswith("~") else value
            found[key] = value
    return found


def _options(entities: list[_Entity]) -> dict[str, str]:
    """Options of the driver; none for a device without a counter of energy."""
    sensors = [each.fields for each in entities if each.fields["component"] == "sensor"]
    counters = [each for each in sensors if _is_counter(each)]
    exports = [each for each in counters if _EXPORT.search(_label(each))]
    imports = [each for each in counters if not _EXPORT.search(_label(each))]
    options: dict[str, str] = {}
    for key, found in (("import", imports), ("export", exports)):
        if found:
            options |= _figure(key, found[0])
    powers = [
        each
        for each in sensors
        if each.get("device_class") == "power" and _path(each) is not None and _unit(each)
    ]
    switches = [
        each.fields
        for each in entities
        if each.fields["component"] == "switch" and each.fields.get("command_topic")
    ]
    if options and powers:
        options |= _figure("power", powers[0])
    if options and switches:
        options |= _switch(switches[0])
    return options


def _is_counter(fields: dict[str, str]) -> bool:
    """Whether a sensor counts energy without ever beginning anew."""
    return (
        fields.get("device_class") == "energy"
        and fields.get("state_class", "total") in ("total", "total_increasing")
        and bool(fields.get("state_topic"))
        and _unit(fields)
        and _path(fields) is not None
        and not _PERIOD.search(_label(fields))
    )


def _label(fields: dict[str, str]) -> str:
    return f"{fields['object_id']} {fields.get('name', '')} {fields.get('value_template', '')}"


def _unit(fields: dict[str, str]) -> bool:
    return fields.get("unit_of_measurement") in MILLI


def _path(fields: dict[str, str]) -> str | None:
    """The place that a template names; '' for the whole message, None for any other program."""
    template = fields.get("value_template")
    if template is None:
        return ""
    match = _PLACE.fullmatch(template.strip())
    if match is None:
        return None
    steps = _STEP.findall(match["path"] or "")
    path = [dotted or bracketed for dotted, bracketed in steps]
    return None if any("." in step for step in path) else ".".join(path)


def _figure(key: str, fields: dict[str, str]) -> dict[str, str]:
    path = _path(fields)
    made = {f"{key}_topic": fields.get("state_topic", "")}
    made |= {f"{key}_path": path} if path else {}
    return {**made, f"{key}_unit": fields["unit_of_measurement"]}


def _switch(fields: dict[str, str]) -> dict[str, str]:
    on, off = fields.get("payload_on", "ON"), fields.get("payload_off", "OFF")
    made = {
        "command_topic": fields["command_topic"],
        "command_on": on,
        "command_off": off,
    }
    path = _path(fields)
    if fields.get("state_topic") and path is not None:
        made["state_topic"] = fields["state_topic"]
        made |= {"state_path": path} if path else {}
        made["state_on"] = fields.get("state_on", on)
        made["state_off"] = fields.get("state_off", off)
    return made


# --- what we announce ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ours:
    """A device of ours; `key` is a name that it keeps and no other has."""

    key: str
    name: str
    kind: str
    version: str
    prefix: str = PREFIX

    @property
    def availability(self) -> str:
        """The topic of whether it is there: `online` or, also by last will, `offline`."""
        return f"ioe/{self.key}/availability"

    @property
    def command(self) -> str:
        """The topic that switches it: ON or OFF."""
        return f"ioe/{self.key}/set"

    @property
    def _state(self) -> str:
        return f"ioe/{self.key}/state"

    def will(self, online: bool = False) -> Message:
        """What stands under `availability`."""
        return Message(self.availability, ONLINE if online else OFFLINE, retained=True)

    def configs(self, switches: bool) -> list[Message]:
        """Its entities; they stay with the broker.  That of a switch it has not is taken back."""
        energy = {"unit_of_measurement": "kWh", "device_class": "energy"}
        energy["state_class"] = "total_increasing"
        power = {"unit_of_measurement": "W", "device_class": "power", "state_class": "measurement"}
        made = [
            self._config("sensor", "import", "Import", energy),
            self._config("sensor", "export", "Export", energy),
            self._config("sensor", "power", "Power", power),
        ]
        switch = self._config("switch", "switch", "Switch", {"command_topic": self.command})
        return [*made, switch if switches else Message(switch.topic, b"", retained=True)]

    def _config(self, component: str, entity: str, name: str, fields: dict[str, str]) -> Message:
        config = {
            "name": name,
            "unique_id": f"ioe_{self.key}_{entity}",
            "state_topic": self._state,
            "value_template": f"{{{{ value_json.{entity} }}}}",
            "availability_topic": self.availability,
            **fields,
            "device": {
                "identifiers": [f"ioe_{self.key}"],
                "name": self.name,
                "model": self.kind,
                "manufacturer": "ioe-node",
                "sw_version": self.version,
            },
        }
        topic = f"{self.prefix}/{component}/ioe_{self.key}/{entity}/config"
        return Message(topic, json.dumps(config).encode(), retained=True)

    def state(self, reading: Reading) -> Message:
        """Registers in kWh and power in W, to the last digit; null for what is not known."""
        on, power = reading.switched_on, reading.power_milli_w
        said = {
            "import": decimal_text(reading.import_milli_wh, 6),
            "export": decimal_text(reading.export_milli_wh, 6),
            "power": None if power is None else decimal_text(power, 3),
            "switch": None if on is None else "ON" if on else "OFF",
        }
        return Message(self._state, json.dumps(said).encode(), retained=True)


def decimal_text(thousandths: int, digits: int) -> str:
    """An integer with its last `digits` digits behind a point."""
    whole, rest = divmod(abs(thousandths), 10**digits)
    return f"{'-' if thousandths < 0 else ''}{whole}.{rest:0{digits}}"
