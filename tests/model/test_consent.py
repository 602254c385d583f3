"""Key-holders' consents: so many, each once and in order, for one deed under one keyset."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.model.consent import (
    KEYS_MAX,
    Consent,
    KeyHolders,
    agreed,
    consent_message,
    holders_digest,
    holders_fault,
    merge,
)
from ioe_node.model.hashes import dna_hash

DNA = dna_hash(b"a network")
MESSAGE = consent_message(DNA, b"keyset", "Offer", b"body")


def test_two_of_three_to_five_are_too_few(new_holders: Any) -> None:
    five = new_holders(3, 5)
    assert not agreed(five.shown, five.consent(MESSAGE, 0, 4), MESSAGE)
    assert agreed(five.shown, five.consent(MESSAGE, 0, 2, 4), MESSAGE)
    assert agreed(five.shown, five.consent(MESSAGE, 0, 1, 2, 3, 4), MESSAGE)


def test_what_is_no_agreement(new_holders: Any) -> None:
    five, others = new_holders(3, 5), new_holders(3, 5, first=200)
    good = five.consent(MESSAGE, 0, 2, 4)
    for consents in (
        (),
        (good[0], good[0], good[0]),
        (good[2], good[1], good[0]),
        (*good, Consent(5, good[0].signature)),
        (Consent(-1, good[0].signature), *good),
        (*good[:2], Consent(3, good[2].signature)),
        (*good[:2], Consent(4, b"")),
        others.consent(MESSAGE, 0, 2, 4),
        tuple(Consent(0, good[0].signature) for _ in range(10_000)),
    ):
        assert not agreed(five.shown, consents, MESSAGE)


@pytest.mark.parametrize("changed", range(4))
def test_a_consent_is_to_one_deed_under_one_keyset_in_one_network(
    changed: int, new_holders: Any
) -> None:
    one = new_holders(1, 1)
    said: list[Any] = [DNA, b"keyset", "Offer", b"body"]
    said[changed] = [dna_hash(b"another"), b"another", "Release", b"another"][changed]
    assert not agreed(one.shown, one.consent(consent_message(*said), 0), MESSAGE)


def test_holders_that_are_none(new_holders: Any) -> None:
    keys = new_holders(1, 3).shown.keys
    many = new_holders(1, KEYS_MAX + 1).shown
    for wrong in (
        KeyHolders(1, ()),
        KeyHolders(0, keys),
        KeyHolders(-1, keys),
        KeyHolders(4, keys),
        KeyHolders(1, keys[::-1]),
        KeyHolders(1, (keys[0], keys[0])),
        KeyHolders(1, (keys[0][:31],)),
        many,
    ):
        assert holders_fault(wrong)
        assert not agreed(wrong, (), MESSAGE)
    assert holders_fault(KeyHolders(3, keys)) is None
    assert holders_digest(KeyHolders(3, keys)) != holders_digest(KeyHolders(2, keys))


@given(order=st.permutations(range(5)), count=st.integers(0, 5))
def test_what_is_gathered_apart_is_merged(new_holders: Any, order: list[int], count: int) -> None:
    five = new_holders(3, 5)
    given = [five.consent(MESSAGE, place)[0] for place in order[:count]]
    junk = [Consent(9, b""), Consent(-1, bytes(64)), *(Consent(c.index, bytes(64)) for c in given)]
    merged = merge(five.shown, MESSAGE, [*junk, *given, *given])
    assert [each.index for each in merged] == sorted(order[:count])
    assert agreed(five.shown, merged, MESSAGE) == (count >= 3)
