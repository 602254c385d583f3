"""Who witnesses for an author, and how anyone checks it: founders, quorum, lineage, certificate.

View 0 must come out the same for everyone and at any time, else two disjoint sets could each
certify another branch.  "The closest members known" does not: a network that grows or forgets
has another answer each month, and those who came later know nothing of what the first signed.
So the founders of an author's line are the members closest to its place *that were there before
it* (`SPREAD_US` before, so that all have heard of them), alive or dead; who comes later never
enters.  And view 0 binds nobody who did not take it up within `FOUNDING_US` of the author's
admission, which is less than members are remembered for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import nsmallest

from ioe_node.errors import Malformed
from ioe_node.model.action import decode_action
from ioe_node.model.finality import (
    WITNESSES,
    Certificate,
    Handover,
    Lineage,
    Mark,
    Prepared,
    Retirement,
    Standing,
    View,
    check_members,
    key_of_witness,
    open_sealed,
    open_standing,
    retirement_message,
    vote_message,
    witness_message,
)
from ioe_node.model.hashes import ActionHash, AgentPubKey, DnaHash, action_hash
from ioe_node.model.record import Record, WireRecord
from ioe_node.model.signing import verify

SPREAD_US = 30 * 1_000_000
FOUNDING_US = 3 * 24 * 3_600 * 1_000_000
CLOCK_SKEW_US_MAX = 5 * 60 * 1_000_000
MARKS_CHECKED_MAX = 16_384
LINEAGES_CHECKED_MAX = 1_024

Admits = Callable[[AgentPubKey, bytes | None, bool], bool]
"""Whether the membrane admits an agent by its proof, and (if asked for) as a witness: on its own
account, for who is in by another's word was made, and may have been chosen, by that other."""


def quorum(count: int) -> int:
    """How many of `count` witnesses make a certificate: (n + f) // 2 + 1 with f = (n - 1) // 2.

    A plain majority is not enough.  Of n = 8 let f = 3 collude: the majorities {1 2 3 4 5} and
    {1 2 3 6 7} meet in 1 2 3 alone, and if these collude each side is certified.  Two sets of q
    share at least 2q - n witnesses; for one of them to be honest, 2q - n > f.
    """
    colluding = (count - 1) // 2
    return (count + colluding) // 2 + 1


def closest(
    place: int, standings: Iterable[Standing], count: int = WITNESSES
) -> tuple[AgentPubKey, ...]:
    """The members closest to a place by XOR, in the order of their keys."""
    near = nsmallest(count, standings, key=lambda each: (each.place ^ place, each.agent))
    return tuple(sorted(each.agent for each in near))


def precedes(member: Standing, author: Standing) -> bool:
    """Whether a member was there before an author came, and everyone had heard of it.

    Of the network's roots, who need no proof to be admitted, everyone hears at once.
    """
    spread_us = 0 if member.proof is None else SPREAD_US
    before = member.since_us + spread_us < author.since_us
    return before and member.agent != author.agent


def founders_of(author: Standing, known: Iterable[Standing]) -> tuple[AgentPubKey, ...]:
    """View 0 of `author` as someone who knows these members sees it; empty if none is older."""
    return closest(author.place, [each for each in known if precedes(each, author)])


def first_view(author: Standing, founders: Sequence[AgentPubKey]) -> View:
    """View 0; raises `Malformed` for an author whom nobody precedes and somebody admitted.

    Whom the membrane lets in without a proof is a root of its trust, and may found its line.
    """
    if founders:
        return View(author.agent, 0, check_members(founders, author.agent))
    if author.proof is not None:
        raise Malformed("an author whom a member admitted, and no member older than it")
    return View(author.agent, 0, (author.agent,))


@lru_cache(maxsize=MARKS_CHECKED_MAX)
def _fits(key: bytes, message: bytes, signature: bytes) -> bool:
    return verify(key, message, signature)


def check_marks(view: View, marks: Sequence[Mark], message: bytes) -> None:
    """Raise `Malformed` unless a quorum of the view, each once, has signed `message`."""
    signers = [mark.signer for mark in marks]
    if len(set(signers)) != len(signers) or len(signers) < quorum(len(view.members)):
        raise Malformed("fewer signatures than a quorum of the witnesses")
    if not all(_fits(key_of_witness(view, mark.signer), message, mark.signature) for mark in marks):
        raise Malformed("a witness' signature that does not fit")


def check_prepared(dna: DnaHash, view: View, prepared: Prepared) -> None:
    """Raise `Malformed` unless a quorum of the view has voted for these heirs."""
    check_members(prepared.heirs, view.author)
    message = vote_message(dna, view, prepared.ballot, prepared.heirs)
    check_marks(view, prepared.votes, message)


def next_view(dna: DnaHash, view: View, step: Handover) -> View:
    """The view after a handover; raises `Malformed` unless a quorum of the old has signed it.

    A view is never followed by a smaller one: in a partition that would let the few who collude
    become many of those that are left.
    """
    heirs = check_members(step.heirs, view.author)
    if len(heirs) < len(view.members):
        raise Malformed("fewer heirs than there were witnesses")
    signers = [each.signer for each in step.retirements]
    if len(set(signers)) != len(signers) or len(signers) < quorum(len(view.members)):
        raise Malformed("a handover by fewer than a quorum")
    for each in step.retirements:
        message = retirement_message(dna, view, step.ballot, heirs, each.seq, each.hash, each.at_us)
        if not _fits(key_of_witness(view, each.signer), message, each.signature):
            raise Malformed("a retirement whose signature does not fit")
        if each.record is not None:
            record = open_sealed(each.record, dna, view.author)
            if (record.action.action_seq, record.hash) != (each.seq, each.hash):
                raise Malformed("a retirement that shows another action than it names")
    return View(view.author, view.number + 1, heirs)


@lru_cache(maxsize=LINEAGES_CHECKED_MAX)
def _views(dna: DnaHash, lineage: Lineage) -> tuple[View, ...]:
    author = open_standing(lineage.standing, dna)
    founders = [open_standing(wire, dna) for wire in lineage.founders]
    if not all(precedes(each, author) for each in founders):
        raise Malformed("a founding witness who came after its author")
    views = [first_view(author, [each.agent for each in founders])]
    for step in lineage.steps:
        views.append(next_view(dna, views[-1], step))
    return tuple(views)


def views_of(dna: DnaHash, lineage: Lineage, admits: Admits) -> tuple[View, ...]:
    """Every view of a lineage, oldest first; raises `Malformed` for one that does not stand.

    Whether its founders are the right ones depends on who else there is: `plausible`.
    """
    for place, wire in enumerate((lineage.standing, *lineage.founders)):
        standing = open_standing(wire, dna)
        if not admits(standing.agent, standing.proof, place > 0):
            raise Malformed("a lineage that names one whom the membrane does not admit")
    return _views(dna, lineage)


def plausible(dna: DnaHash, lineage: Lineage, known: Iterable[Standing]) -> bool:
    """Whether its founders are the closest among them and all older members known here.

    A verifier may have come long after a founder was forgotten, so whom it does not know it
    takes by their standing; whom it does know cannot be left out.
    """
    author = open_standing(lineage.standing, dna)
    named = [open_standing(wire, dna) for wire in lineage.founders]
    among = {each.agent: each for each in (*known, *named)}
    return founders_of(author, among.values()) == tuple(each.agent for each in named)


def check_certificate(
    dna: DnaHash, certificate: Certificate, known: Iterable[Standing], admits: Admits
) -> View:
    """The view that certified the action; raises `Malformed` for a certificate that is none.

    `known` is every member that may witness and is known to whoever asks.  Pure: it needs
    nobody's word.
    """
    lineage = certificate.lineage
    if not plausible(dna, lineage, known):
        raise Malformed("a certificate whose founding witnesses are not the closest to its author")
    view = views_of(dna, lineage, admits)[-1]
    message = witness_message(dna, view, certificate.seq, certificate.hash)
    check_marks(view, certificate.marks, message)
    return view


def outlived(certificate: Certificate, later: Lineage) -> bool:
    """Whether its witnesses had handed over, by a later lineage, before they could have signed it.

    Marks have no time: who has the keys of witnesses that have retired (a community's first member
    was its own) could go on by them.  Whoever has retired signs nothing past what it handed on.
    """
    number = len(certificate.lineage.steps)
    if len(later.steps) <= number:
        return False
    return certificate.seq > max(each.seq for each in later.steps[number].retirements)


def check_links(
    certificate: Certificate, links: Sequence[bytes], action: bytes, author: AgentPubKey
) -> None:
    """Raise `Malformed` unless the action that is certified is `action`, or rests on it by `links`.

    Links carry no seals: whoever has witnessed the last has witnessed all that it rests on.
    """
    hash_, seq = bytes(certificate.hash), certificate.seq
    for data in reversed(links):
        link = decode_action(data)
        if action_hash(data, author) != hash_ or (link.author, link.action_seq) != (author, seq):
            raise Malformed("links that do not lead to the action that is certified")
        hash_, seq = bytes(link.prev_action or b""), seq - 1
    if hash_ != action:
        raise Malformed("a certificate of another action, and no links to the one asked for")


def begun_us(dna: DnaHash, lineage: Lineage) -> int:
    """Since when its last view can have been in force: since the earliest that its author, or
    one of those who retired in its favour, says."""
    if not lineage.steps:
        return open_standing(lineage.standing, dna).since_us
    return min(each.at_us for each in lineage.steps[-1].retirements)


def newest_us(dna: DnaHash, lineage: Lineage) -> int:
    """The latest time that anybody in a lineage names."""
    said = (each.at_us for step in lineage.steps for each in step.retirements)
    return max((open_standing(lineage.standing, dna).since_us, *said))


def extend(lineage: Lineage, step: Handover) -> Lineage:
    """The lineage after one more handover; only the last one's records travel on."""
    bare = tuple(_bare(each) for each in lineage.steps)
    return Lineage(lineage.standing, lineage.founders, (*bare, step))


def _bare(step: Handover) -> Handover:
    stripped = tuple(
        Retirement(each.signer, each.seq, each.hash, each.at_us, None, each.signature)
        for each in step.retirements
    )
    return Handover(step.ballot, step.heirs, stripped)


@dataclass(frozen=True)
class Target:
    """An action that shall be witnessed, and its chain as far back as is shown.

    `places` is the hash at each sequence from the first shown to the action's own.
    """

    record: Record
    wire: WireRecord
    places: dict[int, ActionHash]

    @property
    def seq(self) -> int:
        """Its place on the chain."""
        return self.record.action.action_seq

    @property
    def hash(self) -> ActionHash:
        """Its hash."""
        return self.record.hash


def open_target(
    wire: WireRecord, links: Sequence[bytes], dna: DnaHash, author: AgentPubKey
) -> Target:
    """Check a sealed action and the `links` before it, each one's hash in the next.

    Links carry no seals: whoever sealed the last has sealed all that it rests on.  Raises
    `Malformed`.
    """
    record = open_sealed(wire, dna, author)
    places = {record.action.action_seq: record.hash}
    before, seq = record.action.prev_action, record.action.action_seq
    for data in reversed(links):
        action = decode_action(data)
        hash_ = action_hash(data, author)
        if hash_ != before or action.author != author or action.action_seq != seq - 1:
            raise Malformed("links that do not lead to their action")
        places[action.action_seq] = hash_
        before, seq = action.prev_action, action.action_seq
    if before is not None:
        places[seq - 1] = before
    return Target(record, wire, places)
