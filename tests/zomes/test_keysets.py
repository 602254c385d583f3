"""Keysets: replaced by those before them; who goes on for whom takes the consent of both."""

from dataclasses import replace
from typing import Any

import pytest

from ioe_node.hdi import Invalid, Valid
from ioe_node.model.action import OpenChain
from zomes.identity.integrity import FEWER, UNASKED, Keyset, Revocation


def consented(household: Any, deed: Any, keyset: Any, holders: Any, *places: int) -> Any:
    return replace(deed, consents=household.consents(deed, keyset, holders, *places))


@pytest.mark.parametrize(("threshold", "keys"), [(0, 1), (2, 1), (1, 17)])
def test_holders_that_are_none(household: Any, threshold: int, keys: int) -> None:
    owner = household.place.member(2)
    verdict = household.place.verdict(owner, household.keyset(household.holders(threshold, keys)))
    assert isinstance(verdict, Invalid)


def test_the_first_needs_nobody_and_the_next_those_before(household: Any) -> None:
    owner, old = household.owner(2, 3, 5)
    first, new = owner.chain[-1], household.holders(1, 1, 500)
    bare = household.keyset(new)
    assert household.place.verdict(owner, bare) == Invalid(FEWER)
    for holders, places in ((old, (0, 1)), (new, (0,)), (household.holders(3, 5, 900), (0, 1, 2))):
        wrong = consented(household, bare, first, holders, *places)
        assert household.place.verdict(owner, wrong) == Invalid(FEWER)
    right = consented(household, bare, first, old, 0, 1, 4)
    second = household.place.create(owner, right)
    again = consented(household, household.keyset(old), first, old, 0, 1, 4)
    assert household.place.verdict(owner, again) == Invalid(FEWER)  # they decide no more
    back = consented(household, household.keyset(old), second, new, 0)
    assert household.place.verdict(owner, back) is Valid


def test_consents_to_the_first_are_to_nothing(household: Any) -> None:
    owner, holders = household.place.member(2), household.holders(1, 1)
    bare = household.keyset(holders)
    given = replace(bare, consents=holders.consent(b"anything", 0))
    assert household.place.verdict(owner, given) == Invalid(UNASKED)


def test_a_device_has_no_key_holders_and_an_owner_no_owner(household: Any) -> None:
    owner, _ = household.owner(2)
    other, holders = household.owner(3)
    device, _ = household.claimed(owner, 4)
    assert isinstance(household.place.verdict(device, household.keyset(holders)), Invalid)
    word = household.acknowledgement(other, owner)
    assert isinstance(household.place.verdict(other, word), Invalid)


def rotated(household: Any, threshold: int = 1, keys: int = 1) -> tuple[Any, Any, Any, Any, Any]:
    """(old, new, holders, the old one's keyset, its close): a new key that has said nothing yet."""
    old, holders = household.owner(2, threshold, keys)
    keyset, new = old.chain[-1], household.place.member(3)
    return old, new, holders, keyset, household.close(old, new)


def test_an_owner_goes_on_with_its_holders_consent(household: Any) -> None:
    old, new, holders, keyset, close = rotated(household, 2, 3)
    bare = household.keyset(holders, close.hash)
    opening = {"prev_target": old.agent, "close_hash": close.hash}
    assert household.place.verdict(new, bare) == Invalid(FEWER)
    assert isinstance(household.place.verdict_on(new, OpenChain, **opening), Invalid)
    fewer = consented(household, bare, keyset, holders, 1)
    assert household.place.verdict(new, fewer) == Invalid(FEWER)
    household.place.create(new, consented(household, bare, keyset, holders, 0, 2))
    household.place.write(new, OpenChain, **opening)


def test_a_thief_of_the_agents_key_alone_does_not_go_on(household: Any) -> None:
    old, thief, _, _, close = rotated(household)
    own = household.holders(1, 1, 700)
    opening = {"prev_target": old.agent, "close_hash": close.hash}
    for keyset in (household.keyset(own), household.keyset(own, close.hash)):
        verdict = household.place.verdict(thief, keyset)
        assert verdict is Valid if keyset.follows is None else isinstance(verdict, Invalid)
    household.place.create(thief, household.keyset(own))
    assert isinstance(household.place.verdict_on(thief, OpenChain, **opening), Invalid)


def test_whom_one_goes_on_for_is_said_once_and_is_true(household: Any) -> None:
    old, new, holders, keyset, close = rotated(household)
    other, other_holders = household.owner(6)
    elsewhere = household.close(other, household.place.member(7))
    for follows in (elsewhere.hash, old.chain[0].hash, keyset.hash):
        verdict = household.place.verdict(new, household.keyset(holders, follows))
        assert isinstance(verdict, Invalid), follows
    right = consented(household, household.keyset(holders, close.hash), keyset, holders, 0)
    first = household.place.create(new, right)
    for follows in (None, elsewhere.hash):
        bare = household.keyset(other_holders, follows)
        changed = consented(household, bare, first, holders, 0)
        assert isinstance(household.place.verdict(new, changed), Invalid)
    bare = household.keyset(other_holders, close.hash)
    kept = consented(household, bare, first, holders, 0)
    assert household.place.verdict(new, kept) is Valid


def test_one_that_lost_its_key_goes_on_by_its_revocation(household: Any) -> None:
    old, holders = household.owner(2)
    keyset, new, stranger = old.chain[-1], household.place.member(3), household.place.member(4)
    bare = Revocation(old.agent, keyset.action.action_seq, keyset.hash, new.agent, "lost", ())
    revoked = household.place.create(new, consented(household, bare, keyset, holders, 0))
    entry = household.keyset(household.holders(2, 2, 50), revoked.hash)
    assert household.place.verdict(new, entry) is Valid
    assert isinstance(household.place.verdict(stranger, entry), Invalid)


def test_no_keyset_is_amended_or_deleted(household: Any) -> None:
    assert not household.place.rules.entry_types["identity.Keyset"].update_rules
    assert not household.place.rules.entry_types["identity.Keyset"].delete_rules
    assert Keyset(1, (b"",), None, ()).holders.threshold == 1
