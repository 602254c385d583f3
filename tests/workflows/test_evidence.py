"""The newest of another agent's chain, however long it is; and who was convicted of what."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.core.authority import REDUNDANCY
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import agent_key
from ioe_node.net.messages import (
    PLACES_PER_MESSAGE_MAX,
    Activity,
    Chain,
    Done,
    Placed,
    Places,
    Request,
)
from ioe_node.workflows import evidence
from ioe_node.workflows.evidence import NEWEST_MAX, newest_of_chain
from ioe_node.workflows.publish import OPS_PER_PUBLISH_MAX
from sim.load_dna import DNA
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

HOMES = REDUNDANCY + 4
MESSAGES_OF_A_SEARCH_MAX = 5
AUTHOR = agent_key(bytes(32))
Story = Callable[[Swarm], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 1, HOMES, definition=DNA) as swarm:
                assert await swarm.settle()
                await trio.sleep(120)  # everyone knows everyone
                await story(swarm)

        run_virtual(main, seed=1)

    return run


def stranger_to(swarm: Swarm, author: Home) -> Home:
    for home in swarm.homes:
        if home.agent not in home.cell.space.authorities(author.agent) and home is not author:
            return home
    raise AssertionError("everyone holds it")


def asked_by(reader: Home) -> list[Request]:
    """What a home asks from now on."""
    space, asked = reader.cell.space, []
    ask = space.ask

    async def counted(peer: AgentPubKey, request: Request, *more: Any) -> Any:
        if isinstance(request, Places | Activity):
            asked.append(request)
        return await ask(peer, request, *more)

    space.ask = counted  # type: ignore[method-assign]
    return asked


def test_the_end_of_a_long_chain_is_read_and_not_the_rest(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        author = swarm.homes[1]
        for value in range(OPS_PER_PUBLISH_MAX + 10):
            await author.call("load", "stream", {"value": value})
        assert await swarm.settle()
        whole = author.store.chain(author.agent)[::-1]
        reader = stranger_to(swarm, author)
        asked = asked_by(reader)
        for count in (0, 1, 10, 300, len(whole) + 5):
            asked.clear()
            found = await newest_of_chain(reader.cell.space, author.agent, count)
            assert found == whole[: min(count, NEWEST_MAX)]
            places = [each for each in asked if isinstance(each, Places)]
            assert len(places) <= MESSAGES_OF_A_SEARCH_MAX
            assert len(asked) - len(places) <= 1 + count // 256
        assert await newest_of_chain(author.cell.space, author.agent, 10) == whole[:10]
        unknown = agent_key(bytes(31) + b"\x07")
        assert await newest_of_chain(reader.cell.space, unknown, 10) == []

    play(story)


def test_a_bundle_is_read_whole_and_its_end_returned(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        author = swarm.homes[1]
        await author.call("load", "stream", {"value": 1})
        assert await swarm.settle()
        reader = stranger_to(swarm, author)
        whole = author.store.chain(author.agent)[::-1]
        assert whole[1].proof.size == 3  # the genesis
        for count in range(1, 5):
            assert await newest_of_chain(reader.cell.space, author.agent, count) == whole[:count]

    play(story)


def test_one_who_answers_falsely_hides_nobodys_newest(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        author, other = swarm.homes[:2]
        for value in range(4):
            await author.call("load", "stream", {"value": value})
            await other.call("load", "stream", {"value": value})
        assert await swarm.settle()
        whole = author.store.chain(author.agent)[::-1]
        reader = stranger_to(swarm, author)
        space = reader.cell.space
        honest = space.ask
        liar = space.authorities(author.agent)[0]
        space.rng.sample = (  # type: ignore[method-assign]
            lambda peers, count: sorted(peers, key=lambda peer: peer != liar)
        )
        far = Placed((whole[0].hash,) * PLACES_PER_MESSAGE_MAX)
        places: list[Any] = [Done(), Placed(()), far]
        strangers = other.store.chain(other.agent)[-3:]
        runs: list[Any] = [
            Done(),
            *(
                Chain(tuple(record.wire() for record in records), False)
                for records in ([], strangers, [whole[2], whole[0]], [whole[3]])
            ),
        ]
        for lies in [{Places: each} for each in places] + [{Activity: each} for each in runs]:

            async def ask(peer: AgentPubKey, request: Any, *more: Any, lies: Any = lies) -> Any:
                lie = lies.get(type(request)) if peer == liar else None
                if lie == far:
                    return Placed(far.hashes[: len(request.places)])
                return lie or await honest(peer, request, *more)

            space.ask = ask  # type: ignore[method-assign]
            found = await newest_of_chain(space, author.agent, 3)
            assert found == whole[:3], lies

    play(story)


@settings(max_examples=60)
@given(st.integers(-1, 2**32 - 1) | st.integers(-1, 600))
def test_the_head_of_any_chain_is_found_in_few_messages(head: int) -> None:
    """Also at the ends of what a place may be; and a message names no more places than it may."""
    messages = []

    async def last_taken(space: Any, order: Any, author: Any, seqs: list[int]) -> int:
        messages.append(seqs)
        assert len(seqs) <= PLACES_PER_MESSAGE_MAX
        assert all(0 <= seq < 2**32 for seq in seqs)
        return max((seq for seq in seqs if seq <= head), default=-1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "_last_taken", last_taken)
        assert trio.run(evidence._head_seq, None, [], AUTHOR) == head
    assert len(messages) <= MESSAGES_OF_A_SEARCH_MAX


@pytest.mark.parametrize("place", [-1, 0, None])
def test_a_liar_leads_a_search_nowhere_for_ever(place: int | None) -> None:
    """Whatever is answered, the search ends."""
    messages = []

    async def last_taken(space: Any, order: Any, author: Any, seqs: list[int]) -> int:
        messages.append(seqs)
        return -1 if place is None else seqs[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "_last_taken", last_taken)
        assert trio.run(evidence._head_seq, None, [], AUTHOR) < 2**32
    assert len(messages) <= MESSAGES_OF_A_SEARCH_MAX
