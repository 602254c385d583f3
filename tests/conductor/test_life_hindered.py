"""A life that somebody hinders: leaving in spite of a policy, a rotation, a seller or a thief."""

from typing import Any

import pytest
import trio

from dna.neighbourhood import DNA
from ioe_node.conductor import keytree, leaving, recovery
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import Keystore
from ioe_node.errors import Busy
from ioe_node.model.signing import Signer
from ioe_node.workflows.hastening import Hastening
from tests.conductor.steps import ROOT, balance, deed, owns, pay, sees, three, unowned

CREDIT_LIMIT = DNA.properties.credit_limit_micro


async def test_a_device_that_deals_with_nobody_settles_with_its_owner_and_leaves(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner, other, roof = await three(founded, street)
    await pay(other, roof, 3_000_000)
    await owner.call("policy_set", text="version = 1\n[deals]\nwith = 'nobody'\n")
    await roof.until(lambda found: found["rules"]["deals"]["with"] == "nobody", "policy_show")
    await deed(owner, "release", device=roof.agent)
    await unowned(roof)
    assert await balance(owner) == 3_000_000


async def test_what_is_never_final_keeps_no_device_from_leaving(
    founded: Any, street: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: Any) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(Hastening, "run", never)
    monkeypatch.setattr(leaving, "FINAL_PATIENCE_S", 5.0)
    owner, other, roof = await three(founded, street)
    for payer in (owner, other):
        await pay(payer, roof, CREDIT_LIMIT)
    await deed(owner, "release", device=roof.agent)
    await unowned(roof)
    assert await balance(owner) == 0, "so much of it as any member may owe"


async def test_a_device_on_its_way_out_settles_with_its_owners_next_key(
    founded: Any, street: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other, roof = await three(founded, street)
    await pay(other, roof, 3_000_000)
    settle, turned = leaving._settle, trio.Event()

    async def later(*args: Any) -> None:
        await turned.wait()
        await settle(*args)

    monkeypatch.setattr(leaving, "_settle", later)
    await deed(owner, "release", device=roof.agent)
    await roof.until(lambda _: roof.home.state().leaving is not None)
    made = await owner.call("key_rotate", root=ROOT)
    await owner.until(lambda found: found["agent"] == made["agent"])
    await owns(owner, "roof")
    turned.set()
    await unowned(roof)
    assert await balance(owner) == 3_000_000


async def test_a_device_that_its_seller_revokes_is_its_buyers_all_the_same(
    founded: Any, street: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller, buyer, roof = await three(founded, street)
    old = roof.agent
    await buyer.until(lambda found: roof.agent in found["communities"][0]["peers"])
    await pay(buyer, roof, 3_000_000)

    async def never(*_: Any) -> None:
        raise Busy("the seller is away")

    monkeypatch.setattr(leaving, "_settle", never)
    await deed(seller, "offer", device=old, buyer=buyer.agent)
    await trio.sleep(5)
    await buyer.call("device_accept", seller=seller.agent)
    await roof.until(lambda _: roof.home.state().leaving is not None)
    await deed(seller, "revoke", agent=old, reason="not stolen")
    await unowned(roof)
    await sees(buyer, roof)
    await buyer.call("device_claim", device=roof.agent, code=roof.conductor.unowned.code)
    await owns(buyer, "roof")
    await roof.until(lambda _: roof.home.state().before == ())


async def test_a_later_key_is_taken_up_whole_or_not_at_all(
    claimed: Any, street: Any, autojump: Any, killed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, roof = await claimed()
    await owner.stop()
    again = await street.recovered(ROOT, roof)
    await owns(again, "roof")

    def fall(*_: Any) -> None:
        raise killed

    for place, name in ((Home, "keep"), (Keystore, "replace")):
        again.conductor.succeeded_by = Signer(keytree.owner_agent_seed(ROOT, 1)).agent
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fall)
            with pytest.raises(killed):
                await recovery.recover(again.conductor, ROOT)
        later = keytree.generation_of(again.conductor.keystore.secrets) == 1
        assert not (later and again.home.invitations()), "of the key before, and never left"
