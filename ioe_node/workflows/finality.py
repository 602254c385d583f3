"""Finality: have an action witnessed, hand over from witnesses that are gone, tell what is final.

What is promised.  While of each view of an author's witnesses at most f = (n - 1) // 2 collude,
no two actions on different branches of its chain are ever both final, through any partition,
churn, crash or delay, whoever asks and whatever message or disk is lost.  A final action makes
all that it rests on final, so a payee's action counts as final under any later certificate of
its branch.  An author that does not fork gets finality whenever a quorum of its present witnesses
answers and remembers.

What is not.  While less than a quorum of an author's present witnesses can be reached nothing
new becomes final, nor can others take their place; what is final stays so.  A witness whose disk
was lost is as good as gone until a handover that came after the loss (`core.witness`).  It must
know of the loss: by an empty disk where it had begun, or by others who hold more of its own chain
(`workflows.restore`).  One more who colludes is therefore who is put back from an older copy
since which it has published nothing itself, or runs on with its clock set back by more than five
minutes; and so is who lost its disk, towards an author that begins its chain a second time before
witnesses who have not heard of the first.

An author whose founding witnesses (`core.lineage`) could not be reached by quorum within three
days of its admission never gets finality: it must be admitted anew.  Two sides of a partition
that both admit members, and then both the same author, may name it different founders: members
that came in a partition are known on one side only.  Members say themselves since when they
stand; one who says too early is one more who colludes, and an author who says so picks among
those who were first.  Everything counts admissions: whom the membrane admits too freely can be
eight.

Anyone may ask, the author, a payee, a bystander.  All witnesses are asked at once.
"""

from dataclasses import dataclass

import trio

from ioe_node.core.lineage import quorum
from ioe_node.core.witness import CONFLICT, LATE, PASSED, RETIRED
from ioe_node.errors import CallError, IoeError, Malformed, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.finality import (
    STANDING_SEQ,
    WITNESSES,
    Certificate,
    open_sealed,
)
from ioe_node.model.record import Record
from ioe_node.workflows.cascade import retrieve_record
from ioe_node.workflows.errand import Errand, accuse_author, collect, errand_for, sealed
from ioe_node.workflows.incoming_ops import catch_up
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.relief import SILENT_BEFORE_RELIEF, relieve, staff
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.standing import seat_doubted, take_standings, tell_standing

FINALISE_TIMEOUT_S = 30.0
RETRY_MIN_S = 0.2
RETRY_MAX_S = 5.0

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


async def finalise(
    space: Space, hash_: ActionHash, timeout_s: float = FINALISE_TIMEOUT_S
) -> Certificate:
    """Have an action witnessed by a quorum; its certificate is kept and returned.

    Raises `NeverFinal`, `CallError` for an action that cannot be had, `AnotherContinuation` for
    ours once others hold another, `TransportError` when the time is over (asking again goes on
    where this ended).
    """
    found = certificate_of(space, hash_)
    if found is not None:
        return found
    record = await _record(space, hash_)
    pause_s, errand = RETRY_MIN_S, None
    with trio.move_on_after(timeout_s):
        await space.head_confirmed.wait()
        while True:
            _check_possible(space, record)
            try:
                if errand is None:
                    errand = errand_for(space, record)
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
    return errand_for(errand.space, errand.target)


async def _record(space: Space, hash_: ActionHash) -> Record:
    """An action with the chain before it, which its witnesses may ask for; fetched if need be."""
    record = await retrieve_record(space, hash_)
    if record is None:
        raise CallError("nobody who can be reached holds that action")
    author, seq = record.action.author, record.action.action_seq
    if author == space.agent:
        space.check_branch()
    if not space.store.on_chain(author, seq, hash_):
        await catch_up(space, author, await authorities_of(space, author))
    held = space.store.record_at(author, seq)
    if held is None or held.hash != hash_:
        raise CallError("the chain of that action is not here yet; try again")
    return held


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
    found = certificate_of(space, hash_)
    if found is not None:
        steps = found.lineage.steps
        members = steps[-1].heirs if steps else found.lineage.founders
        return Status(FINAL, len(found.marks), quorum(len(members) or 1))
    record = await _record(space, hash_)
    try:
        _check_possible(space, record)
        errand = errand_for(space, record)
        certificate = await collect(errand)
    except NeverFinal:
        return Status(IMPOSSIBLE, 0, 0)
    except (TransportError, Malformed):
        return Status(IN_PROGRESS, 0, quorum(WITNESSES))
    if certificate is not None:
        return Status(FINAL, len(errand.marks), errand.needed)
    count = len(errand.view.members)
    barred = sum(why in (LATE, CONFLICT) for why in errand.whys)
    liars = (count - 1) // 2
    hopeless = barred > count - errand.needed + liars or record.action.author in space.blocked
    return Status(IMPOSSIBLE if hopeless else IN_PROGRESS, len(errand.marks), errand.needed)


async def _attempt(errand: Errand) -> Certificate | None:
    """Collect; where that fails for want of witnesses, find heirs."""
    certificate = await collect(errand)
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
        open_sealed(each.record, space.dna, author)
        for step in errand.lineage.steps[-1:]
        for each in step.retirements
        if each.record is not None
    ]
    top = max([*errand.passed, *elders], key=lambda each: each.action.action_seq, default=None)
    if top is None or top.action.action_seq <= errand.target.action.action_seq:
        return
    held = space.store.record_at(author, top.action.action_seq)
    if held is None:
        await catch_up(space, author, await authorities_of(space, author))
    elif held.hash == top.hash:
        errand.target = held
        errand.news = True
    else:
        await accuse_author(errand, held, top)


async def attend(space: Space) -> None:
    """Tell our standing, have our founding witnesses take up their duty, keep their places filled.

    For ever.  An author whose view 0 stands before anyone can profit from another cannot be
    given another.
    """
    pause_s = begin_s = ATTEND_MIN_S
    due_s = trio.current_time()
    while True:
        try:
            own = space.store.record_at(space.agent, STANDING_SEQ)
            if own is not None and space.agent not in space.standings:
                await take_standings(space, (sealed(space, own),))
            await tell_standing(space)
            await seat_doubted(space)
            now_s = trio.current_time()
            if own is not None and now_s >= due_s:
                if space.witness_rows.newest(space.agent) is not None:
                    due_s = now_s + STAFFING_S
                    await staff(space)
                else:
                    # Its founders may be gone for good: whoever is asked in vain is asked rarer.
                    begin_s = min(STAFFING_S, 2 * begin_s)
                    due_s = now_s + begin_s
                    await finalise(space, own.hash, OWN_TIMEOUT_S)
                    due_s = now_s + STAFFING_FIRST_S
        except IoeError as error:
            log.debug("our own witnesses: %s", error)
        await trio.sleep(pause_s * (0.5 + space.rng.random()))
        pause_s = min(ATTEND_MAX_S, 2 * pause_s)
