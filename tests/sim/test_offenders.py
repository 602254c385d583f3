"""Authors who break the rules: found, named, blocked by all, and nobody else is."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import trio

from ioe_node.core.chain import Draft, seal
from ioe_node.core.quota import Limits
from ioe_node.errors import Busy, Refused
from ioe_node.hdi import Valid
from ioe_node.model.action import Create, hash_of
from ioe_node.model.hashes import ActionHash, entry_hash
from ioe_node.model.record import parcels_of
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import InvalidRecord, seal_warrant
from ioe_node.net.messages import Publish, Warrants
from sim.checkers import faults
from sim.swarm import Home, Swarm

WARRANT_SPREADS_S = 120


def enrolment(device: Home, name: str) -> dict[str, Any]:
    return {"device": device.agent, "kind": "monitor", "name": name}


@pytest.mark.parametrize("lengths", [(1, 1), (1, 3), (3, 1), (3, 3), (0, 0)])
def test_a_fork_is_found_and_its_author_blocked_by_all(
    play: Callable[..., Any], lengths: tuple[int, int]
) -> None:
    """Two halves of the network see two branches of one chain, of so many bundles each.

    With no bundles in either, the copied file was only run twice: no fork, and no warrant.
    """

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        forker = swarm.homes[-1]
        honest = swarm.homes[:-1]
        copy = forker.path.with_name("copy.db")
        original = forker.path
        await swarm.kill(forker)
        shutil.copy(original, copy)
        for branch, (path, length) in enumerate(zip((original, copy), lengths, strict=True)):
            forker.path = path
            for home in honest[branch::2]:
                swarm.network.cut(forker.agent, home.agent)
            await swarm.start(forker)
            for number in range(length):
                await forker.call("identity", "enrol", enrolment(honest[0], f"{branch} {number}"))
            await trio.sleep(60)
            await swarm.kill(forker)
            swarm.network.heal()
        await swarm.start(forker)
        await trio.sleep(WARRANT_SPREADS_S)
        assert await swarm.settle(honest)
        assert faults(swarm, [forker] if any(lengths) else []) == []

    play(story, homes=7)


def test_an_invalid_record_is_integrated_nowhere(
    play: Callable[..., Any], reading: Callable[..., dict[str, Any]]
) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        liar = swarm.homes[2]
        liar.cell.space.rules.validate = lambda *_, **__: Valid  # type: ignore[method-assign]
        hashes = await liar.call("metering", "record", {"readings": [reading(-5, 0)]})
        await trio.sleep(1)
        await liar.call("identity", "enrol", enrolment(swarm.homes[0], "after the lie"))
        await trio.sleep(WARRANT_SPREADS_S)
        honest = [home for home in swarm.homes if home is not liar]
        assert not any(home.store.has(hashes[0]) for home in honest)
        assert not any(home.store.limbo.page(0, 1) for home in honest)
        assert faults(swarm, [liar]) == []
        await swarm.kill(liar)
        late = await swarm.add()
        await trio.sleep(WARRANT_SPREADS_S)
        assert liar.agent in late.cell.space.blocked
        await swarm.kill(late)
        await swarm.start(late)
        assert liar.agent in late.cell.space.blocked
        assert await swarm.settle([*honest, late])
        assert faults(swarm, [liar]) == []

    play(story, homes=5)


def test_a_false_warrant_convicts_its_accuser(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        victim, accuser, other = swarm.homes[1:4]
        await victim.call("identity", "enrol", enrolment(other, "clock"))
        await swarm.settle()
        head = victim.store.head(victim.agent)
        assert head is not None
        record = victim.store.record(head.hash)
        assert record is not None
        warrant = InvalidRecord(
            victim.agent, accuser.agent, swarm.clock.now_us(), record.wire(), "I do not like it"
        )
        told = Warrants((seal_warrant(warrant, accuser.signer.sign),))
        await accuser.cell.space.ask(other.agent, told)
        await trio.sleep(WARRANT_SPREADS_S)
        assert faults(swarm, [accuser]) == []

    play(story, homes=5)


def test_limbo_is_bounded_for_each_sender(play: Callable[..., Any]) -> None:
    def orphan(author: Signer, number: int) -> Any:
        entry = bytes([number])
        action = Create(
            author=author.agent,
            timestamp_us=number,
            action_seq=9,
            prev_action=ActionHash(b"\x84\x29\x24" + bytes([number]) * 32 + author.agent[35:]),
            entry_type="identity.Enrolment",
            entry_hash=entry_hash(entry),
        )
        hash_, data = hash_of(action)
        return parcels_of(seal([Draft(hash_, action, data, entry)], author.sign), lambda _: False)

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        flooder, target, other = swarm.homes[1:4]
        target.cell.space.limits = Limits(limbo_rows=5)
        async with trio.open_nursery() as nursery:
            for number in range(5):
                publish = Publish(tuple(orphan(flooder.signer, number)))
                nursery.start_soon(flooder.cell.space.ask, target.agent, publish)
        one_more = Publish(tuple(orphan(flooder.signer, 6)))
        with pytest.raises(Busy, match="limbo"):
            await flooder.cell.space.ask(target.agent, one_more)
        invented = Publish(tuple(orphan(Signer(bytes(32)), 7)))
        with pytest.raises(Busy, match="no action of that author"):
            await other.cell.space.ask(target.agent, invented)
        assert len(target.store.limbo.page(0, 100)) == 5
        await other.call("identity", "enrol", enrolment(target, "still heard"))
        assert await swarm.settle([target, other])

    play(story)


def test_who_has_no_invitation_gets_no_answer(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        guest = swarm.homes[3]
        await swarm.kill(guest)
        guest.proof = None
        await swarm.start(guest)
        with pytest.raises(Refused, match="does not admit you"):
            await guest.cell.space.ask(swarm.homes[1].agent, Publish(()))

    play(story)


def test_a_warrant_is_told_until_it_can_be_judged(
    play: Callable[..., Any], reading: Callable[..., dict[str, Any]]
) -> None:
    """The newcomer has one teller, and must fetch what the warrant rests on first."""

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        liar = swarm.homes[1]
        liar.cell.space.rules.validate = lambda *_, **__: Valid  # type: ignore[method-assign]
        await liar.call("metering", "record", {"readings": [reading(-5, 0)]})
        await trio.sleep(5)
        await swarm.kill(liar)
        await swarm.add()
        await trio.sleep(WARRANT_SPREADS_S)
        assert faults(swarm, [liar]) == []

    play(story, homes=2)
