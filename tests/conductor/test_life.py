"""A life from owner to owner: sold, released, renewed, revoked, recovered; and crashes between."""

from contextlib import suppress
from typing import Any

import pytest
import trio

from ioe_node.conductor import devices, keytree, leaving, owner_calls, recovery, succession
from ioe_node.conductor.home import Home, State
from ioe_node.conductor.keystore import Keystore
from ioe_node.conductor.succession import NEXT
from ioe_node.errors import CallError, IoeError, PairingRefused
from ioe_node.hdi import Invalid
from ioe_node.model.hashes import to_text
from ioe_node.model.signing import Signer
from tests.conductor.steps import (
    ASKED,
    CODE,
    ROOT,
    balance,
    deed,
    hears,
    invited,
    joined,
    owns,
    pay,
    refused,
    sees,
    three,
    unowned,
)
from zomes.community.integrity import vouch


async def test_a_released_device_is_as_new_and_anybodys(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    old = roof.agent
    await roof.until(bool, "zome_call", zome="metering", function="history", payload={})
    enrolment = roof.conductor.keystore.secrets["enrolment"]
    await deed(owner, "release", device=old)
    await unowned(roof)
    assert set(roof.conductor.keystore.secrets) == {"enrolment"}
    assert roof.conductor.keystore.secrets["enrolment"] != enrolment
    assert roof.conductor.unowned.code not in (None, CODE)
    assert roof.home.state() == State(used=True)
    assert not [*(roof.home.path / "cells").iterdir()]
    await owns(owner)
    await owner.until(lambda found: owner.home.state().departing == ())
    history = await owner.call("key_history", agent=old)
    assert [(each["agent"], each["how"]) for each in history] == [(old, "closed")]
    await sees(owner, roof)
    with pytest.raises(PairingRefused, match="wrong"):
        await owner.call("device_claim", device=roof.agent, code=CODE)
    await owner.call("device_claim", device=roof.agent, code=roof.conductor.unowned.code)
    await owns(owner, "roof")
    assert roof.agent != old


async def test_a_sold_device_goes_to_its_buyer_and_to_nobody_else(
    founded: Any, street: Any, autojump: Any
) -> None:
    seller, buyer, roof = await three(founded, street)
    old = roof.agent
    await deed(seller, "offer", device=old, buyer=buyer.agent)
    await trio.sleep(40)
    assert roof.conductor.role == "device", "an offer that nobody accepts changes nothing"
    await buyer.call("device_accept", seller=seller.agent)
    await unowned(roof)
    await owns(seller)
    assert roof.home.state().buyer == buyer.agent
    for _ in range(2):
        await sees(seller, roof)
        with pytest.raises(PairingRefused, match="only its buyer"):
            await seller.call("device_claim", device=roof.agent, code=roof.conductor.unowned.code)
        await roof.stop()
        await roof.start()
    await sees(buyer, roof)
    await buyer.call("device_claim", device=roof.agent, code=roof.conductor.unowned.code)
    await owns(buyer, "roof")
    found = await buyer.until(lambda found: len(found) == 2, "key_history", agent=roof.agent)
    assert [(each["agent"], each["how"]) for each in found] == [
        (old, "sold"),
        (roof.agent, "in use"),
    ]
    await hears(seller, "new owner", agent=to_text(old), owner=to_text(buyer.agent))
    await refused(seller, roof, "its owner only")
    with pytest.raises(CallError):
        await deed(seller, "release", device=roof.agent)
    with pytest.raises(CallError):
        await deed(seller, "revoke", agent=roof.agent)


async def test_a_devices_balance_is_settled_before_it_goes(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner, other, roof = await three(founded, street)

    await other.until(lambda found: len(found["communities"][0]["peers"]) == 2)
    await pay(roof, other, 5_000_000)
    assert await balance(roof) == -5_000_000
    await deed(owner, "release", device=roof.agent)
    await unowned(roof)
    await owns(owner)
    assert await balance(owner) == -5_000_000

    await sees(owner, roof)
    await owner.call("device_claim", device=roof.agent, code=roof.conductor.unowned.code)
    await owns(owner, "roof")
    await pay(other, roof, 3_000_000)
    await deed(owner, "release", device=roof.agent)
    await unowned(roof)
    assert await balance(owner) == -2_000_000
    assert await balance(other) == 2_000_000


async def test_a_device_takes_its_next_key_and_stays_its_owners(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    old = roof.agent
    made = await owner.call("device_rotate", device=old)
    await roof.until(lambda found: found["agent"] == made["device"] != old)
    await owns(owner, "roof")
    found = await owner.until(lambda found: len(found) == 2, "key_history", agent=old)
    assert [(each["agent"], each["how"]) for each in found] == [
        (old, "rotated"),
        (roof.agent, "in use"),
    ]
    await hears(owner, "new keys", agent=to_text(old), successor=to_text(roof.agent))
    await roof.until(bool, "zome_call", zome="metering", function="history", payload={})
    assert roof.home.state().before == ()
    await roof.stop()
    await roof.start()
    assert roof.agent == made["device"]


async def test_an_owner_takes_the_next_key_with_all_devices_and_rights(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    old = owner.agent
    with pytest.raises(CallError, match="another identity"):
        await owner.call("key_rotate", root=b"x" * 32)
    made = await owner.call("key_rotate", root=ROOT)
    await owner.until(lambda found: found["agent"] == made["agent"] != old)
    await owns(owner, "roof")
    await roof.until(lambda found: found["owner"] == owner.agent)
    found = await owner.until(lambda found: len(found) == 2, "key_history", agent=old)
    assert [each["how"] for each in found] == ["rotated", "in use"]
    (shown,) = (await owner.call("key_show"))["communities"]
    assert shown["keyset"]["follows"] is not None
    assert owner.conductor.holder is None
    guest = await joined(street, owner, "guest", b"g" * 32)
    assert guest.agent in (await owner.call("status"))["communities"][0]["peers"]
    await owner.stop()
    await owner.start()
    await deed(owner, "release", device=roof.agent)
    await unowned(roof)


async def test_an_owner_comes_back_from_the_words_and_shuts_the_lost_machine_out(
    claimed: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    old = owner.agent
    await owner.stop()
    again = await street.recovered(ROOT, roof)
    await owns(again, "roof")
    assert again.agent == old
    (community,) = await again.call("community_list")
    assert community["steward"]
    # A thief has said so, who has the seeds of our devices and can speak for them.
    again.conductor.succeeded_by = Signer(b"x" * 32).agent
    made = await again.call("key_recover", root=ROOT)
    with trio.fail_after(10):  # in which a thief's word would still be obeyed
        await roof.until(lambda found: found["owner"] == made["agent"] != old)
    await again.until(lambda found: found["agent"] == made["agent"])
    await owns(again, "roof")
    found = await again.until(lambda found: len(found) == 2, "key_history", agent=old)
    assert [each["how"] for each in found] == ["revoked", "in use"]

    await owner.start()
    await owner.until(lambda found: found["communities"] and found["communities"][0]["refused_by"])
    with suppress(IoeError):
        await deed(owner, "release", device=roof.agent)
    await trio.sleep(40)
    assert roof.conductor.role == "device", "what a lost machine writes, nobody takes"
    for request in ASKED:
        told = await owner_calls.ask(owner.conductor, roof.agent, request)
        assert told == owner_calls.Succeeded(again.agent)
    stolen = keytree.portfolios_of(owner.conductor.keystore.secrets)
    made = await again.call("device_rotate", device=roof.agent)
    await roof.until(lambda found: found["agent"] == made["device"])
    await owns(again, "roof")
    assert roof.agent not in recovery.devices_of(stolen), "nor does it know the next keys"
    await deed(again, "release", device=roof.agent)
    await unowned(roof)


async def test_a_stolen_device_is_revoked_and_refused(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner, other, roof = await three(founded, street)
    roof.end()
    await deed(owner, "revoke", agent=roof.agent, reason="stolen")
    await owns(owner)
    await other.until(lambda found: roof.agent in found["communities"][0]["blocked"])
    await hears(other, "revoked", agent=to_text(roof.agent))
    await roof.start()
    await roof.until(lambda found: found["communities"] and found["communities"][0]["refused_by"])
    seen = {"zome": "metering", "function": "history", "payload": {"device": roof.agent}}
    before = await other.call("zome_call", **seen)
    await trio.sleep(10)
    assert await other.call("zome_call", **seen) == before
    for victim in (owner, other):
        terms = {"payee": victim.agent, "amount_micro": 1_000_000}
        with pytest.raises(IoeError):
            await roof.call("zome_call", zome="currency", function="pay", payload=terms)


async def test_a_device_that_is_killed_on_its_way_out_goes_on_when_it_starts(
    claimed: Any, street: Any, autojump: Any, killed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await claimed()
    old = roof.agent
    fallen: list[str] = []
    steps = (
        (leaving, "_settle"),
        (leaving, "close_chain"),
        (leaving, "held_by_others"),
        (Home, "wipe"),
        (Keystore, "replace"),
    )

    def trap(place: Any, name: str) -> None:
        honest = getattr(place, name)

        def fall(*args: Any, **more: Any) -> Any:
            if name not in fallen:
                fallen.append(name)
                raise killed
            return honest(*args, **more)

        monkeypatch.setattr(place, name, fall)

    for step in steps:
        trap(*step)
    await deed(owner, "release", device=old)
    for _ in steps:
        await roof.ended()
        await roof.start()
    await unowned(roof)
    assert fallen == [name for _, name in steps]
    assert roof.home.state() == State(used=True)
    assert set(roof.conductor.keystore.secrets) == {"enrolment"}
    history = await owner.call("key_history", agent=old)
    assert [each["how"] for each in history] == ["closed"]


async def test_a_rotation_that_is_killed_at_each_step_goes_on_when_it_starts(
    claimed: Any, street: Any, autojump: Any, killed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await claimed()
    old, fallen = roof.agent, list[str]()
    honest_keep, honest_replace = Home.keep, Keystore.replace

    def keep(self: Home, state: State) -> None:
        if self is roof.home and state.turning and state.turning.done and "keep" not in fallen:
            fallen.append("keep")
            raise killed
        if self is roof.home and not state.turning and "taken" not in fallen and state.before:
            fallen.append("taken")
            raise killed
        honest_keep(self, state)

    def replace(self: Keystore, secrets: Any) -> None:
        if roof.home.state().turning and NEXT + "device" not in secrets and "replace" not in fallen:
            fallen.append("replace")
            raise killed
        honest_replace(self, secrets)

    monkeypatch.setattr(Home, "keep", keep)
    monkeypatch.setattr(Keystore, "replace", replace)
    made = await owner.call("device_rotate", device=old)
    for _ in range(3):
        await roof.ended()
        await roof.start()
    assert fallen == ["keep", "replace", "taken"]
    await owns(owner, "roof")
    assert roof.agent == made["device"]
    found = await owner.until(lambda found: len(found) == 2, "key_history", agent=old)
    assert [each["how"] for each in found] == ["rotated", "in use"]


async def test_an_account_goes_over_to_the_next_key_once(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner, other, roof = await three(founded, street)
    await pay(roof, other, 5_000_000)
    await pay(other, owner, 2_000_000)
    old_roof, old_owner = roof.agent, owner.agent
    made = await owner.call("device_rotate", device=old_roof)
    await roof.until(lambda found: found["agent"] == made["device"])
    await owns(owner, "roof")
    made = await owner.call("key_rotate", root=ROOT)
    await owner.until(lambda found: found["agent"] == made["agent"])
    await owns(owner, "roof")
    for node in (owner, roof):
        await node.until(lambda found, node=node: node.home.state().before == ())
    assert (await balance(roof), await balance(owner), await balance(other)) == (
        -5_000_000,
        2_000_000,
        3_000_000,
    )
    await pay(owner, roof, 1_000_000)
    assert (await balance(roof), await balance(owner)) == (-4_000_000, 1_000_000)
    audit = await other.call("zome_call", zome="currency", function="audit", payload={})
    assert audit["sum_micro"] == 0
    assert {each["agent"] for each in audit["balances"]}.isdisjoint({old_roof, old_owner})


async def test_a_member_whose_words_are_named_alone_has_a_successor(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner = await founded()
    guest = await street.owner("guest", b"g" * 32)
    await guest.call("community_join", invitation=await invited(owner, guest))
    (invitation,) = guest.home.invitations()
    thief = {**guest.conductor.keystore.secrets, "agent": b"t" * 32}
    with pytest.raises(CallError, match="have to sign"):
        succession.turn(guest.conductor, thief)
    space, stranger = guest.conductor.cell().space, Signer(thief["agent"]).agent
    dna, proof = space.rules.definition, invitation.proof
    forged = vouch(dna, guest.agent, proof, stranger, "successor", space.sign, None)
    assert isinstance(dna.admits(stranger, forged), Invalid)
    made = await guest.call("key_rotate", root=b"g" * 32)
    await guest.until(lambda found: found["agent"] == made["agent"])
    await guest.until(lambda found: found["communities"] and guest.home.state().before == ())
    assert guest.home.state().cells != (invitation.encoded(),)


async def test_a_device_claimed_by_a_key_that_was_rotated_at_once_finds_its_owner(
    near: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await near()

    async def not_yet(conductor: Any) -> None:
        """The claim stays open."""

    with monkeypatch.context() as patch:
        patch.setattr(devices, "enrol_pending", not_yet)
        await owner.call("device_claim", device="roof", code=CODE)
        await roof.until(lambda found: found["communities"])
        made = await owner.call("key_rotate", root=ROOT)
        await owner.until(lambda found: found["agent"] == made["agent"])
    await owns(owner, "roof")
    await roof.until(lambda found: found["owner"] == owner.agent)


async def test_a_device_that_takes_another_key_leaves_after_that(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    made = await owner.call("device_rotate", device=roof.agent)
    leaving.leave(roof.conductor, None)
    assert roof.home.state().leaving is None
    await roof.until(lambda found: found["agent"] == made["device"])
    await owns(owner, "roof")
    leaving.leave(roof.conductor, None)
    with pytest.raises(CallError, match="leaves its owner"):
        succession.turn(roof.conductor, {"device": bytes(32)})
