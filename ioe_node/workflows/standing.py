"""Standings: who is a member since when, and so who witnesses for whom; told from agent to agent.

A standing proves itself, so it may come from anybody.  It matters to those whose places are close:
every member tells its own to the `NEAR` members closest by place, once, and gets theirs in return.
"""

from collections.abc import Iterable, Sequence
from heapq import nlargest, nsmallest

import trio

from ioe_node.core.lineage import CLOCK_SKEW_US_MAX, begun_us, closest, founders_of
from ioe_node.core.witness import begun_after
from ioe_node.errors import Busy, IoeError, Malformed, StoreError
from ioe_node.hdi import AgentPubKey, Invalid, Missing, Valid, Verdict
from ioe_node.model.finality import (
    STANDING_SEQ,
    WITNESSES,
    Lineage,
    Standing,
    View,
    open_standing,
)
from ioe_node.model.hashes import to_text
from ioe_node.model.record import WireRecord, open_record
from ioe_node.net.messages import Here, Knock, Standings
from ioe_node.workflows.overlay import Overlay
from ioe_node.workflows.revocation import invited_too_late, on_a_revoked_word
from ioe_node.workflows.space import Space, log

STANDINGS_MAX = 10_000
NEAR = 32
"""More than the witnesses of an author and the heirs that may be asked to take over."""
TELLERS = 4
"""So many of the closest (we are one of them) tell us of all whom they know near us."""
KNOCK_TIMEOUT_S = 0.7
KNOCKS_MAX = 2
KNOCK_FRESH_US = 5 * 1_000_000
KNOCKS_KEPT_MAX = 1_024
KNOCKED_MAX = 2 * WITNESSES
"""How many of the closest members are asked whether they are there, to find eight that are."""


def admits(space: Space, agent: AgentPubKey, proof: bytes | None, witness: bool = False) -> bool:
    """Whether the membrane lets an agent in (as a witness); of a known standing that was seen."""
    known = space.standings.get(agent)
    if known is not None and known.proof == proof:
        return not witness or agent in space.seats
    if isinstance(space.rules.definition.admits(agent, proof), Invalid):
        return False
    return not witness or _may_sit(space, agent, proof)


def _news(space: Space, wires: Iterable[WireRecord]) -> list[tuple[Standing, bool]]:
    """The standings among these of whom we had none, and whether each has a seat.

    Not of those who were invited too late, which is no fault of who has not heard of it.  Raises
    `Malformed` for what is no standing, or not admitted.  In a worker thread.
    """
    news: dict[AgentPubKey, tuple[Standing, bool]] = {}
    for wire in wires:
        standing = open_standing(wire, space.dna)
        agent = standing.agent
        if agent not in space.standings:
            if not admits(space, agent, standing.proof):
                raise Malformed("a standing that the membrane does not admit")
            if not invited_too_late(space, agent, standing.proof):
                news.setdefault(agent, (standing, _may_sit(space, agent, standing.proof)))
    return list(news.values())


def _may_sit(space: Space, agent: AgentPubKey, proof: bytes | None) -> bool:
    """Whether a member has a seat among witnesses: on its own account only.

    And not on the word of a revoked key until that is seen on its chain (`seat_doubted`).
    """
    own = space.rules.definition.sponsor(agent, proof) == agent
    return own and not on_a_revoked_word(space, agent, proof)


def seat(space: Space, standing: Standing, seated: bool | None = None) -> None:
    """Note an admitted member's standing."""
    space.standings[standing.agent] = standing
    if _may_sit(space, standing.agent, standing.proof) if seated is None else seated:
        space.seats[standing.agent] = standing


def shut_out_uninvited(space: Space) -> None:
    """Somebody was revoked: take back what we gave to whom that key has invited since its end.

    Whom it has invited before, by what is shown, has no seat until that is seen on its chain.
    """
    for agent, standing in list(space.standings.items()):
        if agent == space.agent:
            continue
        if invited_too_late(space, agent, standing.proof):
            del space.standings[agent]
            space.seats.pop(agent, None)
            space.uninvited.add(agent)
            space.block(agent)
        elif on_a_revoked_word(space, agent, standing.proof):
            space.seats.pop(agent, None)


async def seat_doubted(space: Space) -> None:
    """Seat the members of whom a revoked key has spoken, where its chain says so, too."""
    for standing, verdict in await space.run(_judged, space):
        if isinstance(verdict, Missing):
            space.want(verdict.hashes, verdict.chains)
        elif verdict is Valid and space.standings.get(standing.agent) is standing:
            space.seats[standing.agent] = standing


def _judged(space: Space) -> list[tuple[Standing, Verdict]]:
    """What the rules say of each admission without a seat that may have one; in any thread."""
    sponsor = space.rules.definition.sponsor
    doubted = [
        standing
        for standing in list(space.standings.values() if space.ended else ())
        if standing.agent not in space.seats
        and on_a_revoked_word(space, standing.agent, standing.proof)
        and sponsor(standing.agent, standing.proof) == standing.agent
    ]
    judge, held = space.rules.validate_alone, Overlay(space.store)
    return [(each, judge(open_record(each.wire, space.dna), held)) for each in doubted]


async def take_standings(space: Space, wires: Iterable[WireRecord]) -> bool:
    """Take up what a peer showed; whether any was news.  Raises `Malformed`.

    The first that is seen of an agent stays: a second one is a fork of its genesis.
    """
    judged = await space.run(_news, space, wires)
    news = [pair for pair in judged if pair[0].agent not in space.standings]
    dropped = _make_room(space, [standing for standing, _ in news])
    taken = [pair for pair in news if pair[0].agent not in dropped]
    if not taken:
        return False
    for standing, seated in taken:
        seat(space, standing, seated)
    kept = [(standing.agent, standing.wire) for standing, _ in taken]
    await space.run(space.witness_rows.save_standings, kept, dropped)
    return True


def _make_room(space: Space, news: Sequence[Standing]) -> set[AgentPubKey]:
    """Whom to forget for these: the farthest from us, for whose authors we shall never witness.

    What we signed ourselves is not among this: a duty has its author's standing in it.
    """
    excess = len(space.standings) + len(news) - STANDINGS_MAX
    if excess <= 0:
        return set()
    own = space.membership.place
    known = [each for each in (*space.standings.values(), *news) if each.agent != space.agent]
    far = nlargest(excess, known, key=lambda each: (each.place ^ own, each.agent))
    dropped = {each.agent for each in far}
    for each in far:
        space.standings.pop(each.agent, None)
        space.seats.pop(each.agent, None)
    return dropped


def recall_standings(space: Space) -> None:
    """Take up standings from the disk: those kept, and those of the chains that we hold."""
    for wire in space.witness_rows.standings():
        seat(space, open_standing(wire, space.dna))
    for author in space.store.authors():
        if author not in space.standings and len(space.standings) < STANDINGS_MAX:
            try:
                record = space.store.record_at(author, STANDING_SEQ)
                if record is not None:
                    for standing, seated in _news(space, (space.store.alone(record).wire(),)):
                        seat(space, standing, seated)
            except (StoreError, Malformed) as error:
                log.info("a standing on a damaged chain: %s", error)  # the conductor says which
    shut_out_uninvited(space)


async def on_standings(space: Space, peer: AgentPubKey, request: Standings) -> Standings:
    """Take a peer's, answer with our own and a fair share of all."""
    await take_standings(space, request.standings)
    own = space.standings.get(space.agent)
    if not request.standings or own is None:
        return Standings(())
    _note_told(space, peer)
    place = open_standing(request.standings[0], space.dna).place
    others = (each for each in space.standings.values() if each.agent not in (peer, space.agent))
    count = max(0, min(NEAR, request.count) - 1)
    near = nsmallest(count, others, key=lambda each: (each.place ^ place, each.agent))
    return Standings(tuple(each.wire for each in (own, *near)))


def on_knock(space: Space, request: Knock) -> Here:
    """Say whether we can witness; raises `Busy` while we cannot know what we have forgotten.

    Nor may a handover name us whose stamps, by clocks that differ, might be too early for us.
    """
    lost_us = space.witness_rows.lost_us()
    healing = lost_us is not None and space.clock.now_us() <= lost_us + 2 * CLOCK_SKEW_US_MAX
    if healing or not space.head_confirmed.is_set():
        raise Busy("our disk was lost, or is being compared with what others hold")
    author = AgentPubKey(request.author)
    bound = space.witness_rows.duty(author) is not None
    return Here(bound or begun_after(request.begun_us, lost_us))


def own_founders(space: Space, author: Standing) -> tuple[WireRecord, ...]:
    """The founding witnesses that we would name for an author."""
    named = founders_of(author, space.seats.values())
    return tuple(space.standings[agent].wire for agent in named)


async def there(
    space: Space, lineage: Lineage, agents: Iterable[AgentPubKey]
) -> dict[AgentPubKey, bool]:
    """Which of these answer us now, or did a moment ago, and can go on witnessing in a lineage."""
    question = Knock(open_standing(lineage.standing, space.dna).agent, begun_us(space.dna, lineage))
    answers: dict[AgentPubKey, bool] = {}

    async def knock(agent: AgentPubKey) -> None:
        for _ in range(KNOCKS_MAX):
            try:
                answer = await _ask_there(space, agent, question)
            except IoeError:
                continue
            answers[agent] = answer
            break
        _remember(space, agent, question, answers.get(agent))

    since_us = space.clock.now_us() - KNOCK_FRESH_US
    async with trio.open_nursery() as nursery:
        for agent in agents:
            at_us, said = space.knocks.get((agent, question), (0, None))
            if at_us < since_us:
                nursery.start_soon(knock, agent)
            elif said is not None:
                answers[agent] = said
    return answers


async def _ask_there(space: Space, agent: AgentPubKey, question: Knock) -> bool:
    if agent == space.agent:
        return on_knock(space, question).remembers
    answer = await space.ask(agent, question, KNOCK_TIMEOUT_S)
    if not isinstance(answer, Here):
        raise Malformed("a knock answered by something else")
    return answer.remembers


def _remember(space: Space, agent: AgentPubKey, question: Knock, said: bool | None) -> None:
    space.knocks.pop((agent, question), None)
    if len(space.knocks) >= KNOCKS_KEPT_MAX:
        del space.knocks[next(iter(space.knocks))]  # the oldest
    space.knocks[agent, question] = (space.clock.now_us(), said)


async def own_heirs(space: Space, lineage: Lineage, view: View) -> tuple[AgentPubKey, ...]:
    """The members closest to an author that answer us now, in the order of their keys.

    A witness of the view that has lost its memory counts as gone.  Where these are fewer than
    the view has, the closest others fill it up, those first that answer: in a new view even the
    forgetful can serve.  Nobody while the same witnesses would only follow themselves.
    """
    author = open_standing(lineage.standing, space.dna)
    near = [
        each
        for each in space.members_by_place(author.place, KNOCKED_MAX + 1)
        if each.agent != author.agent and each.agent not in space.blocked
    ]
    answers = await there(space, lineage, [each.agent for each in near])
    forgetful = {agent for agent in view.members if answers.get(agent) is False}
    fit = [each for each in near if each.agent in answers and each.agent not in forgetful]
    others = [each for each in near if each not in fit]
    others.sort(key=lambda each: each.agent not in answers)
    lacking = max(0, len(view.members) - len(fit))
    heirs = closest(author.place, fit[:WITNESSES] + others[:lacking])
    return () if heirs == view.members and not forgetful else heirs


async def tell_standing(space: Space) -> None:
    """Tell our own to the members near us that have not heard it, and take theirs.

    The closest are asked for the others', too: of those who are gone nobody else tells us.
    """
    own = space.standings.get(space.agent)
    if own is None:
        return

    async def tell(agent: AgentPubKey, wire: WireRecord, count: int) -> None:
        try:
            answer = await space.ask(agent, Standings((wire,), count))
            if not isinstance(answer, Standings):
                raise Malformed("standings answered by something else")
            await take_standings(space, answer.standings)
            _note_told(space, agent)
        except IoeError as error:
            log.debug("telling %s our standing: %s", to_text(agent)[:12], error)

    near = space.membership.closest_by_place(own.place, NEAR)
    async with trio.open_nursery() as nursery:
        for rank, agent in enumerate(near):
            if agent not in space.told and agent != space.agent:
                nursery.start_soon(tell, agent, own.wire, NEAR if rank < TELLERS else 1)


def _note_told(space: Space, agent: AgentPubKey) -> None:
    """A peer knows our standing."""
    if len(space.told) >= STANDINGS_MAX:
        space.told.clear()
    space.told.add(agent)
