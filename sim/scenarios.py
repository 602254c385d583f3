"""What may happen to a swarm: named scenarios, each a function of the swarm and its options.

`neighbourhood`: homes with load, every second one with a roof, meter every interval, sell what
they do not use, and come to rest.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import trio

from ioe_node.errors import IoeError
from sim.checkers import balance_of, check
from sim.swarm import Home, Swarm, open_swarm
from sim.trace import Trace
from sim.virtual_clock import EPOCH_US, run_virtual

HOUR_S = 3_600
US = 1_000_000
METER_LAG_MAX_S = 5.0
SELL_AFTER_S = (20.0, 90.0, 240.0)
SELL_SPREAD_S = 10.0
RECORD_RETRY_S = 2.0
SUN_UP_S, SUN_DOWN_S = 6 * HOUR_S, 18 * HOUR_S


@dataclass(frozen=True)
class Options:
    """How large, how long, and which lots are drawn."""

    homes: int
    seed: int
    hours: int = 24


@dataclass
class Result:
    """What a run came to; energies in milliwatt-hours."""

    seed: int
    trace: Trace
    virtual_s: float = 0.0
    ops: int = 0
    imported_milli_wh: int = 0
    exported_milli_wh: int = 0
    shareable_milli_wh: int = 0
    sold_milli_wh: int = 0
    sales: int = 0
    credits_sum_micro: int = 0
    checks: dict[str, list[str]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no checker found anything."""
        return not any(self.checks.values())


Progress = Callable[[float], None]
"""Told the virtual seconds that have passed."""

Scenario = Callable[[Swarm, Options, Result, Progress], Awaitable[None]]


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


async def neighbourhood(swarm: Swarm, options: Options, result: Result, progress: Progress) -> None:
    """Meter every interval, sell a little later, for all the hours; then come to rest."""
    interval_s = swarm.definition.properties.interval_us // US
    meters = [
        Meter(Profile.drawn(home.number, swarm.rng(f"profile {home.number}")), interval_s)
        for home in swarm.homes
    ]
    async with trio.open_nursery() as nursery:
        for home, meter in zip(swarm.homes, meters, strict=True):
            nursery.start_soon(_live, swarm, home, meter, options.hours * HOUR_S, result)
        for hour in range(options.hours):
            await trio.sleep_until((hour + 1) * HOUR_S)
            progress((hour + 1) * HOUR_S)
    result.imported_milli_wh = sum(meter.import_milli_wh for meter in meters)
    result.exported_milli_wh = sum(meter.export_milli_wh for meter in meters)
    for start_s in range(0, options.hours * HOUR_S, interval_s):
        nets = [meter.net_milli_wh(start_s) for meter in meters]
        imported = sum(net for net in nets if net > 0)
        result.shareable_milli_wh += min(imported, imported - sum(nets))


async def _live(swarm: Swarm, home: Home, meter: Meter, until_s: int, result: Result) -> None:
    """One home's day: a reading each interval, and some tries to sell it."""
    rng = swarm.rng(f"life of {home.number}")
    for start_s in range(0, until_s, meter.interval_s):
        end_s = start_s + meter.interval_s
        await trio.sleep_until(end_s + rng.uniform(0, METER_LAG_MAX_S))
        await _record(home, meter.read(start_s))
        for after_s in SELL_AFTER_S:
            await trio.sleep_until(end_s + after_s + rng.uniform(0, SELL_SPREAD_S))
            done = await home.call("currency", "sell", {})
            result.sales += done["sold"]
            result.sold_milli_wh += done["energy_milli_wh"]


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


SCENARIOS: dict[str, Scenario] = {"neighbourhood": neighbourhood}


async def play(
    name: str, directory: Path, options: Options, trace: Trace, progress: Progress
) -> Result:
    """Run a scenario on a swarm of its own, let it come to rest, and check what it holds."""
    result = Result(options.seed, trace)
    async with open_swarm(directory, options.seed, options.homes, trace=trace) as swarm:
        await SCENARIOS[name](swarm, options, result, progress)
        await swarm.settle()
        homes = swarm.running()
        result.virtual_s = trio.current_time()
        result.ops = sum(home.store.ops_digest()[0] for home in homes)
        result.credits_sum_micro = sum(map(balance_of, homes))
        result.checks = check(swarm)
    return result


def run_scenario(
    name: str, directory: Path, options: Options, progress: Progress = lambda virtual_s: None
) -> Result:
    """`play` on virtual time; the same options give the same trace."""
    return run_virtual(play, name, directory, options, Trace(), progress, seed=options.seed)
