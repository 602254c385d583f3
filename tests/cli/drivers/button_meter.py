"""Somebody's own driver of a machine with a button, which a test presses."""

from collections.abc import Mapping

import trio
from steady_meter import Steady, SteadyOptions

from ioe_node.drivers.driver import parse_options

PRESSES, _pressed = trio.open_memory_channel[None](10)


class Pressable(Steady):
    """A steady meter with a button."""

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "Pressable":
        return cls(parse_options(options, SteadyOptions, "button"))

    async def pressed(self) -> None:
        await _pressed.receive()
