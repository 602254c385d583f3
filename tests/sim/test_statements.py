"""Statements of a network: what is said of a household and of a meter that nobody owns."""

from collections.abc import Callable
from typing import Any

import trio

from sim.scenarios.owners import claim
from sim.swarm import Swarm
from sim.virtual_clock import EPOCH_US
from tests.sim.conftest import INTERVAL_US

KWH = 1_000_000


def test_a_household_and_its_neighbour(
    play: Callable[..., Any], reading: Callable[..., dict[str, Any]]
) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        owner, roof, neighbour, *_ = swarm.homes
        await claim(swarm, owner, roof)
        await trio.sleep(INTERVAL_US // 1_000_000)
        for home, flows in ((roof, (0, 3 * KWH)), (neighbour, (2 * KWH, 0))):
            await home.call("metering", "record", {"readings": [reading(*flows)]})
        await trio.sleep(30)
        assert (await roof.call("currency", "sell", {}))["energy_milli_wh"] == 2 * KWH
        await trio.sleep(30)
        payment = {"payee": owner.agent, "amount_micro": 7}
        await neighbour.call("currency", "pay", payment)
        await trio.sleep(60)
        of = {"from_us": EPOCH_US - INTERVAL_US, "until_us": EPOCH_US + 100 * INTERVAL_US}
        asked = {**of, "agent": owner.agent}
        ours = await neighbour.call("currency", "statement", asked)
        assert ours == {
            "member": owner.agent,
            "devices": 1,
            "complete": True,
            "imported_milli_wh": 0,
            "exported_milli_wh": 3 * KWH,
            "bought_milli_wh": 0,
            "sold_milli_wh": 2 * KWH,
            "paid_micro": 0,
            "earned_micro": 2 * KWH,
            "fees_micro": 0,
            "sent_micro": 0,
            "received_micro": 7,
            "saved_micro": 600_000,
            "co2_milli_g": 0,
            "unweighed_milli_wh": 0,
            "co2_saved_milli_g": None,
        }
        theirs = await neighbour.call("currency", "statement", of)
        assert theirs["saved_micro"] == 600_000
        assert theirs["unweighed_milli_wh"] == 2 * KWH
        assert theirs["paid_micro"] == ours["earned_micro"]
        before = {"from_us": 0, "until_us": EPOCH_US - INTERVAL_US}
        nothing = await neighbour.call("currency", "statement", before)
        assert nothing["bought_milli_wh"] == nothing["imported_milli_wh"] == 0

    play(story)
