"""One witness' duty to one author: what it may sign, whom it may name its heirs, when it is done.

A pure state machine: each function takes the *duty* as stored and a request, and gives the duty
to store *before* the answer leaves, and the answer.  Three promises, and all safety is theirs:

1. What a witness signs lies on one line: an action is signed only if it *descends from* the
   highest that it has signed, and the chain between is shown.  One hash a place would not do:
   a forker could have a payment at place 5 of one branch made final, and another at place 6 of
   the other branch, whose place 5 nobody was asked about.
2. Under a view it signs nothing more once it has retired, and it retires by naming that highest
   action; its heirs take up all that a quorum names, on one line, before they sign.
3. It votes once a ballot, and after it has retired only for the same heirs, unless shown that a
   later ballot was carried.  So two sets of heirs are never both certified, and yet a vote that
   was split, or left half done by a requester who died, can be held again: a witness that could
   name its heirs only once would be stuck with the first who asked.

With at most f = (n - 1) // 2 of each view colluding, no two certified actions of one author lie
on different branches (`core.lineage.quorum`).

All three rest on a disk that remembers.  A witness whose disk was lost sits out, for good, every
view that it may have been in before (`begun_after`).  It enters no view that its own clock holds to
be of the future, so what it entered before the loss names no time much later than that.  Two
handovers to one view share an honest witness, who names the same time in both.  So where *all*
times of a handover are later than the loss, no other to that view was there before it; and what
was signed under the views before is handed on by a quorum that can do without this witness.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from ioe_node.core.lineage import (
    CLOCK_SKEW_US_MAX,
    FOUNDING_US,
    Target,
    begun_us,
    check_prepared,
    newest_us,
)
from ioe_node.model.action import Hash39, Seq, TimestampUs
from ioe_node.model.codec import Codec
from ioe_node.model.finality import (
    LINEAGE_BYTES_MAX,
    Agents,
    Ballot,
    Lineage,
    Prepared,
    Retirement,
    Standing,
    View,
    open_standing,
    retirement_message,
    vote_message,
    witness_message,
)
from ioe_node.model.hashes import AgentPubKey, DnaHash
from ioe_node.model.record import WireRecord

SIGNED_REMEMBERED_MAX = 64
"""How many of the newest actions that it has signed a witness signs again when asked."""


class Duty(Struct, frozen=True, array_like=True):
    """What a witness has bound itself to for one author.

    `signed` is (sequence, hash) of what it has signed or taken over, oldest first, `record` the
    last of these; `ballot` and `heirs` its newest vote; `lock` why it has retired, if it has,
    and `retired_us` since when.
    """

    lineage: Lineage
    signed: tuple[tuple[Seq, Hash39], ...]
    record: WireRecord
    ballot: Ballot = 0
    heirs: Agents | None = None
    lock: Prepared | None = None
    retired_us: TimestampUs = 0

    @property
    def number(self) -> int:
        """The number of the view that it signs under."""
        return len(self.lineage.steps)


duties: Codec[Duty] = Codec(Duty, "witness' duty", LINEAGE_BYTES_MAX)


@dataclass(frozen=True)
class Signs:
    """Keep the duty, then answer with our signature over this."""

    duty: Duty
    message: bytes


@dataclass(frozen=True)
class Declines:
    """Nothing is signed, for this reason (`BEHIND`...); the duty as kept says the rest."""

    why: str


@dataclass(frozen=True)
class Forked:
    """The author has sealed these two, and both cannot stand."""

    first: WireRecord
    second: WireRecord


Verdict = Signs | Declines | Forked

NOT_OURS = "not ours"  # we are no member of that view
UNLIKE = "unlike"  # by what we know, other members are its witnesses
OLD = "old"  # we are in a later view
RETIRED = "retired"  # we have retired from that view
BEHIND = "behind"  # show the chain from our highest action on
PASSED = "passed"  # we have signed a later action
CONFLICT = "conflict"  # it is on another branch than one that was signed
LATE = "late"  # view 0 was to be taken up soon after the author came
OUTVOTED = "outvoted"  # we have voted in that ballot or a later one
BLOCKED = "blocked"  # its author is warranted
FORGOT = "forgot"  # we may have signed under that view, and have lost the disk that says what
UNSURE = "unsure"  # whether our disk is up to date has yet to be asked


@dataclass(frozen=True)
class Ask:
    """A request, opened: the lineage's views (all checked), and whether its founders are right.

    `likely` is `plausible` by all that the witness knows, `now_us` its clock, `lost_us` when it
    noticed that its memory was lost, if it ever was; no duty of before that is left.
    """

    dna: DnaHash
    us: AgentPubKey
    lineage: Lineage
    views: Sequence[View]
    likely: bool
    now_us: int
    lost_us: int | None = None

    @property
    def view(self) -> View:
        """The view to be signed under."""
        return self.views[-1]

    @property
    def author(self) -> Standing:
        """Whom it is about."""
        return open_standing(self.lineage.standing, self.dna)


def witness(duty: Duty | None, ask: Ask, target: Target) -> Verdict:
    """Whether `target` may be signed under the view that is asked for."""
    refusal = _enters(duty, ask)
    if refusal is not None:
        return refusal
    ours = duty is not None and (target.seq, target.hash) in duty.signed
    advanced = duty is None or duty.number < ask.view.number
    if not ours or advanced:
        refusal = _descends(duty, ask, target)
        if refusal is not None:
            return refusal
    message = witness_message(ask.dna, ask.view, target.seq, target.hash)
    return Signs(_taken(duty, ask, target, ours and not advanced), message)


def _enters(duty: Duty | None, ask: Ask) -> Declines | Forked | None:
    """Whether the witness may sign under this view at all."""
    if ask.us not in ask.view.members:
        return Declines(NOT_OURS)
    if duty is None and not begun_after(begun_us(ask.dna, ask.lineage), ask.lost_us):
        return Declines(FORGOT)
    if duty is None:
        return _founds(ask) if ask.view.number == 0 else _inherits(ask)
    if open_standing(duty.lineage.standing, ask.dna).hash != ask.author.hash:
        return Forked(duty.lineage.standing, ask.lineage.standing)
    if ask.view.number < duty.number:
        return Declines(OLD)
    if ask.view.number > duty.number:
        return _inherits(ask)
    if duty.lock is not None:
        return Declines(RETIRED)
    if _same_members(duty, ask):
        return None
    return _founds(ask) if ask.view.number == 0 else Declines(UNLIKE)


def begun_after(view_us: int, lost_us: int | None) -> bool:
    """Whether a view begun at `view_us` is none that a witness may have been in and forgotten."""
    return lost_us is None or view_us > lost_us + CLOCK_SKEW_US_MAX


def _inherits(ask: Ask) -> Declines | None:
    """A later view is taken up with what the elders signed, and the seals of all that."""
    shown = all(each.record is not None for each in ask.lineage.steps[-1].retirements)
    past = newest_us(ask.dna, ask.lineage) <= ask.now_us + CLOCK_SKEW_US_MAX
    return None if ask.likely and shown and past else Declines(UNLIKE)


def _founds(ask: Ask) -> Declines | None:
    """View 0 is taken up by one's own reckoning, and only while its author is new."""
    since_us = ask.author.since_us
    if not since_us - CLOCK_SKEW_US_MAX <= ask.now_us <= since_us + FOUNDING_US:
        return Declines(LATE)
    return None if ask.likely else Declines(UNLIKE)


def _descends(duty: Duty | None, ask: Ask, target: Target) -> Declines | Forked | None:
    """Whether the target descends from all that binds us: our own word and our elders'.

    With neither, from its author's standing; the honest among our elders have seen to that.
    """
    bounds = [] if duty is None else [_highest(duty)]
    if duty is None and not ask.lineage.steps:
        bounds = [(1, bytes(ask.author.hash))]
    if ask.lineage.steps and (duty is None or duty.number < ask.view.number):
        bounds += [(each.seq, each.hash) for each in ask.lineage.steps[-1].retirements]
    for seq, hash_ in sorted(bounds):
        shown = target.places.get(seq)
        if shown is not None and shown != hash_:
            own = duty is not None and (seq, hash_) == _highest(duty) and seq == target.seq
            return Forked(duty.record, target.wire) if duty and own else Declines(CONFLICT)
        if shown is None:
            return Declines(PASSED if seq > target.seq else BEHIND)
    return None


def _highest(duty: Duty) -> tuple[int, bytes]:
    seq, hash_ = duty.signed[-1]
    return seq, bytes(hash_)


def _taken(duty: Duty | None, ask: Ask, target: Target, known: bool) -> Duty:
    """The duty once the target is signed."""
    signed = () if duty is None else duty.signed
    place = (target.seq, bytes(target.hash))
    record = target.wire
    if duty is not None and (known or place == _highest(duty)):
        record = duty.record
    else:
        signed = (*signed, place)[-SIGNED_REMEMBERED_MAX:]
    if duty is not None and duty.number == ask.view.number:
        return replace(duty, lineage=ask.lineage, signed=signed, record=record)
    return Duty(ask.lineage, signed, record)


def vote(
    duty: Duty | None,
    ask: Ask,
    ballot: int,
    heirs: tuple[AgentPubKey, ...],
    shown: Prepared | None,
    ours: tuple[AgentPubKey, ...],
) -> Verdict:
    """Whether we name these heirs in this ballot.

    `ours` is whom we would name by ourselves (nobody while none need be named), `shown` what
    another ballot has carried (checked here; raises `Malformed`).
    """
    refusal = _holds(duty, ask)
    if refusal is not None or duty is None:
        return refusal or Declines(NOT_OURS)
    if ballot < duty.ballot or (ballot == duty.ballot and duty.heirs not in (None, heirs)):
        return Declines(OUTVOTED)
    if shown is not None:
        check_prepared(ask.dna, ask.view, shown)
    carried = shown is not None and tuple(shown.heirs) == heirs
    if duty.lock is None:
        free = carried or heirs == ours
    else:
        later = carried and shown is not None and shown.ballot > duty.lock.ballot
        free = later or tuple(duty.lock.heirs) == heirs
    if not free:
        return Declines(UNLIKE if duty.lock is None else RETIRED)
    named = replace(duty, ballot=ballot, heirs=heirs)
    return Signs(named, vote_message(ask.dna, ask.view, ballot, heirs))


def retire(duty: Duty | None, ask: Ask, prepared: Prepared) -> Verdict:
    """Retire in favour of heirs that a quorum has named; raises `Malformed` if none has."""
    refusal = _holds(duty, ask)
    if refusal is not None or duty is None:
        return refusal or Declines(NOT_OURS)
    check_prepared(ask.dna, ask.view, prepared)
    lock = duty.lock
    if prepared.ballot < duty.ballot or (lock is not None and prepared.ballot < lock.ballot):
        return Declines(OUTVOTED)
    at_us = ask.now_us if lock is None else duty.retired_us
    ballot, heirs = prepared.ballot, prepared.heirs
    done = replace(duty, ballot=ballot, heirs=heirs, lock=prepared, retired_us=at_us)
    seq, hash_ = _highest(done)
    return Signs(done, retirement_message(ask.dna, ask.view, ballot, heirs, seq, hash_, at_us))


def retirement_of(duty: Duty, view: View, us: AgentPubKey, signature: bytes) -> Retirement:
    """What a witness that has retired hands on, signed."""
    seq, hash_ = _highest(duty)
    signer = view.members.index(us)
    return Retirement(signer, seq, hash_, duty.retired_us, duty.record, signature)


def _holds(duty: Duty | None, ask: Ask) -> Declines | None:
    """Whether we have taken up the very view that shall be handed over."""
    if duty is None or ask.us not in ask.view.members or duty.number < ask.view.number:
        return Declines(NOT_OURS)
    if duty.number > ask.view.number:
        return Declines(OLD)
    if open_standing(duty.lineage.standing, ask.dna).hash != ask.author.hash:
        return Declines(CONFLICT)
    return None if _same_members(duty, ask) else Declines(UNLIKE)


def _same_members(duty: Duty, ask: Ask) -> bool:
    if ask.view.number:
        return duty.lineage.steps[-1].heirs == ask.view.members
    return [open_standing(each, ask.dna).agent for each in duty.lineage.founders] == [
        open_standing(each, ask.dna).agent for each in ask.lineage.founders
    ]
