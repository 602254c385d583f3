"""Gates: everyone clears an interval alike, and nobody can change it afterwards or alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from currency.market.match import Match
from ioe_node.errors import IoeError
from ioe_node.hdi import ActionHash, Timestamp, Valid
from ioe_node.workflows.call_zome import CallHost, perform
from sim.checkers import faults
from sim.swarm import Home, Swarm
from sim.virtual_clock import EPOCH_US
from tests.sim.conftest import INTERVAL_US
from tests.sim.test_market import order
from zomes.market.integrity import GATES, TALLIES, Gate, Tally, basis_of

NEXT_US = (EPOCH_US // INTERVAL_US + 1) * INTERVAL_US
ROUND_S = 30
KEEP_EVERY_S = 10
TOLD_S = 20
WARRANT_SPREADS_S = 120


async def until(swarm: Swarm, at_us: int) -> None:
    """Wait until a moment of the swarm's clock."""
    await trio.sleep(max(0, at_us - swarm.clock.now_us()) / 1e6)


async def kept(swarm: Swarm, seconds: int, homes: list[Home] | None = None) -> None:
    """Each home's schedule for a while, one after another in every run."""
    for _ in range(seconds // KEEP_EVERY_S):
        for home in homes or swarm.homes:
            await home.call("market", "keep", {})
        await trio.sleep(KEEP_EVERY_S)


async def place(home: Home, side: str, limit_micro: int, **changed: Any) -> Any:
    placed = order(side, limit_micro, **changed)
    return await home.call("market", "place", {"order": placed})


async def gates(swarm: Swarm) -> list[Any]:
    return [await home.call("market", "gate_of", {"start": NEXT_US}) for home in swarm.homes]


def follow(home: Home) -> list[Any]:
    """What a home's clients hear of clearings from now on."""
    heard: list[Any] = []
    before = home.cell.space.signal

    def take(signal: dict[str, Any]) -> None:
        if signal["kind"] == "app" and "cleared" in signal["value"]:
            heard.append(signal["value"])
        before(signal)

    home.cell.space.signal = take
    return heard


def test_an_interval_clears_alike_at_every_home(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, seller, other, *_ = swarm.homes
        bid = await place(buyer, "bid", 250_000)
        ask = await place(seller, "ask", 100_000)
        dear = await place(other, "ask", 240_000)
        heard = [follow(home) for home in swarm.homes]
        await until(swarm, NEXT_US)
        await kept(swarm, 3 * ROUND_S)
        found = await gates(swarm)
        assert all(each == found[0] for each in found)
        assert found[0]["orders"] == sorted([bid, ask, dear])
        match = {
            "bid": bid,
            "ask": ask,
            "buyer": buyer.agent,
            "seller": seller.agent,
            "energy_milli_wh": 500_000,
            "price_micro": (100_000 + 240_000) // 2,
        }
        assert await other.call("market", "matches", {"start": NEXT_US}) == [match]
        told = {"cleared": NEXT_US, "price_micro": 170_000, "energy_milli_wh": 500_000}
        assert [each for own in heard for each in own] == [told]
        assert await buyer.call("market", "matches", {"start": NEXT_US + INTERVAL_US}) == []
        asked = {"intervals": 2}
        before, cleared = await other.call("market", "prices", asked)
        assert before == {"start": NEXT_US - INTERVAL_US, "price_micro": 1_000_000}
        assert cleared == {"start": NEXT_US, "price_micro": 170_000}
        await until(swarm, NEXT_US + INTERVAL_US)
        voted_on = {"start": NEXT_US + INTERVAL_US, "price_micro": 170_000}
        assert await other.call("market", "prices", asked) == [cleared, voted_on]
        await trio.sleep(8 * ROUND_S)
        usual = {**voted_on, "price_micro": 1_000_000}
        assert await other.call("market", "prices", asked) == [cleared, usual]
        assert faults(swarm, []) == []

    play(story)


def test_who_holds_nothing_of_a_book_knows_its_gate_soon(play: Callable[..., Any]) -> None:
    """Fourteen homes, of whom eight are the authorities of any basis."""

    async def story(swarm: Swarm) -> None:
        assert await swarm.settle()
        buyer, seller, *_ = swarm.homes
        bid = await place(buyer, "bid", 250_000)
        ask = await place(seller, "ask", 100_000)
        await until(swarm, NEXT_US)
        await kept(swarm, 3 * ROUND_S)
        asked = {"intervals": 1}
        first = [await home.call("market", "cleared", asked) for home in swarm.homes]
        assert [] in first
        await trio.sleep(TOLD_S)
        (found, *others) = await gates(swarm)
        assert found["orders"] == sorted([bid, ask])
        assert all(each == found for each in others)
        votes = [newest_vote(home) for home in swarm.homes]
        assert sum(vote is not None for vote in votes) == 8
        assert faults(swarm, []) == []

    play(story, homes=14)


def lenient(home: Home) -> None:
    """From now on this home writes what it likes."""
    home.cell.space.rules.validate = lambda *_, **__: Valid  # type: ignore[method-assign]


def test_a_late_order_and_a_hidden_one_change_nothing(play: Callable[..., Any]) -> None:
    """One is placed after the start by a clock put back; one before it, and kept from all."""

    async def story(swarm: Swarm) -> None:
        buyer, seller, other, late, hider = swarm.homes
        bid = await place(buyer, "bid", 250_000)
        ask = await place(seller, "ask", 100_000)
        await until(swarm, NEXT_US - 5_000_000)
        swarm.network.cut_off(hider.agent)
        hidden = await place(hider, "ask", 50_000)
        await until(swarm, NEXT_US)
        await kept(swarm, 2 * ROUND_S, [buyer, seller, other])
        before = await gates(swarm)
        swarm.network.heal()
        late.clock.skew(-(swarm.clock.now_us() - NEXT_US + 1_000_000))
        posed = await place(late, "ask", 60_000)
        late.clock.skew(0)
        await kept(swarm, 8 * ROUND_S)
        found = await gates(swarm)
        assert before[0]["orders"] == sorted([bid, ask])
        assert all(each == before[0] for each in (*before[:4], *found))
        assert all(home.store.has(each) for home in swarm.homes for each in (hidden, posed))
        assert faults(swarm, []) == []

    play(story, homes=5)


def test_who_has_voted_cannot_put_an_order_before_the_start(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, _, liar, _ = swarm.homes
        await place(buyer, "bid", 250_000)
        await until(swarm, NEXT_US)
        await kept(swarm, 2 * ROUND_S)
        lenient(liar)
        liar.clock.skew(-(swarm.clock.now_us() - NEXT_US + 1_000_000))
        await place(liar, "ask", 60_000)
        await trio.sleep(WARRANT_SPREADS_S)
        assert faults(swarm, [liar]) == []

    play(story)


def newest_vote(home: Home) -> Any:
    record = home.store.newest_of_type(home.agent, "market.Tally")
    return None if record is None else home.cell.space.rules.found(record).entry


async def parted(swarm: Swarm, placed: Callable[[], Any]) -> None:
    """Two halves that see each other's last orders only after the first vote."""
    halves = [swarm.homes[:2], swarm.homes[2:]]
    await until(swarm, NEXT_US - 2_000_000)
    swarm.network.partition([[home.agent for home in half] for half in halves])
    await placed()
    await until(swarm, NEXT_US + ROUND_S * 1_000_000)
    await kept(swarm, KEEP_EVERY_S)
    swarm.network.heal()
    votes = [newest_vote(home) for home in swarm.homes]
    assert [vote.round for vote in votes] == [1] * 4
    assert votes[0] == votes[1] != votes[2] == votes[3]
    await until(swarm, NEXT_US + 2 * ROUND_S * 1_000_000)


def test_authorities_that_disagree_agree_in_the_second_round(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, seller, third, _ = swarm.homes
        bid = await place(buyer, "bid", 250_000)
        ask = await place(seller, "ask", 100_000)

        async def last_orders() -> None:
            await place(seller, "ask", 50_000)
            await place(third, "bid", 300_000)

        await parted(swarm, last_orders)
        assert await gates(swarm) == [None] * 4
        await kept(swarm, 2 * ROUND_S)
        found = await gates(swarm)
        assert all(each == found[0] for each in found)
        assert found[0]["orders"] == sorted([bid, ask])
        votes = [newest_vote(home) for home in swarm.homes]
        assert {(vote.round, vote.orders) for vote in votes} == {(2, tuple(sorted([bid, ask])))}
        assert faults(swarm, []) == []

    play(story)


def test_a_split_leaves_no_gate_and_all_settles_as_metered(
    play: Callable[..., Any], reading: Callable[..., dict[str, Any]]
) -> None:
    """Nobody saw what most saw, so there is nothing to vote for; the energy is shared out."""

    async def story(swarm: Swarm) -> None:
        buyer, _, seller, _ = swarm.homes

        async def last_orders() -> None:
            await place(buyer, "bid", 300_000)
            await place(seller, "ask", 50_000)

        await parted(swarm, last_orders)
        await kept(swarm, 8 * ROUND_S)
        assert await gates(swarm) == [None] * 4
        assert await buyer.call("market", "matches", {"start": NEXT_US}) == []
        await buyer.call("metering", "record", {"readings": [reading(400_000, 0)]})
        await seller.call("metering", "record", {"readings": [reading(0, 400_000)]})
        await trio.sleep(TOLD_S)
        sold = await seller.call("currency", "sell", {})
        assert sold == {"sold": 1, "declined": 0, "energy_milli_wh": 400_000}
        assert await swarm.settle()
        assert faults(swarm, []) == []

    play(story)


def test_parted_halves_clear_apart_and_neither_gate_counts_for_the_whole(
    play: Callable[..., Any],
) -> None:
    """Who does not answer is no authority: a community trades on while half of it sleeps."""

    async def story(swarm: Swarm) -> None:
        halves = [swarm.homes[:2], swarm.homes[2:]]
        for buyer, seller in halves:
            await place(buyer, "bid", 250_000)
            await place(seller, "ask", 100_000)
        await until(swarm, NEXT_US - 120_000_000)
        swarm.network.partition([[home.agent for home in half] for half in halves])
        await until(swarm, NEXT_US - 60_000_000)
        for number, half in enumerate(halves):
            await place(half[0], "bid", 260_000 + number)
        await until(swarm, NEXT_US)
        await kept(swarm, 4 * ROUND_S)
        one, same, other, alike = await gates(swarm)
        assert one == same != other == alike
        swarm.network.heal()
        await kept(swarm, 8 * ROUND_S)
        assert await gates(swarm) == [None] * 4
        assert faults(swarm, []) == []

    play(story)


def test_the_same_gate_by_two_hands_is_named_alike(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await voted(swarm)
        async with trio.open_nursery() as nursery:
            for home in swarm.homes[:2]:
                nursery.start_soon(home.call, "market", "gate", {"start": NEXT_US})
        await trio.sleep(TOLD_S)
        assert all(home.store.newest_of_type(home.agent, "market.Gate") for home in swarm.homes[:2])
        found = await gates(swarm)
        assert all(each == found[0] for each in found)
        assert await swarm.homes[3].call("market", "gate", {"start": NEXT_US}) == found[0]["hash"]

    play(story)


async def written(home: Home, entry: Any, link_type: str) -> ActionHash:
    """An entry that a home writes past its own functions, listed as its kind is."""

    async def act(host: CallHost) -> ActionHash:
        made = await host.create(entry)
        await host.create_link(basis_of(entry.start), made, link_type)
        return made

    return (await perform(home.cell.space, home.cell._settlements, act))[0]


def test_who_votes_twice_in_a_round_is_warranted(play: Callable[..., Any]) -> None:
    """The vote that came first counts on; the gate is of those who are left."""

    async def story(swarm: Swarm) -> None:
        buyer, seller, liar, _ = swarm.homes
        bid = await place(buyer, "bid", 250_000)
        await place(seller, "ask", 100_000)
        await until(swarm, NEXT_US + ROUND_S * 1_000_000)
        lenient(liar)
        await kept(swarm, KEEP_EVERY_S, [liar])
        twice = await written(liar, Tally(Timestamp(NEXT_US), 1, (bid,)), TALLIES)
        await kept(swarm, 3 * ROUND_S, [home for home in swarm.homes if home is not liar])
        await trio.sleep(WARRANT_SPREADS_S)
        assert not any(home.store.has(twice) for home in swarm.homes if home is not liar)
        assert faults(swarm, [liar]) == []
        found = [each for each in await gates(swarm) if each is not None]
        assert len(found) >= 3
        assert all(len(each["orders"]) == 2 for each in found)

    play(story)


def test_who_lists_its_vote_twice_neither_counts_twice_nor_spoils_the_gate(
    play: Callable[..., Any],
) -> None:
    async def story(swarm: Swarm) -> None:
        buyer, seller, liar, _ = swarm.homes
        await place(buyer, "bid", 250_000)
        await place(seller, "ask", 100_000)
        await until(swarm, NEXT_US + ROUND_S * 1_000_000)
        vote = await liar.call("market", "tally", {"start": NEXT_US})

        async def again(host: CallHost) -> None:
            await host.create_link(basis_of(NEXT_US), vote, TALLIES)

        with pytest.raises(IoeError, match="listed once"):
            await perform(liar.cell.space, liar.cell._settlements, again)
        lenient(liar)
        await perform(liar.cell.space, liar.cell._settlements, again)
        await kept(swarm, 3 * ROUND_S, [home for home in swarm.homes if home is not liar])
        await trio.sleep(WARRANT_SPREADS_S)
        found = await buyer.call("market", "gate_of", {"start": NEXT_US})
        assert len(found["orders"]) == 2
        assert faults(swarm, [liar]) == []

    play(story)


def test_what_counted_while_half_slept_counts_on_when_they_are_back(
    play: Callable[..., Any],
) -> None:
    async def story(swarm: Swarm) -> None:
        awake, asleep = swarm.homes[:3], swarm.homes[3:]
        swarm.network.partition([[home.agent for home in half] for half in (awake, asleep)])
        await until(swarm, NEXT_US - 60_000_000)
        await place(awake[0], "bid", 250_000)
        await place(awake[1], "ask", 100_000)
        await until(swarm, NEXT_US)
        await kept(swarm, 7 * ROUND_S, awake)
        before = (await gates(swarm))[:3]
        assert len(before[0]["matches"]) == 1
        swarm.network.heal()
        await kept(swarm, 8 * ROUND_S)
        found = await gates(swarm)
        assert found[:3] == before
        assert found[3:] == [None] * 3
        assert faults(swarm, []) == []

    play(story, homes=6)


async def voted(swarm: Swarm) -> tuple[ActionHash, ActionHash, list[ActionHash]]:
    """A bid, an ask, and everyone's votes for both, sorted; nobody has written a gate."""
    buyer, seller, *_ = swarm.homes
    bid = await place(buyer, "bid", 250_000)
    ask = await place(seller, "ask", 100_000)
    await until(swarm, NEXT_US + ROUND_S * 1_000_000)
    votes = [await home.call("market", "tally", {"start": NEXT_US}) for home in swarm.homes]
    await trio.sleep(TOLD_S)
    return bid, ask, sorted(votes)


def wrong_price(gate: Gate) -> Gate:
    (match,) = gate.matches
    return replace(gate, matches=(replace(match, price_micro=249_999),))


def wrong_energy(gate: Gate) -> Gate:
    (match,) = gate.matches
    return replace(gate, matches=(replace(match, energy_milli_wh=1),))


def no_matches(gate: Gate) -> Gate:
    return replace(gate, matches=())


def other_buyer(gate: Gate) -> Gate:
    (match,) = gate.matches
    return replace(gate, matches=(replace(match, buyer=match.seller),))


def fewer_orders(gate: Gate) -> Gate:
    return replace(gate, orders=gate.orders[:1], matches=())


def other_interval(gate: Gate) -> Gate:
    return replace(gate, start=Timestamp(NEXT_US - INTERVAL_US))


def orders_for_tallies(gate: Gate) -> Gate:
    return replace(gate, tallies=gate.orders)


def no_tallies(gate: Gate) -> Gate:
    return replace(gate, tallies=())


FORGERIES = [
    (wrong_price, "clear to"),
    (wrong_energy, "clear to"),
    (no_matches, "clear to"),
    (other_buyer, "clear to"),
    (fewer_orders, "tallies list"),
    (other_interval, "tallies list"),
    (orders_for_tallies, "no tally"),
    (no_tallies, "tallies"),
]


@pytest.mark.parametrize(("forged", "why"), FORGERIES)
def test_a_forged_gate_is_refused_and_warranted(
    play: Callable[..., Any], forged: Callable[[Gate], Gate], why: str
) -> None:
    async def story(swarm: Swarm) -> None:
        liar = swarm.homes[2]
        bid, ask, votes = await voted(swarm)
        match = Match(bid, ask, swarm.homes[0].agent, swarm.homes[1].agent, 500_000, 175_000)
        true = Gate(Timestamp(NEXT_US), tuple(sorted((bid, ask))), (match,), tuple(votes))
        with pytest.raises(IoeError, match=why):
            await written(liar, forged(true), GATES)
        lenient(liar)
        posed = await written(liar, forged(true), GATES)
        await trio.sleep(WARRANT_SPREADS_S)
        assert not any(home.store.has(posed) for home in swarm.homes if home is not liar)
        assert faults(swarm, [liar]) == []

    play(story)


def test_a_minority_s_gate_is_valid_and_binds_nobody(play: Callable[..., Any]) -> None:
    """Two of five collude: they vote for one bid less, and write the gate of their own votes."""

    async def story(swarm: Swarm) -> None:
        buyer, seller, one, two, _ = swarm.homes
        bid = await place(buyer, "bid", 250_000)
        ask = await place(seller, "ask", 100_000)
        own = await place(one, "bid", 240_000)
        await until(swarm, NEXT_US + ROUND_S * 1_000_000)
        named = tuple(sorted((ask, own)))
        tally = Tally(Timestamp(NEXT_US), 1, named)
        votes = tuple(sorted([await written(home, tally, TALLIES) for home in (one, two)]))
        await trio.sleep(TOLD_S)
        match = Match(own, ask, one.agent, seller.agent, 500_000, 170_000)
        collusion = await written(one, Gate(Timestamp(NEXT_US), named, (match,), votes), GATES)
        await kept(swarm, 5 * ROUND_S)
        assert all(home.store.has(collusion) for home in swarm.homes)
        found = await gates(swarm)
        assert found[0]["orders"] == sorted([bid, ask, own])
        assert all(each == found[0] for each in found)
        assert faults(swarm, []) == []

    play(story, homes=5)
