"""Reading another agent's chain: from here or from an authority, in pages, checked, not kept."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.core.authority import REDUNDANCY
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.record import parcels_of
from ioe_node.net.messages import Activity, Chain, Done, encode
from ioe_node.workflows.activity import read_chain
from ioe_node.workflows.publish import OPS_PER_PUBLISH_MAX
from ioe_node.workflows.space import HEDGE_S
from sim.load_dna import DNA
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

HOMES = REDUNDANCY + 4
Play = Callable[[Callable[[Swarm], Awaitable[None]]], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def run(story: Callable[[Swarm], Awaitable[None]]) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 1, HOMES, definition=DNA) as swarm:
                assert await swarm.settle()
                await trio.sleep(120)  # everyone knows everyone
                await story(swarm)

        run_virtual(main, seed=1)

    return run


def stranger_to(swarm: Swarm, author: Home) -> Home:
    """A home that is no authority for this author's chain."""
    for home in swarm.homes:
        if home.agent not in home.cell.space.authorities(author.agent) and home is not author:
            return home
    raise AssertionError("everyone holds it")


async def pages(reader: Home, author: AgentPubKey) -> list[list[Any]]:
    found: list[list[Any]] = []
    from_seq = 0
    while page := await read_chain(reader.cell.space, author, from_seq):
        found.append(page)
        from_seq = page[-1].action.action_seq + 1
    return found


def test_a_long_chain_is_read_in_pages_and_nothing_is_kept(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author = swarm.homes[1]
        for value in range(OPS_PER_PUBLISH_MAX + 10):
            await author.call("load", "stream", {"value": value})
        assert await swarm.settle()
        reader = stranger_to(swarm, author)
        before = reader.store.head(author.agent)
        found = await pages(reader, author.agent)
        assert len(found) == 2
        records = [record for page in found for record in page]
        assert records == author.store.chain(author.agent)
        assert reader.store.head(author.agent) == before
        last = records[-1].action.action_seq
        assert await read_chain(reader.cell.space, author.agent, last) == records[-1:]
        assert await read_chain(reader.cell.space, author.agent, last + 1) == []

    play(story)


def test_an_authority_reads_its_own_store(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author = swarm.homes[1]
        await author.call("load", "stream", {"value": 1})
        assert await swarm.settle()
        by_agent = {home.agent: home for home in swarm.homes}
        holders = [by_agent[each] for each in author.cell.space.authorities(author.agent)]
        for home in swarm.homes:
            swarm.network.cut_off(home.agent)
        for holder in holders:
            found = await pages(holder, author.agent)
            assert sum(map(len, found)) == 4

    play(story)


def test_a_silent_authority_delays_a_read_and_does_not_end_it(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author = swarm.homes[1]
        await author.call("load", "stream", {"value": 1})
        assert await swarm.settle()
        reader = stranger_to(swarm, author)
        holders = reader.cell.space.authorities(author.agent)
        for silent in holders[:-1]:
            swarm.network.cut_off(silent)
        began = trio.current_time()
        found = await pages(reader, author.agent)
        assert sum(map(len, found)) == 4
        assert trio.current_time() - began < len(holders) * HEDGE_S + 0.2
        for _ in holders:  # in an order drawn by lot: each of the silent is met once
            await pages(reader, author.agent)
        began = trio.current_time()
        assert sum(map(len, await pages(reader, author.agent))) == 4
        assert trio.current_time() - began < HEDGE_S, "who was slow is asked last"
        swarm.network.cut_off(holders[-1])
        assert await pages(reader, author.agent) == []

    play(story)


def lies(swarm: Swarm, author: Home, other: Home) -> Iterator[bytes]:
    """What an authority may answer instead of the author's chain from its start."""

    def wrap(records: list[Any]) -> bytes:
        space = author.cell.space
        return encode(Chain(tuple(parcels_of(records, space.withhold)), False))

    ours, theirs = author.store.chain(author.agent), other.store.chain(other.agent)
    yield wrap(theirs)
    yield wrap(ours[3:])
    yield wrap([*ours[:3], *ours[4:]])
    yield encode(Done())
    yield b"no answer at all"


def test_an_answer_that_does_not_stand_is_charged_and_another_is_asked(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author, other = swarm.homes[0], swarm.homes[1]
        for value in range(4):
            await author.call("load", "stream", {"value": value})
        assert await swarm.settle()
        reader = stranger_to(swarm, author)
        space = reader.cell.space
        honest = space.transport.request
        charged: Counter[AgentPubKey] = Counter()
        for lie in lies(swarm, author, other):
            asked: list[AgentPubKey] = []

            async def answer_falsely(
                protocol: str,
                peer: AgentPubKey,
                message: bytes,
                timeout_s: float = 0,
                lie: bytes = lie,
                asked: list[AgentPubKey] = asked,
            ) -> bytes:
                if message == encode(Activity(author.agent, 0)):
                    asked.append(peer)
                    if len(asked) == 1:
                        return lie
                return await honest(protocol, peer, message)

            space.transport.request = answer_falsely  # type: ignore[method-assign]
            records = await read_chain(space, author.agent, 0)
            space.transport.request = honest  # type: ignore[method-assign]
            assert records == author.store.chain(author.agent), lie[:40]
            charged[asked[0]] += 1
            assert space.quota.charges(asked[0]) == charged[asked[0]]

    play(story)


def test_receipts_are_counted_of_the_other_authorities(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author, other = swarm.homes[0], swarm.homes[1]
        space = author.cell.space
        for home in swarm.homes[1:]:
            swarm.network.cut_off(home.agent)
        action = await author.call("load", "stream", {"value": 1})
        assert space.receipts(action) == (0, REDUNDANCY - 1)
        swarm.network.heal()
        assert await swarm.settle()
        assert space.receipts(action) == (REDUNDANCY - 1, REDUNDANCY - 1)
        assert other.cell.space.receipts(action) is None
        assert space.receipts(action[:-1] + b"\x00") is None

    play(story)
