"""Home Assistant's discovery: announcements as others make them, and ours, which we read too."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers.driver import Reading
from ioe_node.drivers.home_assistant import DEVICES_MAX, Ours, announced, decimal_text
from ioe_node.drivers.mqtt import Mqtt, MqttOptions, Topics
from ioe_node.drivers.mqtt_connection import Message
from ioe_node.drivers.mqtt_meter import Told

DEVICE = {"ids": ["z1"], "name": "Kettle", "mdl": "TS011F"}


def config(topic: str, **fields: Any) -> Message:
    return Message(f"homeassistant/{topic}/config", json.dumps(fields).encode(), retained=True)


def energy(object_id: str = "energy", **fields: Any) -> Message:
    made = {
        "uniq_id": f"z1_{object_id}",
        "dev": DEVICE,
        "dev_cla": "energy",
        "stat_cla": "total_increasing",
        "unit_of_meas": "kWh",
        "stat_t": "zigbee2mqtt/kettle",
        "val_tpl": "{{ value_json." + object_id + " }}",
    }
    return config(f"sensor/z1/{object_id}", **{**made, **fields})


SWITCH = config(
    "switch/z1/switch",
    unique_id="z1_switch",
    device={"identifiers": "z1", "name": "Kettle"},
    state_topic="zigbee2mqtt/kettle",
    value_template="{{ value_json.state }}",
    command_topic="zigbee2mqtt/kettle/set",
    payload_on="ON",
    payload_off="OFF",
)
POWER = energy("power", dev_cla="power", unit_of_meas="W", stat_cla="measurement")


def test_a_device_of_several_messages_is_one_driver() -> None:
    (found,) = announced([SWITCH, POWER, energy("energy_today"), energy()])
    assert found.name == "Kettle"
    assert found.options == {
        "import_topic": "zigbee2mqtt/kettle",
        "import_path": "energy",
        "import_unit": "kWh",
        "power_topic": "zigbee2mqtt/kettle",
        "power_path": "power",
        "power_unit": "W",
        "command_topic": "zigbee2mqtt/kettle/set",
        "command_on": "ON",
        "command_off": "OFF",
        "state_topic": "zigbee2mqtt/kettle",
        "state_path": "state",
        "state_on": "ON",
        "state_off": "OFF",
    }
    Mqtt.from_options({"broker": "mqtt://a", **found.options})


def test_the_base_topic_and_plain_payloads() -> None:
    fields = {"~": "meters/1", "stat_t": "~/total", "unit_of_meas": "Wh", "dev_cla": "energy"}
    message = config("sensor/meter", **fields)
    (found,) = announced([message])
    assert found.options == {"import_topic": "meters/1/total", "import_unit": "Wh"}


def test_a_device_in_one_message() -> None:
    counter = {"p": "sensor", "device_class": "energy", "unit_of_measurement": "kWh"}
    components = {
        "in": {**counter, "value_template": "{{ value_json['e']['in'] | float }}"},
        "feed_in": {**counter, "value_template": "{{ value_json.e.out }}"},
    }
    (found,) = announced([config("device/m1", dev=DEVICE, cmps=components, stat_t="m1/state")])
    assert found.options == {
        "import_topic": "m1/state",
        "import_path": "e.in",
        "import_unit": "kWh",
        "export_topic": "m1/state",
        "export_path": "e.out",
        "export_unit": "kWh",
    }


@pytest.mark.parametrize(
    "message",
    [
        energy(val_tpl="{% if value_json.a %}{{ value_json.b }}{% endif %}"),
        energy(val_tpl="{{ value_json.a * 2 }}"),
        energy(val_tpl="{{ states('sensor.x') }}"),
        energy(unit_of_meas="J"),
        energy(stat_cla="measurement"),
        energy("energy_daily"),
        energy(stat_t=None),
        POWER,
        SWITCH,
        Message("homeassistant/sensor/a/config", b""),
        Message("homeassistant/sensor/a/config", b"["),
        Message("other/sensor/a/config", energy().payload),
    ],
)
def test_what_cannot_be_read_is_left_out(message: Message) -> None:
    assert announced([message]) == []


def test_no_more_devices_than_are_wanted() -> None:
    many = [energy(dev={"ids": [str(n)], "name": str(n)}) for n in range(DEVICES_MAX + 50)]
    assert len(announced(many)) == DEVICES_MAX


KEYS = [
    "dev",
    "ids",
    "name",
    "dev_cla",
    "stat_t",
    "val_tpl",
    "unit_of_meas",
    "~",
    "cmps",
    "p",
    "cmd_t",
]
VALUES = ["energy", "power", "kWh", "{{ value_json.a }}", "~/x", "sensor", "switch", "t"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(VALUES) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)
TOPICS = [
    f"homeassistant/{each}/config" for each in ("sensor/a", "switch/a/b", "device/a", "x", "")
]


@given(st.lists(st.tuples(st.sampled_from(TOPICS), JSON), max_size=5))
def test_whatever_is_announced_makes_options_or_nothing(said: list[tuple[str, object]]) -> None:
    for found in announced(Message(topic, json.dumps(value).encode()) for topic, value in said):
        assert found.options.get("import_topic") or found.options.get("export_topic")


# --- ours ----------------------------------------------------------------------------------------


def test_what_we_announce_is_what_home_assistant_asks_for() -> None:
    ours = Ours("uhCAkX", "roof", "generator", "0.1")
    made = {each.topic.split("/")[-2]: each for each in ours.configs(switches=True)}
    fields = {entity: json.loads(each.payload) for entity, each in made.items()}
    assert all(each.retained for each in made.values())
    assert len({each["unique_id"] for each in fields.values()}) == 4
    assert {each["availability_topic"] for each in fields.values()} == {"ioe/uhCAkX/availability"}
    assert {each["device"]["name"] for each in fields.values()} == {"roof"}
    for entity, device_class, state_class, unit in [
        ("import", "energy", "total_increasing", "kWh"),
        ("export", "energy", "total_increasing", "kWh"),
        ("power", "power", "measurement", "W"),
    ]:
        assert fields[entity]["device_class"] == device_class
        assert fields[entity]["state_class"] == state_class
        assert fields[entity]["unit_of_measurement"] == unit
    assert fields["switch"]["command_topic"] == ours.command
    assert ours.will() == Message("ioe/uhCAkX/availability", b"offline", retained=True)
    assert ours.configs(switches=False)[-1].payload == b"", "it is taken back"


@given(
    st.integers(0, 10**14),
    st.integers(0, 10**14),
    st.none() | st.integers(-(10**10), 10**10),
    st.none() | st.booleans(),
)
def test_what_we_say_is_read_back_to_the_last_digit(
    imported: int, exported: int, power: int | None, on: bool | None
) -> None:
    ours = Ours("uhCAkX", "roof", "generator", "0.1")
    (found,) = announced(ours.configs(switches=True))
    speech = Topics(MqttOptions(broker="mqtt://a", **found.options))  # type: ignore[arg-type]
    message = ours.state(Reading(0, imported, exported, power, on))
    assert speech.decode(message) == Told(imported, exported, power, on)
    assert speech.command(True) == Message(ours.command, b"ON")


def test_decimals() -> None:
    assert decimal_text(-1, 3) == "-0.001"
    assert decimal_text(1_234_567, 6) == "1.234567"
