"""The node reaches upward by name only: `package.module:NAME`, from its config.

Built-in DNAs, drivers and discoveries enter by the same door as anybody else's.
"""

from importlib import import_module
from typing import Any

from ioe_node.errors import ConfigError


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
