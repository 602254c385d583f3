"""Finding who is closest to a key that is not near our own, by asking those who are nearer.

What lies in our own neighbourhood we know ourselves (`core.membership`), and a network that fits
into our table we know whole; only for the rest others are asked, and what they say is remembered
for a minute.
"""

from collections.abc import Sequence

import trio

from ioe_node.core.authority import REDUNDANCY
from ioe_node.core.lookup import Ask, Done, Lookup, Wait
from ioe_node.errors import IoeError, Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.agent_info import SignedInfo
from ioe_node.model.hashes import key_of, to_text, witness_place
from ioe_node.net.messages import FOUND_PEERS_MAX, Find, Peers
from ioe_node.workflows.bell import Bell
from ioe_node.workflows.space import Space, log

FIND_TIMEOUT_S = 3.0
FOUND_FRESH_US = 60 * 1_000_000
FOUND_MAX = 4_096


def known_near(space: Space, ask: Find) -> Peers:
    """The infos of those whom we know closest to a key or place, ours first."""
    if ask.by_place:
        near = space.membership.closest_by_place(ask.key, ask.count)
    else:
        near = space.membership.closest(ask.key, ask.count, ask.holders)
    known = [space.peers.signed_of(agent) for agent in near if agent != space.agent]
    return Peers((space.info(), *(signed for signed in known if signed is not None)))


def learn_all(
    space: Space, infos: Sequence[SignedInfo], named_by: AgentPubKey
) -> list[AgentPubKey]:
    """Take what a peer passed on; infos that have expired on the way are dropped."""
    learned = []
    for signed in infos:
        try:
            learned.append(space.learn(signed, named_by))
        except Malformed as error:
            log.debug("an info that was passed on: %s", error)
    return learned


def _at(space: Space, agent: AgentPubKey, by_place: bool) -> int:
    info = space.peers.info_of(agent)
    if by_place and info is not None:
        return witness_place(agent, info.proof)
    return key_of(agent)


async def ask_near(
    space: Space,
    peer: AgentPubKey,
    key: int,
    by_place: bool = False,
    count: int = FOUND_PEERS_MAX,
    holders: bool = False,
) -> list[AgentPubKey]:
    """Whom a peer knows closest to a key; raises what `Space.ask` does."""
    answer = await space.ask(peer, Find(key, by_place, count, holders), FIND_TIMEOUT_S)
    if not isinstance(answer, Peers):
        raise Malformed("a search for peers answered by something else")
    return [agent for agent in learn_all(space, answer.infos, peer) if agent != space.agent]


async def lookup(
    space: Space,
    key: int,
    count: int = REDUNDANCY,
    by_place: bool = False,
    holders: bool = False,
) -> Done:
    """The `count` members closest to a key, or place, that answer; ourselves left out.

    `holders` only, if we know of any: else whom we know is asked for them, and found beside them.
    """
    start = (
        space.membership.closest_by_place(key, FOUND_PEERS_MAX)
        if by_place
        else space.membership.closest(key, FOUND_PEERS_MAX, holders)
        or space.membership.closest(key, FOUND_PEERS_MAX)
    )
    search = Lookup(
        key,
        [(agent, _at(space, agent, by_place)) for agent in start if agent != space.agent],
        space.clock.now_us(),
        count=count,
    )
    answered = Bell()

    async def one(peer: AgentPubKey) -> None:
        try:
            near = await ask_near(space, peer, key, by_place, holders=holders)
            closer = [
                (agent, _at(space, agent, by_place))
                for agent in near
                if not holders or holds(space, agent)
            ]
            search.on_success(peer, closer, space.clock.now_us())
        except IoeError as error:
            log.debug("asking %s for peers: %s", to_text(peer)[:12], error)
            search.on_failure(peer, space.clock.now_us())
        answered.ring()

    async with trio.open_nursery() as nursery:
        while True:
            match search.next(space.clock.now_us()):
                case Ask(peer):
                    nursery.start_soon(one, peer)
                case Wait(until_us):
                    await answered.wait(max(0.0, (until_us - space.clock.now_us()) / 1e6))
                case Done() as done:
                    nursery.cancel_scope.cancel()
                    return done


async def lookup_near_us(space: Space, count: int = REDUNDANCY) -> tuple[AgentPubKey, ...]:
    """The members closest to our key, after the closest holders where not all of those hold."""
    ours = key_of(space.agent)
    members = (await lookup(space, ours, count)).peers
    if all(holds(space, agent) for agent in members):
        return members
    holders = (await lookup(space, ours, count, holders=True)).peers
    return tuple(dict.fromkeys([*holders, *members]))


async def authorities_of(space: Space, basis: bytes) -> tuple[AgentPubKey, ...]:
    """The authorities of any basis, closest first: from what we know, or found by asking.

    Before we have looked around, everything seems to be near us: a newcomer asks.
    """
    known = space.authorities(basis)
    if space.joined and (space.agent in known or space.membership.knows_all()):
        return known
    key, now_us = key_of(basis), space.clock.now_us()
    found = space.found.get(key)
    if found is not None and found[0] > now_us:
        return found[1]
    done = await lookup(space, key, holders=True)
    holders = tuple(agent for agent in done.peers if holds(space, agent)) or known
    if space.joined:
        if len(space.found) >= FOUND_MAX:
            space.found.pop(next(iter(space.found)))
        space.found[key] = (now_us + FOUND_FRESH_US, holders)
    return holders


def holds(space: Space, agent: AgentPubKey) -> bool:
    """Whether an agent holds a share for others; so we take it to be until it has said."""
    info = space.peers.info_of(agent)
    return info is None or info.holds
