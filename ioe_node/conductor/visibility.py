"""Private devices: what one keeps from its neighbours, and how its owner's node sees it.  (I-029)

The key under which a device hides its card comes of its seed, which its owner made; so nothing has
to be agreed on, and an owner who has only the 24 words sees the devices again.  A device that waits
for an owner hides nothing, for it must be found.  In a community a device is seen by its
members, private or not: that is between them and it, and no neighbour hears of it.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ioe_node.conductor import keytree

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

DEVICES_AHEAD = 64
"""Device numbers past the last known that are looked for too: after a recovery none is known."""

_PORT = re.compile(r"(?<=/tcp/)\d+")


def hiding_key(conductor: "Conductor") -> bytes | None:
    """The key under which we hide our card; None if we are public.

    Private is who says so in the config, and whose owner says so in the policy.
    """
    device = conductor.config.device
    if device is None or conductor.role != "device":
        return None
    if "private" not in (device.visibility, conductor.policy.rules.visibility):
        return None
    return keytree.hiding_key(conductor.keystore.secrets["device"])


def listen(conductor: "Conductor") -> tuple[str, ...]:
    """Where to listen: as configured, but if we are private on a free port of each address."""
    configured = conductor.config.network.listen
    if hiding_key(conductor) is None:
        return configured
    return any_port(configured)


def any_port(addresses: Iterable[str]) -> tuple[str, ...]:
    """The same addresses, each on whatever port is free."""
    return tuple(dict.fromkeys(_PORT.sub("0", address) for address in addresses))


def recognise(conductor: "Conductor") -> None:
    """Have the meeting open the hidden cards of our devices."""
    if conductor.role == "owner":
        numbers = range(conductor.home.state().next_device + DEVICES_AHEAD)
        portfolios = keytree.portfolios_of(conductor.keystore.secrets)
        seeds = [keytree.device_seed(each, number) for each in portfolios for number in numbers]
        conductor.meeting.recognise([keytree.hiding_key(seed) for seed in seeds])
