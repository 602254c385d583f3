"""Integration: verdict to visible record, receipt or warrant; and the loop that drives it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import trio

from ioe_node.core.chain import head_after
from ioe_node.errors import IoeError, Malformed, PeerError
from ioe_node.hdi import ActionHash, AgentPubKey, Invalid, Missing
from ioe_node.model.action import AgentValidationPkg, EntryAction
from ioe_node.model.codec import encode
from ioe_node.model.hashes import to_text
from ioe_node.model.record import Record, open_record
from ioe_node.model.warrant import (
    ChainFork,
    DoubleSeal,
    InvalidRecord,
    Revoked,
    SignedWarrant,
    Warrant,
    open_evidence,
    open_warrant,
    seal_warrant,
)
from ioe_node.workflows import cascade
from ioe_node.workflows.certificates import learn
from ioe_node.workflows.incoming_ops import VERDICT_WAIT_S, park, pull, with_room
from ioe_node.workflows.limbo import ADMISSION, CHAIN, FINAL, RECORD, Lack
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.overlay import Overlay
from ioe_node.workflows.revocation import is_revoked, note_ended, revoked_us, warrants_of
from ioe_node.workflows.settle import park_other_halves
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.standing import seat_doubted, shut_out_uninvited, take_standings
from ioe_node.workflows.validation import Pass, Verdicts, fork_of, judge_limbo

FETCHES_AT_ONCE_MAX = 64
BROUGHT_AT_ONCE_MAX = 1
FETCH_AFTER_S = 0.3
RETRY_MISSING_S = 2.0
RETRY_FINAL_S = 10.0


async def validate_and_integrate(space: Space, verdicts: Verdicts) -> None:
    """Judge limbo whenever it is rung; fetch what stays missing; for ever.

    What a fetch brings is parked, which rings the bell: were a lack that it does not fill not
    left alone for a while, a branch that never comes to stand on ours would be fetched for ever.
    """
    lacked_before: set[Lack] = set()
    fetched_s: dict[Lack, float] = {}
    ending: list[Record] = []
    looked: list[Record] = []
    async with trio.open_nursery() as nursery:
        while True:
            lacked: set[Lack] = set()
            after_row = 0
            while True:
                async with space.pass_lock:
                    found = await judge_limbo(space, after_row)
                    if found is None:
                        break
                    await integrate(space, verdicts, found)
                ending += (each for each in (*found.valid, *found.alone) if _ends(space, each))
                after_row = found.last_row
                lacked |= found.lacked
            lacked = {lack for lack in lacked if not _is_over(space, lack)}
            overdue = (lacked & lacked_before) | space.wanted
            overdue |= {lack for lack in lacked if lack[0] == FINAL}  # nobody is on his way with it
            space.wanted.clear()
            await end_revoked(space, looked)
            looked = []
            if space.others():  # somebody who may know better
                for record in ending:
                    await _look_on(space, record)
                looked, ending = ending, []
            now_s = trio.current_time()
            fetched_s = {lack: at_s for lack, at_s in fetched_s.items() if at_s > now_s}
            due = sorted(overdue.difference(fetched_s))
            if due:
                finals = _fair_share(space, [lack for lack in due if lack[0] == FINAL])
                nursery.start_soon(_fetch_certificates, space, finals)
                due = _worth_fetching(space, [lack for lack in due if lack[0] != FINAL])
                await fetch(space, due)
                now_s = trio.current_time()
                fetched_s.update(dict.fromkeys(due, now_s + RETRY_MISSING_S))
                fetched_s.update(dict.fromkeys(finals, now_s + RETRY_FINAL_S))
            patience = RETRY_MISSING_S if overdue else FETCH_AFTER_S
            lacked_before = lacked
            await space.validation_bell.wait(
                patience if lacked or looked or ending else float("inf")
            )


def _is_over(space: Space, lack: Lack) -> bool:
    """Whether what a row lacked has come since, and no row is known to wait for it still."""
    kind, hash_ = lack
    if kind not in (RECORD, CHAIN) or space.limbo.is_awaited(lack):
        return False
    return space.store.has(ActionHash(hash_))


def _worth_fetching(space: Space, lacks: Sequence[Lack]) -> list[Lack]:
    """Of these as many as are fetched at once, by lot.

    Few of those that a row brings which waits itself: that moves when the first of all comes.  But
    none would be too few: who seals an action twice may have sent us the one that never moves.
    """
    brought = [lack for lack in lacks if space.limbo.brings(lack)]
    absent = [lack for lack in lacks if not space.limbo.brings(lack)]
    return [
        *space.rng.sample(absent, min(len(absent), FETCHES_AT_ONCE_MAX)),
        *space.rng.sample(brought, min(len(brought), BROUGHT_AT_ONCE_MAX)),
    ]


async def integrate(space: Space, verdicts: Verdicts, found: Pass) -> None:
    """Write what a pass found, then tell whoever waits."""
    records = found.valid
    ops = [space.ops_held(record) for record in records]
    dropped = [refused.row for refused in found.refused] + found.done_rows
    if records or dropped:
        by_hash = space.by_hash(records)
        await space.run(space.store.close_pass, records, ops, by_hash, dropped)
    if found.alone:
        await space.run(space.store.keep_alone, found.alone, space.by_hash(found.alone))
    if records or found.alone:
        space.note_integrated()
    space.counters.ops_validated += sum(held.bit_count() for held in ops) + len(found.alone)
    for first in found.judged:
        verdicts.settle(first)
    for refused in found.refused:
        # Another sender may bring the same action whole: only proof of guilt is remembered.
        verdicts.settle(refused.first, refused=refused.warrant is not None)
        space.charge(refused.sender, refused.why, refused.fault)
        space.counters.refuse(refused.why)
        await _keep_own(space, refused.warrant)
    for offence in found.offences:
        await _keep_own(space, offence)
    for record in records:
        if isinstance(record.action, AgentValidationPkg):
            space.welcome(record.action.author)
            await take_standings(space, (space.store.alone(record).wire(),))
    await park_other_halves(space, records)
    for record in (*records, *found.alone):
        space.signal(_told(space, record))
    if (records or found.alone) and found.lacked:
        space.validation_bell.ring()


def _told(space: Space, record: Record) -> dict[str, Any]:
    """What clients hear of a record; its `type`, the entry's or else the action's, to choose by."""
    action = record.action
    return {
        "kind": "integrated",
        "dna": space.dna,
        "type": action.entry_type if isinstance(action, EntryAction) else type(action).__name__,
        "author": action.author,
        "hash": record.hash,
    }


async def end_revoked(space: Space, records: Sequence[Record]) -> None:
    """Take nothing more from whom these records, which are valid here, end."""
    if any(_ends(space, record) for record in records):
        for warrant in await space.run(warrants_of, space, records):
            await _keep_own(space, warrant)


def _ends(space: Space, record: Record) -> bool:
    return space.rules.ended_by(record) is not None


async def _look_on(space: Space, revocation: Record) -> bool:
    """Have what we lack of the end of a chain that is revoked; whether there is any.

    What keeps a revocation from counting may not be here yet, and who is shut out stays so.
    """
    ended = space.rules.ended_by(revocation)
    if ended is None or ended.agent in space.blocked or ended.agent == space.agent:
        return False
    agent = ended.agent
    peers = with_room(space, await authorities_of(space, agent))
    try:
        found = await cascade.retrieve_chain(space, agent, space.next_seq(agent), peers)
        if found is not None:
            await park(space, found[0], found[1].parcels, on_chain=True, fetched=True)
    except IoeError as error:
        log.info("looking for what comes after a revocation's cut: %s", error)
        return False
    return found is not None


async def _stands_now(space: Space, warrant: Revoked) -> bool | Missing | None:
    """Whether a revocation that is told stands still, after a look at what came later."""
    agent = AgentPubKey(warrant.warrantee)
    begun = space.next_seq(agent)
    if not space.others():
        return Missing(())
    if await _look_on(space, open_record(warrant.record, space.dna)):
        with trio.move_on_after(VERDICT_WAIT_S):
            while space.next_seq(agent) == begun:
                await space.integrated.wait()
    return await space.run(is_revoked, space, warrant)


async def _keep_own(space: Space, warrant: Warrant | None) -> None:
    """Sign and keep what a pass has found, if it has; that is no offence of our own."""
    if warrant is not None and (warrant.warrantee != space.agent or isinstance(warrant, Revoked)):
        try:
            await keep(space, seal_warrant(warrant, space.dna, space.sign))
        except IoeError as error:
            log.warning("a warrant that we cannot keep: %s", error)


async def fetch(space: Space, lacked: Iterable[Lack]) -> None:
    """Look for what is lacked; what comes is parked in limbo, or admits its author."""

    async def one(kind: str, hash_: bytes) -> None:
        try:
            if kind == ADMISSION:
                await cascade.retrieve_admission(space, AgentPubKey(hash_))
                space.validation_bell.ring()
            else:
                await _fetch_record(space, ActionHash(hash_), kind == CHAIN)
        except IoeError as error:
            log.info("fetching what is missing: %s", error)

    async with trio.open_nursery() as nursery:
        for kind, hash_ in lacked:
            nursery.start_soon(one, kind, hash_)


def _fair_share(space: Space, lacks: Sequence[Lack]) -> dict[Lack, list[AgentPubKey]]:
    """Of these as many as are fetched at once, one of each asker before the next; who asks each.

    Whoever claims a lot that is never final crowds out its own.
    """
    askers = space.limbo.askers(lacks)
    by_asker: dict[tuple[AgentPubKey, ...], list[Lack]] = {}
    for lack in space.rng.sample(lacks, len(lacks)):
        by_asker.setdefault(tuple(askers[lack][:1]), []).append(lack)
    turns = [lack for turn in zip_longest(*by_asker.values()) for lack in turn if lack is not None]
    return {lack: askers[lack] for lack in turns[:FETCHES_AT_ONCE_MAX]}


async def _fetch_certificates(space: Space, lacks: Mapping[Lack, Sequence[AgentPubKey]]) -> None:
    """Learn that these are final, from who says so, or has judged that it is.

    Beside the passes: who claims what nobody can show, and answers nothing, delays itself alone.
    """

    async def one(action: ActionHash, askers: Sequence[AgentPubKey]) -> None:
        try:
            groups = [await authorities_of(space, agent) for agent in (*askers[:1], action)]
        except IoeError as error:
            log.info("looking for who knows what is final: %s", error)
            return
        near = (agent for group in groups for agent in group)
        await learn(space, [action], dict.fromkeys((*askers, *near)))

    async with trio.open_nursery() as nursery:
        for (_, action), askers in lacks.items():
            nursery.start_soon(one, ActionHash(action), askers)


async def _fetch_record(space: Space, hash_: ActionHash, with_chain: bool) -> None:
    """One record, or its author's chain up to it where that is asked for or in our share.

    Who has a revoked key can still write beside its chain, before its end: the chain shows that.
    """
    giver, record = space.agent, cascade.get_record(space, hash_)
    if record is None:
        peers = with_room(space, await authorities_of(space, hash_))
        found = await cascade.find_record(space, hash_, peers)
        if found is None:
            return
        giver, record = found
    author, seq = record.action.author, record.action.action_seq
    known = space.store.record_at(author, seq)
    if known is not None and known.hash != hash_:
        await _keep_own(space, fork_of(space, space.store.alone(known), record.wire()))
    elif known is None and (with_chain or author in space.ended or space.is_authority(author)):
        await pull(space, author, await authorities_of(space, author))
    elif known is None:
        await park(space, giver, [record.wire()], fetched=True)


async def keep(space: Space, signed: SignedWarrant) -> bool:
    """Check a warrant's evidence and keep it; a false one convicts its own author.

    One warrant an offender is enough, and only members can be warranted, so they are bounded.
    Raises `PeerError` for one that does not even stand by itself.  False for one that cannot be
    judged yet: what came before its record is not here, and is fetched; it must be told again.
    """
    hash_, warrant = await space.run(open_warrant, signed, space.dna)
    convicted = AgentPubKey(warrant.warrantee)
    if convicted in space.blocked - space.uninvited:
        return True
    if not _is_member(space, convicted):
        space.want_admission(convicted)
        return False
    if warrant.accuser != space.agent:
        guilty = await space.run(stands, space, warrant)
        if guilty is True and isinstance(warrant, Revoked):
            guilty = await _stands_now(space, warrant)
        if guilty is None:
            return True
        if isinstance(guilty, Missing):
            space.want(guilty.hashes, guilty.chains, guilty.finals)
            return False
        if not guilty:
            convicted = AgentPubKey(warrant.accuser)
        if not _is_member(space, convicted):
            raise PeerError("a false warrant by an agent that is no member here")
    if convicted == space.agent:
        await space.run(
            space.store.add_warrant, hash_, convicted, encode(signed), space.clock.now_us()
        )
        space.convicted = True
        space.fault(f"a warrant names us: {describe(warrant)}")
    elif convicted not in space.blocked - space.uninvited and await space.run(
        space.store.add_warrant, hash_, convicted, encode(signed), space.clock.now_us()
    ):
        note_ended(space, convicted, signed)
        space.uninvited.discard(convicted)
        space.block(convicted)
        shut_out_uninvited(space)
        space.warrants_bell.ring()
        space.validation_bell.ring()
        space.signal(
            {
                "kind": "warrant",
                "dna": space.dna,
                "agent": convicted,
                "text": describe(warrant),
                "revoked_us": revoked_us(space, warrant),
            }
        )
        await seat_doubted(space)
    return True


def _is_member(space: Space, agent: AgentPubKey) -> bool:
    """Only members can be warranted, so a list of warrants cannot be filled with invented keys."""
    known = agent in space.admitted or agent == space.agent
    return known or space.store.head(agent) is not None


def stands(space: Space, warrant: Warrant) -> bool | Missing | None:
    """Whether the evidence of a warrant that opens is one, in any thread; see each kind."""
    match warrant:
        case InvalidRecord():
            return breaks_a_rule(space, warrant)
        case Revoked():
            return is_revoked(space, warrant)
        case _:
            return True


def breaks_a_rule(space: Space, warrant: InvalidRecord) -> bool | Missing:
    """Run the rules again on a warrant's evidence, in any thread; or what has to be here first.

    The evidence is judged where it stands, on what precedes it, whatever else of that chain is
    held here; anything in it that is invalid convicts its author, the last or not.
    """
    records = open_evidence(warrant, space.dna)
    for record in records:
        if _spoilt(space, record):
            return False  # evidence that its author did not sign as it is shown
    head, previous = None, records[0].action.prev_action
    if previous is not None:
        before = space.store.record(previous)
        if before is None:
            return Missing((), (previous,))
        if before.action.author != records[0].action.author:
            return True
        head = head_after(before.action, before.hash)
    overlay = Overlay(space.store)
    for record in records:
        verdict = space.rules.validate(record, head, overlay)
        if isinstance(verdict, Missing):
            return verdict
        if isinstance(verdict, Invalid):
            return True
        overlay.add(record)
        head = head_after(record.action, record.hash)
    return False


def _spoilt(space: Space, record: Record) -> bool:
    """Whether what the author has not signed was changed: an entry left out, others' seals."""
    try:
        return space.rules.seal_fault(record) is not None
    except Malformed:
        return False  # an entry that its author did sign: the rules say what is wrong with it


def describe(warrant: Warrant) -> str:
    """One line for people."""
    offender = to_text(warrant.warrantee)[:12]
    match warrant:
        case InvalidRecord():
            return f"{offender}: {warrant.reason}"
        case ChainFork():
            return f"{offender}: two actions at one place of its chain"
        case DoubleSeal():
            return f"{offender}: one action sealed in two bundles"
        case Revoked():
            return f"{offender}: its key was revoked by its owner or its key-holders"
