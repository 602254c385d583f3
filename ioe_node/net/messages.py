"""What agents of one network say to each other, pure and typed.

One request, one answer.  Decoding is canonical (`model.codec`): whatever is not exactly one
of these shapes raises `Malformed`, and the peer is charged.
"""

from typing import Annotated

from msgspec import Meta, Struct

from ioe_node.model.action import (
    ACTION_BYTES_MAX,
    MEMBRANE_PROOF_BYTES_MAX,
    Hash39,
    Seq,
    TimestampUs,
)
from ioe_node.model.agent_info import SignedInfo
from ioe_node.model.codec import Codec, encode
from ioe_node.model.finality import WITNESSES, Agents, Ballot, Lineage, Prepared, Retirement
from ioe_node.model.record import ENTRY_BYTES_MAX, Parcel, Signature, WireRecord
from ioe_node.model.warrant import SignedReceipt, SignedWarrant
from ioe_node.net.transport import MESSAGE_BYTES_MAX

PARCELS_PER_PUBLISH_MAX = 1_024
RECORDS_PER_ANSWER_MAX = 1_024
PEERS_PER_MESSAGE_MAX = 256
WARRANTS_PER_MESSAGE_MAX = 64
HELLO_BYTES_MAX = 32_768
LINKS_MAX = 4_096
STANDINGS_PER_MESSAGE_MAX = 256
WHY_CHARS_MAX = 32


class Hello(Struct, frozen=True, tag="Hello"):
    """The opening message of a link: where the agent is, and why it may be here."""

    info: SignedInfo
    membrane_proof: Annotated[bytes, Meta(max_length=MEMBRANE_PROOF_BYTES_MAX)] | None


class Publish(Struct, frozen=True, tag="Publish"):
    """Hold these; answered by `Held` once they are judged, or for as long as we wait."""

    parcels: Annotated[tuple[Parcel, ...], Meta(max_length=PARCELS_PER_PUBLISH_MAX)]


class Get(Struct, frozen=True, tag="Get"):
    """A record by its action's hash, or the records of an entry's hash."""

    hash: Hash39


class Activity(Struct, frozen=True, tag="Activity"):
    """A run of `author`'s chain from `from_seq` on, in whole bundles."""

    author: Hash39
    from_seq: Seq


class Links(Struct, frozen=True, tag="Links"):
    """The links at a base, and their removals."""

    base: Hash39


class Peers(Struct, frozen=True, tag="Peers"):
    """Whom we know; answered in kind."""

    infos: Annotated[tuple[SignedInfo, ...], Meta(max_length=PEERS_PER_MESSAGE_MAX)]


class Warrants(Struct, frozen=True, tag="Warrants"):
    """Proofs of misbehaviour that we hold."""

    warrants: Annotated[tuple[SignedWarrant, ...], Meta(max_length=WARRANTS_PER_MESSAGE_MAX)]


class Propose(Struct, frozen=True, tag="Propose"):
    """Commit an entry with us: the zome's draft function and its terms.

    `head_seq`, `head` and `timestamp_us` are the proposer's place; answered by `Drafted`.
    """

    zome: Annotated[str, Meta(max_length=128)]
    function: Annotated[str, Meta(max_length=128)]
    terms: Annotated[bytes, Meta(max_length=65_536)]
    action_seq: Seq
    prev_action: Hash39
    timestamp_us: TimestampUs


class Sign(Struct, frozen=True, tag="Sign"):
    """The proposer's signature over the root of the drafted entry; answered by `Signed`."""

    entry: Annotated[bytes, Meta(max_length=ENTRY_BYTES_MAX)]
    signature: Signature


class Outcome(Struct, frozen=True, tag="Outcome"):
    """Did you sign this entry?  Whoever answers no never will."""

    entry_hash: Hash39


class Standings(Struct, frozen=True, tag="Standings"):
    """Members' standings; answered in kind.  With none it only asks whether we are there."""

    standings: Annotated[tuple[WireRecord, ...], Meta(max_length=STANDINGS_PER_MESSAGE_MAX)]


class Witness(Struct, frozen=True, tag="Witness"):
    """Sign this action as its author's witness; answered by `Witnessed` or `Unwitnessed`.

    `links` are the actions before it, oldest first, back to what the witness has signed.
    """

    target: WireRecord
    links: Annotated[
        tuple[Annotated[bytes, Meta(max_length=ACTION_BYTES_MAX)], ...], Meta(max_length=LINKS_MAX)
    ]
    lineage: Lineage


class Relieve(Struct, frozen=True, tag="Relieve"):
    """Vote for the heirs of an author's view, or retire in their favour.

    `carried` is what a ballot has carried, this or an earlier one.  Answered by `Witnessed` (a
    vote), `Retired` or `Unwitnessed`.
    """

    lineage: Lineage
    ballot: Ballot
    heirs: Agents
    carried: Prepared | None
    retire: bool
    standings: Annotated[tuple[WireRecord, ...], Meta(max_length=WITNESSES)]


Request = (
    Publish
    | Get
    | Activity
    | Links
    | Peers
    | Warrants
    | Propose
    | Sign
    | Outcome
    | Standings
    | Witness
    | Relieve
)


class Held(Struct, frozen=True, tag="Held"):
    """Our signed verdicts on what was published."""

    receipt: SignedReceipt


class Records(Struct, frozen=True, tag="Records"):
    """Records, each fit to be checked alone."""

    records: Annotated[tuple[WireRecord, ...], Meta(max_length=RECORDS_PER_ANSWER_MAX)]


class Chain(Struct, frozen=True, tag="Chain"):
    """A run of a chain in whole bundles; `more` if it goes on."""

    parcels: Annotated[tuple[Parcel, ...], Meta(max_length=RECORDS_PER_ANSWER_MAX)]
    more: bool


class Drafted(Struct, frozen=True, tag="Drafted"):
    """The entry that both would commit, with both places in it."""

    entry: Annotated[bytes, Meta(max_length=ENTRY_BYTES_MAX)]


class Signed(Struct, frozen=True, tag="Signed"):
    """The counterparty's signature over the root; it has committed its half."""

    signature: Signature


class Never(Struct, frozen=True, tag="Never"):
    """We have not signed it and never will."""


class Done(Struct, frozen=True, tag="Done"):
    """Taken."""


class Witnessed(Struct, frozen=True, tag="Witnessed"):
    """Our signature, for an action or a vote."""

    signature: Signature


class Retired(Struct, frozen=True, tag="Retired"):
    """Our last word under a view."""

    retirement: Retirement


class Unwitnessed(Struct, frozen=True, tag="Unwitnessed"):
    """Not signed: why (`core.witness`), and what whoever asks again should know.

    `record` is the highest action that we have signed, `standings` the witnesses or heirs that
    we would name.
    """

    why: Annotated[str, Meta(max_length=WHY_CHARS_MAX)]
    lineage: Lineage | None
    record: WireRecord | None
    ballot: Ballot
    lock: Prepared | None
    standings: Annotated[tuple[WireRecord, ...], Meta(max_length=WITNESSES)]


Answer = (
    Held
    | Records
    | Chain
    | Peers
    | Drafted
    | Signed
    | Never
    | Done
    | Standings
    | Witnessed
    | Retired
    | Unwitnessed
)

requests: Codec[Request] = Codec(Request, "request", MESSAGE_BYTES_MAX)
answers: Codec[Answer] = Codec(Answer, "answer", MESSAGE_BYTES_MAX)
hellos: Codec[Hello] = Codec(Hello, "hello", HELLO_BYTES_MAX)

__all__ = ["Answer", "Request", "answers", "encode", "hellos", "requests"]
