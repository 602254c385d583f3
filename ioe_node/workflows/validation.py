"""Validation: limbo to verdict, for every parcel in the order of arrival.

System rules, then the DNA's.  What is missing is collected over the whole pass and fetched in
parallel while the parcel waits in limbo.  A pass is judged against the store and what the
pass itself has found valid, and written by `integration` in one transaction: a crash leaves
limbo as it was.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import trio

from ioe_node.core.chain import with_path
from ioe_node.errors import Malformed
from ioe_node.hdi import ActionHash, AgentPubKey, Invalid, Missing
from ioe_node.model.hashes import CORE
from ioe_node.model.record import Record, WireRecord, decode_parcel, is_part, open_parcel
from ioe_node.model.warrant import REASON_CHARS_MAX, ChainFork, InvalidRecord, Warrant
from ioe_node.workflows.overlay import Overlay, judge
from ioe_node.workflows.space import TIMESTAMP_AHEAD_US_MAX, Space

PARCELS_PER_PASS_MAX = 256
REFUSED_REMEMBERED_MAX = 10_000
FROM_THE_FUTURE = "an action from the future; is its author's clock, or ours, right?"


class Verdicts:
    """Who waits for which parcel's verdict, and which parcels were refused of late."""

    def __init__(self) -> None:
        self._waiting: dict[ActionHash, trio.Event] = {}
        self._refused: OrderedDict[ActionHash, None] = OrderedDict()

    async def wait(self, first: ActionHash) -> None:
        """Until the parcel that begins with this action is judged."""
        if first in self._refused:
            return
        event = self._waiting.setdefault(first, trio.Event())
        try:
            await event.wait()
        finally:
            if self._waiting.get(first) is event and not event.statistics().tasks_waiting:
                del self._waiting[first]

    def refused(self, first: ActionHash) -> bool:
        """Whether the parcel was refused here of late."""
        return first in self._refused

    def settle(self, first: ActionHash, refused: bool = False) -> None:
        """The parcel is judged: wake who waits for it."""
        if refused:
            self._refused[first] = None
            if len(self._refused) > REFUSED_REMEMBERED_MAX:
                self._refused.popitem(last=False)
        else:
            self._refused.pop(first, None)
        event = self._waiting.pop(first, None)
        if event is not None:
            event.set()


@dataclass(frozen=True)
class Refused:
    """A parcel that was judged invalid, who sent it, why, and what proves it (if anything)."""

    row: int
    first: ActionHash
    sender: AgentPubKey
    why: str
    warrant: Warrant | None = None


@dataclass
class Pass:
    """What one pass over a page of limbo found."""

    overlay: Overlay
    valid: list[Record] = field(default_factory=list)
    alone: list[Record] = field(default_factory=list)
    judged: list[ActionHash] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    known_rows: list[int] = field(default_factory=list)
    missing: set[ActionHash] = field(default_factory=set)
    chains: set[ActionHash] = field(default_factory=set)
    strangers: set[AgentPubKey] = field(default_factory=set)
    last_row: int = 0

    def lacks(self, verdict: Missing) -> None:
        """A rule cannot be run before these are here."""
        self.missing.update(verdict.hashes)
        self.chains.update(verdict.chains)


def judge_limbo(space: Space, after_row: int) -> Pass | None:
    """One pass over the page after `after_row`; None when there is none."""
    rows = space.store.limbo(after_row, PARCELS_PER_PASS_MAX)
    if not rows:
        return None
    found = Pass(Overlay(space.store), last_row=rows[-1][0])
    for row, data, sender in rows:
        _judge_parcel(space, found, row, data, sender)
    return found


def _judge_parcel(space: Space, found: Pass, row: int, data: bytes, sender: AgentPubKey) -> None:
    try:
        parcel = decode_parcel(data)
        records = open_parcel(parcel)
    except Malformed as error:
        parked_as = ActionHash(space.store.limbo_hash(row))
        found.refused.append(Refused(row, parked_as, sender, str(error)))
        return
    first = records[0]
    author, seq = first.action.author, first.action.action_seq
    why = _not_for_us(space, records, sender)
    if why is not None:
        found.refused.append(Refused(row, first.hash, sender, why))
        return
    if is_part(parcel) or (len(records) == 1 and not _on_a_chain(space, found, first)):
        _judge_alone(space, found, row, sender, first)
        return
    head = found.overlay.head(author)
    if head is not None and seq <= head.seq:
        _judge_known(space, found, row, sender, records)
        return
    # What follows an action that is not here is not yet invalid: it may be the other branch of
    # a fork, and only the two actions at one place prove that.
    previous = first.action.prev_action
    on_head = head is not None and previous == head.hash
    if previous is not None and not on_head and not _on_chain(found, author, previous):
        found.chains.add(previous)
        return
    if _from_the_future(space, records):
        found.refused.append(Refused(row, first.hash, sender, FROM_THE_FUTURE))
        return
    fault = judge(space.rules, found.overlay, records)
    if fault is None:
        found.valid += records
        found.judged.append(first.hash)
        return
    culprit, verdict = fault
    if isinstance(verdict, Missing):
        found.lacks(verdict)
        return
    evidence = _evidence(space, travelling(culprit, records), author, verdict)
    found.refused.append(Refused(row, first.hash, sender, verdict.reason, evidence))


def _on_chain(found: Pass, author: AgentPubKey, hash_: ActionHash) -> bool:
    """Whether an action is here with the chain before it, and not alone."""
    record = found.overlay.record(hash_)
    if record is None:
        return False
    placed = found.overlay.record_at(author, record.action.action_seq)
    return placed is not None and placed.hash == hash_


def _from_the_future(space: Space, records: list[Record]) -> bool:
    return records[-1].action.timestamp_us > space.clock.now_us() + TIMESTAMP_AHEAD_US_MAX


def _evidence(
    space: Space, culprit: WireRecord, author: AgentPubKey, verdict: Invalid
) -> InvalidRecord:
    reason = verdict.reason[:REASON_CHARS_MAX]
    return InvalidRecord(author, space.agent, space.clock.now_us(), culprit, reason)


def _on_a_chain(space: Space, found: Pass, record: Record) -> bool:
    """Whether a bundle of one belongs on its author's chain here, or is kept alone."""
    action = record.action
    if space.is_authority(action.author):
        return True
    head = found.overlay.head(action.author)
    if head is None:
        return action.action_seq == 0
    return action.action_seq <= head.seq or action.prev_action == head.hash


def _judge_alone(space: Space, found: Pass, row: int, sender: AgentPubKey, record: Record) -> None:
    """A record that came without its chain: every rule but its place on the chain."""
    action = record.action
    if space.store.has(record.hash):
        found.known_rows.append(row)
        found.judged.append(record.hash)
        return
    if action.author not in space.admitted and space.store.head(action.author) is None:
        found.strangers.add(action.author)
        return
    if _from_the_future(space, [record]):
        found.refused.append(Refused(row, record.hash, sender, FROM_THE_FUTURE))
        return
    known = found.overlay.record_at(action.author, action.action_seq)
    if known is not None and known.hash != record.hash:
        fork = fork_of(space, known, record.wire())
        text = f"two actions at place {action.action_seq} of one chain"
        found.refused.append(Refused(row, record.hash, sender, text, fork))
        return
    verdict = space.rules.validate_alone(record, found.overlay)
    if isinstance(verdict, Missing):
        found.lacks(verdict)
    elif isinstance(verdict, Invalid):
        evidence = _evidence(space, record.wire(), action.author, verdict)
        found.refused.append(Refused(row, record.hash, sender, verdict.reason, evidence))
    else:
        found.alone.append(record)
        found.judged.append(record.hash)


def _not_for_us(space: Space, records: list[Record], sender: AgentPubKey) -> str | None:
    """Why a parcel is refused, as the fault of who sent it: it proves nothing of its author.

    What an author has not signed (whether the entry came along, the other parties' signatures)
    is whatever the sender made of it.  A warranted author publishes nothing more, but we still
    fetch what an honest member's record rests on.
    """
    if sender != space.agent and records[0].action.author in space.blocked:
        return "its author is warranted"
    for record in records:
        try:
            fault = space.rules.seal_fault(record)
        except Malformed:
            continue  # an entry that its author did sign: the rules say what is wrong with it
        if fault is not None:
            return fault
    return None


def travelling(record: Record, bundle: list[Record]) -> WireRecord:
    """`record` with the path that it needs to be checked without the rest of its bundle."""
    if record.proof.size > 1 and not record.proof.cosignatures:
        record = with_path(record, [each.hash[CORE] for each in bundle])
    return record.wire()


def _judge_known(
    space: Space, found: Pass, row: int, sender: AgentPubKey, records: list[Record]
) -> None:
    """A parcel at places that are taken: the same again, or a fork."""
    for record in records:
        action = record.action
        known = found.overlay.record_at(action.author, action.action_seq)
        if known is None:
            text = "a bundle that overlaps the end of its chain"
            found.refused.append(Refused(row, records[0].hash, sender, text))
            return
        if known.hash != record.hash:
            fork = fork_of(space, known, travelling(record, records))
            text = f"two actions at place {action.action_seq} of one chain"
            found.refused.append(Refused(row, records[0].hash, sender, text, fork))
            return
    found.known_rows.append(row)
    found.judged.append(records[0].hash)


def fork_of(space: Space, known: Record, other: WireRecord) -> ChainFork:
    """The warrant of two actions at one place, of which we hold the first."""
    return ChainFork(
        known.action.author,
        space.agent,
        space.clock.now_us(),
        _bare(space.store.alone(known).wire()),
        _bare(other),
    )


def _bare(wire: WireRecord) -> WireRecord:
    """A fork is proved by two signed actions; entries stay out of the warrant."""
    return WireRecord(wire.action, wire.proof, None)
