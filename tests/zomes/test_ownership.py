"""Giving a device up: only its owner, with its key-holders where one key does not decide."""

from dataclasses import replace
from typing import Any

import pytest

from ioe_node.hdi import Invalid, Missing, Valid
from ioe_node.model.action import CreateLink, DeleteLink, OpenChain
from ioe_node.model.hashes import action_hash
from zomes.identity.integrity import (
    FEWER,
    OFFERED,
    SUCCESSIONS_MAX,
    UNASKED,
    USED,
    Acceptance,
    Acknowledgement,
    Offer,
    Release,
)


def given_up(kind: type, device: Any, said: Any, buyer: Any) -> Any:
    named = {} if kind is Release else {"buyer": buyer.agent}
    return kind(device=device.agent, acknowledgement=said.hash, consents=(), **named)


def succeeded(household: Any, old: Any, holders: Any, keyset: Any, number: int) -> tuple[Any, Any]:
    """A new key that goes on for `old`, and the record of its keyset."""
    new = household.place.member(number)
    close = household.close(old, new)
    bare = household.keyset(holders, close.hash)
    entry = replace(bare, consents=household.consents(bare, keyset, holders, 0))
    return new, household.place.create(new, entry)


@pytest.mark.parametrize("kind", [Offer, Release])
def test_its_owner_alone_gives_a_device_up(household: Any, kind: type) -> None:
    (owner, _), (other, _) = household.owner(2), household.owner(3)
    device, said = household.claimed(owner, 4)
    deed = given_up(kind, device, said, other)
    assert household.place.verdict(owner, deed) is Valid
    for stranger in (other, device):
        assert isinstance(household.place.verdict(stranger, deed), Invalid)


def test_an_offer_is_found_at_its_buyers_key(household: Any) -> None:
    (owner, _), (buyer, _), (other, _) = map(household.owner, (2, 3, 5))
    device, said = household.claimed(owner, 4)
    made = household.place.create(owner, given_up(Offer, device, said, buyer))
    released = household.place.create(owner, given_up(Release, device, said, buyer))

    def link(base: Any, target: Any) -> dict[str, Any]:
        return {"base": base.agent, "target": target.hash, "link_type": OFFERED, "tag": b""}

    on = household.place.verdict_on
    assert on(owner, CreateLink, **link(buyer, made)) is Valid
    wrong = [(owner, other, made), (owner, buyer, released), (other, buyer, made)]
    for author, base, target in wrong:
        assert isinstance(on(author, CreateLink, **link(base, target)), Invalid)
    stands = household.place.write(owner, CreateLink, **link(buyer, made))
    removal = {"base": buyer.agent, "create_link": stands.hash}
    assert on(owner, DeleteLink, **removal) is Valid
    assert isinstance(on(buyer, DeleteLink, **removal), Invalid)


@pytest.mark.parametrize("kind", [Offer, Release])
def test_what_was_taken_back_is_not_said_again_by_the_old_consents(
    household: Any, kind: type
) -> None:
    owner, holders = household.owner(2, 2, 3)
    keyset, other = owner.chain[-1], household.place.member(3)
    device, said = household.claimed(owner, 4)

    def consented(deed: Any, by: Any) -> Any:
        return replace(deed, consents=household.consents(deed, by, holders, 0, 2))

    given = consented(given_up(kind, device, said, other), keyset)
    back = consented(given_up(Offer, device, said, owner), keyset)
    for _ in range(2):
        household.place.create(owner, given)
        household.place.create(owner, back)
        household.place.create(owner, back)
        assert household.place.verdict(owner, given) == Invalid(USED)
        again = household.keyset(holders)
        keyset = household.place.create(owner, consented(again, keyset))
        assert household.place.verdict(owner, given) == Invalid(FEWER)
        given = consented(replace(given, consents=()), keyset)
        back = consented(replace(back, consents=()), keyset)


@pytest.mark.parametrize("kind", [Offer, Release])
def test_by_the_devices_own_word(household: Any, kind: type) -> None:
    (owner, _), (other, _) = household.owner(2), household.owner(3)
    device, said = household.claimed(owner, 4)
    also_said = household.claimed(owner, 5)[1]
    deed = given_up(kind, device, said, other)
    for hash_ in (owner.chain[-1].hash, also_said.hash, device.chain[0].hash):
        wrong = replace(deed, acknowledgement=hash_)
        assert isinstance(household.place.verdict(owner, wrong), Invalid)
    unknown = action_hash(b"not here", device.agent)
    missing = household.place.verdict(owner, replace(deed, acknowledgement=unknown))
    assert missing == Missing((unknown,))


@pytest.mark.parametrize("kind", [Offer, Release])
def test_three_of_five_and_no_fewer(household: Any, kind: type) -> None:
    owner, holders = household.owner(2, 3, 5)
    keyset, buyer = owner.chain[-1], household.place.member(3)
    device, said = household.claimed(owner, 4)
    deed = given_up(kind, device, said, buyer)

    def verdict(*places: int) -> Any:
        consents = household.consents(deed, keyset, holders, *places)
        return household.place.verdict(owner, replace(deed, consents=consents))

    assert verdict() == verdict(0, 1) == Invalid(FEWER)
    assert verdict(0, 2, 4) is verdict(0, 1, 2, 3, 4) is Valid


def test_a_key_that_was_taken_out_meanwhile_does_not_count(household: Any) -> None:
    owner, old = household.owner(2, 3, 5)
    first, buyer = owner.chain[-1], household.place.member(3)
    device, said = household.claimed(owner, 4)
    deed = given_up(Offer, device, said, buyer)
    before = household.consents(deed, first, old, 0, 1, 2)
    new = household.holders(3, 5, 2_001)  # four of the five, and another
    bare = household.keyset(new)
    consents = household.consents(bare, first, old, 0, 1, 2)
    second = household.place.create(owner, replace(bare, consents=consents))
    assert household.place.verdict(owner, replace(deed, consents=before)) == Invalid(FEWER)
    kept = [at for at, key in enumerate(new.shown.keys) if key in old.shown.keys]
    gone = next(at for at, key in enumerate(old.shown.keys) if key not in new.shown.keys)
    after = household.consents(deed, second, new, *kept[:3])
    assert household.place.verdict(owner, replace(deed, consents=after)) is Valid
    foreign = replace(household.consents(deed, second, old, gone)[0], index=kept[2])
    mixed = (*after[:2], foreign)
    assert household.place.verdict(owner, replace(deed, consents=mixed)) == Invalid(FEWER)


def test_one_key_that_decides_is_not_asked(household: Any) -> None:
    owner, holders = household.owner(2)
    keyset = owner.chain[-1]
    device, said = household.claimed(owner, 4)
    deed = given_up(Release, device, said, None)
    asked = replace(deed, consents=household.consents(deed, keyset, holders, 0))
    assert household.place.verdict(owner, asked) == Invalid(UNASKED)


def test_a_device_is_no_buyer_of_itself(household: Any) -> None:
    owner, _ = household.owner(2)
    device, said = household.claimed(owner, 4)
    assert isinstance(
        household.place.verdict(owner, given_up(Offer, device, said, device)), Invalid
    )


def test_the_buyer_alone_accepts(household: Any) -> None:
    (owner, _), (buyer, _), (other, _) = (household.owner(number) for number in (2, 3, 4))
    device, said = household.claimed(owner, 5)
    offer = household.place.create(owner, given_up(Offer, device, said, buyer))
    back = household.place.create(owner, given_up(Offer, device, said, owner))
    assert household.place.verdict(buyer, Acceptance(offer.hash)) is Valid
    for author in (owner, other, device):
        assert isinstance(household.place.verdict(author, Acceptance(offer.hash)), Invalid)
    assert isinstance(household.place.verdict(owner, Acceptance(back.hash)), Invalid)
    assert isinstance(household.place.verdict(buyer, Acceptance(said.hash)), Invalid)


def test_an_owners_next_keys_own_what_it_owned(household: Any) -> None:
    owner, holders = household.owner(2)
    keyset = owner.chain[-1]
    device, said = household.claimed(owner, 3)
    buyer = household.place.member(4)
    for number in range(10, 10 + SUCCESSIONS_MAX):
        owner, keyset = succeeded(household, owner, holders, keyset, number)
        assert household.place.verdict(owner, given_up(Offer, device, said, buyer)) is Valid
    one_too_far, _ = succeeded(household, owner, holders, keyset, 30)
    verdict = household.place.verdict(one_too_far, given_up(Offer, device, said, buyer))
    assert isinstance(verdict, Invalid)


def test_a_device_acknowledges_its_owners_next_key_and_no_other(household: Any) -> None:
    owner, holders = household.owner(2)
    keyset = owner.chain[-1]
    device, _ = household.claimed(owner, 3)
    other, _ = household.owner(4)
    stolen = household.acknowledgement(device, other)
    assert household.place.verdict(device, stolen) == Invalid("this device has another owner")
    new, _ = succeeded(household, owner, holders, keyset, 5)
    household.acknowledge(device, new)
    again = household.place.verdict(device, household.acknowledgement(device, new))
    assert again == Invalid("this device has acknowledged an owner already")


def test_a_rotated_device_stays_its_owners(household: Any) -> None:
    (owner, _), (other, _) = household.owner(2), household.owner(3)
    kept, taken, silent = (household.place.member(number) for number in (5, 6, 7))
    for new, to, right in ((kept, owner, True), (taken, other, False), (silent, None, False)):
        ended, _ = household.claimed(owner, 10 + new.signer.seed[-1])
        close = household.close(ended, new)
        if to is not None:
            household.acknowledge(new, to)
        opening = {"prev_target": ended.agent, "close_hash": close.hash}
        verdict = household.place.verdict_on(new, OpenChain, **opening)
        assert (verdict is Valid) == right, verdict


def test_a_sold_device_goes_on_with_its_buyer_alone(household: Any) -> None:
    (owner, _), (buyer, _), (other, _) = (household.owner(number) for number in (2, 3, 4))
    device, _ = household.claimed(owner, 5)
    close = household.close(device, buyer)
    opening = {"prev_target": device.agent, "close_hash": close.hash}
    for number, to in ((6, buyer), (7, other), (8, owner)):
        new, _ = household.claimed(to, number)
        verdict = household.place.verdict_on(new, OpenChain, **opening)
        assert (verdict is Valid) == (to is buyer), verdict
    assert isinstance(household.place.verdict_on(other, OpenChain, **opening), Invalid)
    assert isinstance(household.place.verdict_on(buyer, OpenChain, **opening), Invalid)


def test_what_was_never_owned_is_never_sold(household: Any) -> None:
    buyer, _ = household.owner(2)
    unowned = household.place.member(3)
    close = household.close(unowned, buyer)
    new, _ = household.claimed(buyer, 4)
    opening = {"prev_target": unowned.agent, "close_hash": close.hash}
    assert isinstance(household.place.verdict_on(new, OpenChain, **opening), Invalid)


def test_a_closed_device_says_nothing_more(household: Any) -> None:
    (owner, _), (buyer, _) = household.owner(2), household.owner(3)
    device, said = household.claimed(owner, 4)
    household.close(device, buyer)
    again = household.place.verdict(device, Acknowledgement(owner.agent, said.hash))
    assert again == Invalid("an action after the chain was closed")
