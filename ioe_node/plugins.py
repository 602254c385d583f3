"""The node reaches upward by name only: `package.module:NAME`, from its config.

Built-in DNAs, drivers and discoveries enter by the same door as anybody else's.
"""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ioe_node.errors import ConfigError

DRIVERS = {
    "mqtt": "ioe_node.drivers.mqtt:Mqtt",
    "profile": "ioe_node.drivers.profile:Profile",
    "shelly": "ioe_node.drivers.shelly:Shelly",
    "tasmota": "ioe_node.drivers.tasmota:Tasmota",
}
DRIVER_GROUP = "ioe_node.drivers"
"""The entry points by which an installed package gives its drivers short names."""


def drivers() -> dict[str, str]:
    """Dotted names by short ones: those that come with the node, then those of other packages."""
    others = {each.name: each.value for each in entry_points(group=DRIVER_GROUP)}
    return {**DRIVERS, **{name: others[name] for name in sorted(others) if name not in DRIVERS}}


def load_driver(name: str) -> Any:
    """A driver by its short name or its dotted one; raises `ConfigError`."""
    if ":" in name:
        return load(name)
    known = drivers()
    if name not in known:
        raise ConfigError(
            f"there is no driver '{name}'; there are {', '.join(known)}, and any "
            "package.module:NAME"
        )
    return load(known[name])


def load(name: str) -> Any:
    """The object of a dotted name; raises `ConfigError` that says what is missing."""
    module_name, _, attribute = name.partition(":")
    try:
        found: Any = import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"'{name}' cannot be loaded ({error}); write package.module:NAME"
        ) from None
    return found
