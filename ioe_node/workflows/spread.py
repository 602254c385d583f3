"""Warrants spread: a new one is told to some members at once, and gossip finds who lacks it.

Whom a revocation names is told, too, who is shut out from then on: a sold device must know that it
is free.
"""

from hashlib import blake2b

import trio

from ioe_node.errors import IoeError, Malformed, PeerError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.codec import Codec
from ioe_node.model.hashes import to_text
from ioe_node.model.warrant import WARRANT_BYTES_MAX, Revoked, SignedWarrant, decode_warrant
from ioe_node.net.messages import (
    WARRANTS_KNOWN_MAX,
    WARRANTS_PER_MESSAGE_MAX,
    GetWarrants,
    Warrants,
)
from ioe_node.workflows.integration import keep
from ioe_node.workflows.space import Space, log

TOLD_AT_ONCE = 8
ANSWER_BYTES_MAX = 4 * 1024 * 1024

warrants: Codec[SignedWarrant] = Codec(SignedWarrant, "signed warrant", WARRANT_BYTES_MAX)


def _convicted(space: Space) -> list[AgentPubKey]:
    return sorted({AgentPubKey(agent) for agent, _ in space.store.warrants()} | {space.agent})


def warrants_digest(space: Space) -> bytes:
    """16 bytes that two nodes share when they have blocked the same agents."""
    return blake2b(b"".join(sorted(space.blocked - space.uninvited)), digest_size=16).digest()


def answer_get_warrants(space: Space, ask: GetWarrants) -> Warrants:
    """Those on whom the asker knows none."""
    known, size = {bytes(agent) for agent in ask.known}, 0
    found: list[SignedWarrant] = []
    for agent, data in space.store.warrants():
        if agent not in known and len(found) < WARRANTS_PER_MESSAGE_MAX:
            size += len(data)
            if found and size > ANSWER_BYTES_MAX:
                break
            found.append(warrants.decode(data))
    return Warrants(tuple(found))


async def fetch_warrants(space: Space, peer: AgentPubKey) -> None:
    """Take what a neighbour holds on agents whom we have not blocked."""
    answer = await space.ask(peer, GetWarrants(tuple(_convicted(space)[:WARRANTS_KNOWN_MAX])))
    if not isinstance(answer, Warrants):
        raise Malformed("warrants asked for, something else answered")
    for signed in answer.warrants:
        await keep(space, signed)


async def spread_warrants(space: Space) -> None:
    """Tell each new warrant to some members, by lot; for ever."""
    told = {data for _, data in space.store.warrants()}
    while True:
        await space.warrants_bell.wait()
        fresh = [data for _, data in space.store.warrants() if data not in told]
        told.update(fresh)
        others = space.others()
        chosen = set(space.rng.sample(others, min(len(others), TOLD_AT_ONCE)))
        opened = [decode_warrant(warrants.decode(data)) for data in fresh]
        chosen |= {AgentPubKey(each.warrantee) for each in opened if isinstance(each, Revoked)}
        async with trio.open_nursery() as nursery:
            for peer in sorted(chosen - {space.agent}):
                nursery.start_soon(_tell, space, peer, fresh)


async def _tell(space: Space, peer: AgentPubKey, fresh: list[bytes]) -> None:
    for data in fresh:
        try:
            await space.ask(peer, Warrants((warrants.decode(data),)))
        except (IoeError, PeerError) as error:
            log.debug("telling %s a warrant: %s", to_text(peer)[:12], error)
