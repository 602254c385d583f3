"""Signatures: made and checked, and refused for every bit that differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.model.hashes import CORE, agent_key
from ioe_node.model.signing import Signer, verify

# RFC 8032, section 7.1, test 2.
RFC_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def test_agrees_with_rfc_8032() -> None:
    signer = Signer(RFC_SEED)
    assert signer.agent == agent_key(RFC_PUBLIC)
    assert signer.sign(b"\x72") == RFC_SIGNATURE
    assert verify(RFC_PUBLIC, b"\x72", RFC_SIGNATURE)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.data())
def test_any_flipped_bit_is_refused(seed: bytes, message: bytes, data: st.DataObject) -> None:
    signer = Signer(seed)
    signature = signer.sign(message)
    public_key = signer.agent[CORE]
    assert verify(public_key, message, signature)
    flipped = bytearray(signature + message)
    bit = data.draw(st.integers(0, len(flipped) * 8 - 1))
    flipped[bit // 8] ^= 1 << bit % 8
    assert not verify(public_key, bytes(flipped[64:]), bytes(flipped[:64]))


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_are_an_answer_and_no_more(key: bytes, message: bytes, signature: bytes) -> None:
    assert verify(key, message, signature) in (True, False)


def test_lengths_and_weak_keys_are_refused() -> None:
    assert not verify(RFC_PUBLIC + b"\0", b"\x72", RFC_SIGNATURE)
    assert not verify(RFC_PUBLIC[:31], b"\x72", RFC_SIGNATURE)
    assert not verify(RFC_PUBLIC, b"\x72", RFC_SIGNATURE + b"\0")
    assert not verify(b"\x01" + bytes(31), b"", b"\x01" + bytes(63))


def test_a_signature_has_one_form() -> None:
    s = int.from_bytes(RFC_SIGNATURE[32:], "little") + GROUP_ORDER
    assert not verify(RFC_PUBLIC, b"\x72", RFC_SIGNATURE[:32] + s.to_bytes(32, "little"))


def test_frozen_and_silent_about_the_seed() -> None:
    signer = Signer(RFC_SEED)
    assert RFC_SEED.hex() not in repr(signer)
    assert repr(RFC_SEED) not in repr(signer)
    with pytest.raises(AttributeError):
        signer.seed = bytes(32)  # type: ignore[misc]
    with pytest.raises(ValueError, match="seed"):
        Signer(bytes(31))
