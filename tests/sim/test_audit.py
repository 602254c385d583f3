"""The audit of a network that lives: sales, payments, an invoice, read from another node."""

from collections.abc import Callable
from typing import Any

import trio

from sim.swarm import Home, Swarm
from tests.sim.conftest import INTERVAL_US

KWH = 1_000_000


async def audited(auditor: Home, agent: bytes) -> tuple[int, list[Any]]:
    """(its balance, all that is wrong or unseen) of one chain."""
    from_seq, trail, found = 0, None, list[Any]()
    while True:
        asked = {"agent": agent, "from_seq": from_seq, "trail": trail}
        page = await auditor.call("currency", "audit_page", asked)
        trail, from_seq = page["trail"], page["next_seq"]
        found += [*page["faults"], *page["unchecked"], *([agent] if page["unread"] else [])]
        if from_seq is None:
            return trail["balance_micro"], found


def test_anybody_can_prove_the_books(
    play: Callable[..., Any], reading: Callable[..., dict[str, Any]]
) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        auditor, seller, buyer, *_ = swarm.homes
        await trio.sleep(INTERVAL_US // 1_000_000)
        for home, flows in ((seller, (0, 3 * KWH)), (buyer, (2 * KWH, 0))):
            await home.call("metering", "record", {"readings": [reading(*flows)]})
        await trio.sleep(30)
        await seller.call("currency", "sell", {})
        for _ in range(3):
            await trio.sleep(30)
            payment = {"payee": buyer.agent, "amount_micro": 7}
            await seller.call("currency", "pay", payment)
        await trio.sleep(60)
        members = [each["agent"] for each in await auditor.call("community", "members", {})]
        books = [await audited(auditor, member) for member in members]
        assert [found for _, found in books] == [[]] * len(members)
        assert sum(micro for micro, _ in books) == 0
        assert sorted(micro for micro, _ in books if micro) == [21 - 2 * KWH, 2 * KWH - 21]

    play(story)
