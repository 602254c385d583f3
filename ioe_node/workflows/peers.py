"""Membership: the membrane, and meeting those whom we should know.

On joining we ask the bootstrap addresses, then look up our own key and place, so that our
neighbours learn of us and we of them, and ask for some far away, as in Kademlia; later the same,
rarer.
Whoever is named to us is met if there is room for it: only the membrane makes it a member.
"""

import trio

from ioe_node.errors import IoeError, Malformed, PeerError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.agent_info import INFO_BYTES_MAX, SignedInfo
from ioe_node.model.codec import Codec
from ioe_node.model.hashes import key_of, proof_digest, to_text, witness_place
from ioe_node.net.messages import FOUND_PEERS_MAX, Hello, encode, hellos
from ioe_node.workflows.locate import ask_near, lookup, lookup_near_us
from ioe_node.workflows.revocation import door_fault, note_ended
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.spread import warrants
from ioe_node.workflows.turns import refuse_shunned

ROUND_S = 2.0
ROUND_MAX_S = 30.0
REFRESH_S = 1_800.0
STRANGERS_PER_ROUND_MAX = 8
KEY_BITS = 32

infos: Codec[SignedInfo] = Codec(SignedInfo, "signed info", INFO_BYTES_MAX + 128)


def hello(space: Space) -> bytes:
    """Our opening message on every link."""
    return encode(Hello(space.info(), space.membrane_proof))


def admit(space: Space, peer: AgentPubKey, data: bytes) -> None:
    """Judge a peer's opening message: the membrane stands here, before anything is answered."""
    if peer in space.blocked:
        raise PeerError(space.why_blocked(peer))
    refuse_shunned(space, peer)
    opening = hellos.decode(data)
    fault = door_fault(space, peer, opening.membrane_proof)
    if fault is not None:
        raise PeerError(f"this community does not admit you: {fault}")
    space.admitted.setdefault(peer)  # first, or a flood of strangers leaves no room for it
    if space.learn(opening.info) != peer:
        raise Malformed("an opening message in another agent's name")
    info = space.peers.info_of(peer)
    if info is not None and info.proof != proof_digest(opening.membrane_proof):
        raise Malformed("an opening message with another membrane proof than its info names")
    space.welcome(peer)


async def meet(space: Space, bootstrap: tuple[AgentPubKey, ...]) -> None:
    """Meet the bootstrap peers, then whom they name, then look up; for ever."""
    refresh_at_s = 0.0
    pause_s = ROUND_S
    while True:
        worth = _worth_meeting(space)
        begun = [peer for peer in bootstrap if peer not in space.admitted]
        async with trio.open_nursery() as nursery:
            for peer in (*begun, *worth):
                nursery.start_soon(_meet, space, peer)
        if space.others() and trio.current_time() >= refresh_at_s:
            await _refresh(space)
            space.joined = True
            space.forget_silent()
            refresh_at_s = trio.current_time() + REFRESH_S * (0.5 + space.rng.random())
        alone = not space.others()
        pause_s = ROUND_S if not alone else min(ROUND_MAX_S, 2 * pause_s)
        if worth or alone:
            await space.exchange_bell.wait(pause_s * (0.5 + space.rng.random()))
        else:
            await space.exchange_bell.wait(REFRESH_S * (0.5 + space.rng.random()))
            await trio.sleep(ROUND_S * space.rng.random() / 4)


def _worth_meeting(space: Space) -> list[AgentPubKey]:
    """Some of those whom we know by name only and have room for, by lot."""
    found = []
    for agent in space.strangers():
        info = space.peers.info_of(agent)
        if info is None:
            continue
        if space.membership.has_room(agent, witness_place(agent, info.proof), info.holds):
            found.append(agent)
    if len(found) <= STRANGERS_PER_ROUND_MAX:
        return found
    return space.rng.sample(found, STRANGERS_PER_ROUND_MAX)


async def _meet(space: Space, peer: AgentPubKey) -> None:
    """Be admitted and admit; who is near us, or all that we know, says which holders are near."""
    info = space.peers.info_of(peer)
    near = space.membership.is_near(key_of(peer), info is None or info.holds)
    count = FOUND_PEERS_MAX if near else 0
    try:
        await ask_near(space, peer, key_of(space.agent), holders=True, count=count)
    except IoeError as error:
        log.debug("meeting %s: %s", to_text(peer)[:12], error)
        if peer not in space.admitted:
            space.peers.forget(peer)


async def _refresh(space: Space) -> None:
    """Look up our own key and place; then ask one member at each distance, the largest first.

    Until one names fewer there than it could: the rest the first lookup has passed by.
    """
    ours = key_of(space.agent)
    await lookup_near_us(space)
    await lookup(space, space.membership.place, by_place=True)
    for bits in range(KEY_BITS, 0, -1):
        key = ours ^ (1 << bits - 1) ^ space.rng.randrange(1 << bits - 1)
        for peer in space.membership.closest(key, 1):
            try:
                named = await ask_near(space, peer, key)
            except IoeError as error:
                log.debug("asking %s for those far away: %s", to_text(peer)[:12], error)
                continue
            if sum((key_of(one) ^ ours).bit_length() == bits for one in named) < FOUND_PEERS_MAX:
                return


def recall(space: Space) -> None:
    """Take up peers and warrants from disk after a restart."""
    for convicted, data in space.store.warrants():
        if convicted == space.agent:
            space.convicted = True
            continue
        space.blocked.add(AgentPubKey(convicted))
        note_ended(space, AgentPubKey(convicted), warrants.decode(data))
    for agent in space.store.authors():
        space.admitted[agent] = None
    for data in space.store.peers():
        space.welcome(space.recall_info(infos.decode(data)))
    space.joined = bool(space.others())
