"""What a driver hands on, what it may be asked, and how its options are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from ioe_node.errors import ConfigError, LocalError

OptionsT = TypeVar("OptionsT", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Reading:
    """A device's cumulative registers at one instant.

    `import_milli_wh` and `export_milli_wh` never run backwards as long as the meter is the same.
    `power_milli_w` is import positive, export negative; None where the device does not say.
    `switched_on` is None where there is nothing to switch.
    """

    at_us: int
    import_milli_wh: int
    export_milli_wh: int
    power_milli_w: int | None = None
    switched_on: bool | None = None


@runtime_checkable
class Meter(Protocol):
    """A device that can be read.  Raises `TransportError` (again) or `LocalError` (stop)."""

    async def read(self) -> Reading:
        """The registers as the device has them now."""


@runtime_checkable
class Watch(Protocol):
    """A device that tells of changes by itself, so that a switch pressed by hand is seen at once.

    The poller watches it and goes on polling: whatever is not told is still read.
    """

    async def watch(self, tell: Callable[[Reading], None]) -> None:
        """Give `tell` each reading as it comes, for as long as the connection lasts.

        Never returns; raises as `Meter` does, `LocalError` where there is nothing to watch.
        """


@runtime_checkable
class Switch(Protocol):
    """A device whose load can be switched.  Raises as `Meter` does."""

    async def set_on(self, on: bool) -> None:
        """Switch the load; returns when the device has confirmed it."""


@runtime_checkable
class Button(Protocol):
    """A device with a button; pressing it confirms an owner, or opens pairing once.

    Raises as `Meter` does.
    """

    async def pressed(self) -> None:
        """Return when the button has been pressed."""


@runtime_checkable
class Battery(Protocol):
    """A store of energy that tells how full it is.  Raises as `Meter` does."""

    async def stored_bp(self) -> int:
        """What it holds now, in basis points of what it can hold for use."""


@runtime_checkable
class PowerLimit(Protocol):
    """A device that can be told to draw, or give, no more than so much.  Raises as `Meter` does."""

    async def limit_power(self, milli_w: int | None) -> None:
        """Set the bound, in milliwatts, or lift it; returns when the device has confirmed it."""


class ReadingRefused(LocalError):
    """The registers cannot be those of the meter that was read before."""


def parse_options(
    options: Mapping[str, object], shape: type[OptionsT], driver_name: str
) -> OptionsT:
    """The options as `shape`; ConfigError names the driver, the key and what was expected."""
    try:
        return msgspec.convert(dict(options), shape)
    except msgspec.ValidationError as refusal:
        raise ConfigError(
            f"driver {driver_name}: {refusal}; known options: {', '.join(shape.__struct_fields__)}"
        ) from None
