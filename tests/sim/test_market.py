"""Orders in a network: placed by one, seen by all, taken back by nobody else."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from currency.market.gate import ORDERS_PER_AGENT_MAX
from ioe_node.errors import IoeError
from sim.swarm import Swarm
from sim.virtual_clock import EPOCH_US
from tests.sim.conftest import INTERVAL_US

NEXT_US = (EPOCH_US // INTERVAL_US + 1) * INTERVAL_US
TOLD_S = 30


def order(side: str, limit_micro: int, **changed: Any) -> dict[str, Any]:
    return {
        "side": side,
        "energy_milli_wh": 500_000,
        "limit_micro": limit_micro,
        "start": NEXT_US,
        "valid_until": NEXT_US,
        "zone": "vic/carlton",
        "clean": side == "ask",
        "clean_only": False,
        "local_first": False,
        "partner": None,
        **changed,
    }


def test_everyone_reads_the_same_book(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, seller, *others = swarm.homes
        bid = await buyer.call("market", "place", {"order": order("bid", 250_000)})
        ask = await seller.call("market", "place", {"order": order("ask", 100_000)})
        await seller.call(
            "market", "place", {"order": order("ask", 90_000, valid_until=EPOCH_US + 10_000_000)}
        )
        await trio.sleep(TOLD_S)
        books = [await home.call("market", "book", {"start": NEXT_US}) for home in swarm.homes]
        assert all(book == books[0] for book in books)
        assert [each["id"] for each in books[0]] == sorted([bid, ask])
        assert {each["agent"] for each in books[0]} == {buyer.agent, seller.agent}
        assert await others[0].call("market", "book", {"start": NEXT_US + INTERVAL_US}) == []
        own = [await home.call("market", "own", {"start": NEXT_US}) for home in swarm.homes[:3]]
        standing = (("bid", 500_000), ("ask", 500_000), ("bid", 0))
        assert own == [{"bid": 0, "ask": 0, side: energy} for side, energy in standing]

    play(story)


def test_an_order_is_taken_back_once_by_its_own(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, other, *_ = swarm.homes
        bid = await buyer.call("market", "place", {"order": order("bid", 250_000)})
        await trio.sleep(TOLD_S)
        with pytest.raises(IoeError, match="not ours"):
            await other.call("market", "cancel", {"order": bid})
        await buyer.call("market", "cancel", {"order": bid})
        with pytest.raises(IoeError, match="taken back already"):
            await buyer.call("market", "cancel", {"order": bid})
        await trio.sleep(TOLD_S)
        for home in swarm.homes:
            assert await home.call("market", "book", {"start": NEXT_US}) == []

    play(story)


def test_the_book_closes_when_its_interval_begins(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, *_ = swarm.homes
        bid = await buyer.call("market", "place", {"order": order("bid", 250_000)})
        await trio.sleep(INTERVAL_US // 1_000_000)
        with pytest.raises(IoeError, match="not begun"):
            await buyer.call("market", "place", {"order": order("bid", 250_000)})
        with pytest.raises(IoeError, match="closed when it begins"):
            await buyer.call("market", "cancel", {"order": bid})

    play(story)


def test_one_knows_the_intervals_that_it_has_ordered_for(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, *_ = swarm.homes
        later = NEXT_US + INTERVAL_US
        for start in (later, NEXT_US, later):
            placed = order("bid", 250_000, start=start, valid_until=start)
            await buyer.call("market", "place", {"order": placed})
        ordered = [
            await buyer.call("market", "ordered", {"from_start": start})
            for start in (NEXT_US, later, later + 1)
        ]
        assert ordered == [[NEXT_US, later], [later], []]

    play(story, homes=1)


def test_an_agent_has_one_side_and_so_many_orders_in_an_interval(play: Callable[..., Any]) -> None:
    """More would not count at the gate, so it is told at once."""

    async def story(swarm: Swarm) -> None:
        buyer, *_ = swarm.homes
        for limit_micro in range(ORDERS_PER_AGENT_MAX):
            last = await buyer.call("market", "place", {"order": order("bid", limit_micro)})
        with pytest.raises(IoeError, match="the most; cancel one"):
            await buyer.call("market", "place", {"order": order("bid", 250_000)})
        await buyer.call("market", "cancel", {"order": last})
        with pytest.raises(IoeError, match="other side"):
            await buyer.call("market", "place", {"order": order("ask", 250_000)})
        await buyer.call("market", "place", {"order": order("bid", 250_000)})
        later = NEXT_US + INTERVAL_US
        ask = order("ask", 250_000, start=later, valid_until=later)
        await buyer.call("market", "place", {"order": ask})

    play(story)
