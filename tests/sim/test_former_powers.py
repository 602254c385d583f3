"""Who had power over an owner's keys or devices once does not get it back by naming the past."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

from ioe_node.core.chain import Draft, seal
from ioe_node.errors import Busy
from ioe_node.hdi import Valid
from ioe_node.model.action import Create, hash_of
from ioe_node.model.codec import encode
from ioe_node.model.hashes import entry_hash
from ioe_node.model.record import Record
from ioe_node.model.warrant import Revoked, SignedWarrant, seal_warrant
from ioe_node.workflows.incoming_ops import park
from ioe_node.workflows.integration import keep
from sim.scenarios.owners import claim, hold_keys, identity, with_consents
from sim.swarm import Home, Swarm
from tests.sim.test_ownership import newcomer, rotated
from zomes.identity.integrity import Revocation

Play = Callable[..., Any]
SPREADS_S = 120


def written_at(home: Home, before: Record, entry: Any) -> Record:
    """What somebody with a copy of a home's key seals after any action of its chain."""
    data = encode(entry)
    action = Create(
        author=home.agent,
        timestamp_us=before.action.timestamp_us + 1,
        action_seq=before.action.action_seq + 1,
        prev_action=before.hash,
        entry_type=f"{type(entry).__module__.split('.')[-2]}.{type(entry).__name__}",
        entry_hash=entry_hash(data),
    )
    hash_, body = hash_of(action)
    space = home.cell.space
    return seal([Draft(hash_, action, body, data)], space.dna, home.signer.sign)[0]


def told(teller: Home, record: Record, whom: Home) -> SignedWarrant:
    """A revocation, told as one."""
    space = teller.cell.space
    warrant = Revoked(whom.agent, teller.agent, space.clock.now_us(), record.wire())
    return seal_warrant(warrant, space.dna, teller.signer.sign)


def test_key_holders_that_were_replaced_take_over_nothing(play: Play, new_holders: Any) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device, thief, reader = swarm.homes[1:5]
        old, new = new_holders(1, 1), new_holders(1, 1, first=300)
        first = await hold_keys(owner, old.shown)
        await claim(swarm, owner, device)
        shown = {"threshold": 1, "keys": new.shown.keys}
        await with_consents(owner, "set_keyset", shown, old.signers)
        assert await swarm.settle()
        payload = {"agent": owner.agent, "cut": first, "successor": thief.agent}
        revoked = await with_consents(thief, "revoke", payload, old.signers)
        named = {"threshold": 1, "keys": old.shown.keys, "follows": revoked}
        await identity(thief, "set_keyset", **named)
        await trio.sleep(SPREADS_S)
        assert await identity(reader, "owner_of", device=device.agent) == owner.agent
        (era,) = await identity(reader, "history", agent=owner.agent)
        assert (era["how"], era["to"]) == ("in use", None)
        await identity(thief, "revoke", agent=device.agent)
        await trio.sleep(SPREADS_S)
        assert not any(home.cell.space.blocked for home in swarm.homes)
        assert await identity(reader, "owner_of", device=device.agent) == owner.agent

    play(story, homes=5)


def test_a_key_that_was_rotated_away_ends_no_device(play: Play, new_holders: Any) -> None:
    """Its copy can go on from any place of the chain that it closed."""

    async def story(swarm: Swarm) -> None:
        owner, device, teller, judge = swarm.homes[1:5]
        one = new_holders(1, 1)
        await hold_keys(owner, one.shown)
        await claim(swarm, owner, device)
        cut = device.store.record_at(device.agent, max(device.committed))
        head = owner.store.head(owner.agent)
        assert cut is not None
        assert head is not None
        before = owner.store.record(head.hash)
        assert before is not None
        new = await rotated(swarm, owner, one, 501)
        await identity(new, "enrol", device=device.agent, kind="storage", name="battery")
        assert await swarm.settle()
        await identity(device, "acknowledge", owner=new.agent)
        assert await swarm.settle()
        entry = Revocation(device.agent, cut.action.action_seq, cut.hash, None, "", ())
        for place in (before, owner.store.record(owner.store.head(owner.agent).hash)):
            signed = told(teller, written_at(owner, place, entry), device)
            for _ in range(2):
                await keep(judge.cell.space, signed)
                await trio.sleep(5)
            assert device.agent not in judge.cell.space.blocked
            assert teller.agent not in judge.cell.space.blocked

    play(story, homes=6)


def test_a_sold_device_begins_with_an_account_of_its_own(play: Play) -> None:
    """Its old one was settled; it goes over to nobody, and the device gets on with its life."""

    async def story(swarm: Swarm) -> None:
        seller, buyer, device = swarm.homes[1:4]
        await claim(swarm, seller, device)
        owed = {"payee": seller.agent, "amount_micro": 5, "memo": ""}
        await device.call("currency", "pay", owed)
        await seller.call("currency", "pay", {**owed, "payee": device.agent})
        close = await identity(device, "close", new_target=buyer.agent)
        assert await swarm.settle()
        again = await newcomer(swarm, 500)
        assert await swarm.settle()
        await claim(swarm, buyer, again)
        await identity(again, "open", prev_target=device.agent, close_hash=close)
        assert await swarm.settle()
        assert await again.call("currency", "carry", {"close": close}) is None

    play(story)


def test_a_device_leaves_by_no_word_that_lacks_its_consents(play: Play, new_holders: Any) -> None:
    """Shown by one who holds the owner's key alone, and tells the device what it likes."""

    async def story(swarm: Swarm) -> None:
        stolen, reader = swarm.homes[1:3]
        device = await swarm.add(holds=False)
        await hold_keys(stolen, new_holders(2, 3).shown)
        await claim(swarm, stolen, device)
        for home in swarm.homes:
            if home not in (stolen, device):
                swarm.network.cut(device.agent, home.agent)
                swarm.network.cut(stolen.agent, home.agent)
        rules = stolen.cell.space.rules
        rules.validate = lambda *_, **__: Valid  # type: ignore[method-assign]
        await identity(stolen, "release", device=device.agent)
        for _ in range(5):
            with suppress(Busy):
                assert not await identity(device, "released")
            await trio.sleep(5)
        swarm.network.heal()
        await trio.sleep(SPREADS_S)
        assert stolen.agent in reader.cell.space.blocked

    play(story, homes=5)


def test_what_an_earlier_key_said_binds_no_device_of_the_next(play: Play, new_holders: Any) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device = swarm.homes[1:3]
        one = new_holders(1, 1)
        await hold_keys(owner, one.shown)
        await claim(swarm, owner, device)
        await identity(owner, "release", device=device.agent)
        assert await swarm.settle()
        assert await identity(device, "released")
        new = await rotated(swarm, owner, one, 501)
        assert await identity(device, "released")
        await identity(new, "enrol", device=device.agent, kind="storage", name="battery")
        assert await swarm.settle()
        assert await identity(device, "acknowledge", owner=new.agent)
        assert await swarm.settle()
        assert not await identity(device, "released")

    play(story)


@pytest.mark.parametrize("is_told", [True, False])
def test_who_has_missed_that_key_holders_were_replaced_looks_before_it_acts(
    play: Play, new_holders: Any, is_told: bool
) -> None:
    """Who is shut out stays so, and an honest owner would be, by those who were away."""

    async def story(swarm: Swarm) -> None:
        owner, thief, judge = swarm.homes[1:4]
        old, new = new_holders(1, 1), new_holders(1, 1, first=300)
        first = await hold_keys(owner, old.shown)
        assert await swarm.settle()
        for home in swarm.homes:
            if home is not judge:
                swarm.network.cut(judge.agent, home.agent)
        shown = {"threshold": 1, "keys": new.shown.keys}
        await with_consents(owner, "set_keyset", shown, old.signers)
        await trio.sleep(30)
        payload = {"agent": owner.agent, "cut": first, "successor": thief.agent}
        made = await with_consents(thief, "revoke", payload, old.signers)
        record = thief.store.record(made)
        assert record is not None
        swarm.network.heal()
        await trio.sleep(0.5)
        space = judge.cell.space
        known = space.store.head(owner.agent)
        assert known is not None
        assert known.hash == first, "it has missed the change"
        if is_told:
            await keep(space, told(thief, thief.store.alone(record), owner))
        else:
            await park(space, thief.agent, [thief.store.alone(record).wire()])
        await trio.sleep(SPREADS_S)
        assert owner.agent not in space.blocked

    play(story, homes=5)
