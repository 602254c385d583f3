"""Certificates in a network: from one home's panel to another's socket, told by a third."""

from collections.abc import Callable
from typing import Any

import trio

from sim.checkers import faults
from sim.swarm import Home, Swarm
from sim.virtual_clock import EPOCH_US
from tests.sim.conftest import INTERVAL_US

Play = Callable[..., Any]
STAFFED_S = 100
REST_S = 5
FINAL_S = 60


async def origin(home: Home, function: str, **payload: Any) -> Any:
    return await home.call("origin", function, payload)


async def metered(home: Home, *flows: tuple[int, int]) -> None:
    """Readings of a home from the first interval on: (import, export) of each."""
    registers = [0, 0]
    for number, flow in enumerate(flows):
        registers = [registers[side] + flow[side] for side in (0, 1)]
        start = EPOCH_US + number * INTERVAL_US
        reading = {
            "start": start,
            "end": start + INTERVAL_US,
            "import_milli_wh": flow[0],
            "export_milli_wh": flow[1],
            "import_register_milli_wh": registers[0],
            "export_register_milli_wh": registers[1],
            "quality": "measured",
            "method": "device",
        }
        await home.call("metering", "record", {"readings": [reading]})


async def kept(home: Home) -> dict[str, int]:
    """A home keeps its certificates once, and what it did is final."""
    done: dict[str, int] = await origin(home, "keep")
    await trio.sleep(FINAL_S)
    return done


def told(life: Any) -> list[tuple[str, int]]:
    return [(each["what"], each["energy_milli_wh"]) for each in life["events"]]


def test_from_panel_to_socket(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        roof, kettle, reader = swarm.homes[1:4]
        await origin(roof, "declare", source="pv_roof", zone="vic/carlton")
        for home in swarm.homes:
            await metered(home, {roof: (0, 900), kettle: (700, 0)}.get(home, (0, 0)))
        assert await kept(roof) == {"given": 0, "issued": 1}
        assert (await roof.call("currency", "sell", {}))["energy_milli_wh"] == 700
        assert await kept(roof) == {"given": 1}
        assert await kept(kettle) == {"given": 0, "consumed": 1}
        assert [await kept(roof), await kept(kettle)] == [{"given": 0}] * 2
        (left,) = await origin(reader, "holdings", agent=roof.agent)
        assert (left["state"], left["energy_milli_wh"]) == ("held", 200)
        assert (left["source"], left["g_co2_per_kwh"]) == ("pv_roof", 41)
        life = await origin(reader, "trace", certificate=left["certificate"])
        assert told(life) == [
            ("metered", 900),
            ("issued", 900),
            ("given", 700),
            ("held", 200),
            ("consumed", 700),
        ]
        assert life["sums"] == {"held": 200, "consumed": 700}
        assert life["unread"] == []
        assert await origin(reader, "holdings", agent=kettle.agent) == []
        (used,) = await origin(reader, "holdings", agent=kettle.agent, retired=8)
        assert (used["state"], used["energy_milli_wh"]) == ("consumed", 700)
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, homes=6)
