"""Gossip: what one neighbour lacks another gives, who is gone is noticed, halves grow together."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from ioe_node.core.authority import authorities
from ioe_node.core.share import share_of
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import agent_key, key_of
from ioe_node.model.op import foreign_bases
from ioe_node.net.messages import Activity, HeadOf, Offer, requests
from ioe_node.workflows.compare import (
    NAMED_MAX,
    OFFERED_PER_PEER_MAX,
    answer_offer,
    lacks,
    shared_ranges,
)
from ioe_node.workflows.gossip import ROUND_MAX_S, ROUND_S, Gossip
from sim.memory_transport import Handle
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

HOMES = 14
QUIET_S = 600.0
HEALED_S = 60.0
Story = Callable[[Swarm], Awaitable[None]]
Play = Callable[[Story], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Play a story on a swarm of more homes than hold a record."""

    def run(story: Story) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 5, HOMES) as swarm:
                assert await swarm.settle()
                await story(swarm)

        run_virtual(main, seed=5)

    return run


async def enrol(home: Home, others: list[Home], count: int) -> list[ActionHash]:
    """So many entries, each of which is found by its hash somewhere in the key space."""
    return [
        await home.call(
            "identity", "enrol", {"device": others[0].agent, "kind": "monitor", "name": f"m {n}"}
        )
        for n in range(count)
    ]


def held_alone(home: Home, swarm: Swarm, author: Home, made: list[ActionHash]) -> list[ActionHash]:
    """Those that a home must hold for their entries' sake and not for their chain's."""
    agents = [each.agent for each in swarm.running()]
    if home.agent in authorities(author.agent, agents):
        return []
    wanted = []
    for hash_ in made:
        record = author.store.record(hash_)
        assert record is not None
        bases = foreign_bases(record.action, hash_, True)
        if any(home.agent in authorities(basis, agents) for basis in bases):
            wanted.append(hash_)
    return wanted


def test_what_was_lost_of_many_ops_comes_back(play: Play) -> None:
    """More than can be named at once, so ranges are cut until the difference is found."""

    async def story(swarm: Swarm) -> None:
        author = swarm.homes[0]
        made = await enrol(author, swarm.homes[1:], 4 * NAMED_MAX)
        await trio.sleep(60)
        far = {home.number: held_alone(home, swarm, author, made) for home in swarm.homes[1:]}
        assert all(swarm.homes[n].store.has(each) for n, hashes in far.items() for each in hashes)
        number = max(far, key=lambda each: len(far[each]))
        poor = swarm.homes[number]
        found = [poor.store.record(hash_) for hash_ in far[number]]
        held = poor.store.head(author.agent)
        last = -1 if held is None else held.seq  # what stands on a chain here is not alone
        records = [r for r in found if r is not None and r.action.action_seq > last][::3]
        lost = [record.hash for record in records]
        assert len(lost) > 10
        poor.store.drop_alone(records, [True] * len(lost))
        assert not any(poor.store.has(hash_) for hash_ in lost)
        await trio.sleep(300)
        assert all(poor.store.has(hash_) for hash_ in lost)

    play(story)


def test_a_chain_that_was_lost_comes_back(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        author = swarm.homes[0]
        await enrol(author, swarm.homes[1:], 5)
        assert await swarm.settle()
        holders = [home for home in swarm.homes[1:] if author.agent in home.store.authors()]
        poor = next(h for h in holders if h.cell.space.is_authority(author.agent))
        head = author.store.head(author.agent)
        poor.store.drop_chain(author.agent, lambda record: True)
        assert poor.store.head(author.agent) is None
        await trio.sleep(300)
        assert poor.store.head(author.agent) == head

    play(story)


def test_two_halves_grow_together(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        halves = [swarm.homes[::2], swarm.homes[1::2]]
        swarm.network.partition([[home.agent for home in half] for half in halves])
        await trio.sleep(120)
        for half in halves:
            assert all(len(home.cell.space.others()) == len(half) - 1 for home in half)
            await enrol(half[0], half[1:], 3)
        await trio.sleep(30)
        swarm.network.heal()
        await trio.sleep(180)
        assert all(len(home.cell.space.others()) == HOMES - 1 for home in swarm.homes)
        assert await swarm.settle()

    play(story)


def test_who_is_gone_is_noticed_by_its_neighbours_within_a_minute(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        gone = swarm.homes[3]
        await swarm.kill(gone)
        await trio.sleep(60)
        assert not any(gone.agent in home.cell.space.others() for home in swarm.running())

    play(story)


def compares(swarm: Swarm) -> int:
    """How many comparisons were asked for until now."""
    return swarm.trace.kinds["Compare"]


def test_at_rest_rounds_are_rare_and_yet_a_death_is_noticed(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(QUIET_S)
        before = compares(swarm)
        await trio.sleep(QUIET_S)
        assert (compares(swarm) - before) / HOMES / (QUIET_S / 60) < 2.5
        gone = swarm.homes[3]
        await swarm.kill(gone)
        await trio.sleep(90)
        assert not any(gone.agent in home.cell.space.others() for home in swarm.running())

    play(story)


def test_who_comes_is_compared_with_and_not_everybody_with_everybody(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(QUIET_S)
        before = compares(swarm)
        newcomer = await swarm.add()
        await trio.sleep(60)
        assert newcomer.agent in swarm.homes[0].cell.space.others()
        assert (compares(swarm) - before) / HOMES < 8

    play(story)


def test_what_is_healed_again_and_again_in_vain_makes_no_haste(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        gossip = Gossip(swarm.homes[0].cell.space)
        peer = swarm.homes[1].agent
        for _ in range(20):
            gossip._pace(peer, b"nothing that can be helped")
        assert gossip._pause_s == ROUND_MAX_S
        gossip._pace(peer, b"news")
        assert gossip._pause_s == ROUND_S

    play(story)


def test_two_halves_meet_soon_though_they_were_apart_for_long(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        halves = [swarm.homes[::2], swarm.homes[1::2]]
        swarm.network.partition([[home.agent for home in half] for half in halves])
        await trio.sleep(3 * QUIET_S)
        swarm.network.heal()
        await trio.sleep(60)
        assert all(len(home.cell.space.others()) == HOMES - 1 for home in swarm.homes)

    play(story)


def test_a_lie_about_who_is_gone_changes_nothing(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        liar, victim = swarm.homes[1], swarm.homes[2]
        for _ in range(6):
            liar.cell.space.gone[victim.agent] = swarm.clock.now_us()
            await trio.sleep(10)
        others = [home for home in swarm.homes if home is not victim]
        assert all(victim.agent in home.cell.space.others() for home in others)

    play(story)


def test_shares_that_two_homes_compare_are_the_same_from_both_ends(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        one, other = swarm.homes[4].cell.space, swarm.homes[9].cell.space
        assert shared_ranges(one, other.agent) == shared_ranges(other, one.agent)
        everyone = [home.agent for home in swarm.homes]
        ours = share_of(one.agent, everyone)
        assert any(low <= key_of(one.agent) <= high for low, high in ours)

    play(story)


def test_an_offer_is_fetched_if_it_is_in_our_share_and_answered_with_what_is_lacking(
    play: Play,
) -> None:
    async def story(swarm: Swarm) -> None:
        space, peer = swarm.homes[1].cell.space, swarm.homes[2]
        ours = swarm.homes[1].store.head(space.agent)
        assert ours is not None
        known = HeadOf(space.agent, ours.seq, ours.hash, ours.timestamp_us)
        further = HeadOf(peer.agent, 900, ours.hash, ours.timestamp_us)
        assert not lacks(space, known)
        lacking = answer_offer(space, peer.agent, Offer((known, further)))
        assert lacking.authors == (peer.agent,)
        expected = {peer.agent: 900} if space.is_authority(peer.agent) else {}
        assert space.offered == {peer.agent: expected}

    play(story)


def test_one_that_offers_much_leaves_room_for_the_offers_of_others(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        space, peer, other = swarm.homes[1].cell.space, swarm.homes[2], swarm.homes[3]
        head = swarm.homes[1].store.head(space.agent)
        assert head is not None
        authors = [agent_key(number.to_bytes(32, "big")) for number in range(1_000)]
        ours = [author for author in authors if space.is_authority(author)]
        heads = [HeadOf(author, 9, head.hash, head.timestamp_us) for author in ours]
        answer_offer(space, peer.agent, Offer(tuple(heads[:-1])))
        assert len(space.offered[peer.agent]) == OFFERED_PER_PEER_MAX
        answer_offer(space, other.agent, Offer(tuple(heads[-1:])))
        assert space.offered[other.agent] == {ours[-1]: 9}

    play(story)


def test_one_that_offers_what_it_has_not_holds_up_no_chain(play: Play) -> None:
    """It never answers, offers all the time, and takes a place in every round."""

    async def story(swarm: Swarm) -> None:
        poor, liar, *others = swarm.homes
        space = poor.cell.space
        lost = [home for home in others if space.is_authority(home.agent)]
        heads = {home.agent: home.store.head(home.agent) for home in lost}

        async def silent(handle: Handle, asker: AgentPubKey, data: bytes) -> bytes:
            if isinstance(requests.decode(data), Activity):
                await trio.sleep(QUIET_S)
            return await handle(asker, data)

        liar.spoil(silent)
        for home in lost:
            poor.store.drop_chain(home.agent, lambda record: True)
        claims = [
            HeadOf(agent, head.seq + 5, head.hash, head.timestamp_us)
            for agent, head in heads.items()
            if head is not None
        ]
        began_s = trio.current_time()
        while any(poor.store.head(agent) != head for agent, head in heads.items()):
            answer_offer(space, liar.agent, Offer(tuple(claims)))
            await trio.sleep(0.3)
            assert trio.current_time() - began_s < HEALED_S

    play(story)
