"""Warrants and receipts: an authority's signed word on what it was given.

A *receipt* says which of an author's records this validator holds as valid.  A *warrant*
names an offender with the evidence in it, so that anyone can check it again: an invalid
record, a fork (two distinct actions of one author at one sequence number; the same action
twice is no fork), or a double seal (one action in two bundles).  A warrant whose evidence does
not stand convicts its own author.  Both signatures name the network, and so does the evidence: a
warrant of another network is no warrant here, and convicts nobody.  A *revocation* is told in the
same way, so that it reaches all and lasts: its evidence is no offence but the record by which the
agent was ended.
"""

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from ioe_node.errors import Malformed
from ioe_node.model.action import ACTION_BYTES_MAX, Hash39, TimestampUs, decode_action
from ioe_node.model.codec import Codec, encode
from ioe_node.model.hashes import (
    AGENT,
    CORE,
    AgentPubKey,
    DnaHash,
    WarrantHash,
    action_hash,
    check_hash,
    warrant_hash,
)
from ioe_node.model.record import (
    BUNDLE_BYTES_MAX,
    Proof,
    Record,
    Signature,
    WirePrefix,
    WireRecord,
    open_prefix,
    open_record,
    root_of,
    seal_message,
)
from ioe_node.model.signing import verify

REASON_CHARS_MAX = 512
WARRANT_BYTES_MAX = BUNDLE_BYTES_MAX + 8_192
"""No evidence is larger than the bundle that it is taken from, so whatever could be published can
be proved wrong, and one warrant always fits in a message."""
RECEIPT_BYTES_MAX = 1_048_576
RECEIPT_ITEMS_MAX = 10_000

VALID, INVALID, PENDING = 0, 1, 2


class InvalidRecord(Struct, frozen=True, tag="InvalidRecord", tag_field="type"):
    """The last record of `record` breaks a rule of the DNA; `reason` is the rule's own word.

    A bundle is valid or not as a whole, so all of it up to the culprit is the evidence: nobody
    else would ever hold what came before the culprit.
    """

    warrantee: Hash39
    accuser: Hash39
    timestamp_us: TimestampUs
    record: WireRecord | WirePrefix
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)]


class ChainFork(Struct, frozen=True, tag="ChainFork", tag_field="type"):
    """Two distinct actions of one author at one sequence number (entries left out)."""

    warrantee: Hash39
    accuser: Hash39
    timestamp_us: TimestampUs
    first: WireRecord
    second: WireRecord


class DoubleSeal(Struct, frozen=True, tag="DoubleSeal", tag_field="type"):
    """One action that its author sealed in two different bundles.

    Whoever holds one of them could never take the other, so readers would differ for ever.  An
    honest node cannot do it: an action carries its time, it is sealed once, and what is restored
    comes with the seal that it had.  The proofs carry their paths.
    """

    warrantee: Hash39
    accuser: Hash39
    timestamp_us: TimestampUs
    action: Annotated[bytes, Meta(max_length=ACTION_BYTES_MAX)]
    first: Proof
    second: Proof


class Revoked(Struct, frozen=True, tag="Revoked", tag_field="type"):
    """The entry of `record` ends the warrantee, by whoever may: its key is lost or stolen.

    The record carries its path, and the rules of the DNA say whether it is valid and whom it ends.
    """

    warrantee: Hash39
    accuser: Hash39
    timestamp_us: TimestampUs
    record: WireRecord


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


Warrant = InvalidRecord | ChainFork | DoubleSeal | Revoked
_warrant: Codec[Warrant] = Codec(Warrant, "warrant", WARRANT_BYTES_MAX)
_receipt: Codec[Receipt] = Codec(Receipt, "receipt", RECEIPT_BYTES_MAX)


def _warrant_message(network: DnaHash, body: bytes) -> bytes:
    return b"ioe/warrant/1" + network + body


def _receipt_message(network: DnaHash, body: bytes) -> bytes:
    return b"ioe/receipt/1" + network + body


def seal_warrant(
    warrant: Warrant, network: DnaHash, sign: Callable[[bytes], bytes]
) -> SignedWarrant:
    """Sign a warrant as its accuser."""
    body = encode(warrant)
    return SignedWarrant(body, sign(_warrant_message(network, body)))


def decode_warrant(signed: SignedWarrant) -> Warrant:
    """A warrant as it is written, unchecked; raises `Malformed`."""
    return _warrant.decode(signed.body)


def open_warrant(signed: SignedWarrant, network: DnaHash) -> tuple[WarrantHash, Warrant]:
    """Check the accuser's signature, and that a fork or a double seal is one; raises `Malformed`.

    Whether an InvalidRecord breaks a rule, and a Revoked ends its warrantee, is for the DNA's
    rules to say.
    """
    warrant = decode_warrant(signed)
    check_hash(warrant.accuser, AGENT)
    check_hash(warrant.warrantee, AGENT)
    message = _warrant_message(network, signed.body)
    if not verify(warrant.accuser[CORE], message, signed.signature):
        raise Malformed("a warrant whose signature does not fit its accuser")
    if isinstance(warrant, ChainFork):
        first, second = open_record(warrant.first, network), open_record(warrant.second, network)
        same_place = first.action.action_seq == second.action.action_seq
        authors = {first.action.author, second.action.author}
        if first.hash == second.hash or not same_place or authors != {warrant.warrantee}:
            raise Malformed("a warrant of a fork whose two actions are no fork")
    elif isinstance(warrant, DoubleSeal):
        _check_double_seal(warrant, network)
    elif isinstance(warrant, Revoked):
        open_record(warrant.record, network)
    elif open_evidence(warrant, network)[-1].action.author != warrant.warrantee:
        raise Malformed("a warrant whose record has another author")
    return warrant_hash(signed.body), warrant


def open_evidence(warrant: InvalidRecord, network: DnaHash) -> list[Record]:
    """The records up to the one that is said to be invalid; raises `Malformed`."""
    if isinstance(warrant.record, WirePrefix):
        return open_prefix(warrant.record, network)
    proof = warrant.record.proof
    if proof.size > 1 and not proof.cosignatures:
        raise Malformed("a warrant of a part of a bundle without what comes before it")
    return [open_record(warrant.record, network)]


def _check_double_seal(warrant: DoubleSeal, network: DnaHash) -> None:
    """Raise `Malformed` unless both proofs are the author's, of one action, in two bundles.

    What is signed is the root, so two roots are two bundles, whatever else differs in the proofs.
    """
    author = decode_action(warrant.action).author
    leaf = action_hash(warrant.action, author)[CORE]
    roots = [root_of(leaf, proof) for proof in (warrant.first, warrant.second)]
    if author != warrant.warrantee or roots[0] == roots[1]:
        raise Malformed("a warrant of a double seal whose two seals are no offence")
    for root, proof in zip(roots, (warrant.first, warrant.second), strict=True):
        if not verify(author[CORE], seal_message(network, root), proof.signature):
            raise Malformed("a warrant of a double seal that the author did not sign")


def seal_receipt(
    receipt: Receipt, network: DnaHash, sign: Callable[[bytes], bytes]
) -> SignedReceipt:
    """Sign a batch of verdicts."""
    body = encode(receipt)
    return SignedReceipt(body, sign(_receipt_message(network, body)))


def open_receipt(signed: SignedReceipt, network: DnaHash, validator: AgentPubKey) -> Receipt:
    """Check and decode `validator`'s receipt; raises `Malformed`."""
    receipt = _receipt.decode(signed.body)
    if receipt.validator != validator:
        raise Malformed("a receipt in another validator's name")
    if not verify(validator[CORE], _receipt_message(network, signed.body), signed.signature):
        raise Malformed("a receipt whose signature does not fit")
    return receipt
