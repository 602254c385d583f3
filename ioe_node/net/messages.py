"""What agents of one network say to each other, pure and typed.

One request, one answer.  Decoding is canonical (`model.codec`): whatever is not exactly one
of these shapes raises `Malformed`, and the peer is charged.
"""

from typing import Annotated

from msgspec import Meta, Struct

from ioe_node.model.action import MEMBRANE_PROOF_BYTES_MAX, Hash39, Seq, TimestampUs
from ioe_node.model.agent_info import SignedInfo
from ioe_node.model.capability import Secret
from ioe_node.model.codec import Codec, encode
from ioe_node.model.record import ENTRY_BYTES_MAX, Parcel, Signature, WireRecord
from ioe_node.model.warrant import SignedReceipt, SignedWarrant
from ioe_node.net.transport import MESSAGE_BYTES_MAX

PARCELS_PER_PUBLISH_MAX = 1_024
RECORDS_PER_ANSWER_MAX = 1_024
PEERS_PER_MESSAGE_MAX = 256
WARRANTS_PER_MESSAGE_MAX = 64
HELLO_BYTES_MAX = 32_768
CALL_BYTES_MAX = 1024 * 1024
CALL_DEPTH_MAX = 8


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


class Call(Struct, frozen=True, tag="Call"):
    """Run a zome function for us; answered by `Returned` or `Failed`.

    `payload` is a packed map with one key a parameter.  `depth` counts the calls, near and
    remote, that this one hangs from: two nodes whose functions call each other come to an end.
    """

    zome: Annotated[str, Meta(max_length=128)]
    function: Annotated[str, Meta(max_length=128)]
    payload: Annotated[bytes, Meta(max_length=CALL_BYTES_MAX)]
    secret: Secret | None
    depth: Annotated[int, Meta(ge=1, le=CALL_DEPTH_MAX)]


Request = Publish | Get | Activity | Links | Peers | Warrants | Propose | Sign | Outcome | Call


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


class Returned(Struct, frozen=True, tag="Returned"):
    """What the function returned, packed."""

    value: Annotated[bytes, Meta(max_length=CALL_BYTES_MAX)]


class Failed(Struct, frozen=True, tag="Failed"):
    """The call was refused or failed; `code` names the error's class."""

    code: Annotated[str, Meta(max_length=64)]
    text: Annotated[str, Meta(max_length=1_024)]


Answer = Held | Records | Chain | Peers | Drafted | Signed | Never | Done | Returned | Failed

requests: Codec[Request] = Codec(Request, "request", MESSAGE_BYTES_MAX)
answers: Codec[Answer] = Codec(Answer, "answer", MESSAGE_BYTES_MAX)
hellos: Codec[Hello] = Codec(Hello, "hello", HELLO_BYTES_MAX)

__all__ = ["Answer", "Request", "answers", "encode", "hellos", "requests"]
