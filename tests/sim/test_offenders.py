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
from ioe_node.model.hashes import ActionHash, DnaHash, entry_hash
from ioe_node.model.record import parcels_of, prefix_of
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import InvalidRecord, seal_warrant
from ioe_node.net.messages import Publish, Warrants
from ioe_node.workflows import incoming_ops
from sim.checkers import faults
from sim.swarm import Home, Swarm
from sim.virtual_clock import EPOCH_US

WARRANT_SPREADS_S = 120
INTERVAL_US = 15 * 60 * 1_000_000


def enrolment(device: Home, name: str) -> dict[str, Any]:
    return {"device": device.agent, "kind": "monitor", "name": name}


@pytest.mark.parametrize("lengths", [(1, 1), (1, 3), (3, 1), (3, 3), (0, 0)])
def test_a_fork_is_found_and_its_author_blocked_by_all(
    play: Callable[..., Any], lengths: tuple[int, int]
) -> None:
    """Two halves of a parted network see two branches of one chain, of so many bundles each.

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
                for other in (forker, *honest[1 - branch :: 2]):
                    swarm.network.cut(other.agent, home.agent)
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
        told = Warrants((seal_warrant(warrant, swarm.definition.hash, accuser.signer.sign),))
        await accuser.cell.space.ask(other.agent, told)
        await trio.sleep(WARRANT_SPREADS_S)
        assert faults(swarm, [accuser]) == []

    play(story, homes=5)


def test_limbo_is_bounded_for_each_sender(play: Callable[..., Any]) -> None:
    def orphan(author: Signer, dna: DnaHash, number: int) -> Any:
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
        return parcels_of(
            seal([Draft(hash_, action, data, entry)], dna, author.sign), lambda _: False
        )

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        flooder, target, other = swarm.homes[1:4]
        dna = swarm.definition.hash
        target.cell.space.limits = Limits(limbo_rows=5)
        async with trio.open_nursery() as nursery:
            for number in range(5):
                publish = Publish(tuple(orphan(flooder.signer, dna, number)))
                nursery.start_soon(flooder.cell.space.ask, target.agent, publish)
        one_more = Publish(tuple(orphan(flooder.signer, dna, 6)))
        with pytest.raises(Busy, match="limbo"):
            await flooder.cell.space.ask(target.agent, one_more)
        invented = Publish(tuple(orphan(Signer(bytes(32)), dna, 7)))
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


def on(home: Home, sender: Home, parcels: list[Any]) -> Any:
    """Give parcels to a home as if `sender` had published them."""
    cell = home.cell
    return incoming_ops.receive(cell.space, cell._verdicts, sender.agent, parcels)


@pytest.mark.parametrize("told", ["by a reader", "by the author"])
def test_a_double_seal_convicts_its_author_and_stalls_nobody(
    play: Callable[..., Any], told: str
) -> None:
    """Half of the homes hold an action sealed alone, the others the same one in a bundle of two."""

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        sealer, honest = swarm.homes[-1], swarm.homes[:-1]
        swarm.network.cut_off(sealer.agent)
        for name in ("one", "two"):
            await sealer.call("identity", "enrol", enrolment(honest[0], name))
        pair = sealer.store.chain(sealer.agent)[-2:]
        await swarm.kill(sealer)
        swarm.network.heal()
        drafts = [Draft(each.hash, each.action, each.action_bytes, each.entry) for each in pair]
        whole = parcels_of(seal(drafts, swarm.definition.hash, sealer.signer.sign), lambda _: False)
        alone, other = honest[::2], honest[1::2]
        for home in alone:
            await on(home, sealer, [pair[0].wire()])
        for home in other:
            await on(home, sealer, whole)
        assert not any(home.store.has(pair[1].hash) for home in alone)
        assert all(home.store.has(pair[1].hash) for home in other)
        if told == "by the author":
            await on(alone[0], sealer, whole)
        else:
            alone[0].cell.space.want([pair[1].hash])
        await trio.sleep(WARRANT_SPREADS_S)
        assert await swarm.settle(honest)
        assert all(sealer.agent in home.cell.space.blocked for home in honest)
        assert faults(swarm, [sealer]) == []

    play(story, homes=6)


def three(spoilt: int | None) -> list[dict[str, Any]]:
    """Three readings, one of them of negative energy."""
    made = []
    for at in range(3):
        energy = -5 if at == spoilt else 5
        made.append(
            {
                "start": EPOCH_US + at * INTERVAL_US,
                "end": EPOCH_US + (at + 1) * INTERVAL_US,
                "import_milli_wh": energy,
                "export_milli_wh": 0,
                "import_register_milli_wh": 5 * (at + 1),
                "export_register_milli_wh": 0,
                "quality": "measured",
                "method": "device",
            }
        )
    return made


@pytest.mark.parametrize("spoilt", [0, 1, 2])
def test_a_rule_broken_inside_a_bundle_is_judged_by_whoever_never_saw_the_bundle(
    play: Callable[..., Any], spoilt: int
) -> None:
    """One home alone gets the bundle; all others have nothing but its warrant."""

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        liar, witness, *others = swarm.homes[1:]
        for home in (swarm.homes[0], *others):
            swarm.network.cut(liar.agent, home.agent)
        liar.cell.space.rules.validate = lambda *_, **__: Valid  # type: ignore[method-assign]
        hashes = await liar.call("metering", "record", {"readings": three(spoilt)})
        await trio.sleep(5)
        await swarm.kill(liar)
        late = await swarm.add()
        await trio.sleep(WARRANT_SPREADS_S)
        honest = [home for home in swarm.homes if home is not liar]
        assert all(liar.agent in home.cell.space.blocked for home in honest)
        assert not any(home.store.has(hashes[0]) for home in honest)
        assert await swarm.settle(honest)
        assert faults(swarm, [liar]) == []
        assert late.running
        assert witness.running

    play(story, homes=5)


def test_a_false_warrant_of_a_bundle_convicts_its_accuser(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        victim, accuser, judge = swarm.homes[1:4]
        await victim.call("metering", "record", {"readings": three(None)})
        await swarm.settle()
        bundle = victim.store.chain(victim.agent)[-3:]
        now_us = swarm.clock.now_us()
        evidence = prefix_of(bundle, 2)
        warrant = InvalidRecord(victim.agent, accuser.agent, now_us, evidence, "I do not like it")
        told = Warrants((seal_warrant(warrant, swarm.definition.hash, accuser.signer.sign),))
        await accuser.cell.space.ask(judge.agent, told)
        await trio.sleep(WARRANT_SPREADS_S)
        assert faults(swarm, [accuser]) == []

    play(story, homes=5)
