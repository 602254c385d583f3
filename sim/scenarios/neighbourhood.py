"""A street: homes with load, every second one with a roof, meter, sell, and come to rest."""

from dataclasses import dataclass
from random import Random
from typing import Any

import trio

from ioe_node.errors import IoeError
from sim.checkers import balance_of
from sim.scenario import Run, scenario
from sim.swarm import Home
from sim.virtual_clock import EPOCH_US

HOUR_S = 3_600
US = 1_000_000
MICRO = 1_000_000
METER_LAG_MAX_S = 5.0
SELL_AFTER_S = (20.0, 90.0, 240.0)
SELL_SPREAD_S = 10.0
RECORD_RETRY_S = 2.0
SUN_UP_S, SUN_DOWN_S = 6 * HOUR_S, 18 * HOUR_S


@dataclass(frozen=True)
class Profile:
    """A home's power over the day: a base, an evening of three hours, and a roof; milliwatts."""

    base_milli_w: int
    evening_milli_w: int
    evening_from_s: int
    roof_milli_w: int

    @classmethod
    def drawn(cls, number: int, rng: Random) -> "Profile":
        """Every second home has a roof."""
        return cls(
            base_milli_w=rng.randrange(150_000, 450_000),
            evening_milli_w=rng.randrange(800_000, 2_500_000),
            evening_from_s=rng.randrange(16 * HOUR_S, 20 * HOUR_S),
            roof_milli_w=rng.randrange(800_000, 3_000_000) if number % 2 else 0,
        )

    def net_milli_w(self, at_s: int) -> int:
        """Import less export at a second of the run; the sun is a parabola from six to six."""
        day_s = (EPOCH_US // US + at_s) % (24 * HOUR_S)
        evening = 0 <= day_s - self.evening_from_s < 3 * HOUR_S
        height = max(0, (day_s - SUN_UP_S) * (SUN_DOWN_S - day_s))
        sun_milli_w = self.roof_milli_w * height // (6 * HOUR_S) ** 2
        return self.base_milli_w + evening * self.evening_milli_w - sun_milli_w


@dataclass
class Meter:
    """A home's cumulative registers, read once an interval."""

    profile: Profile
    interval_s: int
    import_milli_wh: int = 0
    export_milli_wh: int = 0

    def net_milli_wh(self, start_s: int) -> int:
        """Import less export of one interval."""
        milli_w = self.profile.net_milli_w(start_s + self.interval_s // 2)
        sign = 1 if milli_w > 0 else -1
        return sign * (abs(milli_w) * self.interval_s // HOUR_S)

    def read(self, start_s: int) -> dict[str, Any]:
        """The reading of the interval that began at a second of the run."""
        net_milli_wh = self.net_milli_wh(start_s)
        imported, exported = max(0, net_milli_wh), max(0, -net_milli_wh)
        self.import_milli_wh += imported
        self.export_milli_wh += exported
        return {
            "start": EPOCH_US + start_s * US,
            "end": EPOCH_US + (start_s + self.interval_s) * US,
            "import_milli_wh": imported,
            "export_milli_wh": exported,
            "import_register_milli_wh": self.import_milli_wh,
            "export_register_milli_wh": self.export_milli_wh,
            "quality": "measured",
            "method": "device",
        }


@dataclass
class Sold:
    """What all homes sold."""

    sales: int = 0
    milli_wh: int = 0


@scenario(nodes=8, minutes=24 * 60, check_every_s=300.0)
async def neighbourhood(run: Run) -> None:
    """Homes meter every interval, sell what they do not use, and come to rest."""
    swarm = run.swarm
    interval_s = swarm.definition.properties.interval_us // US
    until_s = int(run.options.virtual_s)
    sold = Sold()
    meters = [
        Meter(Profile.drawn(home.number, run.rng(f"profile {home.number}")), interval_s)
        for home in swarm.homes
    ]
    async with trio.open_nursery() as nursery:
        for home, meter in zip(swarm.homes, meters, strict=True):
            nursery.start_soon(_live, run, home, meter, until_s, sold)
        await run.pass_time()
    shareable_milli_wh = 0
    for start_s in range(0, until_s, interval_s):
        nets = [meter.net_milli_wh(start_s) for meter in meters]
        imported = sum(net for net in nets if net > 0)
        shareable_milli_wh += min(imported, imported - sum(nets))
    for name, milli_wh in (
        ("energy imported", sum(meter.import_milli_wh for meter in meters)),
        ("energy exported", sum(meter.export_milli_wh for meter in meters)),
        ("energy that could be shared", shareable_milli_wh),
        ("energy sold", sold.milli_wh),
    ):
        run.measure(name, milli_wh / MICRO, "kWh")
    run.measure("sales", sold.sales, "")
    run.measure("credits, sum", sum(map(balance_of, swarm.homes)) / MICRO, "credits")


async def _live(run: Run, home: Home, meter: Meter, until_s: int, sold: Sold) -> None:
    """One home's day: a reading each interval, and some tries to sell it."""
    rng = run.rng(f"life of {home.number}")
    for start_s in range(0, until_s, meter.interval_s):
        end_s = start_s + meter.interval_s
        await trio.sleep_until(end_s + rng.uniform(0, METER_LAG_MAX_S))
        await _record(home, meter.read(start_s))
        for after_s in SELL_AFTER_S:
            await trio.sleep_until(end_s + after_s + rng.uniform(0, SELL_SPREAD_S))
            done = await home.call("currency", "sell", {})
            sold.sales += done["sold"]
            sold.milli_wh += done["energy_milli_wh"]


async def _record(home: Home, reading: dict[str, Any]) -> None:
    """Write a reading; what is refused while a settlement is in doubt is tried again."""
    while True:
        try:
            await home.call("metering", "record", {"readings": [reading]})
            return
        except IoeError:
            if home.store.promised() is None:
                raise
        await trio.sleep(RECORD_RETRY_S)
