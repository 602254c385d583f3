"""Relief: have the witnesses of a view name heirs and retire, before too few of them are left.

It takes a quorum to hand over, as it does to make final: so places are filled while most of the
old witnesses are there.  A relief that was left half done is ended by whoever asks next.
"""

from collections.abc import Callable

import trio

from ioe_node.core.lineage import CLOCK_SKEW_US_MAX, extend, next_view
from ioe_node.errors import IoeError, Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.finality import (
    STEPS_MAX,
    WITNESSES,
    Handover,
    Mark,
    Prepared,
    Retirement,
    open_sealed,
    retirement_message,
    vote_message,
)
from ioe_node.model.hashes import CORE, to_text
from ioe_node.model.signing import verify
from ioe_node.net.messages import (
    Answer,
    Relieve,
    Retired,
    Unwitnessed,
    Witnessed,
)
from ioe_node.workflows.errand import Errand, ask_witness, collect, errand_for
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.standing import (
    own_heirs,
    there,
)

RELIEVE_TIMEOUT_S = 5.0
SILENT_BEFORE_RELIEF = 2
"""How many witnesses of a view that are silent, or forgot, are reason enough to find heirs."""


async def relieve(errand: Errand) -> bool:
    """Have the view's witnesses name heirs and retire; the errand goes on under the next view.

    Whose retirement another began is ended in its heirs' favour.
    """
    space, view = errand.space, errand.view
    if view.number >= STEPS_MAX:
        return False
    carried = max(errand.locks, key=lambda each: each.ballot, default=None)
    if carried is None:
        heirs = await own_heirs(space, errand.lineage, view)
    else:
        heirs = tuple(AgentPubKey(agent) for agent in carried.heirs)
    if not heirs:
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
            record = open_sealed(last.record, space.dna, view.author)
            message = retirement_message(
                space.dna, view, ballot, heirs, last.seq, last.hash, last.at_us
            )
            if last.at_us > space.clock.now_us() + CLOCK_SKEW_US_MAX:
                raise Malformed("a retirement of the future, that no heir would take")
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
                await errand.heed(answer)
        except Malformed as error:
            errand.space.charge(agent, str(error))
        except IoeError as error:
            log.debug("witness %s: %s", to_text(agent)[:12], error)

    async with trio.open_nursery() as nursery:
        for index, agent in enumerate(members):
            nursery.start_soon(one, index, agent)


async def staff(space: Space) -> bool:
    """Hand over to heirs where witnesses of ours are gone, or are too few; whether it was done."""
    newest = space.witness_rows.newest(space.agent)
    target = None if newest is None else space.store.record_at(space.agent, newest.seq)
    if target is None:
        return False
    errand = errand_for(space, target)
    members = errand.view.members
    fit = await there(space, errand.lineage, members)
    gone = sum(not fit.get(agent) for agent in members)
    few = len(members) < WITNESSES and len(space.seats) > 2 * len(members)
    if gone < SILENT_BEFORE_RELIEF and not few:
        return False
    await collect(errand)
    if not await relieve(errand):
        return False
    return await collect(errand) is not None
