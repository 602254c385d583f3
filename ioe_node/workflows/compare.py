"""Comparing with one neighbour what both should hold, and answering it; see `workflows.gossip`."""

from collections.abc import Sequence
from hashlib import blake2b

from ioe_node.core.share import Range, common, split
from ioe_node.hdi import AgentPubKey
from ioe_node.model.agent_info import SignedInfo
from ioe_node.net.messages import (
    GONE_PER_MESSAGE_MAX,
    HEADS_PER_MESSAGE_MAX,
    INFOS_PER_COMPARE_MAX,
    OPS_PER_MESSAGE_MAX,
    SPANS_PER_MESSAGE_MAX,
    Compare,
    Compared,
    HeadOf,
    Lacking,
    Offer,
    OpName,
    Span,
)
from ioe_node.workflows.locate import learn_all
from ioe_node.workflows.space import Space
from ioe_node.workflows.spread import warrants_digest

PARTS = 16
NAMED_OPS_MAX = 48
OFFERED_MAX = 128
OFFERED_PER_PEER_MAX = 32
HEARD_FRESH_US = 5 * 1_000_000
GONE_FRESH_US = 60 * 1_000_000


def shared_heads(space: Space, peer: AgentPubKey) -> list[HeadOf]:
    """The heads, as held here, of all chains of which both of us hold a share; by author."""
    found: list[HeadOf] = []
    if not space.membership.holds:
        return found
    for author in space.store.authors():
        holders = space.authorities(author)
        if peer in holders and (space.agent in holders or author == space.agent):
            head = space.store.head(author)
            if head is not None and author not in space.blocked:
                found.append(HeadOf(author, head.seq, head.hash, head.timestamp_us))
    return found[:HEADS_PER_MESSAGE_MAX]


def heads_digest(heads: Sequence[HeadOf]) -> bytes:
    """16 bytes that two peers share when they hold the same chains equally far."""
    digest = blake2b(digest_size=16)
    for head in heads:
        digest.update(head.author + head.hash)
    return digest.digest()


def shared_ranges(space: Space, peer: AgentPubKey) -> list[Range]:
    """The locations of which both of us hold a share."""
    member = space.membership.get(peer)
    if not space.membership.holds or (member is not None and not member.holds):
        return []
    return common(space.membership.share(space.agent), space.membership.share(peer))


def our_share(space: Space) -> list[Range]:
    """The locations of which we hold a share."""
    return space.membership.share(space.agent) if space.membership.holds else []


def spans_of(space: Space, ranges: Sequence[Range]) -> list[Span]:
    """What is held in each range."""
    sums = space.store.count_ops(ranges)
    return [
        Span(low, high, count, sum_low, sum_high)
        for (low, high), (count, sum_low, sum_high) in zip(ranges, sums, strict=True)
    ]


def answer_compare(space: Space, peer: AgentPubKey, ask: Compare) -> Compared:
    """What differs here from what a peer holds."""
    learn_all(space, ask.infos, peer)
    for agent in ask.gone:
        _doubt(space, AgentPubKey(agent))
    heads = shared_heads(space, peer)
    same_chains = heads_digest(heads) == ask.chains_digest
    ours = spans_of(space, [(span.low, span.high) for span in ask.spans])
    cut: list[Range] = []
    listed: list[Range] = []
    named: list[OpName] = []
    for theirs, span in zip(ask.spans, ours, strict=True):
        if theirs == span:
            continue
        if span.count <= NAMED_OPS_MAX or span.low == span.high:
            ops = space.store.list_ops(span.low, span.high, OPS_PER_MESSAGE_MAX - len(named))
            named += [OpName(location, short) for location, short in ops]
            listed.append((span.low, span.high))
        else:
            cut += split((span.low, span.high), PARTS)
        if len(named) + NAMED_OPS_MAX > OPS_PER_MESSAGE_MAX or len(cut) > SPANS_PER_MESSAGE_MAX:
            break
    return Compared(
        () if same_chains else tuple(heads),
        same_chains,
        warrants_digest(space) == ask.warrants_digest,
        tuple(spans_of(space, cut[:SPANS_PER_MESSAGE_MAX])),
        tuple(listed),
        tuple(named),
        some_infos(space),
    )


def answer_offer(space: Space, peer: AgentPubKey, ask: Offer) -> Lacking:
    """What we lack of what a peer offers; what is in our share will be fetched from it."""
    behind = [AgentPubKey(head.author) for head in ask.heads if lacks(space, head)]
    room = OFFERED_PER_PEER_MAX - sum(each == peer for each in space.offered.values())
    for author in behind:
        if room > 0 and space.is_authority(author) and len(space.offered) < OFFERED_MAX:
            room -= space.offered.get(author) != peer
            space.offered[author] = peer
    space.gossip_bell.ring()
    return Lacking(tuple(behind))


def lacks(space: Space, head: HeadOf) -> bool:
    ours = space.store.head(AgentPubKey(head.author))
    return ours is None or ours.seq < head.action_seq


def some_infos(space: Space) -> tuple[SignedInfo, ...]:
    known = space.membership.alive()
    chosen = space.rng.sample(known, min(len(known), INFOS_PER_COMPARE_MAX - 1))
    signed = [space.peers.signed_of(agent) for agent in chosen]
    return (space.info(), *(each for each in signed if each is not None))


def compare_of(space: Space, peer: AgentPubKey, spans: Sequence[Span]) -> Compare:
    """Our question to one neighbour."""
    fresh_us = space.clock.now_us() - GONE_FRESH_US
    gone = [agent for agent, since_us in space.gone.items() if since_us > fresh_us]
    return Compare(
        heads_digest(shared_heads(space, peer)),
        warrants_digest(space),
        tuple(spans[:SPANS_PER_MESSAGE_MAX]),
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
