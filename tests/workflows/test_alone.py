"""Records held alone: a fork is seen wherever its branches went; what may come is bounded."""

from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.core.authority import authorities
from ioe_node.core.chain import Draft, seal
from ioe_node.errors import Busy, PeerError
from ioe_node.model.op import foreign_bases
from ioe_node.model.record import Record
from ioe_node.net.messages import Publish
from ioe_node.workflows import incoming_ops
from ioe_node.workflows.incoming_ops import FAR, NEAR, park
from ioe_node.workflows.places import FIRST_ROW
from ioe_node.workflows.validation import travelling
from sim.byzantine import enrolment
from sim.scenarios.readings import enrol
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

HOMES = 20
SOON_S = 15.0
ROUNDS_S = 30 * 60.0
Play = Callable[..., Any]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def run(story: Callable[[Swarm], Awaitable[Any]], homes: int = HOMES) -> Any:
        async def main() -> Any:
            async with open_swarm(tmp_path, 3, homes) as swarm:
                assert await swarm.settle()
                return await story(swarm)

        return run_virtual(main, seed=3)

    return run


def apart(swarm: Swarm) -> tuple[Home, Home]:
    """An author, and a home that holds nothing of its chain."""
    pairs = ((one, two) for one in swarm.homes[1:] for two in swarm.homes[1:] if one is not two)
    return next((one, two) for one, two in pairs if two.store.head(one.agent) is None)


def not_for(home: Home, author: Home) -> str:
    """A name whose enrolment by an author is not for a home to hold."""
    space = home.cell.space
    for number in count():
        record = enrolment(author, f"trunk {number}")[0]
        bases = foreign_bases(record.action, record.hash, by_hash=True)
        if not any(space.is_authority(basis) for basis in bases):
            return f"trunk {number}"
    raise AssertionError


async def comes_alone(home: Home, record: Record) -> None:
    """As if a home had made out by itself that this is worth holding."""
    await park(home.cell.space, home.agent, [record.wire()])
    await trio.sleep(1)


async def seen_within(home: Home, author: Home, most_s: float) -> bool:
    """Whether a home has come to know that an author is warranted."""
    for _ in range(round(most_s)):
        if author.agent in home.cell.space.blocked:
            return True
        await trio.sleep(1)
    return False


def test_two_actions_of_one_place_that_both_came_alone_are_a_fork(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author, holder = apart(swarm)
        branches = [enrolment(author, f"branch {number}")[0] for number in range(2)]
        await comes_alone(holder, branches[0])
        await comes_alone(holder, branches[0])
        assert holder.store.has(branches[0].hash)
        assert author.agent not in holder.cell.space.blocked
        await comes_alone(holder, branches[1])
        assert await seen_within(holder, author, SOON_S)

    play(story)


def test_two_actions_of_one_place_that_come_alone_at_once_are_a_fork(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author, holder = apart(swarm)
        wires = [enrolment(author, f"branch {number}")[0].wire() for number in range(2)]
        await park(holder.cell.space, holder.agent, wires)
        assert await seen_within(holder, author, SOON_S)

    play(story)


def test_one_action_that_came_alone_under_two_seals_is_an_offence(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author, holder = apart(swarm)
        record = enrolment(author, "branch")[0]
        draft = Draft(record.hash, record.action, record.action_bytes, record.entry)
        pair = seal([draft, draft], swarm.definition.hash, author.signer.sign)
        await comes_alone(holder, record)
        await park(holder.cell.space, holder.agent, [travelling(pair[0], pair)])
        assert await seen_within(holder, author, SOON_S)

    play(story)


def test_a_chain_that_comes_is_compared_with_what_came_alone_before(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author, holder = apart(swarm)
        branch = enrolment(author, "branch")[0]
        await comes_alone(holder, branch)
        other = await enrol(author, not_for(holder, author))
        await trio.sleep(2)
        assert author.agent not in holder.cell.space.blocked
        holder.cell.space.want((), [other])
        assert await seen_within(holder, author, SOON_S)
        assert holder.store.hash_at(author.agent, branch.action.action_seq) == other

    play(story)


def test_a_branch_shown_to_no_authority_of_its_author_is_found(play: Play) -> None:
    """At first nobody holds anything at its place; it is asked for until somebody does."""

    async def story(swarm: Swarm) -> None:
        author, holder = apart(swarm)
        await comes_alone(holder, enrolment(author, "branch")[0])
        await trio.sleep(ROUNDS_S / 3)
        assert author.agent not in holder.cell.space.blocked
        await enrol(author, "trunk")
        assert await seen_within(holder, author, ROUNDS_S)

    play(story)


def test_what_stands_on_its_chain_is_asked_for_no_more(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        for home in swarm.homes:
            await enrol(home, f"of {home.number}")
        await trio.sleep(60)
        assert any(home.store.unplaced(FIRST_ROW, 1) for home in swarm.homes)
        await trio.sleep(ROUNDS_S)
        assert not any(home.store.unplaced(FIRST_ROW, 1) for home in swarm.homes)
        assert not any(home.cell.space.blocked for home in swarm.homes)

    play(story)


def near_to(home: Home, swarm: Swarm, author: Home, most: int, least: int = 0) -> Record:
    """A record of an author's whose entry has `least` to `most` homes closer to it than this."""
    agents = [each.agent for each in swarm.homes]
    for number in range(10_000):
        record = enrolment(author, f"number {number}")[0]
        (basis,) = foreign_bases(record.action, record.hash, True)
        if least <= authorities(basis, agents, len(agents)).index(home.agent) < most:
            return record
    raise AssertionError("no such record")


def test_only_so_much_of_an_author_is_held_alone(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming_ops, "ALONE_ROWS_PER_AUTHOR_MAX", 1)

    async def story(swarm: Swarm) -> None:
        author, holder = apart(swarm)
        space = holder.cell.space
        first = near_to(holder, swarm, author, 8)
        other = near_to(holder, swarm, swarm.homes[0], 8)
        await park(space, author.agent, [first.wire()])
        await trio.sleep(1)
        assert space.store.alone_load(author.agent)[0] == 1
        await park(space, author.agent, [first.wire()])  # what is here already may be told again
        with pytest.raises(Busy, match="as much of that author"):
            await park(space, author.agent, [near_to(holder, swarm, author, 8, 1).wire()])
        assert await park(space, author.agent, [other.wire()]) == set()

    play(story)


def test_what_belongs_elsewhere_is_not_taken(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author, holder = apart(swarm)
        space = holder.cell.space
        near, far = near_to(holder, swarm, author, NEAR), near_to(holder, swarm, author, 99, NEAR)
        with pytest.raises(Busy, match="in our share"):
            await park(space, author.agent, [far.wire()])
        assert await park(space, author.agent, [near.wire(), far.wire()]) == {far.hash}
        assert [parked.hash for parked in space.store.limbo.page(0, 9)] == [near.hash]

    play(story)


def test_what_belongs_nowhere_near_is_charged(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_ops, "FAR", NEAR)
    assert FAR > NEAR

    async def story(swarm: Swarm) -> None:
        author, holder = apart(swarm)
        far = near_to(holder, swarm, author, 99, NEAR)
        with pytest.raises(PeerError):
            await author.cell.space.ask(holder.agent, Publish((far.wire(),)))
        assert holder.cell.space.quota.charges(author.agent) == 1

    play(story)
