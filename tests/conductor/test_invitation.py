"""An invitation is one line; whatever was done to the line is said."""

from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dna.neighbourhood import DNA
from ioe_node.conductor.invitation import Invitation, decode_invitation, parse_invitation
from ioe_node.errors import CallError, Malformed

OWN = DNA.modifiers
INVITATION = Invitation(
    DNA.name, DNA.hash, OWN.seed, OWN.properties, b"proof", ("/ip4/127.0.0.1/tcp/1/p2p/x",)
)
TEXT = INVITATION.text()
LETTERS = ascii_letters + digits + "-_"


def test_it_comes_back_however_it_was_wrapped() -> None:
    assert parse_invitation(TEXT) == INVITATION
    assert parse_invitation(f"\n {TEXT[:70]}\r\n\t{TEXT[70:]} \n") == INVITATION
    assert decode_invitation(INVITATION.encoded()) == INVITATION


def test_its_rules_are_found_by_name_and_checked_by_hash() -> None:
    assert INVITATION.definition({DNA.name: DNA}).hash == DNA.hash
    with pytest.raises(CallError, match="add it to 'dnas'"):
        INVITATION.definition({})


@given(st.integers(0, len(TEXT) - 1))
def test_cut_anywhere_it_is_refused(end: int) -> None:
    with pytest.raises(CallError, match="paste the whole line"):
        parse_invitation(TEXT[:end])


@given(st.text(max_size=200) | st.text(max_size=100).map(lambda text: "ioe1" + text))
def test_any_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(CallError, match="paste the whole line"):
        parse_invitation(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_invitation(data)


@given(st.integers(0, len(TEXT) - 1), st.sampled_from(LETTERS))
def test_one_mistyped_letter_is_said(place: int, letter: str) -> None:
    typed = TEXT[:place] + letter + TEXT[place + 1 :]
    if typed != TEXT:
        with pytest.raises(CallError, match="paste the whole line"):
            parse_invitation(typed)
