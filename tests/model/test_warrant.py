"""Warrants: evidence that stands by itself, and none that a third party could make up."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.core.chain import Draft, seal, with_path
from ioe_node.errors import Malformed
from ioe_node.model.codec import encode
from ioe_node.model.hashes import CORE
from ioe_node.model.record import (
    Proof,
    Record,
    WirePrefix,
    WireRecord,
    open_prefix,
    prefix_of,
)
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import (
    DoubleSeal,
    InvalidRecord,
    open_evidence,
    open_warrant,
    seal_warrant,
)

ACCUSER = Signer(b"accuser".ljust(32))


def drafts_of(records: list[Record]) -> list[Draft]:
    return [Draft(each.hash, each.action, each.action_bytes, each.entry) for each in records]


def whole(records: list[Record], place: int) -> Proof:
    """The proof of one record of a bundle, with its path."""
    return with_path(records[place], [each.hash[CORE] for each in records]).proof


@given(size=st.integers(1, 40), data=st.data())
def test_the_beginning_of_a_bundle_opens_to_its_records(
    new_author: Any, size: int, data: st.DataObject
) -> None:
    author = new_author(1)
    author.genesis()
    bundle = author.bundle(size)
    count = data.draw(st.integers(1, size))
    prefix = prefix_of(bundle, count)
    assert open_prefix(prefix, author.dna) == bundle[:count]
    whole_bytes = len(encode(prefix_of(bundle, size)))
    assert len(encode(prefix)) <= whole_bytes + 8


@given(size=st.integers(2, 12), data=st.data())
def test_what_was_changed_in_it_is_refused(new_author: Any, size: int, data: st.DataObject) -> None:
    author = new_author(1)
    author.genesis()
    good = prefix_of(author.bundle(size), data.draw(st.integers(1, size - 1)))
    rest = list(good.rest)
    spoilt = [
        WirePrefix(good.actions, good.entries, tuple(rest[:-1]), good.signature),
        WirePrefix(good.actions, good.entries, (*rest, bytes(32)), good.signature),
        WirePrefix(good.actions, good.entries, good.rest, bytes(64)),
        WirePrefix(good.actions, good.entries[:-1], good.rest, good.signature),
        WirePrefix(good.actions, (b"x", *good.entries[1:]), good.rest, good.signature),
    ]
    for each in spoilt:
        with pytest.raises(Malformed):
            open_prefix(each, author.dna)


def test_a_part_of_a_bundle_without_its_beginning_is_no_evidence(new_author: Any) -> None:
    author = new_author(1)
    author.genesis()
    bundle = author.bundle(3)
    part = WireRecord(bundle[1].action_bytes, whole(bundle, 1), bundle[1].entry)
    warrant = InvalidRecord(author.agent, ACCUSER.agent, 1, part, "")
    with pytest.raises(Malformed, match="part of a bundle"):
        open_evidence(warrant, author.dna)
    with pytest.raises(Malformed, match="part of a bundle"):
        open_warrant(seal_warrant(warrant, author.dna, ACCUSER.sign), author.dna)


@given(first=st.integers(1, 6), second=st.integers(1, 6), place=st.integers(0, 5))
def test_one_action_in_two_bundles_convicts_and_in_one_does_not(
    new_author: Any, first: int, second: int, place: int
) -> None:
    author = new_author(1)
    author.genesis()
    longest = author.bundle(max(first, second, place + 1))
    sizes = [max(first, place + 1), max(second, place + 1)]
    bundles = [seal(drafts_of(longest[:size]), author.dna, author.signer.sign) for size in sizes]
    proofs = [whole(bundle, place) for bundle in bundles]
    action = longest[place].action_bytes
    warrant = DoubleSeal(author.agent, ACCUSER.agent, 1, action, *proofs)
    if sizes[0] == sizes[1]:
        with pytest.raises(Malformed, match="no offence"):
            open_warrant(seal_warrant(warrant, author.dna, ACCUSER.sign), author.dna)
    else:
        assert (
            open_warrant(seal_warrant(warrant, author.dna, ACCUSER.sign), author.dna)[1] == warrant
        )


def test_nobody_but_the_author_can_make_a_second_seal(new_author: Any) -> None:
    author, other = new_author(1), new_author(2)
    author.genesis()
    pair = author.bundle(2)
    good = whole(pair, 0)
    forged = seal(drafts_of(pair[:1]), author.dna, other.signer.sign)[0].proof
    moved = [
        forged,
        Proof(good.signature),
        Proof(good.signature, good.index, good.size, (bytes(32),)),
        Proof(forged.signature, good.index, good.size, good.path),
    ]
    for proof in moved:
        for both in ((good, proof), (proof, good)):
            warrant = DoubleSeal(author.agent, ACCUSER.agent, 1, pair[0].action_bytes, *both)
            with pytest.raises(Malformed):
                open_warrant(seal_warrant(warrant, author.dna, ACCUSER.sign), author.dna)
    alone = seal(drafts_of(pair[:1]), author.dna, author.signer.sign)[0].proof
    blamed = DoubleSeal(other.agent, ACCUSER.agent, 1, pair[0].action_bytes, good, alone)
    with pytest.raises(Malformed, match="no offence"):
        open_warrant(seal_warrant(blamed, author.dna, ACCUSER.sign), author.dna)
