"""Membership: the membrane, and meeting those whom we should know.

On joining we ask the bootstrap addresses, then look up our own key and place, so that our
neighbours learn of us and we of them; later the same, rarer, and far keys by lot, as in Kademlia.
Whoever is named to us is met if there is room for it: only the membrane makes it a member.
"""

import trio

from ioe_node.errors import IoeError, Malformed, PeerError
from ioe_node.hdi import AgentPubKey, Invalid
from ioe_node.model.agent_info import INFO_BYTES_MAX, SignedInfo
from ioe_node.model.codec import Codec
from ioe_node.model.hashes import key_of, proof_digest, to_text, witness_place
from ioe_node.net.messages import Hello, encode, hellos
from ioe_node.workflows.locate import ask_near, lookup
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.turns import refuse_shunned

ROUND_S = 2.0
ROUND_MAX_S = 30.0
REFRESH_S = 1_800.0
STRANGERS_PER_ROUND_MAX = 8
KEY_BITS = 32
FAR_BITS = 5
"""On joining, keys are looked up at as many of the largest distances: halves, quarters, ..."""

infos: Codec[SignedInfo] = Codec(SignedInfo, "signed info", INFO_BYTES_MAX + 128)


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
    space.admitted.setdefault(peer)  # first, or a flood of strangers leaves no room for it
    if space.learn(opening.info) != peer:
        raise Malformed("an opening message in another agent's name")
    info = space.peers.info_of(peer)
    if info is not None and info.proof != proof_digest(opening.membrane_proof):
        raise Malformed("an opening message with another membrane proof than its info names")
    space.welcome(peer)


async def meet(space: Space, bootstrap: tuple[AgentPubKey, ...]) -> None:
    """Meet the bootstrap peers, then whom they name, then look up; for ever."""
    looked = False
    refresh_at_s = 0.0
    pause_s = ROUND_S
    while True:
        begun = [peer for peer in bootstrap if peer not in space.admitted]
        async with trio.open_nursery() as nursery:
            for peer in (*begun, *_worth_meeting(space)):
                nursery.start_soon(_meet, space, peer)
        if space.others() and trio.current_time() >= refresh_at_s:
            await _refresh(space, FAR_BITS if not looked else 1)
            looked = space.joined = True
            refresh_at_s = trio.current_time() + REFRESH_S * (0.5 + space.rng.random())
        alone = not space.others()
        pause_s = ROUND_S if not alone else min(ROUND_MAX_S, 2 * pause_s)
        if _worth_meeting(space) or alone:
            await space.exchange_bell.wait(pause_s * (0.5 + space.rng.random()))
        else:
            await space.exchange_bell.wait(REFRESH_S * (0.5 + space.rng.random()))
            await trio.sleep(ROUND_S * space.rng.random() / 4)


def _worth_meeting(space: Space) -> list[AgentPubKey]:
    """Some of those whom we know by name only and have room for, by lot."""
    found = []
    for agent in space.strangers():
        info = space.peers.info_of(agent)
        if info is not None and space.membership.has_room(agent, witness_place(agent, info.proof)):
            found.append(agent)
    if len(found) <= STRANGERS_PER_ROUND_MAX:
        return found
    return space.rng.sample(found, STRANGERS_PER_ROUND_MAX)


async def _meet(space: Space, peer: AgentPubKey) -> None:
    try:
        await ask_near(space, peer, key_of(space.agent))
    except IoeError as error:
        log.debug("meeting %s: %s", to_text(peer)[:12], error)
        if peer not in space.admitted:
            space.peers.forget(peer)


async def _refresh(space: Space, far_bits: int) -> None:
    """Look up our own key and place, and a key by lot at each of some far distances."""
    ours = key_of(space.agent)
    await lookup(space, ours)
    await lookup(space, space.membership.place, by_place=True)
    for bits in range(KEY_BITS, KEY_BITS - far_bits, -1):
        if bits in space.membership.far_buckets() or far_bits > 1:
            await lookup(space, ours ^ (1 << bits - 1) ^ space.rng.randrange(1 << bits - 1))


def recall(space: Space) -> None:
    """Take up peers and warrants from disk after a restart."""
    for convicted, _ in space.store.warrants():
        space.blocked.add(AgentPubKey(convicted))
    for agent in space.store.authors():
        space.admitted[agent] = None
    for data in space.store.peers():
        space.welcome(space.recall_info(infos.decode(data)))
    space.joined = bool(space.others())
