"""Revocations: an owner's by its key-holders, a device's by its owner; by nobody else."""

from dataclasses import replace
from typing import Any

import pytest

from ioe_node.hdi import Ended, Invalid, Missing, Valid
from ioe_node.model.action import CreateLink, DeleteLink
from ioe_node.model.hashes import action_hash
from zomes.identity.integrity import AT_WORK, FEWER, REVOKED, UNASKED, Revocation


def revocation(cut: Any, **changed: Any) -> Revocation:
    action = cut.action
    entry = Revocation(action.author, action.action_seq, cut.hash, None, "stolen", ())
    return replace(entry, **changed)


def consented(household: Any, deed: Any, keyset: Any, holders: Any, *places: int) -> Any:
    return replace(deed, consents=household.consents(deed, keyset, holders, *places))


def test_an_owner_is_ended_by_its_key_holders_whoever_says_it(household: Any) -> None:
    owner, holders = household.owner(2, 3, 5)
    keyset, anyone, new = owner.chain[-1], household.place.member(3), household.place.member(4)
    bare = revocation(keyset, successor=new.agent)
    assert household.place.verdict(anyone, bare) == Invalid(FEWER)
    two = consented(household, bare, keyset, holders, 0, 1)
    assert household.place.verdict(anyone, two) == Invalid(FEWER)
    three = consented(household, bare, keyset, holders, 0, 1, 3)
    assert household.place.verdict(anyone, three) is household.place.verdict(new, three) is Valid
    other = replace(three, successor=anyone.agent)
    assert household.place.verdict(new, other) == Invalid(FEWER)


def test_even_one_key_must_consent(household: Any) -> None:
    owner, holders = household.owner(2)
    keyset, anyone = owner.chain[-1], household.place.member(3)
    assert household.place.verdict(anyone, revocation(keyset)) == Invalid(FEWER)
    right = consented(household, revocation(keyset), keyset, holders, 0)
    assert household.place.verdict(anyone, right) is Valid


def test_the_key_holders_before_the_cut_decide(household: Any) -> None:
    owner, old = household.owner(2)
    first, new, anyone = owner.chain[-1], household.holders(1, 1, 77), household.place.member(3)
    second = household.place.create(
        owner, consented(household, household.keyset(new), first, old, 0)
    )
    late = revocation(second)
    assert isinstance(
        household.place.verdict(anyone, consented(household, late, second, old, 0)), Invalid
    )
    right = household.place.create(anyone, consented(household, late, second, new, 0))
    rules, world = household.place.rules, household.place.world
    ended = rules.ended_by(right)
    assert ended == Ended(owner.agent, second.action.action_seq)
    assert not rules.overtaken(right, world)
    early = household.place.create(anyone, consented(household, revocation(first), first, old, 0))
    assert rules.overtaken(early, world)
    assert rules.ended_by(first) is None


def test_a_device_is_ended_by_its_owner(household: Any) -> None:
    (owner, _), (other, _) = household.owner(2), household.owner(3)
    device, said = household.claimed(owner, 4)
    assert household.place.verdict(owner, revocation(said)) is Valid
    assert isinstance(household.place.verdict(other, revocation(said)), Invalid)
    before = revocation(device.chain[2])
    assert isinstance(household.place.verdict(owner, before), Invalid)  # it was nobody's then
    named = revocation(said, successor=other.agent)
    assert isinstance(household.place.verdict(owner, named), Invalid)


def test_by_several_where_several_decide(household: Any) -> None:
    owner, holders = household.owner(2, 2, 3)
    keyset = owner.chain[-1]
    _, said = household.claimed(owner, 4)
    bare = revocation(said)
    assert household.place.verdict(owner, bare) == Invalid(FEWER)
    one = consented(household, bare, keyset, holders, 0)
    assert household.place.verdict(owner, one) == Invalid(FEWER)
    assert (
        household.place.verdict(owner, consented(household, bare, keyset, holders, 0, 2)) is Valid
    )
    single, its = household.owner(5)
    _, said = household.claimed(single, 6)
    unasked = consented(household, revocation(said), single.chain[3], its, 0)
    assert household.place.verdict(single, unasked) == Invalid(UNASKED)


def test_what_is_no_cut(household: Any) -> None:
    owner, _ = household.owner(2)
    device, said = household.claimed(owner, 4)
    verdict = household.place.verdict
    good = revocation(said)
    assert isinstance(verdict(owner, replace(good, cut_seq=good.cut_seq + 1)), Invalid)
    assert isinstance(verdict(owner, replace(good, cut_seq=-1)), Invalid)
    assert isinstance(verdict(owner, replace(good, cut=owner.chain[-1].hash)), Invalid)
    unknown = action_hash(b"not here", device.agent)
    assert verdict(owner, replace(good, cut=unknown)) == Missing((unknown,))


@pytest.mark.parametrize("reason", ["x" * 141, "a\nb", "\x1b[2J"])
def test_a_reason_is_short_and_printable(household: Any, reason: str) -> None:
    owner, _ = household.owner(2)
    _, said = household.claimed(owner, 4)
    assert isinstance(household.place.verdict(owner, revocation(said, reason=reason)), Invalid)


def test_nobody_ends_itself_or_goes_on_for_itself(household: Any) -> None:
    owner, holders = household.owner(2)
    keyset, anyone = owner.chain[-1], household.place.member(3)
    own = consented(household, revocation(keyset), keyset, holders, 0)
    assert isinstance(household.place.verdict(owner, own), Invalid)
    bare = revocation(keyset, successor=owner.agent)
    same = consented(household, bare, keyset, holders, 0)
    assert isinstance(household.place.verdict(anyone, same), Invalid)
    member = revocation(anyone.chain[-1])  # neither an owner with keys nor a device
    assert isinstance(household.place.verdict(owner, member), Invalid)


def link(base: bytes, target: bytes, link_type: str) -> dict[str, Any]:
    return {"base": base, "target": target, "link_type": link_type, "tag": b""}


def test_what_ends_an_agent_is_found_at_its_key(household: Any) -> None:
    owner, _ = household.owner(2)
    device, said = household.claimed(owner, 4)
    record = household.place.create(owner, revocation(said))
    on = household.place.verdict_on
    assert on(owner, CreateLink, **link(device.agent, record.hash, REVOKED)) is Valid
    for base, target in ((owner.agent, record.hash), (device.agent, said.hash)):
        assert isinstance(on(owner, CreateLink, **link(base, target, REVOKED)), Invalid)
    made = household.place.write(owner, CreateLink, **link(device.agent, record.hash, REVOKED))
    taken_back = on(owner, DeleteLink, base=device.agent, create_link=made.hash)
    assert isinstance(taken_back, Invalid)


def test_who_ends_a_device_takes_it_off_work(household: Any) -> None:
    (owner, _), (other, _) = household.owner(2), household.owner(3)
    device, said = household.claimed(owner, 4)
    dna = household.place.rules.hash
    made = household.place.write(device, CreateLink, **link(dna, said.hash, AT_WORK))
    off = {"base": dna, "create_link": made.hash}
    on = household.place.verdict_on
    assert isinstance(on(owner, DeleteLink, **off), Invalid)
    household.place.create(owner, revocation(said))
    assert on(owner, DeleteLink, **off) is on(device, DeleteLink, **off) is Valid
    assert isinstance(on(other, DeleteLink, **off), Invalid)
    foreign = on(owner, CreateLink, **link(dna, owner.chain[-1].hash, AT_WORK))
    assert isinstance(foreign, Invalid)
