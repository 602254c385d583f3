"""Integration: verdict to visible record, receipt or warrant; and the loop that drives it."""

from collections.abc import Iterable

import trio

from ioe_node.core.chain import head_after
from ioe_node.errors import IoeError, PeerError
from ioe_node.hdi import ActionHash, AgentPubKey, Invalid, Missing
from ioe_node.model.action import AgentValidationPkg, decode_action
from ioe_node.model.codec import encode
from ioe_node.model.hashes import to_text
from ioe_node.model.record import open_record
from ioe_node.model.warrant import (
    InvalidRecord,
    SignedWarrant,
    Warrant,
    open_warrant,
    seal_warrant,
)
from ioe_node.workflows import cascade
from ioe_node.workflows.incoming_ops import pull
from ioe_node.workflows.settle import park_other_halves
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.standing import stand
from ioe_node.workflows.validation import Pass, Verdicts, fork_of, judge_limbo

FETCHES_AT_ONCE_MAX = 64
FETCH_AFTER_S = 0.3
RETRY_MISSING_S = 2.0


async def validate_and_integrate(space: Space, verdicts: Verdicts) -> None:
    """Judge limbo whenever it is rung; fetch what stays missing; for ever."""
    missing_before: set[ActionHash] = set()
    while True:
        missing: set[ActionHash] = set()
        after_row = 0
        while (found := await space.run(judge_limbo, space, after_row)) is not None:
            after_row = found.last_row
            missing |= found.missing
            await integrate(space, verdicts, found)
        overdue = (missing & missing_before) | space.wanted
        space.wanted.clear()
        if overdue:
            await fetch(space, overdue)
        patience = RETRY_MISSING_S if overdue else FETCH_AFTER_S
        missing_before = missing
        await space.validation_bell.wait(patience if missing else float("inf"))


async def integrate(space: Space, verdicts: Verdicts, found: Pass) -> None:
    """Write what a pass found, then tell whoever waits."""
    records = found.valid
    ops = [space.ops_held(record) for record in records]
    dropped = [refused.row for refused in found.refused] + found.known_rows
    if records or dropped:
        by_hash = space.by_hash(records)
        await space.run(space.store.close_pass, records, ops, by_hash, dropped)
    space.counters.ops_validated += sum(held.bit_count() for held in ops)
    for first in found.judged:
        verdicts.settle(first)
    for refused in found.refused:
        # Another sender may bring the same action whole: only proof of guilt is remembered.
        verdicts.settle(refused.first, refused=refused.warrant is not None)
        space.charge(refused.sender, refused.why)
        space.counters.refuse(refused.why)
        if refused.warrant is not None:
            await keep(space, seal_warrant(refused.warrant, space.sign))
    for record in records:
        if isinstance(record.action, AgentValidationPkg):
            space.welcome(record.action.author)
            stand(space, space.store.alone(record).wire())
    await park_other_halves(space, records)
    for record in records:
        space.signal({"kind": "integrated", "author": record.action.author, "hash": record.hash})
    if records and found.missing:
        space.validation_bell.ring()


async def fetch(space: Space, missing: Iterable[ActionHash]) -> None:
    """Look for missing records and the chains up to them; what comes is parked in limbo."""

    async def one(hash_: ActionHash) -> None:
        try:
            record = await cascade.retrieve_record(space, hash_)
            if record is None or space.store.has(hash_):
                return
            author = record.action.author
            known = space.store.record_at(author, record.action.action_seq)
            if known is not None:
                fork = fork_of(space, known, record.wire())
                await keep(space, seal_warrant(fork, space.sign))
                return
            await pull(space, author, space.authorities(author))
        except IoeError as error:
            log.info("fetching what is missing: %s", error)

    async with trio.open_nursery() as nursery:
        wanted = sorted(missing)
        for hash_ in space.rng.sample(wanted, min(len(wanted), FETCHES_AT_ONCE_MAX)):
            nursery.start_soon(one, hash_)


async def keep(space: Space, signed: SignedWarrant) -> bool:
    """Check a warrant's evidence and keep it; a false one convicts its own author.

    One warrant an offender is enough, and only members can be warranted, so they are bounded.
    Raises `PeerError` for one that does not even stand by itself.  False for one that cannot be
    judged yet: what came before its record is not here, and is fetched; it must be told again.
    """
    hash_, warrant = open_warrant(signed)
    convicted = AgentPubKey(warrant.warrantee)
    known = {*space.members, space.agent}
    if convicted in space.blocked:
        return True
    if convicted not in known:
        evidence = warrant.record if isinstance(warrant, InvalidRecord) else warrant.first
        previous = decode_action(evidence.action).prev_action
        space.want([] if previous is None else [previous])
        return False
    if isinstance(warrant, InvalidRecord) and warrant.accuser != space.agent:
        guilty = _breaks_a_rule(space, warrant)
        if guilty is None:
            return False
        if not guilty:
            convicted = AgentPubKey(warrant.accuser)
        if convicted not in known:
            raise PeerError("a false warrant by an agent that is no member here")
    if convicted == space.agent:
        log.error("a warrant names us: %s", describe(warrant))
    elif await space.run(space.store.add_warrant, hash_, convicted, encode(signed)):
        space.blocked.add(convicted)
        space.exchange_bell.ring()
        space.validation_bell.ring()
        space.signal({"kind": "warrant", "agent": convicted, "text": describe(warrant)})
    return True


def _breaks_a_rule(space: Space, warrant: InvalidRecord) -> bool | None:
    """Run the rules again on a warrant's record; None when that cannot be done here yet."""
    record = open_record(warrant.record)
    if space.rules.seal_fault(record) is not None:
        return False  # evidence that its author did not sign as it is shown
    head, previous = None, record.action.prev_action
    if previous is not None:
        before = space.store.record(previous)
        if before is None:
            space.want([previous])
            return None
        if before.action.author != record.action.author:
            return True
        head = head_after(before.action, before.hash)
    verdict = space.rules.validate(record, head, space.store)
    if isinstance(verdict, Missing):
        space.want(verdict.hashes)
        return None
    return isinstance(verdict, Invalid)


def describe(warrant: Warrant) -> str:
    """One line for people."""
    offender = to_text(warrant.warrantee)[:12]
    if isinstance(warrant, InvalidRecord):
        return f"{offender}: {warrant.reason}"
    return f"{offender}: two actions at one place of its chain"
