"""Messages between agents: each comes back, and nothing else is taken."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.errors import Malformed
from ioe_node.model.agent_info import SignedInfo
from ioe_node.model.codec import Codec
from ioe_node.model.finality import Certificate, Handover, Lineage, Mark, Prepared, Retirement
from ioe_node.model.record import ENTRY_BYTES_MAX, Proof, WireRecord
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import SignedReceipt, SignedWarrant
from ioe_node.net import messages
from ioe_node.net.messages import (
    CALL_BYTES_MAX,
    CALL_DEPTH_MAX,
    HELLO_BYTES_MAX,
    INFOS_PER_COMPARE_MAX,
    OPS_PER_MESSAGE_MAX,
    PLACES_PER_MESSAGE_MAX,
    SPANS_PER_MESSAGE_MAX,
    Activity,
    Call,
    Certified,
    Chain,
    Compare,
    Compared,
    Differing,
    Done,
    Drafted,
    Failed,
    Find,
    Get,
    GetCertificate,
    GetOps,
    GetWarrants,
    HeadOf,
    Held,
    Hello,
    Here,
    Knock,
    Lacking,
    LinkPage,
    Links,
    Never,
    Offer,
    OpName,
    Outcome,
    Peers,
    Place,
    Placed,
    Places,
    Propose,
    Publish,
    Records,
    Relieve,
    Retired,
    Returned,
    Sign,
    Signed,
    Span,
    Standings,
    Unwitnessed,
    Warrants,
    Witness,
    Witnessed,
    answers,
    encode,
    hellos,
    requests,
)

HASH = bytes(Signer(b"a" * 32).agent)
SIGNATURE = b"s" * 64
INFO = SignedInfo(b"info", SIGNATURE)
DIGEST = b"d" * 16
SPAN = Span(0, 2**32 - 1, DIGEST)
DIFFERING = Differing((SPAN,), ((0, 5),))
HEAD = HeadOf(HASH, 7, HASH, 1_700_000_000_000_000)
PARTS = (SPAN, DIFFERING, HEAD, OpName(0, 0), Place(HASH, 7))
WIRE = WireRecord(b"action", Proof(SIGNATURE), None)
PREPARED = Prepared(2, (HASH,), (Mark(0, SIGNATURE),))
RETIREMENT = Retirement(0, 3, HASH, 7, WIRE, SIGNATURE)
LINEAGE = Lineage(WIRE, (WIRE,), (Handover(2, (HASH,), (RETIREMENT,)),))
REQUESTS: list[msgspec.Struct] = [
    Publish(()),
    Get(HASH),
    Activity(HASH, 7),
    Links(HASH, HASH),
    Find(2**32 - 1, True),
    Find(0, False, 8, True),
    Compare((SPAN,), (SPAN,), DIGEST, (HASH,), (INFO,)),
    Offer((HEAD,)),
    GetOps((OpName(0, -1),)),
    Places((Place(HASH, 7),)),
    GetWarrants((HASH,)),
    Warrants((SignedWarrant(b"warrant", SIGNATURE),)),
    Propose("currency", "sale", b"\x80", 3, HASH, 1_700_000_000_000_000),
    Sign(b"entry", SIGNATURE),
    Outcome(HASH),
    Call("load", "echo", b"\x80", b"s" * 64, 1),
    Standings((WIRE,)),
    Knock(HASH, 7),
    Witness(WIRE, (b"action before",), LINEAGE),
    GetCertificate(HASH),
    Relieve(LINEAGE, 3, (HASH,), PREPARED, True, (WIRE,)),
]
ANSWERS: list[msgspec.Struct] = [
    Held(SignedReceipt(b"receipt", SIGNATURE)),
    Records(()),
    Chain((), True),
    LinkPage((), True),
    Peers((INFO,)),
    Compared(DIFFERING, (OpName(5, 2**63 - 1),), DIFFERING, (HEAD,), False, (INFO,)),
    Lacking((HASH,)),
    Placed((HASH, None)),
    Drafted(b"entry"),
    Drafted(b"entry", (HASH,)),
    Signed(SIGNATURE),
    Never(),
    Done(),
    Returned(b"\x01"),
    Failed("unauthorised", "no capability"),
    Standings(()),
    Here(True),
    Witnessed(SIGNATURE),
    Certified(None),
    Certified(Certificate(7, HASH, LINEAGE, ()), (b"action after",)),
    Retired(RETIREMENT),
    Unwitnessed("behind", LINEAGE, WIRE, 4, PREPARED, (WIRE,)),
]
HELLO = Hello(INFO, b"proof")


def test_every_kind_is_sampled_here() -> None:
    """A kind that is added is added above."""
    kinds = {
        each
        for each in vars(messages).values()
        if isinstance(each, type) and each.__module__ == messages.__name__
    }
    assert kinds == {type(each) for each in (*REQUESTS, *ANSWERS, *PARTS, HELLO)}


@pytest.mark.parametrize("message", REQUESTS, ids=lambda each: type(each).__name__)
def test_a_request_comes_back(message: msgspec.Struct) -> None:
    assert requests.decode(encode(message)) == message


@pytest.mark.parametrize("message", ANSWERS, ids=lambda each: type(each).__name__)
def test_an_answer_comes_back(message: msgspec.Struct) -> None:
    assert answers.decode(encode(message)) == message


def test_a_hello_comes_back_and_is_neither_request_nor_answer() -> None:
    data = encode(HELLO)
    assert hellos.decode(data) == HELLO
    for codec in (requests, answers):
        with pytest.raises(Malformed):
            codec.decode(data)


def test_an_answer_is_no_request_and_the_other_way_round() -> None:
    for codec, wrong in ((requests, ANSWERS), (answers, REQUESTS)):
        for message in wrong:
            if not isinstance(message, Warrants | Standings):
                with pytest.raises(Malformed):
                    codec.decode(encode(message))


@pytest.mark.parametrize(
    "message",
    [
        Get(HASH[:-1]),
        Get(HASH + b"x"),
        Activity(HASH, -1),
        Activity(HASH, 2**32),
        Find(2**32, False),
        Compare((), (), DIGEST, (), (INFO,) * (INFOS_PER_COMPARE_MAX + 1)),
        Compare((), (), DIGEST, (), (SignedInfo(b"", SIGNATURE[1:]),)),
        Compare((), (), DIGEST[1:], (), ()),
        Compare((Span(0, 2**32, DIGEST),), (), DIGEST, (), ()),
        Compare((), (SPAN,) * (SPANS_PER_MESSAGE_MAX + 1), DIGEST, (), ()),
        GetOps((OpName(0, 0),) * (OPS_PER_MESSAGE_MAX + 1)),
        Places((Place(HASH, 0),) * (PLACES_PER_MESSAGE_MAX + 1)),
        Sign(bytes(ENTRY_BYTES_MAX + 1), SIGNATURE),
        Propose("z" * 129, "f", b"", 0, HASH, 0),
        Propose("z", "f", bytes(65_537), 0, HASH, 0),
        Propose("z", "f", b"", -1, HASH, 0),
        Call("z", "f", bytes(CALL_BYTES_MAX + 1), None, 1),
        Call("z", "f", b"", b"short", 1),
        Call("z", "f", b"", None, 0),
        Call("z", "f", b"", None, CALL_DEPTH_MAX + 1),
    ],
)
def test_what_is_past_a_limit_is_malformed(message: msgspec.Struct) -> None:
    with pytest.raises(Malformed):
        requests.decode(encode(message))


def test_an_oversize_hello_is_malformed() -> None:
    with pytest.raises(Malformed, match="at most"):
        hellos.decode(bytes(HELLO_BYTES_MAX + 1))


CODECS: list[Codec[msgspec.Struct]] = [requests, answers, hellos]  # type: ignore[list-item]
SAMPLES = [encode(each) for each in (*REQUESTS, *ANSWERS, HELLO)]


@given(st.sampled_from(CODECS), st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(codec: Codec[msgspec.Struct], data: bytes) -> None:
    with suppress(Malformed):
        assert encode(codec.decode(data)) == data


@settings(max_examples=300)
@given(st.sampled_from(CODECS), st.sampled_from(SAMPLES), st.data())
def test_a_changed_message_is_another_or_malformed(
    codec: Codec[msgspec.Struct], sample: bytes, data: st.DataObject
) -> None:
    """Flip a bit, cut, repeat or append: one value has one encoding."""
    place = data.draw(st.integers(0, 8 * len(sample) - 1))
    byte, bit = divmod(place, 8)
    flipped = bytearray(sample)
    flipped[byte] ^= 1 << bit
    for changed in (
        bytes(flipped),
        sample[:byte],
        sample + sample[byte:],
        sample[:byte] + sample[byte:] * 2,
    ):
        with suppress(Malformed):
            assert encode(codec.decode(changed)) == changed
