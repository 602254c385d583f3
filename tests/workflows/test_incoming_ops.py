"""Fetching what is missing: a chain of which one record is here alone, a lack that stays, and
a peer that answers with what hangs on nothing.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.core.chain import Draft, seal
from ioe_node.core.membership import Buckets
from ioe_node.core.quota import Limits
from ioe_node.errors import Busy, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.action import Create, hash_of
from ioe_node.model.codec import encode
from ioe_node.model.hashes import ACTION, action_hash, entry_hash
from ioe_node.model.record import WireRecord
from ioe_node.net.messages import Activity, Chain, requests
from ioe_node.workflows import integration
from ioe_node.workflows.incoming_ops import park, pull
from ioe_node.workflows.limbo import Lack
from ioe_node.workflows.space import Space
from sim.home import Home
from sim.memory_transport import Handle
from sim.scenarios.readings import enrol
from sim.swarm import open_swarm
from sim.virtual_clock import run_virtual

HOMES = 16
PATIENCE_S = 10.0
ROOM = 4


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    def play(story: Callable[..., Any], homes: int) -> Any:
        async def main() -> Any:
            async with open_swarm(tmp_path, 1, homes) as swarm:
                await swarm.settle()
                return await story(swarm)

        return run_virtual(main, seed=1)

    return play


def test_a_chain_is_fetched_though_a_record_of_it_is_here_alone(run: Callable[..., Any]) -> None:
    async def story(swarm: Any) -> None:
        pairs = [(one, two) for one in swarm.homes for two in swarm.homes if one is not two]
        author, other = next((one, two) for one, two in pairs if two.store.head(one.agent) is None)
        space = other.cell.space
        for number in range(3):
            await enrol(author, f"thing {number}")
        assert await swarm.settle()
        head = author.store.head(author.agent)
        if not space.store.has(head.hash):
            record = author.store.record(head.hash)
            await park(space, space.agent, [author.store.alone(record).wire()])
            await trio.sleep(1)
        assert space.store.has(head.hash)
        assert not space.store.on_chain(author.agent, head.seq, head.hash)
        space.want((), [head.hash])
        with trio.move_on_after(PATIENCE_S):
            while not space.store.on_chain(author.agent, head.seq, head.hash):
                await space.integrated.wait()
        assert space.store.on_chain(author.agent, head.seq, head.hash)

    run(story, HOMES)


def test_what_nobody_has_is_not_asked_for_at_each_ring(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = 0

    async def fetch(space: Space, lacked: Iterable[Lack]) -> None:
        nonlocal fetched
        fetched += len(list(lacked))

    async def story(swarm: Any) -> None:
        space = swarm.homes[1].cell.space
        monkeypatch.setattr(integration, "fetch", fetch)
        for _ in range(100):
            space.want([ActionHash(ACTION + bytes(36))])
            await trio.sleep(0.01)
        assert fetched == 1
        await trio.sleep(integration.RETRY_MISSING_S)
        space.want([ActionHash(ACTION + bytes(36))])
        await trio.sleep(0.01)
        assert fetched == 2

    run(story, 2)


def orphan(author: Home, seq: int, number: int) -> WireRecord:
    """A record whose previous action nobody has."""
    entry = number.to_bytes(8, "big")
    action = Create(
        author=author.agent,
        timestamp_us=author.clock.now_us(),
        action_seq=seq,
        prev_action=ActionHash(ACTION + number.to_bytes(32, "big") + author.agent[35:]),
        entry_type="identity.Enrolment",
        entry_hash=entry_hash(entry),
    )
    hash_, data = hash_of(action)
    return seal([Draft(hash_, action, data, entry)], author.cell.space.dna, author.signer.sign)[
        0
    ].wire()


def test_who_answers_with_what_hangs_fills_its_own_share_of_limbo(run: Callable[..., Any]) -> None:
    asked = 0

    async def story(swarm: Any) -> None:
        home, mallory = swarm.homes[1:3]
        space = home.cell.space
        space.limits = replace(Limits(), limbo_rows=3)

        async def hanging(handle: Handle, asker: AgentPubKey, data: bytes) -> bytes:
            nonlocal asked
            request = requests.decode(data)
            if not isinstance(request, Activity):
                return await handle(asker, data)
            asked += 1
            return encode(Chain((orphan(mallory, request.from_seq, asked),), False))

        mallory.spoil(hanging)
        for _ in range(8):
            with suppress(Busy):
                await pull(space, mallory.agent, [mallory.agent])
        assert space.store.limbo.load(space.agent) == (0, 0)
        assert space.store.limbo.load(mallory.agent, fetched=True)[0] == asked == 3
        await park(space, mallory.agent, [orphan(mallory, 9, 99)])
        assert space.store.limbo.load(mallory.agent)[0] == 1
        await trio.sleep(1)
        assert space.quota.charges(mallory.agent) == 0

    run(story, 4)


def test_who_offered_a_chain_and_shows_nothing_of_it_is_charged(run: Callable[..., Any]) -> None:
    async def story(swarm: Any) -> None:
        home, mallory = swarm.homes[1:3]
        space = home.cell.space

        async def nothing(handle: Handle, asker: AgentPubKey, data: bytes) -> bytes:
            if isinstance(requests.decode(data), Activity):
                return encode(Chain((), False))
            return await handle(asker, data)

        mallory.spoil(nothing)
        assert not await pull(space, mallory.agent, [mallory.agent])
        assert space.quota.charges(mallory.agent) == 0
        with pytest.raises(TransportError):
            await pull(space, mallory.agent, [mallory.agent], offered=True)
        assert space.quota.charges(mallory.agent) == 1

    run(story, 4)


def test_of_what_comes_only_that_of_the_warranted_is_left(run: Callable[..., Any]) -> None:
    """The sender cannot know whom we have blocked: it is not charged, and the rest is taken."""

    async def story(swarm: Any) -> None:
        home, warranted, other = swarm.homes[1:4]
        space = home.cell.space
        space.block(warranted.agent)
        both = [orphan(warranted, 9, 1), orphan(other, 9, 2)]
        left = await park(space, swarm.homes[0].agent, both)
        assert left == {action_hash(both[0].action, warranted.agent)}
        assert space.store.limbo.load(swarm.homes[0].agent)[0] == 1
        with pytest.raises(Busy):
            await park(space, swarm.homes[0].agent, both[:1])

    run(story, 4)


def test_who_was_turned_away_is_kept_when_there_is_room(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_room(self: Buckets, at: int, holds: bool) -> bool:
        return sum(map(len, self._buckets.values())) < ROOM

    async def story(swarm: Any) -> None:
        space = swarm.homes[1].cell.space
        known = space.membership.alive()
        assert len(known) == ROOM < len(swarm.homes) - 1
        space.block(known[0])
        now_known = space.membership.alive()
        assert len(now_known) == ROOM
        assert known[0] not in now_known

    monkeypatch.setattr(Buckets, "has_room", has_room)
    run(story, 8)
