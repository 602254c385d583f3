"""Membership: meet the bootstrap addresses, pass on whom we know, tell warrants.

In rounds: whoever is new is asked first, then one peer by lot.  Rounds come every few seconds
while there is news (a newcomer, a warrant) and grow rarer while there is none.  In a network of
some dozens everyone simply knows everyone.
"""

import trio

from ioe_node.errors import Busy, IoeError, Malformed, PeerError
from ioe_node.hdi import AgentPubKey, Invalid
from ioe_node.model.agent_info import INFO_BYTES_MAX, SignedInfo
from ioe_node.model.codec import Codec
from ioe_node.model.hashes import to_text
from ioe_node.model.warrant import WARRANT_BYTES_MAX, SignedWarrant
from ioe_node.net.messages import (
    PEERS_PER_MESSAGE_MAX,
    Hello,
    Peers,
    Warrants,
    encode,
    hellos,
)
from ioe_node.workflows.incoming_ops import pull
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.turns import refuse_shunned

ROUND_S = 2.0
ROUND_MAX_S = 30.0
PEERS_PER_ROUND_MAX = 4

infos: Codec[SignedInfo] = Codec(SignedInfo, "signed info", INFO_BYTES_MAX + 128)
warrants: Codec[SignedWarrant] = Codec(SignedWarrant, "signed warrant", WARRANT_BYTES_MAX)


def hello(space: Space) -> bytes:
    """Our opening message on every link."""
    return encode(Hello(space.info(), space.membrane_proof))


def admit(space: Space, peer: AgentPubKey, data: bytes) -> None:
    """Judge a peer's opening message: the membrane stands here, before anything is answered."""
    if peer in space.blocked:
        raise PeerError("you are warranted in this network")
    refuse_shunned(space, peer)
    opening = hellos.decode(data)
    verdict = space.rules.definition.admits(peer, opening.membrane_proof)
    if isinstance(verdict, Invalid):
        raise PeerError(f"this community does not admit you: {verdict.reason}")
    if space.learn(opening.info) != peer:
        raise Malformed("an opening message in another agent's name")
    space.welcome(peer)


def known_infos(space: Space) -> Peers:
    """Our own info and a fair share of the others'."""
    known = [space.peers.signed_of(agent) for agent in space.others()]
    others = [signed for signed in known if signed is not None]
    if len(others) >= PEERS_PER_MESSAGE_MAX:
        others = space.rng.sample(others, PEERS_PER_MESSAGE_MAX - 1)
    return Peers((space.info(), *others))


def learn_all(space: Space, peers: Peers) -> None:
    """Take what a peer passed on; infos that have expired on the way are dropped."""
    for signed in peers.infos:
        try:
            space.learn(signed)
        except Malformed as error:
            log.debug("an info that was passed on: %s", error)


async def exchange(space: Space, bootstrap: tuple[AgentPubKey, ...]) -> None:
    """Rounds, for ever."""
    met: set[AgentPubKey] = set()
    told: dict[AgentPubKey, set[bytes]] = {}
    pause_s = ROUND_S
    while True:
        others = space.others()
        known_warrants = len(space.store.warrants())
        fresh = [
            peer
            for peer in dict.fromkeys([*bootstrap, *others])
            if (peer not in met or len(told.get(peer, ())) < known_warrants)
            and peer != space.agent
            and peer not in space.blocked
        ]
        chosen = _some(space, fresh) + _some(space, space.strangers())
        if others:
            chosen.append(space.rng.choice(others))
        async with trio.open_nursery() as nursery:
            for peer in dict.fromkeys(chosen):
                nursery.start_soon(_meet, space, peer, met, told.setdefault(peer, set()))
        pause_s = ROUND_S if len(fresh) > PEERS_PER_ROUND_MAX else min(ROUND_MAX_S, 2 * pause_s)
        if await space.exchange_bell.wait(pause_s * (0.5 + space.rng.random())):
            pause_s = ROUND_S
            await trio.sleep(ROUND_S * space.rng.random())


def _some(space: Space, peers: list[AgentPubKey]) -> list[AgentPubKey]:
    """As many as one round asks, by lot."""
    if len(peers) <= PEERS_PER_ROUND_MAX:
        return peers
    return space.rng.sample(peers, PEERS_PER_ROUND_MAX)


async def _follow(space: Space, peer: AgentPubKey) -> None:
    """Take a peer's own chain past what we hold of it.

    It believes to have delivered what our disk may have lost since.
    """
    while True:
        if not await pull(space, peer, [peer]):
            return
        await trio.sleep(ROUND_S)


async def _meet(space: Space, peer: AgentPubKey, met: set[AgentPubKey], told: set[bytes]) -> None:
    try:
        answer = await space.ask(peer, known_infos(space))
        if not isinstance(answer, Peers):
            raise Malformed("peers answered by something else")
        learn_all(space, answer)
        if peer not in met:
            await _follow(space, peer)
            met.add(peer)
        for _, data in space.store.warrants():
            if data not in told:
                await _tell(space, peer, data, told)
    except IoeError as error:
        log.debug("meeting %s: %s", to_text(peer)[:12], error)


async def _tell(space: Space, peer: AgentPubKey, data: bytes, told: set[bytes]) -> None:
    """One warrant; a peer that cannot take it yet is told again in another round."""
    try:
        await space.ask(peer, Warrants((warrants.decode(data),)))
    except (Busy, PeerError):
        return  # the others must not wait behind it
    told.add(data)


def recall(space: Space) -> None:
    """Take up peers and warrants from disk after a restart."""
    for convicted, _ in space.store.warrants():
        space.blocked.add(AgentPubKey(convicted))
    space.members.update(space.store.authors())
    for data in space.store.peers():
        signed = infos.decode(data)
        space.members.add(space.recall_info(signed))
    space.members.discard(space.agent)
