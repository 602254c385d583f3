"""Claims: who may say what of whom, what a commitment hides, and whose a credential stays."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey, Invalid, Timestamp, Valid
from ioe_node.model.action import CreateLink, DeleteLink
from ioe_node.model.codec import encode
from ioe_node.model.hashes import agent_key
from ioe_node.model.signing import Signer
from zomes.claims.disclosure import (
    SALT_BYTES,
    Disclosure,
    Field,
    Opening,
    check_openings,
    commit,
    decode_disclosure,
    unopened,
)
from zomes.claims.integrity import (
    ABOUT,
    Application,
    Approval,
    Attribute,
    Claim,
    Delegation,
    Kept,
    Profile,
    SignedElsewhere,
    Status,
    Withdrawal,
    tag_of,
    zome,
)
from zomes.identity.integrity import Acknowledgement, Enrolment

SALT = bytes(range(SALT_BYTES))
LICENCE = Opening("licence", "NSW-8812", SALT)
YEAR = Opening("year", "2026", SALT[::-1])
BODY = b"serial 0123456789abcdef left our works sound"


def a_claim(issuer: Any, subject: Any, **changed: Any) -> Claim:
    fields = tuple(commit(issuer.agent, subject.agent, each) for each in (LICENCE, YEAR))
    made = Claim(subject.agent, "installer", fields, Timestamp(10), Timestamp(20))
    return replace(made, **changed)


def said(verdict: Any, words: str) -> None:
    assert isinstance(verdict, Invalid), verdict
    assert words in verdict.reason


# -- commitments ------------------------------------------------------------------------------


def test_a_commitment_opens_with_its_own_salt_for_its_own_claim_only(new_author: Any) -> None:
    issuer, subject, other = (new_author(number).agent for number in (1, 2, 3))
    fields = [commit(issuer, subject, LICENCE), commit(issuer, subject, YEAR)]
    assert unopened(issuer, subject, fields, (LICENCE, YEAR)) == []
    for issued, about in ((other, subject), (issuer, other), (subject, issuer)):
        assert unopened(issued, about, fields, (LICENCE,)) == ["licence"]
    for wrong in (
        replace(LICENCE, value="NSW-8813"),
        replace(LICENCE, salt=SALT[::-1]),
        replace(LICENCE, name="year"),
        replace(LICENCE, name="absent"),
        Opening("licence", "NSW-881", b"2" + SALT),
    ):
        assert unopened(issuer, subject, fields, (wrong,)) == [wrong.name]


@given(st.text(max_size=40), st.text(max_size=40), st.binary(min_size=SALT_BYTES, max_size=80))
def test_no_two_openings_have_one_commitment(name: str, value: str, salt: bytes) -> None:
    agent = agent_key(bytes(32))
    made = commit(agent, agent, Opening(name, value, salt))
    for other in (
        Opening(name + value, "", salt),
        Opening("", name + value, salt),
        Opening(name, value + "\0", salt),
        Opening(name, value, salt[:-1]),
    ):
        same = other == Opening(name, value, salt)
        assert (commit(agent, agent, other).digest == made.digest) is same


@pytest.mark.parametrize(
    "openings",
    [
        (),
        (LICENCE, LICENCE),
        (replace(LICENCE, salt=b""),),
        (replace(LICENCE, salt=bytes(SALT_BYTES - 1)),),
        (replace(LICENCE, value="x" * 1_001),),
        tuple(Opening(f"n{number}", "", SALT) for number in range(17)),
    ],
)
def test_openings_are_bounded_and_salted(openings: tuple[Opening, ...]) -> None:
    with pytest.raises(Malformed):
        check_openings(openings)


# -- decoders ---------------------------------------------------------------------------------

ONE, TWO = (Signer(number.to_bytes(32, "big")).agent for number in (1, 2))
"""The steward, and the first member."""


def examples(action: Any) -> list[Any]:
    """One entry of every type of the zome."""
    return [
        Claim(ONE, "maker", (Field("year", bytes(32)),), Timestamp(1), Timestamp(2)),
        SignedElsewhere(ONE, TWO, BODY, bytes(64)),
        Application(ONE, action, (Attribute("model", "SB-5000"),)),
        Approval(ONE, action),
        Status(ONE, action, "sound", "pool 7"),
        Withdrawal(action, "expired"),
        Delegation(ONE, TWO, ""),
        Profile(ONE, action, "Ann", "at number 7"),
        Kept(action, (LICENCE, YEAR)),
    ]


@given(st.data())
def test_any_bytes_are_an_entry_or_malformed(new_author: Any, data: Any) -> None:
    action = new_author(5).genesis()[0].hash
    every = examples(action)
    assert {type(each).__name__ for each in every} == {
        each.cls.__name__ for each in zome.entry_types.values()
    }
    entry = data.draw(st.sampled_from([*every, Disclosure(action, (LICENCE, YEAR))]))
    declared = zome.entry_types.get(f"claims.{type(entry).__name__}")
    decode = declared.decode if declared else decode_disclosure
    whole = encode(entry)
    assert decode(whole) == entry
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    junk = data.draw(st.binary(max_size=80))
    for changed in (bytes(flipped), whole[:at], whole + whole, whole[:at] + junk, junk):
        try:
            found = decode(changed)
        except Malformed:
            continue
        assert encode(found) == changed


TEXT = st.text(max_size=210) | st.sampled_from(["maker", "model", "", "https://a.example"])
BYTES = st.binary(max_size=40)


AGENTS = st.sampled_from([ONE, TWO])
NUMBERS = st.integers(-(2**63), 2**63 - 1)


def any_entry(actions: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Whatever decodes to a public entry of the zome."""
    fields = st.lists(st.builds(Field, TEXT, BYTES), max_size=3).map(tuple)
    attributes = st.lists(st.builds(Attribute, TEXT, TEXT), max_size=3).map(tuple)
    return st.one_of(
        st.builds(Claim, AGENTS, TEXT, fields, NUMBERS, NUMBERS),
        st.builds(SignedElsewhere, AGENTS, AGENTS, BYTES, BYTES),
        st.builds(Application, AGENTS, actions, attributes),
        st.builds(Approval, AGENTS, actions),
        st.builds(Status, AGENTS, actions, TEXT, TEXT),
        st.builds(Withdrawal, actions, TEXT),
        st.builds(Delegation, AGENTS, st.none() | AGENTS, TEXT),
        st.builds(Profile, AGENTS, st.none() | actions, TEXT, TEXT),
    )


def test_no_entry_that_decodes_makes_a_rule_fail(neighbourhood: Any) -> None:
    """A rule that raises refuses too, but nobody learns why."""
    authors = [neighbourhood.steward, neighbourhood.member(2)]
    actions = st.sampled_from([record.hash for each in authors for record in each.chain])

    @given(st.sampled_from(authors), any_entry(actions))
    def judged(author: Any, entry: Any) -> None:
        verdict = neighbourhood.verdict(author, entry)
        assert not (isinstance(verdict, Invalid) and "fails on it" in verdict.reason), verdict

    judged()


# -- claims -----------------------------------------------------------------------------------


def test_a_member_claims_something_of_another(neighbourhood: Any) -> None:
    issuer, subject = neighbourhood.member(2), neighbourhood.member(3)
    assert neighbourhood.verdict(issuer, a_claim(issuer, subject)) is Valid
    said(neighbourhood.verdict(subject, a_claim(issuer, subject)), "of itself")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"valid_until": Timestamp(10)}, "ends before"),
        ({"fields": ()}, "1 to 16 fields"),
        ({"fields": tuple(Field(f"n{n:02}", bytes(32)) for n in range(17))}, "1 to 16 fields"),
        ({"fields": (Field("b", bytes(32)), Field("a", bytes(32)))}, "order"),
        ({"fields": (Field("a", bytes(32)), Field("a", bytes(32)))}, "order"),
        ({"fields": (Field("a", bytes(31)),)}, "32 bytes"),
        ({"fields": (Field("A", bytes(32)),)}, "a-z"),
        ({"fields": (Field("a\n", bytes(32)),)}, "a-z"),
        ({"kind": ""}, "a-z"),
        ({"kind": "x" * 33}, "a-z"),
    ],
)
def test_claims_that_are_none(neighbourhood: Any, changed: Any, why: str) -> None:
    issuer, subject = neighbourhood.member(2), neighbourhood.member(3)
    said(neighbourhood.verdict(issuer, a_claim(issuer, subject, **changed)), why)


def test_what_a_key_signed_elsewhere_is_linked_as_it_was_signed(
    neighbourhood: Any, new_author: Any
) -> None:
    linker, maker = neighbourhood.member(2), new_author(77)
    good = SignedElsewhere(ONE, maker.agent, BODY, maker.signer.sign(BODY))
    assert neighbourhood.verdict(linker, good) is Valid
    for wrong in (
        replace(good, body=BODY + b"!"),
        replace(good, signer=linker.agent),
        replace(good, signature=bytes(64)),
        replace(good, signature=b""),
    ):
        said(neighbourhood.verdict(linker, wrong), "signature")
    for body in (b"", bytes(16_385)):
        said(
            neighbourhood.verdict(
                linker, replace(good, body=body, signature=maker.signer.sign(body))
            ),
            "bytes",
        )


def test_what_a_node_signs_in_its_own_course_is_no_claim(neighbourhood: Any) -> None:
    linker, other = neighbourhood.member(2), neighbourhood.member(3)
    for signed in (b"ioe/bundle/1" + bytes(32), b"ioe announcement 1\x00" + bytes(32)):
        entry = SignedElsewhere(ONE, other.agent, signed, other.signer.sign(signed))
        said(neighbourhood.verdict(linker, entry), "own course")
    of_itself = SignedElsewhere(other.agent, other.agent, BODY, other.signer.sign(BODY))
    said(neighbourhood.verdict(linker, of_itself), "of itself")


def test_only_its_author_takes_a_claim_back_and_once_taken_back_it_is_no_claim(
    neighbourhood: Any,
) -> None:
    issuer, subject = neighbourhood.member(2), neighbourhood.member(3)
    made = neighbourhood.create(issuer, a_claim(issuer, subject))
    withdrawal = Withdrawal(made.hash, "a mistake")
    said(neighbourhood.verdict(subject, withdrawal), "only its author")
    said(neighbourhood.verdict(issuer, replace(withdrawal, reason="x" * 201)), "reason")
    key = issuer.chain[2].hash
    said(neighbourhood.verdict(issuer, replace(withdrawal, entry=key)), "no claim")
    taken = neighbourhood.create(issuer, withdrawal)
    said(neighbourhood.verdict(issuer, replace(withdrawal, entry=taken.hash)), "no claim")


def test_a_claim_is_found_at_its_subject_under_a_tag_that_is_true(neighbourhood: Any) -> None:
    issuer, subject = neighbourhood.member(2), neighbourhood.member(3)
    entry = a_claim(issuer, subject)
    made = neighbourhood.create(issuer, entry)
    fields = {
        "base": subject.agent,
        "target": made.hash,
        "link_type": ABOUT,
        "tag": tag_of(entry, issuer.agent),
    }

    def linked(by: Any, **changed: Any) -> Any:
        head, chain = by.head, list(by.chain)
        by.draft(CreateLink, **{**fields, **changed})
        verdict = neighbourhood.world.judge(by.seal()[0])
        by.head, by.chain = head, chain
        return verdict

    assert linked(issuer) is Valid
    assert linked(issuer, base=made.hash) is Valid
    said(linked(subject, base=made.hash), "its author's")
    said(linked(subject), "its author's")
    said(linked(issuer, base=issuer.agent), "at its subject and itself")
    said(linked(issuer, target=issuer.chain[2].hash), "no claim")
    said(linked(issuer, tag=b"Approval:" + issuer.agent), "tag")
    said(linked(issuer, tag=b"Claim:" + ONE), "tag")

    issuer.draft(CreateLink, **fields)
    (link,) = issuer.seal()
    neighbourhood.world.keep(link)
    head = subject.head
    subject.draft(DeleteLink, base=subject.agent, create_link=link.hash)
    said(neighbourhood.world.judge(subject.seal()[0]), "only its author")
    subject.head = head

    withdrawal = Withdrawal(made.hash, "")
    taken = neighbourhood.create(issuer, withdrawal)
    tag = tag_of(withdrawal, issuer.agent)
    assert linked(issuer, base=made.hash, target=taken.hash, tag=tag) is Valid
    said(linked(issuer, target=taken.hash, tag=tag), "a withdrawal at its claim")
    said(linked(issuer, base=taken.hash, target=taken.hash, tag=tag), "a withdrawal at its claim")


def test_a_withdrawal_and_the_place_where_it_is_looked_for_stay(neighbourhood: Any) -> None:
    issuer, subject = neighbourhood.member(2), neighbourhood.member(3)
    entry = a_claim(issuer, subject)
    made = neighbourhood.create(issuer, entry)
    withdrawal = Withdrawal(made.hash, "")
    taken = neighbourhood.create(issuer, withdrawal)
    for base, target, what, removable in (
        (subject.agent, made, entry, True),
        (made.hash, made, entry, False),
        (made.hash, taken, withdrawal, False),
    ):
        tag = tag_of(what, issuer.agent)
        issuer.draft(CreateLink, base=base, target=target.hash, link_type=ABOUT, tag=tag)
        (link,) = issuer.seal()
        neighbourhood.world.keep(link)
        head = issuer.head
        issuer.draft(DeleteLink, base=base, create_link=link.hash)
        verdict = neighbourhood.world.judge(issuer.seal()[0])
        issuer.head = head
        if removable:
            assert verdict is Valid
        else:
            said(verdict, "for good")


# -- credentials ------------------------------------------------------------------------------


class Roof:
    """An owner with an acknowledged device, and an application for it."""

    def __init__(self, street: Any) -> None:
        self.street = street
        self.owner, self.device = street.member(2), street.member(3)
        self.acknowledgement = self.enrol(self.owner, self.device)
        self.asked = Application(
            self.device.agent, self.acknowledgement, (Attribute("model", "SB-5000"),)
        )

    def enrol(self, owner: Any, device: Any) -> Any:
        word = self.street.create(owner, Enrolment(device.agent, "generator", "roof", Timestamp(1)))
        return self.street.create(device, Acknowledgement(owner.agent, word.hash)).hash


@pytest.fixture
def roof(neighbourhood: Any) -> Roof:
    return Roof(neighbourhood)


def test_an_owner_applies_for_its_own_device(roof: Roof) -> None:
    verdict = roof.street.verdict
    assert verdict(roof.owner, roof.asked) is Valid
    other = roof.street.member(4)
    for author in (other, roof.device, roof.street.steward):
        said(verdict(author, roof.asked), "only its owner")
    key = roof.device.chain[2].hash
    said(verdict(roof.owner, replace(roof.asked, acknowledgement=key)), "device's word")
    for attributes, why in (
        ((Attribute("b", ""), Attribute("a", "")), "order"),
        ((Attribute("A", ""),), "a-z"),
        ((Attribute("a", "x" * 201),), "characters"),
        (tuple(Attribute(f"n{n:02}", "") for n in range(17)), "at most 16"),
    ):
        said(verdict(roof.owner, replace(roof.asked, attributes=attributes)), why)


def test_a_credential_is_bound_to_one_key_for_good(roof: Roof) -> None:
    """Also after a sale: the same machine under its next key is another subject."""
    street, verdict = roof.street, roof.street.verdict
    applied = street.create(roof.owner, roof.asked)
    next_key, buyer = street.member(6), street.member(7)
    roof.enrol(buyer, next_key)
    for author in (roof.owner, buyer):
        said(verdict(author, replace(roof.asked, subject=next_key.agent)), "one key for good")
    approval = Approval(next_key.agent, applied.hash)
    said(verdict(street.steward, approval), "one key for good")
    said(verdict(roof.owner, Status(next_key.agent, applied.hash, "", "")), "one key for good")


def test_stewards_approve_where_no_approvers_are_named(roof: Roof) -> None:
    applied = roof.street.create(roof.owner, roof.asked)
    approval = Approval(roof.device.agent, applied.hash)
    assert roof.street.verdict(roof.street.steward, approval) is Valid
    said(roof.street.verdict(roof.owner, approval), "no approver")
    not_asked = replace(approval, application=roof.acknowledgement)
    said(roof.street.verdict(roof.street.steward, not_asked), "no application")


def test_named_approvers_approve_and_stewards_do_not(
    found_neighbourhood: Any, new_author: Any
) -> None:
    approver: AgentPubKey = new_author(8).agent
    street = found_neighbourhood(approvers=(approver,))
    roof = Roof(street)
    applied = street.create(roof.owner, roof.asked)
    approval = Approval(roof.device.agent, applied.hash)
    assert street.verdict(street.member(8), approval) is Valid
    said(street.verdict(street.steward, approval), "no approver")


def test_a_quorum_is_of_those_who_may_approve(found_neighbourhood: Any, new_author: Any) -> None:
    approver: AgentPubKey = new_author(8).agent
    for quorum, approvers in ((0, ()), (2, ()), (2, (approver, approver))):
        with pytest.raises(ValueError, match="approval_quorum"):
            found_neighbourhood(approvers=approvers, approval_quorum=quorum)


def test_the_owner_who_applied_tells_the_status(roof: Roof) -> None:
    applied = roof.street.create(roof.owner, roof.asked)
    status = Status(roof.device.agent, applied.hash, "inverter replaced", "pool 7")
    assert roof.street.verdict(roof.owner, status) is Valid
    for author in (roof.device, roof.street.steward):
        said(roof.street.verdict(author, status), "owner who applied")
    said(roof.street.verdict(roof.owner, replace(status, hardware="x" * 201)), "characters")


# -- delegation -------------------------------------------------------------------------------


def test_an_agent_names_one_provider_for_itself(neighbourhood: Any) -> None:
    us, provider = neighbourhood.member(2), neighbourhood.member(3)
    verdict = neighbourhood.verdict
    assert verdict(us, Delegation(us.agent, provider.agent, "")) is Valid
    assert verdict(us, Delegation(us.agent, None, "https://id.example.net/ann")) is Valid
    said(verdict(provider, Delegation(us.agent, provider.agent, "")), "for itself")
    said(verdict(us, Delegation(us.agent, us.agent, "")), "for itself")
    for both in (Delegation(us.agent, None, ""), Delegation(us.agent, ONE, "https://a.example")):
        said(verdict(us, both), "one of them")
    for url in ("ftp://a.example", "https://", "https://a b", "https://é", "https://" + "a" * 500):
        said(verdict(us, Delegation(us.agent, None, url)), "http")


def test_a_profile_is_told_by_its_subject_or_its_provider(neighbourhood: Any) -> None:
    us, provider, other = (neighbourhood.member(number) for number in (2, 3, 4))
    verdict = neighbourhood.verdict
    named = neighbourhood.create(us, Delegation(us.agent, provider.agent, ""))
    own = Profile(us.agent, None, "Ann", "")
    under = Profile(us.agent, named.hash, "Ann", "at number 7")
    assert verdict(us, own) is Valid
    assert verdict(provider, under) is Valid
    said(verdict(provider, own), "without its delegation")
    for author in (us, other):
        said(verdict(author, under), "not delegated")
    said(verdict(provider, replace(under, subject=other.agent)), "no delegation by its subject")
    said(verdict(provider, replace(under, delegation=us.chain[2].hash)), "no delegation")
    said(verdict(us, replace(own, name="")), "has a name")
