"""Standings: who is a member since when, and so who witnesses for whom; told from agent to agent.

A standing proves itself, so it may come from anybody.  It matters to those whose places are close:
every member tells its own to the `NEAR` members closest by place, once, and gets theirs in return.
"""

from collections.abc import Iterable
from heapq import nsmallest

import trio

from ioe_node.core.lineage import closest, founders_of
from ioe_node.errors import IoeError, Malformed, StoreError
from ioe_node.hdi import AgentPubKey, Invalid
from ioe_node.model.finality import STANDING_SEQ, WITNESSES, Standing, open_standing
from ioe_node.model.hashes import to_text
from ioe_node.model.record import WireRecord
from ioe_node.net.messages import Standings
from ioe_node.workflows.space import Space, log

STANDINGS_MAX = 10_000
NEAR = 32
"""More than the witnesses of an author and the heirs that may be asked to take over."""
KNOCK_TIMEOUT_S = 0.7
KNOCKS_MAX = 2
KNOCK_FRESH_US = 5 * 1_000_000
KNOCKED_MAX = 2 * WITNESSES
"""How many of the closest members are asked whether they are there, to find eight that are."""


def admits(space: Space, agent: AgentPubKey, proof: bytes | None, witness: bool = False) -> bool:
    """Whether the membrane lets an agent in (as a witness); of a known standing that was seen."""
    known = space.standings.get(agent)
    if known is not None and known.proof == proof:
        return not witness or agent in space.seats
    if isinstance(space.rules.definition.admits(agent, proof), Invalid):
        return False
    return not witness or space.rules.definition.sponsor(agent, proof) == agent


def stand(space: Space, wire: WireRecord) -> bool:
    """Take up a member's standing if it is news; raises `Malformed` for one that is none.

    The first that is seen of an agent stays: a second one is a fork of its genesis.
    """
    standing = open_standing(wire)
    known = space.standings.get(standing.agent)
    if known is not None or len(space.standings) >= STANDINGS_MAX:
        return False
    if not admits(space, standing.agent, standing.proof):
        raise Malformed("a standing that the membrane does not admit")
    seat(space, standing)
    space.witness_rows.save_standing(standing.agent, wire)
    return True


def seat(space: Space, standing: Standing) -> None:
    """Note an admitted member's standing; it has a seat among witnesses on its own account only."""
    agent = standing.agent
    space.standings[agent] = standing
    if space.rules.definition.sponsor(agent, standing.proof) == agent:
        space.seats[agent] = standing


def recall_standings(space: Space) -> None:
    """Take up standings from the disk: those kept, and those of the chains that we hold."""
    for wire in space.witness_rows.standings():
        seat(space, open_standing(wire))
    for author in space.store.authors():
        if author not in space.standings:
            try:
                record = space.store.record_at(author, STANDING_SEQ)
                if record is not None:
                    stand(space, space.store.alone(record).wire())
            except (StoreError, Malformed) as error:
                log.info("a standing on a damaged chain: %s", error)  # the conductor says which


def take_standings(space: Space, wires: Iterable[WireRecord]) -> bool:
    """Take up what a peer showed; whether any was news."""
    before = len(space.standings)
    known = {standing.wire for standing in space.standings.values()}
    for wire in wires:
        if wire not in known:
            stand(space, wire)
    return len(space.standings) > before


def on_standings(space: Space, request: Standings) -> Standings:
    """Take a peer's, answer with a fair share of all; a knock is answered by nothing."""
    if not request.standings:
        return Standings(())
    take_standings(space, request.standings)
    place = open_standing(request.standings[0]).place
    known = space.standings.values()
    near = nsmallest(NEAR, known, key=lambda each: (each.place ^ place, each.agent))
    return Standings(tuple(each.wire for each in near))


def own_founders(space: Space, author: Standing) -> tuple[WireRecord, ...]:
    """The founding witnesses that we would name for an author."""
    named = founders_of(author, space.seats.values())
    return tuple(space.standings[agent].wire for agent in named)


async def there(space: Space, agents: Iterable[AgentPubKey]) -> set[AgentPubKey]:
    """Which of these answer us now, or did a moment ago; we do."""
    answered: set[AgentPubKey] = {space.agent}
    since_us = space.clock.now_us() - KNOCK_FRESH_US

    async def knock(agent: AgentPubKey) -> None:
        for _ in range(KNOCKS_MAX):
            try:
                await space.ask(agent, Standings(()), KNOCK_TIMEOUT_S)
            except IoeError:
                continue
            answered.add(agent)
            break
        space.knocks[agent] = (space.clock.now_us(), agent in answered)

    async with trio.open_nursery() as nursery:
        for agent in agents:
            at_us, was_there = space.knocks.get(agent, (0, False))
            if at_us >= since_us:
                answered |= {agent} if was_there else set()
            elif agent != space.agent:
                nursery.start_soon(knock, agent)
    return answered


async def own_heirs(space: Space, author: Standing, at_least: int) -> tuple[AgentPubKey, ...]:
    """The members closest to an author that answer us now, in the order of their keys.

    Where these are fewer than a view must have, the closest that do not answer fill it up.
    """
    near = [
        each
        for each in space.members_by_place(author.place, KNOCKED_MAX + 1)
        if each.agent != author.agent and each.agent not in space.blocked
    ]
    answered = await there(space, [each.agent for each in near])
    live = [each for each in near if each.agent in answered][:WITNESSES]
    others = [each for each in near if each.agent not in answered]
    return closest(author.place, live + others[: max(0, at_least - len(live))])


async def tell_standing(space: Space, told: set[AgentPubKey]) -> None:
    """Tell our own to the members near us that have not heard it, and take theirs."""
    own = space.standings.get(space.agent)
    if own is None:
        return

    async def tell(agent: AgentPubKey, wire: WireRecord) -> None:
        try:
            answer = await space.ask(agent, Standings((wire,)))
            if not isinstance(answer, Standings):
                raise Malformed("standings answered by something else")
            take_standings(space, answer.standings)
            told.add(agent)
        except IoeError as error:
            log.debug("telling %s our standing: %s", to_text(agent)[:12], error)

    async with trio.open_nursery() as nursery:
        for agent in space.membership.closest_by_place(own.place, NEAR):
            if agent not in told and agent != space.agent:
                nursery.start_soon(tell, agent, own.wire)
