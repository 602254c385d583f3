"""Attacks by numbers: invented keys without admission, and admitted ones around a victim's key."""

from contextlib import suppress
from random import Random

import trio

from ioe_node.errors import IoeError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.agent_info import SignedInfo, seal_info
from ioe_node.model.hashes import key_of, proof_digest
from ioe_node.model.signing import SEED_BYTES, Signer
from ioe_node.net.messages import INFOS_PER_COMPARE_MAX, Compare, Find, Hello, encode
from ioe_node.net.transport import Service
from sim.byzantine import liar
from sim.home import Home
from sim.swarm import Swarm

SYBILS = 1_000
SYBILS_THAT_CALL = 20
NOWHERE = ("/ip4/127.0.0.1/tcp/1",)
KEYS_TRIED_MAX = 20_000


def ground_near(victim: AgentPubKey, bits: int, rng: Random) -> Signer:
    """A key whose location shares its first `bits` bits with the victim's; about 2^bits tries."""
    wanted = key_of(victim) >> (32 - bits)
    for _ in range(KEYS_TRIED_MAX):
        signer = Signer(rng.randbytes(SEED_BYTES))
        if key_of(signer.agent) >> (32 - bits) == wanted:
            return signer
    return signer


def _info(swarm: Swarm, offender: Home, signer: Signer) -> SignedInfo:
    dna = offender.cell.space.dna
    proof = proof_digest(None)
    return seal_info(signer.agent, dna, proof, True, NOWHERE, swarm.clock.now_us(), signer.sign)


async def _call_uninvited(swarm: Swarm, signer: Signer, offender: Home, peer: AgentPubKey) -> None:
    """An invented key knocks at a member's door, with an info of its own and no invitation."""
    opening = encode(Hello(_info(swarm, offender, signer), None))
    protocol = offender.cell.space.protocol

    async def nothing(_asker: AgentPubKey, _data: bytes) -> bytes:
        return b""

    async with trio.open_nursery() as nursery:
        host = swarm.network.join(signer.agent, nursery)
        host.offer(protocol, Service(lambda: opening, lambda _peer, _hello: None, nothing))
        with suppress(IoeError):
            await host.request(protocol, peer, encode(Find(0, False)))
        swarm.network.leave(signer.agent)
        nursery.cancel_scope.cancel()


async def sybils(swarm: Swarm, offender: Home, rng: Random) -> None:
    """A member tells everyone of a thousand members that there are not; some of them knock."""
    invented = [Signer(rng.randbytes(SEED_BYTES)) for _ in range(SYBILS)]
    await _flood(swarm, offender, invented, rng)
    peers = [home.agent for home in swarm.honest()]
    for signer in invented[:SYBILS_THAT_CALL]:
        await _call_uninvited(swarm, signer, offender, rng.choice(peers))


async def _flood(swarm: Swarm, offender: Home, invented: list[Signer], rng: Random) -> None:
    infos = [_info(swarm, offender, signer) for signer in invented]
    targets = [home.agent for home in swarm.honest()]
    for target in rng.sample(targets, min(3, len(targets))):
        for at in range(0, len(infos), INFOS_PER_COMPARE_MAX):
            page = tuple(infos[at : at + INFOS_PER_COMPARE_MAX])
            with suppress(IoeError):
                flood = Compare((), (), bytes(16), (), page)
                await offender.cell.space.ask(target, flood)


async def eclipse(
    swarm: Swarm, offender: Home, rng: Random, admitted: int = 3, invented: int = 32, bits: int = 8
) -> None:
    """Surround an honest member's key: some admitted liars, and many more who are not admitted."""
    victim = rng.choice(swarm.honest()).agent
    near = [ground_near(victim, bits, rng) for _ in range(admitted + invented)]
    for signer in near[:admitted]:
        ally = await swarm.add(signer, offender=True)
        ally.spoil(liar(ally, rng))
    await _flood(swarm, offender, near[admitted:], rng)
