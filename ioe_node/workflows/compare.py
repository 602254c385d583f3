"""Comparing with one neighbour what both should hold, and answering it; see `workflows.gossip`.

Two things are compared in the same way: the ops outside their authors' neighbourhoods, and the
heads of chains, each at a location.  Only what both sides hold a share of is: where their views of
the shares differ, the answerer narrows the question.  Spans lie in order without overlap, so an
answer reads no row more than twice, in a worker thread, whatever is asked.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, islice, pairwise
from typing import Protocol, TypeVar

from ioe_node.core.chain import Head, head_after
from ioe_node.core.share import Range, common, split
from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.agent_info import SignedInfo
from ioe_node.model.hashes import key_of
from ioe_node.model.record import Record
from ioe_node.net.messages import (
    GONE_PER_MESSAGE_MAX,
    HEADS_PER_MESSAGE_MAX,
    INFOS_PER_COMPARE_MAX,
    OPS_PER_MESSAGE_MAX,
    SPANS_PER_MESSAGE_MAX,
    Compare,
    Compared,
    Differing,
    HeadOf,
    Lacking,
    Offer,
    OpName,
    Span,
)
from ioe_node.store.hash_index import SHORT_MIN
from ioe_node.store.store import Store
from ioe_node.workflows.locate import learn_all
from ioe_node.workflows.pages import page_of
from ioe_node.workflows.publish import OPS_PER_PUBLISH_MAX
from ioe_node.workflows.space import Space
from ioe_node.workflows.spread import warrants_digest

Name = TypeVar("Name", OpName, HeadOf)
Name_co = TypeVar("Name_co", covariant=True)

PARTS = 16
NAMED_MAX = 48
"""A range that differs is cut until no more than this is in a part: then all of it is named."""
NAMES_MAX = min(OPS_PER_MESSAGE_MAX, HEADS_PER_MESSAGE_MAX)
OFFERING_MAX = 256
"""Peers whose offers wait to be looked at."""
OFFERED_PER_PEER_MAX = 32
HEARD_FRESH_US = 5 * 1_000_000
GONE_FRESH_US = 60 * 1_000_000


class Holding(Protocol[Name_co]):
    """What is held here at locations, to be compared."""

    def sums(self, ranges: Sequence[Range]) -> list[tuple[int, bytes]]:
        """For each range how much there is, and a digest that two peers share if it is equal."""
        ...

    def names(self, low: int, high: int, limit: int) -> Sequence[Name_co]:
        """The first names in a range, in order."""
        ...


class OpsHeld:
    """The ops held outside their authors' neighbourhoods; without those of who is warranted.

    Of one location there may be more than are named at once, as all links at a base have its
    location.  They are named in a ring, beginning at `begin`: by lot, so that in time all are.
    """

    def __init__(self, store: Store, begin: int = SHORT_MIN) -> None:
        self._store = store
        self._begin = begin

    def sums(self, ranges: Sequence[Range]) -> list[tuple[int, bytes]]:
        """See `Holding`."""
        counted = self._store.count_ops(ranges)
        return [(sums[0], _digest(b"%d %d %d" % sums)) for sums in counted]

    def names(self, low: int, high: int, limit: int) -> list[OpName]:
        """See `Holding`; in order of location and hash."""
        begin = self._begin if low == high else SHORT_MIN
        found = self._store.list_ops(low, high, limit, begin)
        if len(found) < limit and begin > SHORT_MIN:
            before = self._store.list_ops(low, high, limit - len(found))
            found += [each for each in before if each[1] < begin]
        return [OpName(location, short) for location, short in found]


class ChainsHeld:
    """The heads of the chains of some authors, each at its author's location.

    Of what an author wrote after it was `ended` some hold more than others, and none has to.
    """

    def __init__(
        self,
        store: Store,
        authors: Iterable[AgentPubKey],
        ended: Mapping[AgentPubKey, int] | None = None,
    ) -> None:
        self._store = store
        self._authors = sorted((key_of(author), author) for author in authors)
        self._ended = ended or {}

    def sums(self, ranges: Sequence[Range]) -> list[tuple[int, bytes]]:
        """See `Holding`."""
        sums = []
        for low, high in ranges:
            heads = self.names(low, high)
            digest = _digest(b"".join(head.author + head.hash for head in heads))
            sums.append((len(heads), digest))
        return sums

    def names(self, low: int, high: int, limit: int | None = None) -> list[HeadOf]:
        """See `Holding`; in order of the authors' locations."""
        first = bisect_left(self._authors, (low, b""))
        past = bisect_left(self._authors, (high + 1, b""))
        found: list[HeadOf] = []
        for _, author in self._authors[first:past][:limit]:
            head = self._head(author)
            if head is not None:
                found.append(HeadOf(author, head.seq, head.hash, head.timestamp_us))
        return found

    def _head(self, author: AgentPubKey) -> Head | None:
        head, last_seq = self._store.head(author), self._ended.get(author)
        if head is None or last_seq is None or head.seq <= last_seq:
            return head
        last = self._store.record_at(author, last_seq)
        return None if last is None else head_after(last.action, last.hash)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def authors_held(space: Space) -> list[AgentPubKey]:
    """Whose chains are here; without those who broke a rule.

    What was written under a key before it was revoked is as good as ever, and others rest on it.
    """
    broke = space.blocked - space.ended.keys()
    return [author for author in space.store.authors() if author not in broke]


def shared_ranges(space: Space, peer: AgentPubKey) -> list[Range]:
    """The locations of which both of us hold a share."""
    member = space.membership.get(peer)
    if not space.membership.holds or (member is not None and not member.holds):
        return []
    return common(space.membership.share(space.agent), space.membership.share(peer))


def our_share(space: Space) -> list[Range]:
    """The locations of which we hold a share."""
    return space.membership.share(space.agent) if space.membership.holds else []


def ranges_of(spans: Sequence[Span]) -> list[Range]:
    """Where spans lie."""
    return [(span.low, span.high) for span in spans]


def spans_of(holding: Holding[object], ranges: Sequence[Range]) -> tuple[Span, ...]:
    """What is held in each range, of as many ranges as a message has room for."""
    ranges = ranges[:SPANS_PER_MESSAGE_MAX]
    sums = holding.sums(ranges)
    return tuple(
        Span(low, high, digest) for (low, high), (_, digest) in zip(ranges, sums, strict=True)
    )


async def own_spans(
    space: Space, ops: Sequence[Range], chains: Sequence[Range]
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """What we hold of ops and of chains in some ranges each, read in a worker thread."""
    store, authors, ended = space.store, authors_held(space), dict(space.ended)

    def read() -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        return spans_of(OpsHeld(store), ops), spans_of(ChainsHeld(store, authors, ended), chains)

    return await space.run(read)


def _in_order(ranges: Sequence[Range]) -> bool:
    """Whether ranges follow each other without overlap."""
    return all(low <= high for low, high in ranges) and all(
        one[1] < other[0] for one, other in pairwise(ranges)
    )


def differing(
    holding: Holding[Name], asked: Sequence[Span], shared: Sequence[Range], turn: int = 0
) -> tuple[Differing, tuple[Name, ...]]:
    """Where a peer's spans differ from what is held here within `shared`, and names from there.

    There may be more than an answer has room for, and what differs may stay so.  That holds up
    nothing in other ranges, if they are begun at another one each time, as any number `turn` says.
    """
    wanted = {(span.low, span.high): span.digest for span in asked}
    pieces = common(list(wanted), shared)
    whole = [piece for piece in pieces if piece in wanted]
    smaller = [piece for piece in pieces if piece not in wanted]
    summed = list(zip(whole, holding.sums(whole), strict=True))
    first = turn % max(1, len(whole))
    listed: dict[Range, Sequence[Name]] = {}
    room = NAMES_MAX
    for span, (count, digest) in summed[first:] + summed[:first]:
        if digest == wanted[span]:
            continue
        if count > NAMED_MAX and span[0] != span[1]:
            smaller += split(span, PARTS)
        elif count <= room or not listed:  # a list is cut only if it is the only one
            listed[span] = holding.names(*span, room)
            room -= len(listed[span])
        if room < NAMED_MAX or len(smaller) >= SPANS_PER_MESSAGE_MAX:
            break
    names = chain.from_iterable(listed[span] for span in sorted(listed))
    return Differing(spans_of(holding, sorted(smaller)), tuple(sorted(listed))), tuple(names)


async def answer_compare(space: Space, peer: AgentPubKey, ask: Compare) -> Compared:
    """What differs here from what a peer holds."""
    if not (_in_order(ranges_of(ask.ops)) and _in_order(ranges_of(ask.chains))):
        raise Malformed("a comparison of spans that overlap or are out of order")
    learn_all(space, ask.infos, peer)
    for agent in ask.gone:
        _doubt(space, AgentPubKey(agent))
    store, authors, shared = space.store, authors_held(space), shared_ranges(space, peer)
    turn, ended = space.rng.getrandbits(64), dict(space.ended)

    def read() -> tuple[tuple[Differing, tuple[OpName, ...]], tuple[Differing, tuple[HeadOf, ...]]]:
        ops = differing(OpsHeld(store, SHORT_MIN + turn), ask.ops, shared, turn)
        chains = ChainsHeld(store, authors, ended)
        return ops, differing(chains, ask.chains, shared, turn)

    ops, heads = await space.run(read)
    same_warrants = warrants_digest(space) == ask.warrants_digest
    return Compared(*ops, *heads, same_warrants, some_infos(space))


def check_answer(ask: Compare, answer: Compared) -> None:
    """Raise `Malformed` for an answer about what was not asked: reading that is work for us."""
    for asked, found in ((ask.ops, answer.ops), (ask.chains, answer.chains)):
        told = sorted([*found.listed, *ranges_of(found.spans)])
        if not _in_order(told) or common(told, ranges_of(asked)) != told:
            raise Malformed("a comparison answered by ranges that were not asked for")


def chains_ahead(held: ChainsHeld, answer: Compared, settled_us: int) -> list[HeadOf]:
    """Heads in the ranges listed that a peer has not, as many as a message holds.

    Without those that grew after `settled_us`.
    """
    named = {head.author: head.action_seq for head in answer.heads}
    ours = (head for span in answer.chains.listed for head in held.names(*span))
    ahead = (
        head
        for head in ours
        if head.timestamp_us < settled_us and named.get(head.author, -1) < head.action_seq
    )
    return list(islice(ahead, HEADS_PER_MESSAGE_MAX))


def ops_unlike(
    store: Store, answer: Compared, settled_us: int
) -> tuple[list[OpName], list[Record]]:
    """In the ranges listed: what only a peer has, and the records of what only we have.

    The records are as many as one message takes, made before `settled_us`.
    """
    theirs = list(answer.names)
    begins = {op.location: op.short for op in reversed(theirs)}
    rings = {low: begins.get(low, SHORT_MIN) for low, high in answer.ops.listed if low == high}

    def place(op: OpName) -> tuple[int, int]:
        return op.location, (op.short - rings.get(op.location, SHORT_MIN)) % 2**64

    ours: list[OpName] = []
    for low, high in answer.ops.listed:
        held = OpsHeld(store, rings.get(low, SHORT_MIN))
        ours += held.names(low, high, NAMES_MAX - len(ours))
    # Beyond the last name of a list that was cut nobody knows what the other has.
    if len(ours) == NAMES_MAX:
        theirs = [op for op in theirs if place(op) <= place(ours[-1])]
    if len(answer.names) == NAMES_MAX:
        ours = [op for op in ours if place(op) <= place(answer.names[-1])]
    both = set(ours) & set(theirs)
    spare = (
        record
        for op in [op for op in ours if op not in both][:OPS_PER_PUBLISH_MAX]
        for record in store.ops_at(op.location, op.short)
        if record.action.timestamp_us < settled_us
    )
    return [op for op in theirs if op not in both], page_of(spare)


def answer_offer(space: Space, peer: AgentPubKey, ask: Offer) -> Lacking:
    """What we lack of what a peer offers; what is in our share will be fetched from it."""
    behind = [head for head in ask.heads if lacks(space, head)]
    if peer in space.offered or len(space.offered) < OFFERING_MAX:
        ends = space.offered.setdefault(peer, {})
        for head in behind:
            author = AgentPubKey(head.author)
            if space.is_authority(author) and len(ends) < OFFERED_PER_PEER_MAX:
                ends[author] = head.action_seq
        space.gossip_bell.ring()
    return Lacking(tuple(head.author for head in behind))


def lacks(space: Space, head: HeadOf) -> bool:
    """Whether we hold less of a chain; after its author was shut out, nothing of it is lacking."""
    author = AgentPubKey(head.author)
    last_seq = space.ended.get(author, -1 if author in space.blocked else head.action_seq)
    ours = space.store.head(author)
    return (-1 if ours is None else ours.seq) < min(head.action_seq, last_seq)


def some_infos(space: Space) -> tuple[SignedInfo, ...]:
    known = space.membership.alive()
    chosen = space.rng.sample(known, min(len(known), INFOS_PER_COMPARE_MAX - 1))
    signed = [space.peers.signed_of(agent) for agent in chosen]
    return (space.info(), *(each for each in signed if each is not None))


def compare_of(space: Space, ops: tuple[Span, ...], chains: tuple[Span, ...]) -> Compare:
    """Our question to one neighbour."""
    fresh_us = space.clock.now_us() - GONE_FRESH_US
    gone = [agent for agent, since_us in space.gone.items() if since_us > fresh_us]
    return Compare(
        ops,
        chains,
        warrants_digest(space),
        tuple(gone[:GONE_PER_MESSAGE_MAX]),
        some_infos(space),
    )


def _doubt(space: Space, agent: AgentPubKey) -> None:
    """A neighbour says that somebody is gone: we look for ourselves, unless we just heard it."""
    member = space.membership.get(agent)
    if member is None or not member.alive:
        return
    if space.clock.now_us() - member.heard_us > HEARD_FRESH_US:
        space.doubted.add(agent)
        space.gossip_bell.ring()
