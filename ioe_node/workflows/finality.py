"""Finality: have an action witnessed, hand over from witnesses that are gone, tell what is final.

What is promised.  While of each view of an author's witnesses at most f = (n - 1) // 2 collude,
no two actions on different branches of its chain are ever both final, through any partition,
churn, crash or delay, whoever asks and whatever is lost.  A final action makes all that it rests
on final, so a payee's action counts as final under any later certificate of its branch.  An
author that does not fork gets finality whenever a quorum of its present witnesses answers.

What is not.  While less than a quorum of an author's present witnesses can be reached nothing
new becomes final, nor can others take their place; what is final stays so.  An author whose
founding witnesses (`core.lineage`) could not be reached by quorum within three days of its
admission never gets finality: it must be admitted anew.  Two sides of a partition that both
admit members, and then both the same author, may name it different founders: members that came
in a partition are known on one side only.  Members say themselves since when they stand; one
who says too early is one more who colludes, and an author who says so picks among those who
were first.  Everything counts admissions: whom the membrane admits too freely can be eight.

Anyone may ask, the author, a payee, a bystander.  All witnesses are asked at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from ioe_node.core.lineage import (
    check_certificate,
    check_prepared,
    extend,
    next_view,
    plausible,
    quorum,
    views_of,
)
from ioe_node.core.witness import LATE, PASSED, RETIRED
from ioe_node.errors import CallError, IoeError, Malformed, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.finality import (
    STANDING_SEQ,
    STEPS_MAX,
    WITNESSES,
    Certificate,
    Handover,
    Lineage,
    Mark,
    Prepared,
    Retirement,
    Standing,
    View,
    open_sealed,
    open_standing,
    retirement_message,
    vote_message,
    witness_message,
)
from ioe_node.model.hashes import CORE, to_text
from ioe_node.model.record import Record, WireRecord
from ioe_node.model.signing import verify
from ioe_node.net.messages import (
    LINKS_MAX,
    Answer,
    Relieve,
    Retired,
    Unwitnessed,
    Witness,
    Witnessed,
)
from ioe_node.workflows.incoming_ops import pull
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.standing import (
    admits,
    own_founders,
    own_heirs,
    stand,
    take_standings,
    tell_standing,
    there,
)
from ioe_node.workflows.witnessing import accuse, on_relieve, on_witness

WITNESS_TIMEOUT_S = 2.0
RELIEVE_TIMEOUT_S = 5.0
FINALISE_TIMEOUT_S = 30.0
RETRY_MIN_S = 0.2
RETRY_MAX_S = 5.0
TURNS_PER_WITNESS_MAX = 64
SILENT_BEFORE_RELIEF = 2
"""How many silent witnesses of a view are reason enough to find heirs: before a quorum is lost,
as it takes one to hand over."""

ATTEND_MIN_S = 1.0
ATTEND_MAX_S = 30.0
STAFFING_FIRST_S = 30.0
STAFFING_S = 600.0
OWN_TIMEOUT_S = 10.0

FINAL, IN_PROGRESS, IMPOSSIBLE = "final", "pending", "impossible"


class NeverFinal(CallError):
    """That action will never be final: its author forked, or its witnesses bar it."""


@dataclass(frozen=True)
class Status:
    """How far an action's finality is: `signed` of the `needed` witnesses."""

    state: str
    signed: int
    needed: int


@dataclass
class Errand:
    """One attempt after another to have one author's action witnessed."""

    space: Space
    author: Standing
    target: Record
    lineage: Lineage
    view: View
    reached_seq: int = STANDING_SEQ
    marks: dict[int, Mark] = field(default_factory=dict)
    silent: list[AgentPubKey] = field(default_factory=list)
    whys: list[str] = field(default_factory=list)
    passed: list[Record] = field(default_factory=list)
    locks: list[Prepared] = field(default_factory=list)
    ballot: int = 0
    news: bool = False

    @property
    def needed(self) -> int:
        """How many must sign."""
        return quorum(len(self.view.members))

    def begin(self) -> None:
        """Forget what the last attempt met."""
        self.marks, self.silent, self.whys, self.passed = {}, [], [], []
        self.news = False

    def follow(self, lineage: Lineage) -> None:
        """Take a lineage that reaches further than ours, or other founders than we thought."""
        space = self.space
        views = views_of(space.dna, lineage, lambda who, proof: admits(space, who, proof))
        if views[0].author != self.author.agent:
            raise Malformed("a lineage of another author")
        if views[-1].number > self.view.number and plausible(lineage, space.standings.values()):
            self.lineage, self.view, self.news = lineage, views[-1], True
            self.locks, self.ballot = [], 0

    def heed(self, answer: Unwitnessed) -> None:
        """Learn from a refusal; raises `Malformed` for what does not stand."""
        self.whys.append(answer.why)
        if take_standings(self.space, answer.standings):
            self.news = True
        if answer.lineage is not None:
            self.follow(answer.lineage)
        self.ballot = max(self.ballot, answer.ballot)
        if answer.lock is not None:
            try:
                check_prepared(self.space.dna, self.view, answer.lock)
            except Malformed:
                return  # of another view than ours
            self.locks.append(answer.lock)


def standing_wire(space: Space, author: AgentPubKey) -> WireRecord | None:
    """An author's standing, as we know it."""
    known = space.standings.get(author)
    return None if known is None else known.wire


def _errand(space: Space, target: Record) -> Errand:
    """Begin where the newest certificate, our own duty, or else the founders are."""
    author = target.action.author
    wire = standing_wire(space, author)
    if wire is None:
        raise TransportError("its author's standing is not here yet; try again")
    newest, duty = space.witness_rows.newest(author), space.witness_rows.duty(author)
    lineages = [each.lineage for each in (newest, duty) if each is not None]
    standing = open_standing(wire)
    founded = Lineage(wire, own_founders(space, standing))
    lineage = max(lineages, key=lambda each: len(each.steps), default=founded)
    if not lineage.steps and not newest:
        lineage = founded
    views = views_of(space.dna, lineage, lambda who, proof: admits(space, who, proof))
    reached = newest.seq if newest is not None else STANDING_SEQ
    return Errand(space, standing, target, lineage, views[-1], reached)


async def ask_witness(
    space: Space, agent: AgentPubKey, request: Witness | Relieve, timeout_s: float
) -> Answer:
    """One request to one witness, who may be ourselves."""
    if agent != space.agent:
        return await space.ask(agent, request, timeout_s)
    if isinstance(request, Witness):
        return await on_witness(space, request)
    return await on_relieve(space, request)


async def finalise(
    space: Space, hash_: ActionHash, timeout_s: float = FINALISE_TIMEOUT_S
) -> Certificate:
    """Have an action that we hold witnessed by a quorum; its certificate is kept and returned.

    Raises `NeverFinal`, `CallError` for an action that is not here, `TransportError` when the
    time is over (asking again goes on where this ended).
    """
    found = certificate_of(space, hash_)
    if found is not None:
        return found
    record = _record(space, hash_)
    pause_s, errand = RETRY_MIN_S, None
    with trio.move_on_after(timeout_s):
        while True:
            _check_possible(space, record)
            try:
                if errand is None:
                    errand = _errand(space, record)
                certificate = await _attempt(errand)
            except (TransportError, Malformed) as error:
                log.debug("finality: %s", error)
                certificate = None
            if certificate is not None:
                return certificate
            if errand is not None and errand.news:
                errand = _renewed(errand)
                pause_s = RETRY_MIN_S
            await trio.sleep(pause_s * (0.5 + space.rng.random() / 2))
            pause_s = min(RETRY_MAX_S, 2 * pause_s)
    signed = 0 if errand is None else len(errand.marks)
    raise TransportError(f"not final within {timeout_s:g} s ({signed} witnesses signed); try again")


def _renewed(errand: Errand) -> Errand:
    """The errand by what is known now: other founders, or a later view."""
    if errand.view.number:
        return errand
    return _errand(errand.space, errand.target)


def _record(space: Space, hash_: ActionHash) -> Record:
    record = space.store.record(hash_)
    if record is None:
        raise CallError("that action is not here (yet); fetch it first")
    return record


def _check_possible(space: Space, record: Record) -> None:
    author = record.action.author
    if author in space.blocked:
        raise NeverFinal("its author is warranted; what was not final will not be")
    covering = space.witness_rows.covering(author, record.action.action_seq)
    if covering is not None and not _on_our_branch(space, author, covering):
        raise NeverFinal("another branch of its author's chain is final")


def _on_our_branch(space: Space, author: AgentPubKey, certificate: Certificate) -> bool:
    held = space.store.record_at(author, certificate.seq)
    return held is not None and held.hash == certificate.hash


def certificate_of(space: Space, hash_: ActionHash) -> Certificate | None:
    """What we hold that makes this action final: its own certificate, or of what rests on it."""
    record = space.store.record(hash_)
    if record is None:
        return None
    author = record.action.author
    found = space.witness_rows.covering(author, record.action.action_seq)
    return found if found is not None and _on_our_branch(space, author, found) else None


async def status(space: Space, hash_: ActionHash) -> Status:
    """Whether an action is final; asks its witnesses once if we do not know."""
    if certificate_of(space, hash_) is not None:
        return Status(FINAL, 0, 0)
    record = _record(space, hash_)
    try:
        _check_possible(space, record)
        errand = _errand(space, record)
        certificate = await _collect(errand)
    except NeverFinal:
        return Status(IMPOSSIBLE, 0, 0)
    except (TransportError, Malformed):
        return Status(IN_PROGRESS, 0, quorum(WITNESSES))
    if certificate is not None:
        return Status(FINAL, len(errand.marks), errand.needed)
    spare = len(errand.view.members) - errand.needed
    late = errand.view.number == 0 and errand.whys.count(LATE) > spare
    hopeless = late or record.action.author in space.blocked
    return Status(IMPOSSIBLE if hopeless else IN_PROGRESS, len(errand.marks), errand.needed)


async def _attempt(errand: Errand) -> Certificate | None:
    """Collect; where that fails for want of witnesses, find heirs."""
    certificate = await _collect(errand)
    if certificate is not None or errand.news:
        return certificate
    if PASSED in errand.whys:
        await _catch_up(errand)
    if RETIRED in errand.whys or len(errand.silent) >= SILENT_BEFORE_RELIEF:
        await relieve(errand)
    return None


async def _catch_up(errand: Errand) -> None:
    """The witnesses have signed a later action: have that one certified, if it rests on ours."""
    space, author = errand.space, errand.author.agent
    elders = [
        open_sealed(each.record, author)
        for step in errand.lineage.steps[-1:]
        for each in step.retirements
        if each.record is not None
    ]
    top = max([*errand.passed, *elders], key=lambda each: each.action.action_seq, default=None)
    if top is None or top.action.action_seq <= errand.target.action.action_seq:
        return
    held = space.store.record_at(author, top.action.action_seq)
    if held is None:
        peers = [agent for agent in space.authorities(author) if agent != space.agent]
        await pull(space, author, peers)
    elif held.hash == top.hash:
        errand.target = held
        errand.news = True
    else:
        await _accuse(errand, held, top)


async def _accuse(errand: Errand, held: Record, other: Record) -> None:
    first = errand.space.store.alone(held).wire()
    bare = WireRecord(first.action, first.proof, None)
    await accuse(errand.space, errand.author.agent, bare, other.wire())


async def _collect(errand: Errand) -> Certificate | None:
    """Ask every witness of the view at once, until a quorum has signed."""
    errand.begin()
    async with trio.open_nursery() as nursery:
        for index, agent in enumerate(errand.view.members):
            nursery.start_soon(_ask_one, errand, index, agent, nursery.cancel_scope)
    if len(errand.marks) < errand.needed:
        return None
    space, target = errand.space, errand.target
    marks = tuple(errand.marks[index] for index in sorted(errand.marks))
    certificate = Certificate(target.action.action_seq, target.hash, errand.lineage, marks)
    known = space.standings.values()
    check_certificate(space.dna, certificate, known, lambda who, proof: admits(space, who, proof))
    await space.run(space.witness_rows.save, errand.author.agent, certificate)
    errand.reached_seq = target.action.action_seq
    space.signal({"kind": "final", "author": errand.author.agent, "hash": target.hash})
    return certificate


async def _ask_one(errand: Errand, index: int, agent: AgentPubKey, scope: trio.CancelScope) -> None:
    lineage, view = errand.lineage, errand.view
    try:
        mark = await _lead(errand, lineage, view, index, agent)
    except TransportError:
        errand.silent.append(agent)
    except IoeError as error:
        log.info("witness %s: %s", to_text(agent)[:12], error)
        if isinstance(error, Malformed):
            errand.space.charge(agent, str(error))
    else:
        if mark is not None:
            errand.marks[index] = mark
        if len(errand.marks) >= errand.needed:
            scope.cancel()


async def _lead(
    errand: Errand, lineage: Lineage, view: View, index: int, agent: AgentPubKey
) -> Mark | None:
    """Lead one witness up the chain from where it stands to the target; its mark, or None."""
    space, author = errand.space, errand.author.agent
    target, from_seq = errand.target, errand.reached_seq
    for _ in range(TURNS_PER_WITNESS_MAX):
        step = _step(space, author, from_seq, target)
        links = space.store.chain(author, from_seq, newest_seq=step.action.action_seq - 1)
        shown = tuple(link.action_bytes for link in links)
        request = Witness(_sealed(space, step), shown, lineage)
        answer = await ask_witness(space, agent, request, WITNESS_TIMEOUT_S)
        if isinstance(answer, Witnessed):
            message = witness_message(space.dna, view, step.action.action_seq, step.hash)
            if not verify(agent[CORE], message, answer.signature):
                raise Malformed("a witness' signature that does not fit")
            if step is target:
                return Mark(index, answer.signature)
            from_seq = step.action.action_seq
            continue
        if not isinstance(answer, Unwitnessed):
            raise Malformed("a witness' answer that is none")
        errand.heed(answer)
        highest = await _compare(errand, answer)
        bounds = _bounds(errand, lineage, highest)
        if answer.why != "behind" or bounds >= from_seq:
            return None
        from_seq = bounds
    return None


def _bounds(errand: Errand, lineage: Lineage, highest: int | None) -> int:
    """The lowest sequence that a witness who is behind must be shown."""
    elders = [each.seq for each in lineage.steps[-1].retirements] if lineage.steps else []
    return min([STANDING_SEQ if highest is None and not elders else highest or 2**32, *elders])


async def _compare(errand: Errand, answer: Unwitnessed) -> int | None:
    """The sequence of a witness' highest action; notes one past ours, accuses for a fork."""
    if answer.record is None:
        return None
    shown = open_sealed(answer.record, errand.author.agent)
    seq = shown.action.action_seq
    if seq > errand.target.action.action_seq:
        errand.passed.append(shown)
        return seq
    held = errand.space.store.record_at(errand.author.agent, seq)
    if held is not None and held.hash != shown.hash:
        await _accuse(errand, held, shown)
    return seq


def _step(space: Space, author: AgentPubKey, from_seq: int, target: Record) -> Record:
    """The target, or as far towards it as one message can lead."""
    if target.action.action_seq - from_seq <= LINKS_MAX:
        return target
    step = space.store.record_at(author, from_seq + LINKS_MAX)
    return target if step is None else step


def _sealed(space: Space, record: Record) -> WireRecord:
    alone = space.store.alone(record)
    return WireRecord(alone.action_bytes, alone.proof, None)


async def relieve(errand: Errand) -> bool:
    """Have the view's witnesses name heirs and retire; the errand goes on under the next view.

    Whose retirement another began is ended in its heirs' favour.
    """
    space, view = errand.space, errand.view
    if view.number >= STEPS_MAX:
        return False
    carried = max(errand.locks, key=lambda each: each.ballot, default=None)
    if carried is None:
        heirs = await own_heirs(space, errand.author)
    else:
        heirs = tuple(AgentPubKey(agent) for agent in carried.heirs)
    if not heirs or heirs == view.members:
        return False
    errand.ballot = ballot = errand.ballot + 1
    shown = tuple(space.standings[each].wire for each in heirs if each in space.standings)
    asked = Relieve(errand.lineage, ballot, heirs, carried, False, shown)
    message = vote_message(space.dna, view, ballot, heirs)
    votes: dict[int, Mark] = {}

    def take_vote(index: int, answer: Answer) -> None:
        if isinstance(answer, Witnessed):
            if not verify(view.members[index][CORE], message, answer.signature):
                raise Malformed("a vote whose signature does not fit")
            votes[index] = Mark(index, answer.signature)

    await _poll(errand, asked, take_vote)
    if len(votes) < errand.needed or errand.view != view:
        return False
    prepared = Prepared(ballot, heirs, tuple(votes[index] for index in sorted(votes)))
    return await _retire(errand, prepared)


async def _retire(errand: Errand, prepared: Prepared) -> bool:
    """Collect the retirements that a carried ballot allows, and take the next view."""
    space, view, lineage = errand.space, errand.view, errand.lineage
    ballot, heirs = prepared.ballot, prepared.heirs
    given: dict[int, Retirement] = {}

    def take_retirement(index: int, answer: Answer) -> None:
        if isinstance(answer, Retired):
            last = answer.retirement
            if last.signer != index or last.record is None:
                raise Malformed("a retirement in another's name, or without its action")
            record = open_sealed(last.record, view.author)
            message = retirement_message(space.dna, view, ballot, heirs, last.seq, last.hash)
            if (record.action.action_seq, record.hash) != (last.seq, last.hash) or not verify(
                view.members[index][CORE], message, last.signature
            ):
                raise Malformed("a retirement that does not fit")
            given[index] = last

    await _poll(errand, Relieve(lineage, ballot, heirs, prepared, True, ()), take_retirement)
    errand.locks.append(prepared)
    if len(given) < errand.needed or errand.view != view:
        return False
    step = Handover(ballot, heirs, tuple(given[index] for index in sorted(given)))
    errand.lineage, errand.view = extend(lineage, step), next_view(space.dna, view, step)
    errand.locks, errand.ballot, errand.news = [], 0, True
    return True


async def _poll(errand: Errand, request: Relieve, take: Callable[[int, Answer], None]) -> None:
    """One request to every witness of the view."""
    members = errand.view.members

    async def one(index: int, agent: AgentPubKey) -> None:
        try:
            answer = await ask_witness(errand.space, agent, request, RELIEVE_TIMEOUT_S)
            take(index, answer)
            if isinstance(answer, Unwitnessed):
                errand.heed(answer)
        except Malformed as error:
            errand.space.charge(agent, str(error))
        except IoeError as error:
            log.debug("witness %s: %s", to_text(agent)[:12], error)

    async with trio.open_nursery() as nursery:
        for index, agent in enumerate(members):
            nursery.start_soon(one, index, agent)


async def attend(space: Space) -> None:
    """Tell our standing, have our founding witnesses take up their duty, keep their places filled.

    For ever.  An author whose view 0 stands before anyone can profit from another cannot be
    given another.
    """
    told: set[AgentPubKey] = set()
    pause_s = ATTEND_MIN_S
    staff_at_s = trio.current_time() + STAFFING_FIRST_S
    while True:
        own = space.store.record_at(space.agent, STANDING_SEQ)
        if own is not None and space.agent not in space.standings:
            stand(space, _sealed(space, own))
        await tell_standing(space, told)
        try:
            if own is not None and space.witness_rows.newest(space.agent) is None:
                await finalise(space, own.hash, OWN_TIMEOUT_S)
            elif own is not None and trio.current_time() >= staff_at_s:
                staff_at_s = trio.current_time() + STAFFING_S
                await staff(space)
        except IoeError as error:
            log.debug("our own witnesses: %s", error)
        await trio.sleep(pause_s * (0.5 + space.rng.random()))
        pause_s = min(ATTEND_MAX_S, 2 * pause_s)


async def staff(space: Space) -> bool:
    """Hand over to heirs where witnesses of ours are gone, or are too few; whether it was done."""
    newest = space.witness_rows.newest(space.agent)
    target = None if newest is None else space.store.record_at(space.agent, newest.seq)
    if target is None:
        return False
    errand = _errand(space, target)
    members = errand.view.members
    answered = await there(space, members)
    gone = sum(agent not in answered for agent in members)
    few = len(members) < WITNESSES and len(space.standings) > 2 * len(members)
    if gone < SILENT_BEFORE_RELIEF and not few:
        return False
    await _collect(errand)
    if not await relieve(errand):
        return False
    return await _collect(errand) is not None
