"""A device's whole life in virtual time, from its box to its second owner's new laptop.

After each step whoever had a part before tries what must be theirs no more: the seller, thieves
with the disk of a machine as it was before the step, and whoever has found the lost laptop.
"""

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest
import trio

from dna.neighbourhood import DNA
from ioe_node.conductor import keytree, owner_calls, recovery
from ioe_node.conductor.verify import verify_home
from ioe_node.errors import CallError, IoeError, PairingRefused
from ioe_node.model.hashes import to_text
from tests.conductor.steps import (
    ASKED,
    CODE,
    balance,
    deed,
    hears,
    joined,
    owns,
    pay,
    readings,
    refused,
    sees,
    unowned,
    zome,
)

WORDS = keytree.to_mnemonic(b"b" * 32)
LICENCE = {"name": "licence", "value": "NSW-8812", "salt": bytes(32)}
INSTALLER = {"kind": "installer", "fields": [LICENCE], "valid_from": 0, "valid_until": 2**62}
CLOSED = "closed"
UNHEARD = "nobody has told yet what others hold of our chain"


class Life:
    """Ann, who has the device first, ben, who buys it, cleo, who only looks on; and what was."""

    def __init__(self, street: Any, ann: Any, ben: Any, cleo: Any) -> None:
        self.street = street
        self.ann, self.ben, self.cleo = ann, ben, cleo
        self.roof: Any = street.boxed("roof")
        self.load: Any = None
        self.past: dict[bytes, Any] = {}
        self.last = b""
        self.said: set[bytes] = set()

    def __iter__(self) -> Iterator[Any]:
        return iter((self.ann, self.ben, self.cleo))

    async def metered(self) -> None:
        """Wait until everybody has a reading of the device's present key."""
        asked = {"device": self.roof.agent}
        for node in self:
            await node.until(bool, "zome_call", zome="metering", function="history", payload=asked)

    async def ended(self, agent: bytes, *eras: tuple[bytes, str]) -> None:
        """Everybody knows these keys of an identity; what `agent` has metered is for ever."""
        await trio.sleep(5)
        self.last = eras[-1][0]
        for node in self:
            history = await node.call("key_history", agent=self.last)
            assert [(each["agent"], each["how"]) for each in history] == list(eras)
        self.past[agent] = await readings(self.cleo, agent)
        assert self.past[agent]
        await self.stands()

    async def stands(self) -> None:
        """The past is read the same by everybody, and so is whose word counted then."""
        for node in self:
            for agent, metered in self.past.items():
                assert await readings(node, agent) == metered
                for each in (metered[0], metered[-1]):
                    moment = {"agent": self.last, "time_us": each["end"]}
                    assert await zome(node, "identity", "key_at", **moment) == agent

    async def powerless(self, thief: Any, why: str) -> None:
        """A node that runs with a key that has ended deals with nobody, however long it tries."""
        before = [await balance(each) for each in self]
        for _ in range(2):
            for victim in self:
                with pytest.raises(IoeError, match=why):
                    await zome(thief, "currency", "pay", payee=victim.agent, amount_micro=1)
            with pytest.raises(IoeError, match=why) if why == CLOSED else nullcontext():
                await zome(thief, "claims", "issue", subject=self.cleo.agent, **INSTALLER)
            await trio.sleep(10)
        assert [await balance(each) for each in self] == before
        for node in self:
            about = await zome(node, "claims", "about", subject=self.cleo.agent)
            assert {each["claim"] for each in about} == self.said
        await self.stands()
        await thief.stop()


@pytest.mark.parametrize("seed", range(4))
async def test_a_whole_life(founded: Any, street: Any, autojump: Any) -> None:
    ann = await founded()
    ben = await joined(street, ann, "ben", keytree.from_mnemonic(WORDS))
    life = Life(street, ann, ben, await joined(street, ann, "cleo", b"c" * 32))
    life.load = await street.device("load")
    await sees(ben, life.load)
    await ben.call("device_claim", device="load", code=CODE)
    await owns(ben, "load")
    said = await zome(ben, "claims", "issue", subject=life.cleo.agent, **INSTALLER)
    life.said = {said["claim"]}

    await powered(life)
    await claimed_by_ann(life)
    await rotated(life)
    await sold(life)
    await stolen(life)
    await lost_and_recovered(life)

    for node in (*life, life.load):
        audit = {"zome": "currency", "function": "audit", "payload": {}}
        await node.until(lambda found: found["sum_micro"] == 0, "zome_call", **audit)
        found = verify_home(node.home, {DNA.name: DNA})
        assert {*life.past} <= {each["agent"] for each in found}
        assert not any(each["fault"] for each in found)


async def powered(life: Life) -> None:
    """A machine that was never on is near nobody; then its owner-to-be is told of it."""
    ann, ben, roof = life.ann, life.ben, life.roof
    assert "roof" not in [each["name"] for each in (await ann.call("device_list"))["near"]]
    await roof.start()
    await hears(ann, "appeared", agent=to_text(roof.agent), name="roof")
    await sees(ben, roof)
    await refused(ben, roof, "nobody's device")


async def claimed_by_ann(life: Life) -> None:
    """With its code it is ann's and in her community; ben reads it and can do no more."""
    ann, ben, roof = life.ann, life.ben, life.roof
    with pytest.raises(PairingRefused, match="wrong"):
        await ann.call("device_claim", device="roof", code="1234-5679")
    assert roof.conductor.role == "unowned"
    await ann.call("device_claim", device="roof", code=CODE)
    await owns(ann, "roof")
    await life.metered()
    await pay(roof, life.cleo, 5_000_000)
    await not_his(ben, roof)


async def not_his(node: Any, device: Any) -> None:
    """To one who is not its owner a device answers nothing, and no deed takes it away."""
    await refused(node, device, "its owner only")
    with pytest.raises(CallError, match="no device of ours"):
        await deed(node, "offer", device=device.agent, buyer=node.agent)
    with pytest.raises(CallError, match="no device of ours"):
        await deed(node, "release", device=device.agent)
    with pytest.raises(CallError, match="no device of ours"):
        await deed(node, "revoke", agent=device.agent)
    with pytest.raises(CallError, match="no device of ours"):
        await node.call("device_rotate", device=device.agent)
    with pytest.raises(CallError, match="no such device"):
        await node.call("device_claim", device=device.agent, code=CODE)


async def rotated(life: Life) -> None:
    """It takes its next key; its disk of before has a key that has ended."""
    ann, roof = life.ann, life.roof
    old, thief = roof.agent, await life.street.image(roof, "read roof")
    made = await ann.call("device_rotate", device=old)
    await roof.until(lambda found: found["agent"] == made["device"] != old)
    await owns(ann, "roof")
    await hears(ann, "new keys", agent=to_text(old), successor=to_text(roof.agent))
    await life.ended(old, (old, "rotated"), (roof.agent, "in use"))
    assert await balance(roof) == -5_000_000
    await thief.start()
    await refused(thief, roof, "its owner only")
    await life.powerless(thief, CLOSED)


async def sold(life: Life) -> None:
    """Ann offers and ben accepts: it settles, forgets her, and is ben's by its new code."""
    ann, ben, roof = life.ann, life.ben, life.roof
    await life.metered()
    old, thief = roof.agent, await life.street.image(roof, "sold roof")
    await deed(ann, "offer", device=old, buyer=ben.agent)
    await trio.sleep(10)
    assert roof.agent == old, "an offer alone changes nothing"
    await ben.call("device_accept", seller=ann.agent)
    await unowned(roof)
    await owns(ann)
    assert await balance(ann) == -5_000_000
    code = roof.conductor.unowned.code
    for node in (ann, ben, life.cleo):
        await sees(node, roof)
    for node in (ann, life.cleo):
        with pytest.raises(PairingRefused, match="only its buyer"):
            await node.call("device_claim", device=roof.agent, code=code)
    await refused(ann, roof, "nobody's device")
    with pytest.raises(PairingRefused, match="wrong"):
        await ben.call("device_claim", device=roof.agent, code=CODE)
    await ben.call("device_claim", device=roof.agent, code=code)
    await owns(ben, "load", "roof")
    await hears(ann, "new owner", agent=to_text(old), owner=to_text(ben.agent))
    await life.metered()
    (first,) = life.past
    await life.ended(old, (first, "rotated"), (old, "sold"), (roof.agent, "in use"))
    await not_his(ann, roof)
    await thief.start()
    await refused(thief, roof, "its owner only")
    await life.powerless(thief, CLOSED)


async def stolen(life: Life) -> None:
    """Ben has it no more and says so: wherever it is plugged in, it is refused."""
    ben, roof = life.ben, life.roof
    await life.metered()
    await roof.stop()
    await deed(ben, "revoke", agent=roof.agent, reason="stolen")
    await owns(ben, "load")
    for node in (life.ann, life.cleo):
        await node.until(lambda found: roof.agent in found["communities"][0]["blocked"])
        await hears(node, "revoked", agent=to_text(roof.agent))
    first, second = life.past
    eras = ((first, "rotated"), (second, "sold"), (roof.agent, "revoked"))
    await life.ended(roof.agent, *eras)
    await roof.start()
    await roof.until(lambda found: found["communities"] and found["communities"][0]["refused_by"])
    await refused(roof, life.load, "its owner only")
    await life.powerless(roof, UNHEARD)


async def lost_and_recovered(life: Life) -> None:
    """From his words ben is whole again on a new machine, and his lost laptop is nobody."""
    lost, load, old = life.ben, life.load, life.ben.agent
    await lost.stop()
    root = keytree.from_mnemonic(WORDS)
    ben = life.ben = await life.street.recovered(root, load)
    await owns(ben, "load")
    assert ben.agent == old
    made = await ben.call("key_recover", root=root)
    await load.until(lambda found: found["owner"] == made["agent"] != old)
    await ben.until(lambda found: found["agent"] == made["agent"])
    await owns(ben, "load")
    await hears(life.cleo, "revoked", agent=to_text(old))
    for node in life:
        history = await node.until(lambda found: len(found) == 2, "key_history", agent=old)
        assert [each["how"] for each in history] == ["revoked", "in use"]

    await lost.start()
    await lost.until(lambda found: found["communities"] and found["communities"][0]["refused_by"])
    with suppress(IoeError):
        await deed(lost, "release", device=load.agent)
    for request in ASKED:
        told = await owner_calls.ask(lost.conductor, load.agent, request)
        assert told == owner_calls.Succeeded(ben.agent)
    known = recovery.devices_of(keytree.portfolios_of(lost.conductor.keystore.secrets))
    await life.powerless(lost, UNHEARD)
    assert load.conductor.role == "device"
    assert load.agent in known
    made = await ben.call("device_rotate", device=load.agent)
    await load.until(lambda found: found["agent"] == made["device"] not in known)
    await owns(ben, "load")
    await pay(ben, life.ann, 1_000_000)
