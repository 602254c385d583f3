"""Whatever bytes arrive, a decoder gives the value of canonical bytes or `Malformed`."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.errors import Malformed
from ioe_node.model import capability
from ioe_node.model.action import ACTION_BYTES_MAX, decode_action
from ioe_node.model.agent_info import INFO_LIFE_US, SignedInfo, open_info
from ioe_node.model.capability import GRANT_BYTES_MAX, CapClaim, CapGrant
from ioe_node.model.codec import Codec, encode, pack, unpack
from ioe_node.model.hashes import DNA, AgentPubKey, DnaHash, from_text, to_text
from ioe_node.model.record import decode_parcel, decode_proof, open_parcel
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import SignedReceipt, SignedWarrant, open_receipt, open_warrant

NOW_US = 1_700_000_000_000_000
OTHER = Signer(bytes(31) + b"\x02")
BYTES_MAX = 10_000_000
GRANT = CapGrant(
    tag="t", functions=("zome.f",), secret=bytes(64), agents=(OTHER.agent, OTHER.agent)
)
CLAIM = CapClaim(tag="t", grantor=OTHER.agent, secret=bytes(64))

_signed_info = Codec[SignedInfo](SignedInfo, "signed info", BYTES_MAX)
_signed_warrant = Codec[SignedWarrant](SignedWarrant, "signed warrant", BYTES_MAX)
_signed_receipt = Codec[SignedReceipt](SignedReceipt, "signed receipt", BYTES_MAX)


@pytest.fixture(scope="session")
def doors(golden: Any) -> dict[str, tuple[Callable[[bytes], Any], bytes]]:
    """Every way in: (decoder, bytes that it takes)."""
    network = DnaHash(from_text(golden["hashes"]["network"], DNA))

    def info(data: bytes) -> Any:
        return open_info(_signed_info.decode(data), network, NOW_US)

    def warrant(data: bytes) -> Any:
        return open_warrant(_signed_warrant.decode(data), network)

    def receipt(data: bytes) -> Any:
        return open_receipt(_signed_receipt.decode(data), network, AgentPubKey(OTHER.agent))

    def parcel(data: bytes) -> Any:
        return open_parcel(decode_parcel(data), network)

    def of(text: str) -> bytes:
        return bytes.fromhex(text)

    made: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
        f"action {name}": (decode_action, of(vector["bytes"]))
        for name, vector in golden["actions"].items()
    }
    made |= {
        "record": (parcel, of(golden["record"])),
        "bundle": (parcel, of(golden["bundle"]["wire"])),
        "proof": (decode_proof, of(golden["bundle"]["proofs"][0])),
        "info": (info, of(golden["agent_info"])),
        "receipt": (receipt, of(golden["receipt"])),
        "invalid record": (warrant, of(golden["warrants"]["InvalidRecord"])),
        "invalid in a bundle": (warrant, of(golden["warrants"]["InvalidRecord in a bundle"])),
        "fork": (warrant, of(golden["warrants"]["ChainFork"])),
        "double seal": (warrant, of(golden["warrants"]["DoubleSeal"])),
        "revoked": (warrant, of(golden["warrants"]["Revoked"])),
        "grant": (capability.grants.decode, encode(GRANT)),
        "claim": (capability.claims.decode, encode(CLAIM)),
        "value": (unpack, of(golden["values"]["sorted"])),
    }
    return made


SIGNED = {
    *("record", "bundle", "info", "receipt"),
    *("invalid record", "invalid in a bundle", "fork", "double seal"),
}


def test_each_takes_its_own(doors: Any) -> None:
    for decode, data in doors.values():
        decode(data)


@settings(max_examples=400)
@given(st.data())
def test_damage_is_refused_or_is_canonical_too(doors: Any, damaged: Any, data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(doors)))
    decode, whole = doors[name]
    bad = data.draw(damaged(whole))
    try:
        value = decode(bad)
    except Malformed:
        return
    if bad != whole:
        assert name not in SIGNED, "a signed thing was taken after damage"
        assert (pack(value) if name == "value" else encode(value)) == bad


@settings(max_examples=400)
@given(st.data(), st.binary(max_size=200))
def test_any_bytes_are_malformed_at_worst(doors: Any, data: Any, junk: bytes) -> None:
    decode, _ = doors[data.draw(st.sampled_from(sorted(doors)))]
    try:
        decode(junk)
    except Malformed:
        return


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.data(), plain)
def test_any_msgpack_is_malformed_at_worst(doors: Any, data: Any, value: Any) -> None:
    decode, _ = doors[data.draw(st.sampled_from(sorted(doors)))]
    try:
        packed = msgpack.packb(value)
    except (OverflowError, ValueError):
        return
    try:
        decode(packed)
    except Malformed:
        return


@pytest.mark.parametrize(
    "short", [b"\x07", b"\xcc\x07", b"\xcd\x00\x07", b"\xd3" + bytes(7) + b"\7"]
)
def test_an_integer_has_one_form(golden: Any, short: bytes) -> None:
    data = bytes.fromhex(golden["actions"]["Create"]["bytes"])
    other = data.replace(b"\xaaaction_seq\x07", b"\xaaaction_seq" + short)
    if short == b"\x07":
        assert decode_action(other).action_seq == 7
    else:
        with pytest.raises(Malformed, match="canonical"):
            decode_action(other)


def test_a_key_twice_or_out_of_order_or_unknown_is_refused(golden: Any) -> None:
    data = bytes.fromhex(golden["actions"]["InitZomesComplete"]["bytes"])
    fields = msgpack.unpackb(data)
    seq = b"\xaaaction_seq\x07"
    assert data[0] == 0x80 | len(fields)
    assert data.count(seq) == 1
    twice = bytes([data[0] + 1]) + data[1:] + seq
    swapped = msgpack.packb(dict(reversed(fields.items())))
    unknown = msgpack.packb({**fields, "more": 1})
    for bad in (twice, swapped, unknown):
        with pytest.raises(Malformed):
            decode_action(bad)


def test_what_is_too_long_is_refused_unread() -> None:
    for decode, bytes_max in (
        (decode_action, ACTION_BYTES_MAX),
        (capability.grants.decode, GRANT_BYTES_MAX),
    ):
        with pytest.raises(Malformed, match="at most"):
            decode(b"\xc1" * (bytes_max + 1))


def test_depth_is_bounded() -> None:
    for deep in (
        b"\x91" * 17 + b"\xc0",
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa1a" * 5_000 + b"\xc0",
    ):
        with pytest.raises(Malformed):
            unpack(deep)
        with pytest.raises(Malformed):
            decode_action(deep)


@pytest.mark.parametrize(
    "value", [1.5, float("nan"), {1: 2}, 2**64, -(2**63) - 1, object(), "\ud800"]
)
def test_what_cannot_be_packed(value: object) -> None:
    with pytest.raises(Malformed):
        pack({"a": [value]})


@given(plain)
def test_packing_is_canonical(value: Any) -> None:
    try:
        packed = pack(value)
    except Malformed:
        return
    assert pack(unpack(packed)) == packed


def test_info_times_and_network(golden: Any) -> None:
    signed = _signed_info.decode(bytes.fromhex(golden["agent_info"]))
    network = DnaHash(from_text(golden["hashes"]["network"], DNA))
    open_info(signed, network, NOW_US + INFO_LIFE_US)
    open_info(signed, network, None)
    for now_us in (NOW_US + INFO_LIFE_US + 1, NOW_US - INFO_LIFE_US):
        with pytest.raises(Malformed):
            open_info(signed, network, now_us)
    with pytest.raises(Malformed, match="another network"):
        open_info(signed, DnaHash(bytes(39)), NOW_US)


@given(st.text(max_size=60))
def test_any_text_is_a_hash_or_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        from_text(text, DNA)


def test_a_hash_of_another_kind_or_place_is_refused() -> None:
    agent = OTHER.agent
    with pytest.raises(Malformed):
        from_text(to_text(agent), DNA)
    with pytest.raises(Malformed, match="location"):
        from_text(to_text(agent[:38] + bytes([agent[38] ^ 1])), agent[:3])
