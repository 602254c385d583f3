"""A member who turns on the others: nobody honest is blocked, nothing is minted, nothing stops."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import pytest
import trio

from ioe_node.core.chain import Draft, seal, with_path
from ioe_node.errors import IoeError, PeerError
from ioe_node.model.action import Create, hash_of
from ioe_node.model.agent_info import seal_info
from ioe_node.model.hashes import CORE, entry_hash, proof_digest
from ioe_node.model.record import Proof, WireRecord
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import InvalidRecord, seal_warrant
from ioe_node.net.messages import INFOS_PER_COMPARE_MAX, Compare, Publish, Warrants
from sim.swarm import Home, Swarm

JUNK = (bytes(64),)


def enrolment(device: Home, name: str) -> dict[str, Any]:
    return {"device": device.agent, "kind": "monitor", "name": name}


def blocked_by(swarm: Swarm, agent: bytes) -> list[int]:
    return [home.number for home in swarm.homes if agent in home.cell.space.blocked]


def without_entry(wire: WireRecord) -> WireRecord:
    return WireRecord(wire.action, wire.proof, None)


def with_junk_seal(wire: WireRecord) -> WireRecord:
    proof = wire.proof
    sealed = Proof(proof.signature, proof.index, proof.size, proof.path, JUNK)
    return WireRecord(wire.action, sealed, wire.entry)


@pytest.mark.parametrize("spoil", [without_entry, with_junk_seal])
@pytest.mark.parametrize("settled", [False, True])
def test_what_a_sender_spoils_is_no_evidence_against_the_author(
    play: Callable[..., Any], spoil: Callable[[WireRecord], WireRecord], settled: bool
) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        victim, mallory, judge = swarm.homes[1:4]
        if settled:
            await victim.call("currency", "pay", {"payee": judge.agent, "amount_micro": 5})
        else:
            await victim.call("identity", "enrol", enrolment(judge, "clock"))
        assert await swarm.settle()
        head = mallory.store.head(victim.agent)
        assert head is not None
        record = mallory.store.record(head.hash)
        assert record is not None
        spoilt = spoil(mallory.store.alone(record).wire())
        accusation = InvalidRecord(
            victim.agent, mallory.agent, swarm.clock.now_us(), spoilt, "invented"
        )
        signed = seal_warrant(accusation, swarm.definition.hash, mallory.signer.sign)
        await mallory.cell.space.ask(judge.agent, Warrants((signed,)))
        await trio.sleep(120)
        assert blocked_by(swarm, victim.agent) == []
        assert judge.number in blocked_by(swarm, mallory.agent)

    play(story, homes=5)


def test_relaying_a_record_without_its_entry_harms_nobody_but_the_relay(
    play: Callable[..., Any],
) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        await trio.sleep(120)  # rounds of gossip are rare by now: the judge has nothing by them
        victim, mallory, judge = swarm.homes[1:4]
        for home in swarm.homes:
            if home not in (victim, mallory):
                swarm.network.cut(victim.agent, home.agent)
        await victim.call("identity", "enrol", enrolment(judge, "clock"))
        await trio.sleep(1)
        head = mallory.store.head(victim.agent)
        assert head is not None
        record = mallory.store.record(head.hash)
        assert record is not None
        spoilt = Publish((without_entry(record.wire()),))
        await mallory.cell.space.ask(judge.agent, spoilt)
        assert judge.cell.space.quota.charges(mallory.agent) == 1
        swarm.network.heal()
        assert await swarm.settle()
        assert blocked_by(swarm, victim.agent) == []
        assert judge.store.head(victim.agent) == head

    play(story, homes=5)


def test_a_payer_that_drops_its_half_has_paid_all_the_same(play: Callable[..., Any]) -> None:
    """One half proves the other, so a payer cannot pay two at one place by forgetting both.

    It can while the first has not been heard of yet: against that, payees wait for finality.
    """

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        mallory, *payees = swarm.homes[1:5]
        limit_micro = swarm.definition.properties.credit_limit_micro
        space = mallory.cell.space

        async def forget(_: Any, record: Any) -> None:
            await space.run(space.store.release, record.action.action_seq)

        mallory.cell._settlements._commit = forget  # type: ignore[method-assign]
        for payee in payees * 2:
            await trio.sleep(2)
            for _ in range(5):
                try:
                    payment = {"payee": payee.agent, "amount_micro": limit_micro}
                    await mallory.call("currency", "pay", payment)
                    break
                except IoeError:
                    await trio.sleep(1)
        await trio.sleep(60)
        audit = await swarm.homes[0].call("currency", "audit", {})
        assert audit["sum_micro"] == 0
        balances = {each["agent"]: each["balance_micro"] for each in audit["balances"]}
        assert balances[mallory.agent] == -limit_micro

    play(story, homes=5)


def test_a_settlement_dated_ahead_is_declined(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        mallory, payee = swarm.homes[1:3]

        class Ahead:
            def now_us(self) -> int:
                return swarm.clock.now_us() + 6 * 60 * 1_000_000

        mallory.cell.space.clock = Ahead()
        with pytest.raises(PeerError, match="five minutes ahead"):
            await mallory.call("currency", "pay", {"payee": payee.agent, "amount_micro": 1})

    play(story, homes=3)


def test_invented_infos_count_for_nothing(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        mallory, author, reader = swarm.homes[1:4]
        space = mallory.cell.space
        infos = []
        for number in range(1_000):
            invented = Signer(blake2b(number.to_bytes(2, "big"), digest_size=32).digest())
            now_us = swarm.clock.now_us()
            nowhere = ("/ip4/127.0.0.1/tcp/1",)
            us = (invented.agent, space.dna, proof_digest(None), True)
            infos.append(seal_info(*us, nowhere, now_us, invented.sign))
        for home in (author, reader):
            for at in range(0, len(infos), INFOS_PER_COMPARE_MAX):
                page = tuple(infos[at : at + INFOS_PER_COMPARE_MAX])
                await space.ask(home.agent, Compare((), (), bytes(16), (), page))
        made = await author.call("identity", "enrol", enrolment(reader, "after the flood"))
        await trio.sleep(60)
        assert all(home.store.has(made) for home in swarm.homes)
        assert len(author.store.peers()) == len(swarm.homes) - 1
        assert len(author.cell.space.publish_bells) == len(swarm.homes) - 1

    play(story, homes=4)


def test_an_invalid_part_of_a_bundle_is_refused_and_ends_nobody(play: Callable[..., Any]) -> None:
    """What proves it is the whole bundle, which is not there: so no warrant, and no crash."""

    async def story(swarm: Swarm) -> None:
        await swarm.settle()
        mallory, judge = swarm.homes[1:3]
        head = mallory.store.head(mallory.agent)
        assert head is not None
        drafts, prev = [], head.hash
        for number in range(2):
            entry = b"no enrolment %d" % number
            hash_, data = hash_of(
                action := Create(
                    author=mallory.agent,
                    timestamp_us=max(swarm.clock.now_us(), head.timestamp_us),
                    action_seq=head.seq + 1 + number,
                    prev_action=prev,
                    entry_type="identity.Enrolment",
                    entry_hash=entry_hash(entry),
                )
            )
            drafts.append(Draft(hash_, action, data, entry))
            prev = hash_
        records = seal(drafts, swarm.definition.hash, mallory.signer.sign)
        part = with_path(records[1], [record.hash[CORE] for record in records]).wire()
        await mallory.cell.space.ask(judge.agent, Publish((part,)))
        await trio.sleep(5)
        assert judge.running
        assert judge.failures == []
        assert judge.cell.space.quota.charges(mallory.agent) == 1
        assert blocked_by(swarm, mallory.agent) == []

    play(story, homes=4)
