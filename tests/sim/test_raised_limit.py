"""A member that sold its export may owe more, once the sale is final; and is warned in time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from dna.neighbourhood import DNA
from ioe_node.errors import IoeError
from sim.swarm import Swarm, open_swarm
from sim.virtual_clock import run_virtual
from tests.sim.conftest import INTERVAL_US

KWH = 1_000_000
LIMIT = KWH
STAFFED_S = 100


def test_sold_export_raises_the_limit(
    tmp_path: Path, reading: Callable[..., dict[str, Any]]
) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(max(STAFFED_S, INTERVAL_US // KWH))
        seller, buyer, payee, *_ = swarm.homes[1:]
        await buyer.call("metering", "record", {"readings": [reading(KWH, 0)]})
        await seller.call("metering", "record", {"readings": [reading(0, 3 * KWH)]})
        await trio.sleep(30)
        before = await seller.call("currency", "balance", {})
        assert (before["credit_limit_micro"], before["near_limit"]) == (LIMIT, False)
        assert (await seller.call("currency", "sell", {}))["energy_milli_wh"] == KWH
        assert (await buyer.call("currency", "balance", {}))["near_limit"]
        await trio.sleep(60)
        raised = await seller.call("currency", "balance", {})
        assert raised["credit_limit_micro"] == LIMIT + KWH // 2
        most = LIMIT + KWH // 2 + KWH
        payment = {"payee": payee.agent, "amount_micro": most + 1}
        with pytest.raises(IoeError, match="only"):
            await seller.call("currency", "pay", payment)
        await seller.call("currency", "pay", {**payment, "amount_micro": most})
        await trio.sleep(30)
        seen = await payee.call("currency", "balance", {"agent": seller.agent})
        assert (seen["spendable_micro"], seen["near_limit"]) == (0, True)
        assert not any(home.cell.space.blocked for home in swarm.homes)

    async def main() -> None:
        properties = replace(DNA.properties, credit_limit_micro=LIMIT, limit_share_bp=5_000)
        definition = replace(DNA, properties=properties)
        async with open_swarm(tmp_path, 1, 6, definition) as swarm:
            await story(swarm)

    run_virtual(main, seed=1)
