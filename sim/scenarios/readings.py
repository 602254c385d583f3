"""The load that every home has: readings that are due, written down; and records to read."""

from contextlib import suppress
from random import Random
from typing import Any

import trio

from ioe_node.errors import IoeError
from ioe_node.hdi import ActionHash
from sim.byzantine import device_named
from sim.home import Home
from sim.swarm import Swarm

READING = "metering.IntervalReading"
READINGS_PER_CALL_MAX = 500
LOAD_MILLI_WH_MAX = 300_000


def due(home: Home, interval_us: int, from_us: int, until_us: int, rng: Random) -> list[Any]:
    """The readings of the whole intervals that a home has not written yet, oldest first."""
    newest = home.store.newest_of_type(home.agent, READING)
    start_us = from_us // interval_us * interval_us
    registers = [0, 0]
    if newest is not None:
        entry = home.cell.space.rules.found(newest).entry
        start_us = entry.end
        registers = [entry.import_register_milli_wh, entry.export_register_milli_wh]
    readings: list[Any] = []
    while start_us + interval_us <= until_us and len(readings) < READINGS_PER_CALL_MAX:
        counts = (rng.randrange(LOAD_MILLI_WH_MAX), rng.randrange(LOAD_MILLI_WH_MAX))
        registers = [before + count for before, count in zip(registers, counts, strict=True)]
        readings.append(
            {
                "start": start_us,
                "end": start_us + interval_us,
                "import_milli_wh": counts[0],
                "export_milli_wh": counts[1],
                "import_register_milli_wh": registers[0],
                "export_register_milli_wh": registers[1],
                "quality": "measured",
                "method": "device",
            }
        )
        start_us += interval_us
    return readings


async def record_due(swarm: Swarm, home: Home, from_us: int, rng: Random) -> int:
    """Write what is due, in one call; how many readings, 0 when it was refused or not running."""
    if not home.running:
        return 0
    interval_us = swarm.definition.properties.interval_us
    with suppress(IoeError):
        readings = due(home, interval_us, from_us, swarm.clock.now_us(), rng)
        if readings:
            await home.call("metering", "record", {"readings": readings})
            return len(readings)
    return 0


async def enrol(home: Home, name: str) -> ActionHash:
    """One small record of no further meaning: a device of that name is the home's."""
    payload = {"device": device_named(name), "kind": "monitor", "name": name}
    return ActionHash(await home.call("identity", "enrol", payload))


async def read_within(home: Home, hash_: ActionHash, patience_s: float) -> float | None:
    """How long it took a home to read a record, None if it was not found in time."""
    begun_s = trio.current_time()
    with trio.move_on_after(patience_s), suppress(IoeError):
        if await home.get(hash_) is not None:
            return trio.current_time() - begun_s
    return None
