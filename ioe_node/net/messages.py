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
from ioe_node.model.capability import Secret
from ioe_node.model.codec import Codec, encode
from ioe_node.model.finality import (
    LINKS_MAX,
    WITNESSES,
    Agents,
    Ballot,
    Certificate,
    Lineage,
    Prepared,
    Retirement,
)
from ioe_node.model.record import ENTRY_BYTES_MAX, Parcel, Signature, WireRecord
from ioe_node.model.warrant import SignedReceipt, SignedWarrant
from ioe_node.net.transport import MESSAGE_BYTES_MAX

PARCELS_PER_PUBLISH_MAX = 1_024
RECORDS_PER_ANSWER_MAX = 1_024
PEERS_PER_MESSAGE_MAX = 32
FOUND_PEERS_MAX = 20
SPANS_PER_MESSAGE_MAX = 1_024
OPS_PER_MESSAGE_MAX = 1_024
PLACES_PER_MESSAGE_MAX = 256
HEADS_PER_MESSAGE_MAX = 1_024
GONE_PER_MESSAGE_MAX = 16
INFOS_PER_COMPARE_MAX = 4
WARRANTS_KNOWN_MAX = 4_096
WARRANTS_PER_MESSAGE_MAX = 64
HELLO_BYTES_MAX = 32_768
CALL_BYTES_MAX = 1024 * 1024
CALL_DEPTH_MAX = 8
FINALS_PER_DRAFT_MAX = 512
STANDINGS_PER_MESSAGE_MAX = 256
WHY_CHARS_MAX = 32

Location = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Digest = Annotated[bytes, Meta(min_length=16, max_length=16)]
ChainLinks = Annotated[
    tuple[Annotated[bytes, Meta(max_length=ACTION_BYTES_MAX)], ...], Meta(max_length=LINKS_MAX)
]


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
    """The links at a base, and their removals; those after the link `after` if one is named."""

    base: Hash39
    after: Hash39 | None = None


class Find(Struct, frozen=True, tag="Find"):
    """Whom do you know closest to a key, or to a place among the witnesses?

    `count` of them at most, besides yourself.  By key anybody, or `holders` of a share alone;
    witnesses are holders.
    """

    key: Location
    by_place: bool
    count: Annotated[int, Meta(ge=0, le=FOUND_PEERS_MAX)] = FOUND_PEERS_MAX
    holders: bool = False


class Span(Struct, frozen=True, array_like=True):
    """What is held at locations `low` to `high`, both included, as one digest."""

    low: Location
    high: Location
    digest: Digest


class OpName(Struct, frozen=True, array_like=True):
    """An op outside its author's neighbourhood: its basis' location, its hash's first 8 bytes."""

    location: Location
    short: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class HeadOf(Struct, frozen=True, array_like=True):
    """How far a chain goes here."""

    author: Hash39
    action_seq: Seq
    hash: Hash39
    timestamp_us: TimestampUs


class Compare(Struct, frozen=True, tag="Compare"):
    """Do we hold the same?  Answered by `Compared`.

    `ops` are spans of the ops outside their authors' neighbourhoods, `chains` of the heads of
    chains, at their authors' locations; both in order, without overlap, and of what both of us
    hold a share of.  `warrants_digest` is over who is warranted; `gone` are members that do not
    answer us.
    """

    ops: Annotated[tuple[Span, ...], Meta(max_length=SPANS_PER_MESSAGE_MAX)]
    chains: Annotated[tuple[Span, ...], Meta(max_length=SPANS_PER_MESSAGE_MAX)]
    warrants_digest: Digest
    gone: Annotated[tuple[Hash39, ...], Meta(max_length=GONE_PER_MESSAGE_MAX)]
    infos: Annotated[tuple[SignedInfo, ...], Meta(max_length=INFOS_PER_COMPARE_MAX)]


class Offer(Struct, frozen=True, tag="Offer"):
    """We hold these chains as far as this; answered by `Lacking`."""

    heads: Annotated[tuple[HeadOf, ...], Meta(max_length=HEADS_PER_MESSAGE_MAX)]


class GetOps(Struct, frozen=True, tag="GetOps"):
    """The records of these ops, each alone; answered by `Records`."""

    ops: Annotated[tuple[OpName, ...], Meta(max_length=OPS_PER_MESSAGE_MAX)]


class Place(Struct, frozen=True, array_like=True):
    """A place on a chain."""

    author: Hash39
    action_seq: Seq


class Places(Struct, frozen=True, tag="Places"):
    """Which actions do you hold at these places?  Answered by `Placed`."""

    places: Annotated[tuple[Place, ...], Meta(max_length=PLACES_PER_MESSAGE_MAX)]


class GetWarrants(Struct, frozen=True, tag="GetWarrants"):
    """The warrants that are none of these; answered by `Warrants`."""

    known: Annotated[tuple[Hash39, ...], Meta(max_length=WARRANTS_KNOWN_MAX)]


class Warrants(Struct, frozen=True, tag="Warrants"):
    """Proofs of misbehaviour that we hold."""

    warrants: Annotated[tuple[SignedWarrant, ...], Meta(max_length=WARRANTS_PER_MESSAGE_MAX)]


class Propose(Struct, frozen=True, tag="Propose"):
    """Commit an entry with us: the zome's draft function and its terms.

    `action_seq`, `prev_action` and `timestamp_us` are the proposer's place; answered by `Drafted`.
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


class Standings(Struct, frozen=True, tag="Standings"):
    """Members' standings; answered by the answerer's own and of those near the first's place.

    `count` is how many are wanted.
    """

    standings: Annotated[tuple[WireRecord, ...], Meta(max_length=STANDINGS_PER_MESSAGE_MAX)]
    count: Annotated[int, Meta(ge=0, le=STANDINGS_PER_MESSAGE_MAX)] = 0


class Knock(Struct, frozen=True, tag="Knock"):
    """Are you there, and can you witness for this author in a view begun then?

    Answered by `Here`.
    """

    author: Hash39
    begun_us: TimestampUs


class Witness(Struct, frozen=True, tag="Witness"):
    """Sign this action as its author's witness; answered by `Witnessed` or `Unwitnessed`.

    `links` are the actions before it, oldest first, back to what the witness has signed.
    """

    target: WireRecord
    links: ChainLinks
    lineage: Lineage


class GetCertificate(Struct, frozen=True, tag="GetCertificate"):
    """What shows that this action is final?  Answered by `Certified`."""

    action: Hash39


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
    | Find
    | Compare
    | Offer
    | GetOps
    | Places
    | GetWarrants
    | Warrants
    | Propose
    | Sign
    | Outcome
    | Call
    | Standings
    | Knock
    | Witness
    | GetCertificate
    | Relieve
)


class Held(Struct, frozen=True, tag="Held"):
    """Our signed verdicts on what was published."""

    receipt: SignedReceipt


class Records(Struct, frozen=True, tag="Records"):
    """Records, each fit to be checked alone."""

    records: Annotated[tuple[WireRecord, ...], Meta(max_length=RECORDS_PER_ANSWER_MAX)]


class Peers(Struct, frozen=True, tag="Peers"):
    """Whom we know, ourselves first."""

    infos: Annotated[tuple[SignedInfo, ...], Meta(max_length=PEERS_PER_MESSAGE_MAX)]


class Differing(Struct, frozen=True, array_like=True):
    """Where two peers differ: smaller `spans`, and the ranges `listed` whose all is named."""

    spans: Annotated[tuple[Span, ...], Meta(max_length=SPANS_PER_MESSAGE_MAX)]
    listed: Annotated[tuple[tuple[Location, Location], ...], Meta(max_length=SPANS_PER_MESSAGE_MAX)]


class Compared(Struct, frozen=True, tag="Compared"):
    """What differs: ops and `names` of ours, chains and `heads` of ours, in the ranges listed.

    A span that goes beyond what we think is shared comes back as the spans that do not.
    """

    ops: Differing
    names: Annotated[tuple[OpName, ...], Meta(max_length=OPS_PER_MESSAGE_MAX)]
    chains: Differing
    heads: Annotated[tuple[HeadOf, ...], Meta(max_length=HEADS_PER_MESSAGE_MAX)]
    same_warrants: bool
    infos: Annotated[tuple[SignedInfo, ...], Meta(max_length=INFOS_PER_COMPARE_MAX)]


class Lacking(Struct, frozen=True, tag="Lacking"):
    """The authors whose chains we do not hold as far yet; we fetch what is in our share."""

    authors: Annotated[tuple[Hash39, ...], Meta(max_length=HEADS_PER_MESSAGE_MAX)]


class Placed(Struct, frozen=True, tag="Placed"):
    """For each place asked for the hash of the action that stands there, None if none does."""

    hashes: Annotated[tuple[Hash39 | None, ...], Meta(max_length=PLACES_PER_MESSAGE_MAX)]


class Chain(Struct, frozen=True, tag="Chain"):
    """A run of a chain in whole bundles; `more` if it goes on."""

    parcels: Annotated[tuple[Parcel, ...], Meta(max_length=RECORDS_PER_ANSWER_MAX)]
    more: bool


class LinkPage(Struct, frozen=True, tag="LinkPage"):
    """Links in the answerer's own order, each followed by a removal if it has any.

    `more`: ask again after the last link of the page.
    """

    records: Annotated[tuple[WireRecord, ...], Meta(max_length=RECORDS_PER_ANSWER_MAX)]
    more: bool


class Drafted(Struct, frozen=True, tag="Drafted"):
    """The entry that both would commit, with both places in it.

    `finals` are the actions that the drafting took for final.
    """

    entry: Annotated[bytes, Meta(max_length=ENTRY_BYTES_MAX)]
    finals: Annotated[tuple[Hash39, ...], Meta(max_length=FINALS_PER_DRAFT_MAX)] = ()


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


class Witnessed(Struct, frozen=True, tag="Witnessed"):
    """Our signature, for an action or a vote."""

    signature: Signature


class Certified(Struct, frozen=True, tag="Certified"):
    """The certificate of an action, or of a later one of its chain; None: we have none.

    `links` are the actions after the one asked for up to the one certified, oldest first.
    """

    certificate: Certificate | None
    links: ChainLinks = ()


class Retired(Struct, frozen=True, tag="Retired"):
    """Our last word under a view."""

    retirement: Retirement


class Here(Struct, frozen=True, tag="Here"):
    """We are there; whether we know all that we may have signed under that view."""

    remembers: bool


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
    | LinkPage
    | Peers
    | Compared
    | Lacking
    | Placed
    | Warrants
    | Drafted
    | Signed
    | Never
    | Done
    | Returned
    | Failed
    | Standings
    | Here
    | Witnessed
    | Certified
    | Retired
    | Unwitnessed
)

requests: Codec[Request] = Codec(Request, "request", MESSAGE_BYTES_MAX)
answers: Codec[Answer] = Codec(Answer, "answer", MESSAGE_BYTES_MAX)
hellos: Codec[Hello] = Codec(Hello, "hello", HELLO_BYTES_MAX)

__all__ = ["Answer", "Request", "answers", "encode", "hellos", "requests"]
