"""Sales that another's silence or a made-up offer would spoil."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from ioe_node.errors import IoeError
from ioe_node.workflows.call_zome import CallHost, perform
from sim.checkers import faults
from sim.swarm import Home, Swarm
from sim.virtual_clock import EPOCH_US
from tests.sim.conftest import INTERVAL_US
from tests.sim.test_gate import place
from zomes.metering.coordinator import SILENT_INTERVALS_MAX

TOLD_S = 20


async def meter(home: Home, imported: int, exported: int, until: int) -> None:
    """The home's readings up to the `until`th, all alike."""
    known = len(await home.call("metering", "history", {}))
    rows = [
        {
            "start": EPOCH_US + number * INTERVAL_US,
            "end": EPOCH_US + (number + 1) * INTERVAL_US,
            "import_milli_wh": imported,
            "export_milli_wh": exported,
            "import_register_milli_wh": imported * (number + 1),
            "export_register_milli_wh": exported * (number + 1),
            "quality": "measured",
            "method": "device",
        }
        for number in range(known, until)
    ]
    await home.call("metering", "record", {"readings": rows})


def test_who_has_been_silent_for_long_holds_up_no_interval_any_more(
    play: Callable[..., Any],
) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, seller, silent, _ = swarm.homes
        await trio.sleep((SILENT_INTERVALS_MAX + 2) * INTERVAL_US / 1e6)
        await meter(silent, 1_000, 0, until=1)
        for until in (SILENT_INTERVALS_MAX + 1, SILENT_INTERVALS_MAX + 2):
            await meter(buyer, 1_000, 0, until)
            await meter(seller, 0, 1_000, until)
            await trio.sleep(TOLD_S)
            newest = {"start": EPOCH_US + (until - 1) * INTERVAL_US}
            at = await seller.call("metering", "at", newest)
            absent = [each["agent"] for each in at if not each["present"]]
            assert absent == ([silent.agent] if until == SILENT_INTERVALS_MAX + 1 else [])

    play(story)


def test_a_sale_of_what_is_no_reading_is_declined(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, seller, *_ = swarm.homes
        order = await place(seller, "ask", 100_000)
        terms = {"reading": order, "energy_milli_wh": 1}

        async def offer(host: CallHost) -> None:
            await host.countersign(buyer.agent, "currency.sale", terms)

        await trio.sleep(TOLD_S)
        with pytest.raises(IoeError, match="declined: a sale is of what a reading says"):
            await perform(seller.cell.space, seller.cell._settlements, offer)
        assert faults(swarm, []) == []

    play(story)
