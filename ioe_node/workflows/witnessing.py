"""Witnessing: the answering side of finality; what a cell signs for others, and what it knows.

`core.witness` says what may be signed.  Here the duty is read, judged and kept, flushed to the
disk, before the answer leaves; one request at a time, so that no two are judged on one duty.
"""

from functools import partial

from ioe_node.core.lineage import open_target, plausible, views_of
from ioe_node.core.witness import (
    BLOCKED,
    UNSURE,
    Ask,
    Declines,
    Duty,
    Forked,
    Signs,
    Verdict,
    retire,
    retirement_of,
    vote,
    witness,
)
from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.finality import Lineage, check_members
from ioe_node.model.record import WireRecord
from ioe_node.model.warrant import ChainFork, seal_warrant
from ioe_node.net.messages import Relieve, Retired, Unwitnessed, Witness, Witnessed
from ioe_node.workflows.integration import keep
from ioe_node.workflows.space import Space
from ioe_node.workflows.standing import admits, own_founders, own_heirs, take_standings


async def _open_ask(space: Space, lineage: Lineage) -> Ask:
    """Check a lineage in full; raises `Malformed`."""
    await take_standings(space, (lineage.standing, *lineage.founders))
    views = await space.run(views_of, space.dna, lineage, partial(admits, space))
    likely = await space.run(plausible, space.dna, lineage, tuple(space.seats.values()))
    now_us, lost_us = space.clock.now_us(), space.witness_rows.lost_us()
    return Ask(space.dna, space.agent, lineage, views, likely, now_us, lost_us)


async def on_witness(space: Space, request: Witness) -> Witnessed | Unwitnessed:
    """Sign an action as a witness, or say why not."""
    ask = await _open_ask(space, request.lineage)
    author = ask.author.agent
    target = await space.run(open_target, request.target, request.links, space.dna, author)
    barred = _barred(space, ask)
    if barred is not None:
        return await _decline(space, ask, barred, None)
    async with space.witness_lock:
        duty = space.witness_rows.duty(author)
        verdict = witness(duty, ask, target)
        signature = await _bind(space, author, duty, verdict)
    if signature is not None:
        return Witnessed(signature)
    return await _decline(space, ask, verdict, duty)


async def on_relieve(space: Space, request: Relieve) -> Witnessed | Retired | Unwitnessed:
    """Vote for the heirs of a view that we are in, or retire in their favour."""
    ask = await _open_ask(space, request.lineage)
    author, view = ask.author, ask.view
    heirs = check_members(request.heirs, author.agent)
    await take_standings(space, request.standings)
    barred = _barred(space, ask)
    if barred is not None:
        return await _decline(space, ask, barred, None)
    if request.retire and (request.carried is None or request.carried.heirs != heirs):
        raise Malformed("asked to retire for heirs whom no ballot has carried")
    ours = () if request.retire or request.carried else await own_heirs(space, ask.lineage, view)
    async with space.witness_lock:
        duty = space.witness_rows.duty(author.agent)
        if request.retire and request.carried is not None:
            verdict = retire(duty, ask, request.carried)
        else:
            verdict = vote(duty, ask, request.ballot, heirs, request.carried, ours)
        signature = await _bind(space, author.agent, duty, verdict)
    if signature is None or not isinstance(verdict, Signs):
        return await _decline(space, ask, verdict, duty, ours)
    if request.retire:
        return Retired(retirement_of(verdict.duty, view, space.agent, signature))
    return Witnessed(signature)


def _barred(space: Space, ask: Ask) -> Declines | Forked | None:
    """Why we sign nothing for an author, whatever it is."""
    known = space.standings.get(ask.author.agent)
    if ask.author.agent in space.blocked:
        return Declines(BLOCKED)
    if known is not None and known.hash != ask.author.hash:
        return Forked(known.wire, ask.lineage.standing)
    return None if space.sure else Declines(UNSURE)


async def _bind(
    space: Space, author: AgentPubKey, duty: Duty | None, verdict: Verdict
) -> bytes | None:
    """Keep the duty, then sign; None if nothing is to be signed."""
    if not isinstance(verdict, Signs):
        return None
    if verdict.duty != duty:
        await space.run(space.witness_rows.bind, author, verdict.duty)
    return space.sign(verdict.message)


async def _decline(
    space: Space,
    ask: Ask,
    verdict: Verdict,
    duty: Duty | None,
    ours: tuple[AgentPubKey, ...] = (),
) -> Unwitnessed:
    if isinstance(verdict, Forked):
        await accuse(space, ask.author.agent, verdict.first, verdict.second)
        return await _unwitnessed(space, ask, BLOCKED, duty)
    assert isinstance(verdict, Declines)
    return await _unwitnessed(space, ask, verdict.why, duty, ours)


async def accuse(space: Space, author: AgentPubKey, first: WireRecord, second: WireRecord) -> None:
    """Warrant an author for two actions at one place."""
    fork = ChainFork(author, space.agent, space.clock.now_us(), first, second)
    await keep(space, seal_warrant(fork, space.dna, space.sign))


async def _unwitnessed(
    space: Space,
    ask: Ask,
    why: str,
    duty: Duty | None,
    ours: tuple[AgentPubKey, ...] = (),
) -> Unwitnessed:
    shown = tuple(space.standings[agent].wire for agent in ours if agent in space.standings)
    return Unwitnessed(
        why,
        None if duty is None else duty.lineage,
        None if duty is None else duty.record,
        0 if duty is None else duty.ballot,
        None if duty is None else duty.lock,
        shown or own_founders(space, ask.author),
    )
