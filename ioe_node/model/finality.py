"""Finality's shapes: standings, witness sets, handovers, certificates.

An author's *witnesses* are the members closest to its place.  A *standing* is a member's own
sealed AgentValidationPkg: it shows what admitted it, since when, and thereby its place, and it
shows them to anyone.  A *lineage* leads from an author's standing and its founding witnesses
(view 0) through one *handover* a view to those who witness now.  A *certificate* is a quorum of
their marks on one action.  What is signed begins with a domain tag and names the DNA, the author,
and the view with the digest of its members, so that no signature serves twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from msgspec import Meta, Struct

from ioe_node.errors import Malformed
from ioe_node.model.action import AgentValidationPkg, Hash39, Seq, TimestampUs
from ioe_node.model.codec import Codec, encode
from ioe_node.model.hashes import (
    AGENT,
    CORE,
    ActionHash,
    AgentPubKey,
    DnaHash,
    check_hash,
    core_of,
    proof_digest,
    witness_place,
)
from ioe_node.model.record import RECORD_BYTES_MAX, Record, Signature, WireRecord, open_record

WITNESSES = 8
"""How many members witness for an author."""
STEPS_MAX = 64
"""How many times an author's witnesses can change."""
BALLOT_MAX = 2**32 - 1
LINKS_MAX = 4_096
"""How many actions may be shown between one that a witness or a certificate names and another."""
STANDINGS_OPENED_MAX = 8_192
STANDING_SEQ = 1
LINEAGE_BYTES_MAX = 2 * 1024 * 1024

Index = Annotated[int, Meta(ge=0, lt=WITNESSES)]
Ballot = Annotated[int, Meta(ge=0, le=BALLOT_MAX)]
Agents = Annotated[tuple[Hash39, ...], Meta(min_length=1, max_length=WITNESSES)]


class Mark(Struct, frozen=True, gc=False, array_like=True):
    """One witness' signature; `signer` is its index in its view's members."""

    signer: Index
    signature: Signature


Marks = Annotated[tuple[Mark, ...], Meta(max_length=WITNESSES)]


class Prepared(Struct, frozen=True, array_like=True):
    """A quorum of votes: these are the heirs of a view, as far as this ballot can say."""

    ballot: Ballot
    heirs: Agents
    votes: Marks


class Retirement(Struct, frozen=True, array_like=True):
    """A witness' last word under a view: the highest action that it has signed.

    `record` is that action, sealed by its author, so that none can be invented; it travels
    only as long as heirs need it.  `at_us` is when it first retired from that view, so that an
    heir that has lost its memory can tell whether it may have been one before.
    """

    signer: Index
    seq: Seq
    hash: Hash39
    at_us: TimestampUs
    record: WireRecord | None
    signature: Signature


class Handover(Struct, frozen=True, array_like=True):
    """A quorum of a view retires, in one ballot, in favour of the same heirs."""

    ballot: Ballot
    heirs: Agents
    retirements: Annotated[tuple[Retirement, ...], Meta(max_length=WITNESSES)]


class Lineage(Struct, frozen=True, array_like=True):
    """From an author's standing to its present witnesses.

    `founders` are the standings of view 0, in the order of their keys; with none of them the
    author founds its own line (the first of a network).
    """

    standing: WireRecord
    founders: Annotated[tuple[WireRecord, ...], Meta(max_length=WITNESSES)]
    steps: Annotated[tuple[Handover, ...], Meta(max_length=STEPS_MAX)] = ()


class Certificate(Struct, frozen=True, array_like=True):
    """The action `hash` at `seq` is final: a quorum of the lineage's last view has marked it."""

    seq: Seq
    hash: Hash39
    lineage: Lineage
    marks: Marks


certificates: Codec[Certificate] = Codec(Certificate, "certificate", LINEAGE_BYTES_MAX)
standings: Codec[WireRecord] = Codec(WireRecord, "standing", RECORD_BYTES_MAX)


@dataclass(frozen=True)
class Standing:
    """A member as its own record shows it; `since_us` is when it says that it came."""

    agent: AgentPubKey
    place: int
    since_us: int
    hash: ActionHash
    proof: bytes | None
    wire: WireRecord


@dataclass(frozen=True)
class View:
    """Who witnesses for `author`: members in the order of their keys, and the view's number."""

    author: AgentPubKey
    number: int
    members: tuple[AgentPubKey, ...]

    @property
    def digest(self) -> bytes:
        """32 bytes that name this set of this author's."""
        return core_of(encode((self.author, self.number, self.members)))


@lru_cache(maxsize=STANDINGS_OPENED_MAX)
def open_standing(wire: WireRecord, dna: DnaHash) -> Standing:
    """Check a member's sealed standing; raises `Malformed`.

    Whether its proof admits it is for the DNA's membrane to say.
    """
    record = open_record(wire, dna)
    action = record.action
    if (
        not isinstance(action, AgentValidationPkg)
        or action.action_seq != STANDING_SEQ
        or wire.entry is not None
    ):
        raise Malformed("a standing that is no record of an admission")
    place = witness_place(action.author, proof_digest(action.membrane_proof))
    proof = action.membrane_proof
    return Standing(action.author, place, action.timestamp_us, record.hash, proof, wire)


def open_sealed(wire: WireRecord, dna: DnaHash, author: AgentPubKey) -> Record:
    """A record of `author`'s, without its entry; raises `Malformed`."""
    record = open_record(wire, dna)
    if record.action.author != author or wire.entry is not None:
        raise Malformed("an action of another author, or with its entry")
    return record


def check_members(members: Sequence[bytes], author: AgentPubKey) -> tuple[AgentPubKey, ...]:
    """A view's members: agents, each once, in the order of their keys; raises `Malformed`."""
    for agent in members:
        check_hash(agent, AGENT)
    if list(members) != sorted(set(members)) or author in members:
        raise Malformed("a set of witnesses out of order, or with its own author")
    return tuple(AgentPubKey(agent) for agent in members)


def witness_message(dna: DnaHash, view: View, seq: int, hash_: bytes) -> bytes:
    """What a witness signs for an action."""
    named = (view.author, seq, hash_, view.number, view.digest)
    return b"ioe/witness/1" + dna + encode(named)


def vote_message(dna: DnaHash, view: View, ballot: int, heirs: Sequence[bytes]) -> bytes:
    """What a witness signs to say whom it holds to be its view's heirs."""
    named = (view.author, view.number, view.digest, ballot, tuple(heirs))
    return b"ioe/witness-vote/1" + dna + encode(named)


def retirement_message(
    dna: DnaHash,
    view: View,
    ballot: int,
    heirs: Sequence[bytes],
    seq: int,
    hash_: bytes,
    at_us: int,
) -> bytes:
    """What a witness signs when it retires."""
    named = (view.author, view.number, view.digest, ballot, tuple(heirs), seq, hash_, at_us)
    return b"ioe/witness-retires/1" + dna + encode(named)


def key_of_witness(view: View, signer: int) -> bytes:
    """The 32-byte public key of a view's member; raises `Malformed` for none such."""
    if signer >= len(view.members):
        raise Malformed("a signature by an index past the view's members")
    return view.members[signer][CORE]
