"""A battery, the set points that a trader gives it, and how it follows them within an interval.

A trader decides before an interval begins, when nobody knows what the home will draw.  So it
does not say how much to charge but where the home's meter is to be held, which an inverter does by
itself, second by second, and between which levels of the store it may.

Every loss rounds against the owner: what is put in gains no milli-Wh, what is taken out costs none
less.
"""

from dataclasses import dataclass
from typing import NamedTuple

HOUR_US = 3_600_000_000
PPM = 1_000_000


@dataclass(frozen=True)
class Battery:
    """A store; `charge_ppm` of what goes in is stored, `discharge_ppm` of what it gives comes out.

    Below `reserve_milli_wh` it is never discharged.
    """

    capacity_milli_wh: int
    power_milli_w: int
    charge_ppm: int
    discharge_ppm: int
    reserve_milli_wh: int = 0

    def energy_max(self, length_us: int) -> int:
        """The most milli-Wh in or out, at its terminals, in so much time."""
        return self.power_milli_w * length_us // HOUR_US

    def takes(self, room_milli_wh: int) -> int:
        """What goes in at the terminals until so much more is stored."""
        return max(0, room_milli_wh) * PPM // self.charge_ppm

    def stores(self, energy_milli_wh: int) -> int:
        """What of an energy at the terminals is stored."""
        return energy_milli_wh * self.charge_ppm // PPM

    def gives(self, stored_milli_wh: int) -> int:
        """What comes out at the terminals of so much stored."""
        return max(0, stored_milli_wh) * self.discharge_ppm // PPM

    def spends(self, energy_milli_wh: int) -> int:
        """What an energy at the terminals takes from the store."""
        return -(-energy_milli_wh * PPM // self.discharge_ppm)


class SetPoints(NamedTuple):
    """For one interval: the meter's position (import positive) and three levels of the store.

    What the home draws beyond `meter_milli_wh` comes from the battery down to `cover_to`; what it
    would export beyond it is stored up to `absorb_to`; up to `charge_to` the battery charges
    whatever the meter says.  All in milli-Wh.
    """

    meter_milli_wh: int
    charge_to: int
    cover_to: int
    absorb_to: int


class Flow(NamedTuple):
    """What an interval came to: the store after it, and what the home's meter counted."""

    stored_milli_wh: int
    meter_milli_wh: int


def follow(
    battery: Battery, points: SetPoints, stored_milli_wh: int, net_milli_wh: int, length_us: int
) -> Flow:
    """One interval by set points; `net_milli_wh` is load less generation, as it turned out.

    Holds the power, the capacity and the reserve whatever the set points say.
    """
    power = battery.energy_max(length_us)
    gap = net_milli_wh - points.meter_milli_wh
    floor = max(points.cover_to, battery.reserve_milli_wh)
    given = min(max(0, gap), power, battery.gives(stored_milli_wh - floor))
    if given:
        spent = battery.spends(given)
        return Flow(stored_milli_wh - spent, net_milli_wh - given)
    absorbed = min(max(0, -gap), battery.takes(points.absorb_to - stored_milli_wh))
    charged = max(absorbed, battery.takes(points.charge_to - stored_milli_wh))
    taken = min(charged, power, battery.takes(battery.capacity_milli_wh - stored_milli_wh))
    return Flow(stored_milli_wh + battery.stores(taken), net_milli_wh + taken)
