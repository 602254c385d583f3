"""What a dishonest member does: each act is a function of the swarm, the offender and lots.

An offender runs the ordinary node; what it does beside that goes out under its own key, and a
`twist` of its transport answers in its node's place.  Whoever sins belongs in
`Swarm.offenders` before, so that the checkers know.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from random import Random

import trio

from ioe_node.core.authority import authorities
from ioe_node.core.chain import Draft, seal
from ioe_node.errors import IoeError, Malformed
from ioe_node.hdi import AgentPubKey, Timestamp, Valid
from ioe_node.model.action import Create, hash_of
from ioe_node.model.codec import encode
from ioe_node.model.hashes import agent_key, entry_hash
from ioe_node.model.record import Record, WireRecord, parcels_of
from ioe_node.model.warrant import VALID, InvalidRecord, Receipt, seal_receipt, seal_warrant
from ioe_node.net.messages import (
    Activity,
    Chain,
    Get,
    Held,
    Publish,
    Records,
    Request,
    Warrants,
    answers,
    requests,
)
from ioe_node.workflows.incoming_ops import hashes_of
from sim.home import Home
from sim.memory_transport import Handle, Twist
from sim.swarm import Swarm
from zomes.identity.integrity import Enrolment

GARBAGE_BYTES_MAX = 400
MESSAGES_PER_ACT = 20
REPLAYED_MAX = 50
TOLD_TIMES_MAX = 3
SECOND_BRANCH_AFTER_S = 1.0

Act = Callable[[Swarm, Home, Random], Awaitable[None]]


async def _tell(offender: Home, peers: Sequence[AgentPubKey], request: Request) -> None:
    """Send one message to several, again where it gets no answer, whatever they say to it."""

    async def one(peer: AgentPubKey) -> None:
        for _ in range(TOLD_TIMES_MAX):
            with suppress(IoeError):
                await offender.cell.space.ask(peer, request)
                return

    async with trio.open_nursery() as nursery:
        for peer in peers:
            if peer != offender.agent:
                nursery.start_soon(one, peer)


def device_named(name: str) -> AgentPubKey:
    """The key of a device that nobody has seen."""
    return agent_key(blake2b(name.encode(), digest_size=32).digest())


def enrolment(offender: Home, name: str) -> list[Record]:
    """A record that follows the offender's head and says nothing wrong by itself."""
    head = offender.store.head(offender.agent)
    assert head is not None, "an offender has begun its chain"
    now_us = max(offender.clock.now_us(), head.timestamp_us)
    entry = encode(Enrolment(device_named(name), "monitor", name, Timestamp(now_us)))
    action = Create(
        author=offender.agent,
        timestamp_us=now_us,
        action_seq=head.seq + 1,
        prev_action=head.hash,
        entry_type="identity.Enrolment",
        entry_hash=entry_hash(entry),
    )
    hash_, data = hash_of(action)
    return seal([Draft(hash_, action, data, entry)], offender.cell.space.dna, offender.signer.sign)


async def fork(swarm: Swarm, offender: Home, rng: Random) -> None:
    """Two actions at one sequence, each to half of those who should hold them."""
    closest = authorities(offender.agent, [home.agent for home in swarm.running()])
    for branch in range(2):
        parcels = parcels_of(enrolment(offender, f"branch {branch}"), lambda record: False)
        await _tell(offender, closest[branch::2], Publish(tuple(parcels)))
        await trio.sleep(SECOND_BRANCH_AFTER_S * rng.random())


async def invalid_record(swarm: Swarm, offender: Home, rng: Random) -> None:
    """A reading of less than nothing, committed and published as any other."""
    offender.cell.space.rules.validate = (  # type: ignore[method-assign]
        lambda *_args, **_named: Valid
    )
    interval_us = swarm.definition.properties.interval_us
    start_us = swarm.clock.now_us() // interval_us * interval_us
    reading = {
        "start": start_us,
        "end": start_us + interval_us,
        "import_milli_wh": -rng.randrange(1, 1_000),
        "export_milli_wh": 0,
        "import_register_milli_wh": 0,
        "export_register_milli_wh": 0,
        "quality": "measured",
        "method": "device",
    }
    with suppress(IoeError):
        await offender.call("metering", "record", {"readings": [reading]})


async def false_warrant(swarm: Swarm, offender: Home, rng: Random) -> None:
    """An honest member's valid record, said to be none."""
    space = offender.cell.space
    innocent = [home.agent for home in swarm.honest() if offender.store.head(home.agent)]
    if not innocent:
        return
    victim = rng.choice(innocent)
    head = offender.store.head(victim)
    record = None if head is None else offender.store.record(head.hash)
    if record is None:
        return
    wire = offender.store.alone(record).wire()
    accusation = InvalidRecord(
        victim, offender.agent, space.clock.now_us(), wire, "I do not like it"
    )
    told = Warrants((seal_warrant(accusation, space.dna, offender.signer.sign),))
    peers = [home.agent for home in swarm.running() if home is not offender]
    await _tell(offender, rng.sample(peers, min(len(peers), 3)), told)


async def garbage(swarm: Swarm, offender: Home, rng: Random) -> None:
    """Bytes that are no message, and messages that are cut off or changed in one place."""
    space = offender.cell.space
    whole = encode(Get(offender.agent))
    peers = [home.agent for home in swarm.running() if home is not offender]
    for _ in range(MESSAGES_PER_ACT):
        spoilt = bytearray(whole)
        spoilt[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        invented = rng.randbytes(rng.randrange(GARBAGE_BYTES_MAX))
        data = rng.choice((invented, whole[: rng.randrange(len(whole))], bytes(spoilt)))
        with suppress(IoeError):
            await space.transport.request(space.protocol, rng.choice(peers), data)


async def replay(swarm: Swarm, offender: Home, rng: Random) -> None:
    """Other authors' old records, sent again to whoever."""
    store = offender.store
    peers = [home.agent for home in swarm.running() if home is not offender]
    for _ in range(MESSAGES_PER_ACT):
        author = rng.choice(store.authors())
        old = store.chain(author, 0, REPLAYED_MAX)
        wires = tuple(store.alone(record).wire() for record in rng.sample(old, min(2, len(old))))
        await _tell(offender, [rng.choice(peers)], Publish(wires))


def liar(offender: Home, rng: Random) -> Twist:
    """Answers that are lies: other records, chains cut short, receipts for what was thrown away."""

    async def twist(handle: Handle, asker: AgentPubKey, data: bytes) -> bytes:
        try:
            request = requests.decode(data)
        except Malformed:
            return await handle(asker, data)
        if rng.random() < 0.1:
            await trio.sleep_forever()
        if rng.random() < 0.1:
            return rng.randbytes(GARBAGE_BYTES_MAX)
        match request:
            case Get():
                return encode(Records(tuple(_another(offender, rng))))
            case Publish():
                return encode(_false_receipt(offender, request))
            case Activity():
                answer = answers.decode(await handle(asker, data))
                if isinstance(answer, Chain):
                    return encode(Chain(answer.parcels[:-1], False))
        return await handle(asker, data)

    return twist


def _another(offender: Home, rng: Random) -> list[WireRecord]:
    """Some record that was not asked for."""
    held = offender.store.chain(rng.choice(offender.store.authors()), 0, REPLAYED_MAX)
    return [offender.store.alone(rng.choice(held)).wire()] if held else []


def _false_receipt(offender: Home, request: Publish) -> Held:
    """VALID for everything, and nothing of it is kept."""
    hashes = [hash_ for parcel in request.parcels for hash_ in hashes_of(parcel)]
    verdicts = tuple((bytes(hash_), VALID) for hash_ in hashes)
    receipt = Receipt(offender.agent, offender.clock.now_us(), verdicts)
    return Held(seal_receipt(receipt, offender.cell.space.dna, offender.signer.sign))


async def lies(swarm: Swarm, offender: Home, rng: Random) -> None:
    """From now on, answer with lies."""
    offender.spoil(liar(offender, rng))


ACTS: dict[str, Act] = {
    "fork": fork,
    "invalid record": invalid_record,
    "false warrant": false_warrant,
    "garbage": garbage,
    "replay": replay,
    "lies": lies,
}
