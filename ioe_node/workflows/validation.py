"""Validation: limbo to verdict, for every parcel in the order of arrival.

System rules, then the DNA's.  What is missing is collected over the whole pass and fetched in
parallel while the parcel waits in limbo.  A pass is judged against the store and what the
pass itself has found valid, and written by `integration` in one transaction: a crash leaves
limbo as it was.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

import trio

from ioe_node.core.chain import with_path
from ioe_node.core.quota import Fault
from ioe_node.errors import Malformed
from ioe_node.hdi import ActionHash, AgentPubKey, Invalid, Missing
from ioe_node.model.hashes import CORE, DnaHash
from ioe_node.model.record import Record, WirePrefix, WireRecord, prefix_of, root_of
from ioe_node.model.warrant import (
    REASON_CHARS_MAX,
    ChainFork,
    DoubleSeal,
    InvalidRecord,
    Warrant,
)
from ioe_node.store.limbo import Parked
from ioe_node.workflows.limbo import (
    ADMISSION,
    CHAIN,
    FINAL,
    LIMBO_AGE_US_MAX,
    RECORD,
    Lack,
    Opened,
    open_wire,
)
from ioe_node.workflows.overlay import Overlay, judge
from ioe_node.workflows.space import TIMESTAMP_AHEAD_US_MAX, Space

PARCELS_PER_PASS_MAX = 256
RELEASED_PER_PASS_MAX = 256
PASS_BYTES_MAX = 16 * 1024 * 1024
VERIFIERS = 4
PARCELS_PER_VERIFIER_MIN = 16
REFUSED_REMEMBERED_MAX = 10_000
NOTHING: tuple[Lack, ...] = ()
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
    fault: Fault = Fault.REFUSED


@dataclass
class Pass:
    """What one pass over a page of limbo found."""

    overlay: Overlay
    valid: list[Record] = field(default_factory=list)
    alone: list[Record] = field(default_factory=list)
    judged: list[ActionHash] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    offences: list[Warrant] = field(default_factory=list)
    """Proved by what is valid here and what was held alone before."""
    done_rows: list[int] = field(default_factory=list)
    lacked: set[Lack] = field(default_factory=set)
    last_row: int = 0
    released: int = 0  # how many were judged again, as what they waited for was found valid


@dataclass
class _Page:
    """The next rows of limbo: those to judge, and the bytes of those to open first."""

    last_row: int
    rows: list[Parked] = field(default_factory=list)
    wires: list[tuple[Parked, bytes]] = field(default_factory=list)
    lacked: set[Lack] = field(default_factory=set)
    expired: list[Parked] = field(default_factory=list)


async def judge_limbo(space: Space, after_row: int) -> Pass | None:
    """One pass over the page after `after_row`; None when there is none.

    Signatures are checked in several worker threads, as libsodium lets go of the interpreter
    meanwhile: on two free cores 6,000 checks take 0.38 to 0.48 s in one thread and 0.18 to 0.25 s
    in two; where no core is free it costs nothing.  Then the rules run in one thread, since each
    verdict rests on the one before.
    """
    page = await space.run(_read_page, space, after_row)
    if page is None:
        return None
    opened = await _open_all(space, page)
    return await space.run(_judge_page, space, page, opened)


def _read_page(space: Space, after_row: int) -> _Page | None:
    rows = space.store.limbo.page(after_row, PARCELS_PER_PASS_MAX)
    if not rows:
        return None
    page, size_bytes = _Page(after_row), 0
    for parked in rows:
        waits: tuple[Lack, ...] = ()
        if parked.author not in space.blocked:
            waits = space.limbo.waits_for(parked, space.store, lambda lack: _is_met(space, lack))
        if waits and _too_old(space, parked):
            page.expired.append(parked)
        elif waits:
            page.lacked.update(waits)
        else:
            size_bytes += parked.size_bytes
            if page.rows and size_bytes > PASS_BYTES_MAX:
                break
            page.rows.append(parked)
            if space.limbo.opened(parked) is None:
                page.wires.append((parked, space.store.limbo.wire(parked.row)))
        page.last_row = parked.row
    return page


async def _open_all(space: Space, page: _Page) -> dict[int, Opened]:
    """What each row of the page opens to, by its row."""
    opened: dict[int, Opened] = {}
    for parked in page.rows:
        known = space.limbo.opened(parked)
        if known is not None:
            opened[parked.row] = known
    chunks = min(VERIFIERS, -(-len(page.wires) // PARCELS_PER_VERIFIER_MIN))

    async def one(wires: list[tuple[Parked, bytes]]) -> None:
        opened.update(await space.run(_open_chunk, space.dna, wires))

    if chunks == 1:
        await one(page.wires)
    elif chunks:
        async with trio.open_nursery() as nursery:
            for chunk in range(chunks):
                nursery.start_soon(one, page.wires[chunk::chunks])
    return opened


def _is_met(space: Space, lack: Lack) -> bool:
    """Whether what a row waited for may be here now."""
    kind, hash_ = lack
    if kind == ADMISSION:
        return AgentPubKey(hash_) in space.admitted
    if kind == FINAL:
        return space.witness_rows.is_final(ActionHash(hash_))
    return space.store.has(ActionHash(hash_))


def _open_chunk(network: DnaHash, wires: list[tuple[Parked, bytes]]) -> dict[int, Opened]:
    return {parked.row: open_wire(wire, network) for parked, wire in wires}


def _judge_page(space: Space, page: _Page, opened: dict[int, Opened]) -> Pass:
    found = Pass(Overlay(space.store), lacked=page.lacked, last_row=page.last_row)
    ready = deque((parked, opened[parked.row]) for parked in page.rows)
    judged: set[int] = set()
    while ready:
        parked, found_in = ready.popleft()
        if parked.row in judged:
            continue
        valid = len(found.valid)
        missing = _judge_parcel(space, found, parked, found_in)
        if missing and not _too_old(space, parked):
            assert not isinstance(found_in, str), "bytes that do not open wait for nothing"
            found.lacked.update(missing)
            space.limbo.keep_open(parked, found_in)
            space.limbo.keep_waiting(parked, found_in, missing, space.store)
            continue
        judged.add(parked.row)
        if missing:
            page.expired.append(parked)
        space.limbo.forget(parked)
        for record in found.valid[valid:]:
            ready += _released(space, found, record)
    for parked in page.expired:
        space.limbo.forget(parked)
        found.done_rows.append(parked.row)
    return found


def _released(space: Space, found: Pass, record: Record) -> list[tuple[Parked, Opened]]:
    """What waits for a record that was just found valid, to be judged in the same pass.

    Who settle with each other rest on one another's chains in turn: else a pass for each.
    """
    released: list[tuple[Parked, Opened]] = []
    for wait in space.limbo.waiting_for(record.hash):
        if any(found.overlay.record(ActionHash(hash_)) is None for _, hash_ in wait.missing):
            continue
        opened = space.limbo.opened(wait.parked)
        if opened is None or found.released >= RELEASED_PER_PASS_MAX:
            found.lacked.update(wait.missing)  # so that another pass follows at once
        else:
            found.released += 1
            released.append((wait.parked, opened))
    return released


def _too_old(space: Space, parked: Parked) -> bool:
    return space.clock.now_us() - parked.parked_us > LIMBO_AGE_US_MAX


def _judge_parcel(space: Space, found: Pass, parked: Parked, opened: Opened) -> tuple[Lack, ...]:
    """Judge one parcel into `found`; what it misses, if its verdict must wait."""
    if isinstance(opened, str):
        refused = Refused(parked.row, parked.hash, parked.sender, opened, fault=Fault.MALFORMED)
        found.refused.append(refused)
        return NOTHING
    # Who was asked for something has not told us that it is valid.
    row, sender = parked.row, space.agent if parked.fetched else parked.sender
    first = opened[0]
    author, seq = first.action.author, first.action.action_seq
    why = _not_for_us(space, opened, sender)
    if why is not None:
        found.refused.append(Refused(row, first.hash, parked.sender, why))
        return NOTHING
    if _is_alone(space, found, opened):
        return _judge_alone(space, found, row, sender, first)
    head = found.overlay.head(author)
    if head is not None and seq <= head.seq:
        _judge_known(space, found, row, sender, opened)
        return NOTHING
    # What follows an action that is not here is not yet invalid: it may be the other branch of
    # a fork, and only the two actions at one place prove that.
    previous = first.action.prev_action
    on_head = head is not None and previous == head.hash
    if previous is not None and not on_head and not _on_chain(found, author, previous):
        return ((CHAIN, previous),)
    if _from_the_future(space, opened):
        found.refused.append(Refused(row, first.hash, sender, FROM_THE_FUTURE))
        return NOTHING
    fault = judge(space.rules, found.overlay, opened)
    if fault is None:
        found.offences += _offences(space, found, opened)
        found.valid += opened
        found.judged.append(first.hash)
        found.done_rows.append(row)
        return NOTHING
    culprit, verdict = fault
    if isinstance(verdict, Missing):
        return lacks_of(verdict)
    evidence = _invalid(space, evidence_of(culprit, opened), author, verdict)
    found.refused.append(Refused(row, first.hash, sender, verdict.reason, evidence))
    return NOTHING


def lacks_of(verdict: Missing) -> tuple[Lack, ...]:
    """What a rule could not do without."""
    records: list[Lack] = [(RECORD, hash_) for hash_ in verdict.hashes]
    chains, finals = ((CHAIN, each) for each in verdict.chains), verdict.finals
    return (*records, *chains, *((FINAL, hash_) for hash_ in finals))


def _is_alone(space: Space, found: Pass, records: list[Record]) -> bool:
    """Whether a parcel is one record to be kept without its chain."""
    first = records[0]
    if len(records) > 1 or (space.is_authority(first.action.author) and not _is_part(first)):
        return False
    return _is_part(first) or not _on_a_chain(found, first)


def _is_part(record: Record) -> bool:
    return record.proof.size > 1 and not record.proof.cosignatures


def _on_a_chain(found: Pass, record: Record) -> bool:
    """Whether a bundle of one follows its author's chain as held here."""
    action = record.action
    head = found.overlay.head(action.author)
    if head is None:
        return action.action_seq == 0
    return action.action_seq <= head.seq or action.prev_action == head.hash


def _on_chain(found: Pass, author: AgentPubKey, hash_: ActionHash) -> bool:
    """Whether an action is here with the chain before it, and not alone."""
    record = found.overlay.record(hash_)
    if record is None:
        return False
    placed = found.overlay.record_at(author, record.action.action_seq)
    return placed is not None and placed.hash == hash_


def _from_the_future(space: Space, records: list[Record]) -> bool:
    return records[-1].action.timestamp_us > space.clock.now_us() + TIMESTAMP_AHEAD_US_MAX


def _invalid(
    space: Space, culprit: WireRecord | WirePrefix, author: AgentPubKey, verdict: Invalid
) -> InvalidRecord:
    reason = verdict.reason[:REASON_CHARS_MAX]
    return InvalidRecord(author, space.agent, space.clock.now_us(), culprit, reason)


def _judge_alone(
    space: Space, found: Pass, row: int, sender: AgentPubKey, record: Record
) -> tuple[Lack, ...]:
    """A record that came without its chain: every rule but its place on the chain."""
    action = record.action
    offence = next(iter(_offences(space, found, [record])), None)
    known = found.overlay.record_at(action.author, action.action_seq)
    if offence is None and known is not None:
        offence = _offence(space, found.overlay, known, record, [record])
    if offence is None and space.store.has(record.hash):
        found.done_rows.append(row)
        found.judged.append(record.hash)
        return NOTHING
    if action.author not in space.admitted and space.store.head(action.author) is None:
        return ((ADMISSION, action.author),)
    if _from_the_future(space, [record]):
        found.refused.append(Refused(row, record.hash, sender, FROM_THE_FUTURE))
        return NOTHING
    if offence is not None:
        text = f"two actions, or two seals, at place {action.action_seq} of one chain"
        found.refused.append(Refused(row, record.hash, sender, text, offence))
        return NOTHING
    verdict = space.rules.validate_alone(record, found.overlay)
    if isinstance(verdict, Missing):
        return lacks_of(verdict)
    if isinstance(verdict, Invalid):
        # Of a bundle of several the rest would have to be shown, too, and it is not here.
        alone = not _is_part(record)
        evidence = _invalid(space, record.wire(), action.author, verdict) if alone else None
        found.refused.append(Refused(row, record.hash, sender, verdict.reason, evidence))
    else:
        found.alone.append(record)
        found.judged.append(record.hash)
        found.done_rows.append(row)
    return NOTHING


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
    if len(bundle) > 1:
        record = with_path(record, [each.hash[CORE] for each in bundle])
    return record.wire()


def evidence_of(culprit: Record, bundle: list[Record]) -> WireRecord | WirePrefix:
    """What anyone needs to judge `culprit` again: its bundle up to it."""
    if len(bundle) == 1:
        return culprit.wire()
    return prefix_of(bundle, bundle.index(culprit) + 1)


def _judge_known(
    space: Space, found: Pass, row: int, sender: AgentPubKey, records: list[Record]
) -> None:
    """A parcel at places that are taken: the same again, a fork, or a double seal."""
    for record in records:
        action = record.action
        known = found.overlay.record_at(action.author, action.action_seq)
        if known is None:
            text = "a bundle that overlaps the end of its chain"
            found.refused.append(Refused(row, records[0].hash, sender, text))
            return
        if known.hash != record.hash:
            fork = fork_of(space, _alone(found.overlay, known), travelling(record, records))
            text = f"two actions at place {action.action_seq} of one chain"
            found.refused.append(Refused(row, records[0].hash, sender, text, fork))
            return
        offence = _double_seal_of(space, found.overlay, known, record, records)
        if offence is not None:
            text = f"action {action.action_seq} of one chain, sealed in two bundles"
            found.refused.append(Refused(row, records[0].hash, sender, text, offence))
            return
    found.done_rows.append(row)
    found.judged.append(records[0].hash)


def _offence(
    space: Space, overlay: Overlay, known: Record, record: Record, bundle: list[Record]
) -> Warrant | None:
    """What two records at one place of one chain prove of their author, if anything."""
    if known.hash != record.hash:
        return fork_of(space, _alone(overlay, known), travelling(record, bundle))
    return _double_seal_of(space, overlay, known, record, bundle)


def _offences(space: Space, found: Pass, bundle: list[Record]) -> list[Warrant]:
    """What is held alone, and was found so in this pass, held against a bundle at its places."""
    first, last = bundle[0].action, bundle[-1].action
    held = space.store.alone_at(first.author, first.action_seq, last.action_seq)
    held += [each for each in found.alone if each.action.author == first.author]
    offences = []
    for known in held:
        place = known.action.action_seq - first.action_seq
        if 0 <= place < len(bundle):
            offences.append(_offence(space, found.overlay, known, bundle[place], bundle))
    return [offence for offence in offences if offence is not None]


def _alone(overlay: Overlay, record: Record) -> Record:
    """`record`, which is held or staged, with its path."""
    proof, action = record.proof, record.action
    if proof.size == 1 or proof.path:
        return record
    first = action.action_seq - proof.index
    places = [overlay.record_at(action.author, first + place) for place in range(proof.size)]
    return with_path(record, [each.hash[CORE] for each in places if each is not None])


def _double_seal_of(
    space: Space, overlay: Overlay, known: Record, record: Record, bundle: list[Record]
) -> DoubleSeal | None:
    """The warrant of an action that came under another seal than the one we hold, or None.

    One signature fits one root only.  Two signatures may fit the same one: that is no offence.
    """
    if known.proof.signature == record.proof.signature:
        return None
    first, second = _alone(overlay, known).proof, travelling(record, bundle).proof
    leaf = record.hash[CORE]
    if root_of(leaf, first) == root_of(leaf, second):
        return None
    now_us = space.clock.now_us()
    author = record.action.author
    return DoubleSeal(author, space.agent, now_us, record.action_bytes, first, second)


def fork_of(space: Space, known: Record, other: WireRecord) -> ChainFork:
    """The warrant of two actions at one place; `known` has its path."""
    return ChainFork(
        known.action.author,
        space.agent,
        space.clock.now_us(),
        _bare(known.wire()),
        _bare(other),
    )


def _bare(wire: WireRecord) -> WireRecord:
    """A fork is proved by two signed actions; entries stay out of the warrant."""
    return WireRecord(wire.action, wire.proof, None)
