"""Limits: the honest are never refused, however hard they work; floods and junk are."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from ioe_node.core.chain import Draft, seal
from ioe_node.core.quota import SHUNNED_POINTS, SLOWED_POINTS, Fault
from ioe_node.errors import Busy, IoeError, Refused
from ioe_node.model.action import Create, hash_of
from ioe_node.model.codec import encode
from ioe_node.model.hashes import ActionHash, DnaHash, entry_hash
from ioe_node.model.record import WireRecord
from ioe_node.model.signing import Signer
from ioe_node.net.messages import Get, Publish
from ioe_node.workflows import incoming_ops, limbo
from ioe_node.workflows.limbo import LIMBO_AGE_US_MAX
from sim.checkers import faults
from sim.swarm import Home, Swarm
from sim.virtual_clock import EPOCH_US

INTERVAL_US = 15 * 60 * 1_000_000
BUNDLES_PER_S = 64
BUSY_S = 10
HISTORY = 10_000


def enrolment(device: Home, name: str) -> dict[str, Any]:
    return {"device": device.agent, "kind": "monitor", "name": name}


def readings(count: int) -> list[dict[str, Any]]:
    begin = EPOCH_US - count * INTERVAL_US
    return [
        {
            "start": begin + at * INTERVAL_US,
            "end": begin + (at + 1) * INTERVAL_US,
            "import_milli_wh": 1,
            "export_milli_wh": 0,
            "import_register_milli_wh": at + 1,
            "export_register_milli_wh": 0,
            "quality": "measured",
            "method": "device",
        }
        for at in range(count)
    ]


def orphan(author: Signer, dna: DnaHash, number: int) -> WireRecord:
    """A record whose previous action nobody has."""
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
    return seal([Draft(hash_, action, data, entry)], dna, author.sign)[0].wire()


def test_the_heaviest_honest_load_is_never_refused(play: Callable[..., Any]) -> None:
    """Sixty-four bundles a second, a chain of ten thousand actions, and a newcomer to both."""

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        long, busy = swarm.homes[1:3]
        for at in range(0, HISTORY, 2_500):
            await long.call("metering", "record", {"readings": readings(HISTORY)[at : at + 2_500]})
        late = await swarm.add()
        for number in range(BUNDLES_PER_S * BUSY_S):
            await busy.call("identity", "enrol", enrolment(long, str(number)))
            await trio.sleep(1 / BUNDLES_PER_S)
        assert await swarm.settle()
        assert faults(swarm) == []
        for home in swarm.homes:
            space = home.cell.space
            assert space.quota.slowed(swarm.clock.now_us()) == []
            assert [space.quota.charges(other.agent) for other in swarm.homes] == [0] * 4
        head = late.store.head(long.agent)
        assert head is not None
        assert head.seq >= HISTORY

    play(story, homes=3)


def test_a_flood_is_shunned_its_victim_serves_on_and_it_may_come_back(
    play: Callable[..., Any],
) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        flooder, victim, other = swarm.homes[1:4]
        ask = flooder.cell.space.ask
        ends: dict[str, int] = {}

        async def one() -> None:
            try:
                await ask(victim.agent, Get(bytes(other.agent)))
                end = "answered"
            except (Busy, Refused) as error:
                end = error.code if isinstance(error, Refused) else "busy"
            ends[end] = ends.get(end, 0) + 1

        async with trio.open_nursery() as nursery:
            for _ in range(4_000):
                nursery.start_soon(one)
        assert min(ends["busy"], ends["shunned"]) > 100
        assert ends["answered"] < 1_500
        with pytest.raises(Refused, match="come back in") as refused:
            await ask(victim.agent, Get(bytes(other.agent)))
        assert refused.value.code == "shunned"
        began = trio.current_time()
        await other.cell.space.ask(victim.agent, Get(bytes(other.agent)))
        assert trio.current_time() - began < 1
        await trio.sleep(12 * 60)
        await ask(victim.agent, Get(bytes(other.agent)))
        await victim.call("identity", "enrol", enrolment(other, "after the flood"))
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


def test_links_of_a_shunned_peer_are_refused_at_the_door(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        vandal, victim = swarm.homes[1:3]
        space = victim.cell.space
        while space.quota.shunned_us(vandal.agent, swarm.clock.now_us()) == 0:
            space.charge(vandal.agent, "junk", Fault.MALFORMED)
        await swarm.kill(vandal)
        await swarm.start(vandal)
        with pytest.raises(Refused, match=r"shunned: you misbehaved; come back in [0-9]+ s"):
            await vandal.cell.space.ask(victim.agent, Publish(()))
        assert "misbehaved" in vandal.cell.space.refused_by[victim.agent]
        await trio.sleep(12 * 60)
        await vandal.cell.space.ask(victim.agent, Publish(()))

    play(story)


def test_who_sends_junk_is_slowed_then_shunned(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        vandal, victim = swarm.homes[1:3]
        now_us, space = swarm.clock.now_us, victim.cell.space
        transport, protocol = vandal.cell.space.transport, space.protocol
        points = []
        for _ in range(SHUNNED_POINTS // Fault.MALFORMED + 1):
            with pytest.raises(IoeError):
                await transport.request(protocol, victim.agent, b"junk")
            standing = space.quota.standing(vandal.agent, now_us())
            points.append(standing.points if standing else 0)
        assert points[2] > SLOWED_POINTS > points[1]
        assert points[-1] >= SHUNNED_POINTS
        assert space.quota.slowed(now_us()) == [vandal.agent]

    play(story)


def test_what_waits_in_limbo_is_opened_once_and_not_for_ever(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bytes] = []
    really = limbo.open_wire

    def counted(wire: bytes, network: DnaHash) -> Any:
        opened.append(wire)
        return really(wire, network)

    monkeypatch.setattr("ioe_node.workflows.validation.open_wire", counted)

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        sender, target, other = swarm.homes[1:4]
        opened.clear()
        parcels = tuple(orphan(sender.signer, swarm.definition.hash, number) for number in range(5))
        await sender.cell.space.ask(target.agent, Publish(parcels))
        for number in range(20):
            await other.call("identity", "enrol", enrolment(target, str(number)))
            await trio.sleep(10)
        assert len(target.store.limbo.page(0, 9)) == 5
        assert [opened.count(encode(parcel)) for parcel in parcels] == [1] * 5
        await trio.sleep(LIMBO_AGE_US_MAX / 1_000_000)
        assert target.store.limbo.page(0, 9) == []
        assert target.cell.space.quota.charges(sender.agent) == 0

    play(story)


def test_a_corrupted_copy_does_not_stand_in_the_way_of_the_honest_one(
    play: Callable[..., Any],
) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        author, mallory, judge = swarm.homes[1:4]
        for home in (judge, swarm.homes[0]):
            swarm.network.cut(author.agent, home.agent)
        await author.call("identity", "enrol", enrolment(judge, "clock"))
        await trio.sleep(0.2)
        head = mallory.store.head(author.agent)
        assert head is not None
        record = mallory.store.record(head.hash)
        assert record is not None
        whole = record.wire()
        assert not judge.store.has(record.hash)
        spoilt = WireRecord(whole.action, whole.proof, b"corrupted")
        space = judge.cell.space
        await incoming_ops.park(space, mallory.agent, [spoilt])
        await incoming_ops.park(space, swarm.homes[0].agent, [whole])
        assert len(judge.store.limbo.page(0, 9)) == 2
        await trio.sleep(0.1)
        assert judge.store.has(record.hash)
        await trio.sleep(1)
        assert space.quota.charges(mallory.agent) == 1
        assert space.quota.charges(swarm.homes[0].agent) == 0
        assert author.agent not in space.blocked

    play(story)
