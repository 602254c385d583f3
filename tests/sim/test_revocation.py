"""Revoked: everyone refuses the stolen key, for good; what it wrote before stays readable."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from ioe_node.errors import IoeError, Refused, RuleBroken
from ioe_node.hdi import Missing, Valid
from ioe_node.model.record import open_record
from ioe_node.model.warrant import Revoked, SignedWarrant, decode_warrant, seal_warrant
from ioe_node.net.messages import GetWarrants, HeadOf, Lacking, Offer
from ioe_node.workflows import revocation
from ioe_node.workflows.activity import read_chain
from ioe_node.workflows.cascade import retrieve_record
from ioe_node.workflows.integration import keep
from ioe_node.workflows.limbo import RECORD
from ioe_node.workflows.spread import warrants
from sim.checkers import faults
from sim.scenarios.owners import claim, hold_keys, identity, with_consents
from sim.swarm import Home, Swarm

Play = Callable[..., Any]
SPREADS_S = 120
QUIET_ASKS_MAX = 40
"""What a node asks in that time while nothing has to be healed, with room to spare."""


def kept(home: Home, convict: Home) -> Revoked | None:
    """The warrant by which a home has shut another out, if it is a revocation."""
    for agent, data in home.store.warrants():
        if agent == convict.agent:
            warrant = decode_warrant(warrants.decode(data))
            return warrant if isinstance(warrant, Revoked) else None
    return None


def told_by(home: Home, record: Any, whom: bytes, accuser: Home | None = None) -> SignedWarrant:
    """What `accuser` (by default `home`, who holds the record) says: that it ends somebody."""
    accuser = accuser or home
    wire = home.store.alone(record).wire()
    told = Revoked(whom, accuser.agent, home.cell.space.clock.now_us(), wire)
    return seal_warrant(told, home.cell.space.dna, accuser.signer.sign)


def test_a_stolen_device_is_shut_out_and_its_past_stays(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device, other = swarm.homes[1:4]
        await claim(swarm, owner, device)
        old = device.store.chain(device.agent)
        await identity(owner, "revoke", agent=device.agent, reason="stolen")
        await trio.sleep(SPREADS_S)
        honest = [home for home in swarm.homes if home is not device]
        for home in honest:
            assert device.agent in home.cell.space.blocked, home.number
            assert kept(home, device) is not None
            for record in old:
                assert await retrieve_record(home.cell.space, record.hash) is not None
            read = await read_chain(home.cell.space, device.agent, 0)
            assert [record.hash for record in read] == [record.hash for record in old]
        fault = device.cell.space.faults[0]
        assert fault.startswith("a warrant names us: ")
        assert "revoked" in fault
        made = await identity(device, "enrol", device=other.agent, kind="storage", name="stolen")
        await trio.sleep(SPREADS_S)
        assert not any(home.store.has(made) for home in honest)
        assert any("revoked" in text for text in device.cell.space.refused_by.values())
        assert (
            await identity(other, "at_work")
            == []
            == await identity(other, "portfolio", owner=owner.agent)
        )
        assert await identity(other, "owner_of", device=device.agent) is None
        (era,) = await identity(other, "history", agent=device.agent)
        assert (era["how"], era["until_us"]) == ("revoked", old[-1].action.timestamp_us)
        with pytest.raises(IoeError):
            await device.cell.space.ask(owner.agent, GetWarrants(()))
        assert faults(swarm, [device]) == []

    play(story, homes=6)


def test_who_holds_nothing_for_others_hears_of_its_own_end(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        owner = swarm.homes[1]
        device = await swarm.add(holds=False)
        await claim(swarm, owner, device)
        await identity(owner, "revoke", agent=device.agent)
        await trio.sleep(SPREADS_S)
        (fault,) = device.cell.space.faults
        assert fault.startswith("most members refuse us: ")
        assert "your key was revoked" in fault

    play(story, homes=5)


def test_nobody_else_hands_on_what_a_stolen_key_goes_on_to_write(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device, friend, judge = swarm.homes[1:5]
        await claim(swarm, owner, device)
        await identity(owner, "revoke", agent=device.agent)
        await trio.sleep(SPREADS_S)
        space = friend.cell.space
        space.blocked.clear()
        space.ended.clear()
        await identity(device, "enrol", device=judge.agent, kind="monitor", name="stolen")
        head = device.store.head(device.agent)
        assert head is not None
        records = device.store.chain(device.agent, head.seq)
        friend.store.commit(records, [space.ops_held(each) for each in records], [False])
        offered = HeadOf(device.agent, head.seq, head.hash, head.timestamp_us)
        lacking = await space.ask(judge.agent, Offer((offered,)))
        await trio.sleep(SPREADS_S)
        assert lacking == Lacking(())
        assert not judge.store.has(head.hash)

    play(story, homes=5)


def test_one_peer_that_refuses_us_is_no_matter(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        refusing, home = swarm.homes[1:3]
        refusing.cell.space.blocked.add(home.agent)
        with pytest.raises(Refused, match="warranted"):
            await home.cell.space.ask(refusing.agent, GetWarrants(()))
        assert home.cell.space.refused_by
        assert home.cell.space.faults == []

    play(story, homes=5)


def test_it_lasts_and_reaches_who_comes_later(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device = swarm.homes[1:3]
        await claim(swarm, owner, device)
        await identity(owner, "revoke", agent=device.agent)
        await trio.sleep(SPREADS_S)
        await swarm.kill(owner)
        await swarm.start(owner)
        assert device.agent in owner.cell.space.blocked
        assert owner.cell.space.ended == {device.agent: max(device.committed)}
        late = await swarm.add()
        await trio.sleep(SPREADS_S)
        assert kept(late, device) is not None
        assert device.agent in late.cell.space.blocked

    play(story, homes=5)


def test_a_lost_laptop_is_shut_out_and_its_owner_goes_on(play: Play, new_holders: Any) -> None:
    async def story(swarm: Swarm) -> None:
        laptop, new, device, buyer, other = swarm.homes[1:6]
        holders = new_holders(2, 3)
        await hold_keys(laptop, holders.shown)
        await claim(swarm, laptop, device)
        cut = laptop.committed[max(laptop.committed)]
        # The thief has the laptop, and no words.
        with pytest.raises(RuleBroken, match="fewer of the key-holders"):
            await identity(laptop, "release", device=device.agent)
        payload = {"agent": laptop.agent, "cut": cut, "successor": new.agent, "reason": "lost"}
        asked = await identity(other, "consent_message", deed="revoke", payload=payload)
        for places in ((), (1,)):
            consents = holders.consent(asked["message"], *places)
            with pytest.raises(RuleBroken, match="fewer of the key-holders"):
                await identity(new, "revoke", **asked["payload"], consents=consents)
        revoked = await with_consents(new, "revoke", asked["payload"], holders.signers[::2])
        keys = holders.shown
        named = {"threshold": keys.threshold, "keys": keys.keys, "follows": revoked}
        await identity(new, "set_keyset", **named)
        await trio.sleep(SPREADS_S)
        for home in swarm.homes:
            if home is not laptop:
                assert kept(home, laptop) is not None
        (listed,) = await identity(other, "portfolio", owner=new.agent)
        assert listed["device"] == device.agent
        assert listed["acknowledged"]
        assert await identity(other, "owner_of", device=device.agent) == new.agent
        lost, current = await identity(other, "history", agent=laptop.agent)
        assert (lost["how"], lost["to"], current["how"]) == ("revoked", new.agent, "in use")
        await identity(new, "enrol", device=device.agent, kind="storage", name="battery")
        await trio.sleep(SPREADS_S)
        assert await identity(device, "acknowledge", owner=new.agent)
        deed = {"device": device.agent, "buyer": buyer.agent}
        offer = await with_consents(new, "offer", deed, holders.signers[:2])
        await trio.sleep(SPREADS_S)
        await identity(buyer, "accept", offer=offer)
        await trio.sleep(SPREADS_S)
        assert await identity(device, "sold_to") == buyer.agent

    play(story, homes=7)


def test_what_a_thief_says_after_the_cut_counts_for_nothing(play: Play, new_holders: Any) -> None:
    async def story(swarm: Swarm) -> None:
        laptop, new, device, thief = swarm.homes[1:5]
        holders = new_holders(1, 1)
        await hold_keys(laptop, holders.shown)
        await claim(swarm, laptop, device)
        cut = laptop.committed[max(laptop.committed)]
        offer = await identity(laptop, "offer", device=device.agent, buyer=thief.agent)
        assert await swarm.settle()
        await identity(thief, "accept", offer=offer)
        assert await swarm.settle()
        assert await identity(device, "sold_to") == thief.agent
        payload = {"agent": laptop.agent, "cut": cut, "successor": new.agent}
        await with_consents(new, "revoke", payload, holders.signers)
        await trio.sleep(SPREADS_S)
        assert await identity(device, "sold_to") is None

    play(story, homes=5)


def test_a_revocation_that_is_none_convicts_who_tells_it(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device, liar, judge = swarm.homes[1:5]
        await claim(swarm, owner, device)
        await identity(owner, "enrol", device=judge.agent, kind="monitor", name="no revocation")
        assert await swarm.settle()
        record = owner.store.record_at(owner.agent, max(owner.committed))
        assert await keep(judge.cell.space, told_by(owner, record, device.agent, liar))
        assert liar.agent in judge.cell.space.blocked
        assert device.agent not in judge.cell.space.blocked

    play(story, homes=6)


def test_a_revocation_by_nobody_or_of_somebody_else_is_a_lie(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device, liar, other, judge, second = swarm.homes[1:7]
        await claim(swarm, owner, device)
        liar.cell.space.rules.validate = lambda *_, **__: Valid  # type: ignore[method-assign]
        made = await identity(liar, "revoke", agent=device.agent)
        record = liar.store.record(made)
        await keep(judge.cell.space, told_by(liar, record, device.agent))
        await trio.sleep(1)  # what it rests on is fetched
        assert await keep(judge.cell.space, told_by(liar, record, device.agent))
        assert device.agent not in judge.cell.space.blocked
        assert liar.agent in judge.cell.space.blocked
        right = await identity(owner, "revoke", agent=device.agent)
        true = owner.store.record(right)
        await keep(second.cell.space, told_by(owner, true, judge.agent, other))
        assert judge.agent not in second.cell.space.blocked
        assert other.agent in second.cell.space.blocked

    play(story, homes=8)


def test_what_is_merely_missing_is_fetched_and_convicts_nobody(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device, teller, judge = swarm.homes[1:5]
        await claim(swarm, owner, device)
        await identity(owner, "revoke", agent=device.agent)
        await trio.sleep(SPREADS_S)
        warrant = kept(teller, device)
        assert warrant is not None
        space = judge.cell.space
        space.blocked.clear()
        lacking = Missing((open_record(warrant.record, space.dna).hash,))
        monkeypatch.setattr(space.rules, "validate_alone", lambda *_: lacking)
        space.welcome(device.agent)
        told = Revoked(device.agent, teller.agent, 1, warrant.record)
        signed = seal_warrant(told, space.dna, teller.signer.sign)
        assert not await keep(space, signed)
        assert not space.blocked
        assert (RECORD, lacking.hashes[0]) in space.wanted

    play(story, homes=5)


def test_keys_that_were_replaced_end_nobody(play: Play, new_holders: Any) -> None:
    """The rules cannot see that a keyset came later; who knows it does not act."""

    async def story(swarm: Swarm) -> None:
        owner, leaker, judge = swarm.homes[1:4]
        old, new = new_holders(1, 1), new_holders(1, 1, first=300)
        first = await hold_keys(owner, old.shown)
        shown = {"threshold": 1, "keys": new.shown.keys}
        await with_consents(owner, "set_keyset", shown, old.signers)
        assert await swarm.settle()
        payload = {"agent": owner.agent, "cut": first, "successor": leaker.agent}
        made = await with_consents(leaker, "revoke", payload, old.signers)
        await trio.sleep(SPREADS_S)
        for home in swarm.homes:
            assert not home.cell.space.blocked
        record = leaker.store.record(made)
        assert await keep(judge.cell.space, told_by(leaker, record, owner.agent))
        assert not judge.cell.space.blocked  # neither whom it names nor who tells it

    play(story, homes=5)


def test_an_ended_agent_ends_nobody_and_what_it_ended_before_stays_so(
    play: Play, new_holders: Any
) -> None:
    async def story(swarm: Swarm) -> None:
        laptop, new, early, late, judge = swarm.homes[1:6]
        holders = new_holders(1, 1)
        await hold_keys(laptop, holders.shown)
        await claim(swarm, laptop, early)
        await claim(swarm, laptop, late)
        before = await identity(laptop, "revoke", agent=early.agent)
        cut = laptop.committed[max(laptop.committed)]
        await trio.sleep(SPREADS_S)
        payload = {"agent": laptop.agent, "cut": cut, "successor": new.agent}
        await with_consents(new, "revoke", payload, holders.signers)
        await trio.sleep(SPREADS_S)
        after = await identity(laptop, "revoke", agent=late.agent)
        space = judge.cell.space
        counts = [
            revocation.is_revoked(space, decode_warrant(told_by(laptop, record, whom.agent)))  # type: ignore[arg-type]
            for record, whom in (
                (laptop.store.record(before), early),
                (laptop.store.record(after), late),
            )
        ]
        assert counts[0] is True
        assert counts[1] is None or isinstance(counts[1], Missing)
        assert late.agent not in space.blocked

    play(story, homes=6)


def test_what_was_written_before_the_cut_is_healed(play: Play, new_holders: Any) -> None:
    async def story(swarm: Swarm) -> None:
        laptop, new, device, other = swarm.homes[1:5]
        holders = new_holders(1, 1)
        await hold_keys(laptop, holders.shown)
        await claim(swarm, laptop, device)
        place = max(laptop.committed)
        await identity(laptop, "release", device=device.agent)
        assert await swarm.settle()
        payload = {"agent": laptop.agent, "cut": laptop.committed[place], "successor": new.agent}
        revoked = await with_consents(new, "revoke", payload, holders.signers)
        keys = {"threshold": 1, "keys": holders.shown.keys, "follows": revoked}
        await identity(new, "set_keyset", **keys)
        await trio.sleep(SPREADS_S)
        other.store.drop_chain(laptop.agent, lambda _: True)
        assert other.store.head(laptop.agent) is None
        (listed,) = await identity(other, "portfolio", owner=new.agent)  # read from the others
        assert listed["device"] == device.agent
        await trio.sleep(SPREADS_S)
        for home in (other, device):
            asked = home.transport.asked  # type: ignore[union-attr]
            await trio.sleep(SPREADS_S)
            assert home.transport.asked - asked < QUIET_ASKS_MAX  # type: ignore[union-attr]
        head = other.store.head(laptop.agent)
        assert head is not None
        assert head.seq >= place
        assert not await identity(device, "released")

    play(story, homes=6)
