"""From orders to money: placed, cleared at a gate, metered and settled, between ordinary homes."""

from collections.abc import Callable
from typing import Any

import trio

from sim.checkers import balance_of, faults
from sim.swarm import Swarm
from tests.sim.conftest import INTERVAL_US
from tests.sim.test_gate import NEXT_US, ROUND_S, kept, place, until

PRICE = 800_000
"""Half way between the bid and the ask."""


def test_what_two_orders_agreed_on_is_paid_by_what_both_meters_counted(
    play: Callable[..., Any], reading: Callable[..., dict[str, Any]]
) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, seller, other, *_ = swarm.homes
        await place(buyer, "bid", 900_000)
        await place(seller, "ask", 700_000)
        await until(swarm, NEXT_US)
        await kept(swarm, 3 * ROUND_S)
        await until(swarm, NEXT_US + INTERVAL_US)
        for home, imported, exported in (
            (buyer, 600_000, 0),
            (seller, 0, 400_000),
            (other, 0, 50_000),
        ):
            metered = reading(imported, exported) | {
                "start": NEXT_US,
                "end": NEXT_US + INTERVAL_US,
            }
            await home.call("metering", "record", {"readings": [metered]})
        assert await swarm.settle()
        for _ in range(4):
            await trio.sleep(5)
            for home in (seller, other, buyer):
                await home.call("currency", "sell", {})
        # Of 500 Wh that were matched 400 came; the other home's 50 were shared out afterwards.
        matched = 320_000 - (1_300_000 - PRICE) // 10
        assert balance_of(seller) == matched
        assert balance_of(other) == 50_000
        assert balance_of(buyer) == -matched - 50_000
        settled = await buyer.call("currency", "history", {})
        told = [await other.call("currency", "why", {"settlement": each["hash"]})
                for each in settled]  # fmt: skip
        (of_match,) = [each for each in told if each["match"] is not None]
        counted = ("price_micro", "energy_milli_wh", "delivered_milli_wh", "taken_milli_wh")
        assert [of_match["match"][each] for each in counted] == [PRICE, 500_000, 400_000, 500_000]
        assert (of_match["amount_micro"], of_match["energy_milli_wh"]) == (matched, 400_000)
        (shared,) = [each for each in told if each["match"] is None]
        assert (shared["amount_micro"], shared["price_micro"]) == (50_000, 1_000_000)
        assert await swarm.settle()
        assert faults(swarm, []) == []

    play(story)
