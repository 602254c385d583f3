"""Warrants and receipts: an authority's signed word on what it was given.

A *receipt* says which of an author's records this validator holds as valid.  A *warrant*
names an offender with the evidence in it, so that anyone can check it again: an invalid
record, or a fork (two distinct actions of one author at one sequence number; the same action
twice is no fork).  A warrant whose evidence does not stand convicts its own author.
"""

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from ioe_node.errors import Malformed
from ioe_node.model.action import Hash39, TimestampUs
from ioe_node.model.codec import Codec, encode
from ioe_node.model.hashes import (
    AGENT,
    CORE,
    AgentPubKey,
    WarrantHash,
    check_hash,
    warrant_hash,
)
from ioe_node.model.record import RECORD_BYTES_MAX, Signature, WireRecord, open_record
from ioe_node.model.signing import verify

REASON_CHARS_MAX = 512
WARRANT_BYTES_MAX = 2 * RECORD_BYTES_MAX
RECEIPT_BYTES_MAX = 1_048_576
RECEIPT_ITEMS_MAX = 10_000

VALID, INVALID, PENDING = 0, 1, 2


class InvalidRecord(Struct, frozen=True, tag="InvalidRecord", tag_field="type"):
    """`record` breaks a rule of the DNA; `reason` is the rule's own word."""

    warrantee: Hash39
    accuser: Hash39
    timestamp_us: TimestampUs
    record: WireRecord
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)]


class ChainFork(Struct, frozen=True, tag="ChainFork", tag_field="type"):
    """Two distinct actions of one author at one sequence number (entries left out)."""

    warrantee: Hash39
    accuser: Hash39
    timestamp_us: TimestampUs
    first: WireRecord
    second: WireRecord


class SignedWarrant(Struct, frozen=True, array_like=True):
    """The bytes of a warrant and its accuser's signature over them."""

    body: Annotated[bytes, Meta(max_length=WARRANT_BYTES_MAX)]
    signature: Signature


class Receipt(Struct, frozen=True, array_like=True):
    """`validator`'s verdicts on some records: (action hash, VALID | INVALID | PENDING)."""

    validator: Hash39
    timestamp_us: TimestampUs
    verdicts: Annotated[
        tuple[tuple[Hash39, Annotated[int, Meta(ge=0, le=2)]], ...],
        Meta(max_length=RECEIPT_ITEMS_MAX),
    ]


class SignedReceipt(Struct, frozen=True, array_like=True):
    """The bytes of a receipt and its validator's one signature over them."""

    body: Annotated[bytes, Meta(max_length=RECEIPT_BYTES_MAX)]
    signature: Signature


Warrant = InvalidRecord | ChainFork
_warrant: Codec[Warrant] = Codec(Warrant, "warrant", WARRANT_BYTES_MAX)
_receipt: Codec[Receipt] = Codec(Receipt, "receipt", RECEIPT_BYTES_MAX)


def seal_warrant(warrant: Warrant, sign: Callable[[bytes], bytes]) -> SignedWarrant:
    """Sign a warrant as its accuser."""
    body = encode(warrant)
    return SignedWarrant(body, sign(b"ioe/warrant/1" + body))


def open_warrant(signed: SignedWarrant) -> tuple[WarrantHash, Warrant]:
    """Check the accuser's signature and that a fork is one; raises `Malformed`.

    Whether an InvalidRecord really breaks a rule is for the DNA's rules to say.
    """
    warrant = _warrant.decode(signed.body)
    check_hash(warrant.accuser, AGENT)
    check_hash(warrant.warrantee, AGENT)
    if not verify(warrant.accuser[CORE], b"ioe/warrant/1" + signed.body, signed.signature):
        raise Malformed("a warrant whose signature does not fit its accuser")
    if isinstance(warrant, ChainFork):
        first, second = open_record(warrant.first), open_record(warrant.second)
        same_place = first.action.action_seq == second.action.action_seq
        authors = {first.action.author, second.action.author}
        if first.hash == second.hash or not same_place or authors != {warrant.warrantee}:
            raise Malformed("a warrant of a fork whose two actions are no fork")
    elif open_record(warrant.record).action.author != warrant.warrantee:
        raise Malformed("a warrant whose record has another author")
    return warrant_hash(signed.body), warrant


def seal_receipt(receipt: Receipt, sign: Callable[[bytes], bytes]) -> SignedReceipt:
    """Sign a batch of verdicts."""
    body = encode(receipt)
    return SignedReceipt(body, sign(b"ioe/receipt/1" + body))


def open_receipt(signed: SignedReceipt, validator: AgentPubKey) -> Receipt:
    """Check and decode `validator`'s receipt; raises `Malformed`."""
    receipt = _receipt.decode(signed.body)
    if receipt.validator != validator:
        raise Malformed("a receipt in another validator's name")
    if not verify(validator[CORE], b"ioe/receipt/1" + signed.body, signed.signature):
        raise Malformed("a receipt whose signature does not fit")
    return receipt
