"""Ownership through whole cells: sold, rotated, recovered; whoever gave up can do nothing more."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from ioe_node.errors import CallError, RuleBroken
from ioe_node.hdi import Valid
from ioe_node.model.signing import Signer
from sim.scenarios.owners import claim, hold_keys, identity, with_consents
from sim.swarm import Home, Swarm

Play = Callable[..., Any]


async def newcomer(swarm: Swarm, number: int, proof: bytes | None = None) -> Home:
    """A home under a fresh key, invited by the steward or in by `proof`; as soon as it runs."""
    home = await swarm.invite(Signer(number.to_bytes(32, "big")))
    home.proof = proof or home.proof
    await swarm.start(home)
    return home


async def owned(home: Home, owner: Home) -> list[bytes]:
    return [each["device"] for each in await identity(home, "portfolio", owner=owner.agent)]


def test_a_device_is_sold_and_the_seller_is_out(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        seller, buyer, device, reader = swarm.homes[1:5]
        await claim(swarm, seller, device)
        assert await identity(device, "sold_to") is None
        offer = await identity(seller, "offer", device=device.agent, buyer=buyer.agent)
        assert await swarm.settle()
        assert await identity(device, "sold_to") is None
        (offered,) = await identity(buyer, "offers_to_us", seller=seller.agent)
        assert offered == {"offer": offer, "device": device.agent, "accepted": False}
        await identity(buyer, "accept", offer=offer)
        assert await swarm.settle()
        assert await identity(device, "sold_to") == buyer.agent
        assert await owned(reader, seller) == [device.agent] == await identity(reader, "at_work")
        close = await identity(device, "close", new_target=buyer.agent)
        with pytest.raises(CallError, match="closed"):
            await identity(device, "enrol", device=buyer.agent, kind="storage", name="x")
        again = await newcomer(swarm, 500)
        assert await swarm.settle()
        await claim(swarm, buyer, again)
        await identity(again, "open", prev_target=device.agent, close_hash=close)
        assert await swarm.settle()
        assert await owned(reader, seller) == [] == await owned(seller, seller)
        assert await owned(reader, buyer) == [again.agent] == await identity(reader, "at_work")
        assert await identity(reader, "owner_of", device=device.agent) is None
        assert await identity(reader, "owner_of", device=again.agent) == buyer.agent
        await the_seller_is_out(swarm, seller, again, reader)
        before, now = await identity(reader, "history", agent=again.agent)
        assert (before["agent"], before["how"]) == (device.agent, "sold")
        assert before["to"] == buyer.agent
        assert (now["agent"], now["how"], now["until_us"]) == (again.agent, "in use", None)
        for time_us, key in ((before["from_us"], device.agent), (now["from_us"], again.agent)):
            at = {"agent": again.agent, "time_us": time_us}
            assert await identity(reader, "key_at", **at) == key
        early = {"agent": again.agent, "time_us": before["from_us"] - 1}
        assert await identity(reader, "key_at", **early) is None

    play(story, homes=5)


async def the_seller_is_out(swarm: Swarm, seller: Home, again: Home, reader: Home) -> None:
    """What a former owner says of the device later counts for nothing."""
    await identity(seller, "enrol", device=again.agent, kind="storage", name="mine")
    assert await swarm.settle()
    assert await owned(reader, seller) == []
    with pytest.raises(RuleBroken, match="another owner"):
        await identity(seller, "offer", device=again.agent, buyer=reader.agent)
    with pytest.raises(RuleBroken, match="another owner"):
        await identity(seller, "release", device=again.agent)
    with pytest.raises(RuleBroken, match="another owner"):
        await identity(seller, "revoke", agent=again.agent)
    with pytest.raises(RuleBroken, match="another owner"):
        await identity(again, "acknowledge", owner=seller.agent)


def test_an_offer_is_taken_back_and_a_device_released(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        owner, buyer, device = swarm.homes[1:4]
        await claim(swarm, owner, device)
        offer = await identity(owner, "offer", device=device.agent, buyer=buyer.agent)
        assert await swarm.settle()
        await identity(buyer, "accept", offer=offer)
        await identity(owner, "offer", device=device.agent, buyer=owner.agent)
        assert await swarm.settle()
        assert await identity(device, "sold_to") is None
        assert await identity(buyer, "offers_to_us", seller=owner.agent) == []
        assert not await identity(device, "released")
        await identity(owner, "release", device=device.agent)
        assert await swarm.settle()
        assert await identity(device, "released")
        await identity(device, "close")
        assert await swarm.settle()
        assert await owned(buyer, owner) == []
        (era,) = await identity(buyer, "history", agent=device.agent)
        assert (era["how"], era["to"]) == ("closed", None)

    play(story)


def test_two_of_three_to_five_refuse_three_transfer(play: Play, new_holders: Any) -> None:
    """And a key that was taken out in between counts no longer."""

    async def story(swarm: Swarm) -> None:
        owner, buyer, device = swarm.homes[1:4]
        five = new_holders(3, 5)
        await hold_keys(owner, five.shown)
        await claim(swarm, owner, device)
        deed = {"device": device.agent, "buyer": buyer.agent}
        with pytest.raises(RuleBroken, match="fewer of the key-holders"):
            await identity(owner, "offer", **deed)
        with pytest.raises(RuleBroken, match="fewer of the key-holders"):
            await with_consents(owner, "offer", deed, five.signers[3:])
        before = await identity(owner, "consent_message", deed="offer", payload=deed)
        consents = five.consent(before["message"], 0, 1, 2)
        others = new_holders(3, 5, first=101)
        shown = {"threshold": 3, "keys": others.shown.keys}
        await with_consents(owner, "set_keyset", shown, five.signers[:3])
        with pytest.raises(RuleBroken, match="fewer of the key-holders"):
            await identity(owner, "offer", **deed, consents=consents)
        offer = await with_consents(owner, "offer", deed, others.signers[::2])
        assert await swarm.settle()
        await identity(buyer, "accept", offer=offer)
        assert await swarm.settle()
        assert await identity(device, "sold_to") == buyer.agent

    play(story)


async def rotated(swarm: Swarm, owner: Home, holders: Any, number: int) -> Home:
    """The owner's next key, with all that the rules ask for."""
    signer = Signer(number.to_bytes(32, "big"))
    proof = swarm.succeeds(owner, signer.agent)
    close = await identity(owner, "close", new_target=signer.agent)
    assert await swarm.settle()
    new = await newcomer(swarm, number, proof)
    keys = {"threshold": 1, "keys": holders.shown.keys, "follows": close}
    asked = await identity(new, "consent_message", deed="set_keyset", payload=keys)
    assert asked["keys"] == holders.shown.keys  # though the old chain is on its way to us yet
    assert await swarm.settle()
    await with_consents(new, "set_keyset", keys, holders.signers)
    await identity(new, "open", prev_target=owner.agent, close_hash=close)
    assert await swarm.settle()
    return new


def test_an_owners_keys_rotate_and_its_portfolio_stays(play: Play, new_holders: Any) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device, reader = swarm.homes[1:4]
        one = new_holders(1, 1)
        await hold_keys(owner, one.shown)
        await claim(swarm, owner, device)
        second = await rotated(swarm, owner, one, 501)
        third = await rotated(swarm, second, one, 502)
        for home in (owner, second, third):
            assert await owned(reader, home) == [device.agent]
            history = await identity(reader, "history", agent=home.agent)
            keys = [owner.agent, second.agent, third.agent]
            assert [each["agent"] for each in history] == keys
            assert [each["how"] for each in history] == ["rotated", "rotated", "in use"]
        assert await identity(reader, "owner_of", device=device.agent) == third.agent
        with pytest.raises(CallError, match="closed"):
            await identity(owner, "release", device=device.agent)
        await identity(third, "enrol", device=device.agent, kind="storage", name="battery")
        assert await swarm.settle()
        assert await identity(device, "acknowledge", owner=third.agent)
        assert await swarm.settle()
        (listed,) = await identity(reader, "portfolio", owner=third.agent)
        assert listed["acknowledged"]
        assert listed["enrolled_by"] == third.agent
        old = owner.store.record_at(owner.agent, 3)
        assert old is not None
        assert reader.cell.space.rules.validate_alone(old, owner.store) is Valid
        await identity(third, "release", device=device.agent)
        assert await swarm.settle()
        assert await identity(device, "released")

    play(story)


def test_a_thief_of_an_owners_key_passes_nothing_on(play: Play, new_holders: Any) -> None:
    async def story(swarm: Swarm) -> None:
        owner, device, thief = swarm.homes[1:4]
        await hold_keys(owner, new_holders(1, 1).shown)
        await claim(swarm, owner, device)
        close = await identity(owner, "close", new_target=thief.agent)
        assert await swarm.settle()
        await hold_keys(thief, new_holders(1, 1, first=900).shown)
        with pytest.raises(RuleBroken, match="keyset does not follow"):
            await identity(thief, "open", prev_target=owner.agent, close_hash=close)
        with pytest.raises(RuleBroken, match="another owner"):
            await identity(thief, "release", device=device.agent)
        await trio.sleep(1)
        assert await owned(device, thief) == []

    play(story)


def test_a_stewards_next_key_is_a_steward(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        steward, member = swarm.homes[:2]
        new = Signer((503).to_bytes(32, "big"))
        heir = await newcomer(swarm, 503, swarm.succeeds(steward, new.agent))
        guest = Signer((504).to_bytes(32, "big"))
        await newcomer(swarm, 504, await swarm.voucher(heir, guest.agent, "member"))
        assert await swarm.settle()
        listed = await member.call("community", "members", {})
        stewards = sorted(each["agent"] for each in listed if each["steward"])
        assert stewards == sorted([steward.agent, heir.agent])
        assert len(listed) == len(swarm.homes)

    play(story)


def test_of_a_stranger_nothing_is_known(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        home, stranger = swarm.homes[1], Signer(bytes(31) + b"\x77").agent
        assert await identity(home, "history", agent=stranger) == []
        assert await identity(home, "key_at", agent=stranger, time_us=0) is None
        assert await identity(home, "keyset", agent=stranger) is None
        assert await identity(home, "owner_of", device=stranger) is None
        assert await identity(home, "portfolio", owner=stranger) == []
        for deed, payload in (("offer", {"device": stranger}), ("sell", {}), ("revoke", {})):
            with pytest.raises(CallError):
                await identity(home, "consent_message", deed=deed, payload=payload)
        for function, payload in (
            ("offer", {"device": stranger, "buyer": home.agent}),
            ("release", {"device": stranger}),
            ("revoke", {"agent": stranger}),
        ):
            with pytest.raises(CallError):
                await identity(home, function, **payload)
        (era,) = await identity(home, "history", agent=home.agent)
        assert (era["agent"], era["how"], era["to"]) == (home.agent, "in use", None)

    play(story)
