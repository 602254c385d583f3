"""Publish: our chain to each authority, whole bundles with bodies, until it has receipted.

Each authority has a task and a cursor (`store.delivery`): the first sequence that it owes us a
receipt for.  A chain lives in one neighbourhood, so publishing is following one log; what a
receipt covers is never sent again, and a crash or a week offline only leaves a cursor behind.
When the neighbourhood changes, so do the tasks: a newcomer is brought up from the start.  What
belongs elsewhere goes by `workflows.publish_ops`.
Back-pressure comes by itself: one publish a peer is under way, and its answer is the receipt;
`throttle` passes it on to whoever writes.
"""

from collections.abc import Sequence

import trio

from ioe_node.errors import IoeError, Malformed, TransportError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import to_text
from ioe_node.model.record import BUNDLE_ACTIONS_MAX, Parcel, Record, parcels_of
from ioe_node.model.warrant import INVALID, VALID, open_receipt
from ioe_node.net.messages import Held, Publish
from ioe_node.workflows.bell import Bell
from ioe_node.workflows.space import Space, log

OPS_PER_PUBLISH_MAX = 256
PUBLISH_BYTES_MAX = 4 * 1024 * 1024
PUBLISH_TIMEOUT_S = 10.0
BACKLOG_ACTIONS_MAX = 1_000
KEEP_DELIVERIES_S = 2.0
THROTTLE_S = 0.1
THROTTLE_S_MAX = 2.0
RETRY_MIN_S = 0.25
RETRY_MAX_S = 30.0


def whole_bundles(records: list[Record]) -> list[Record]:
    """`records` cut at the last bundle edge within the limits, but one bundle at least."""
    end, size = 0, 0
    for place, record in enumerate(records):
        size += len(record.action_bytes) + len(record.entry or b"")
        proof = record.proof
        if proof.cosignatures or proof.index == proof.size - 1:
            if end and size > PUBLISH_BYTES_MAX:
                break
            end = place + 1
    return records[:end]


def next_run(space: Space, author: AgentPubKey, from_seq: int) -> list[Record]:
    """The next whole bundles of a chain as held here, within one message."""
    run = whole_bundles(space.store.chain(author, from_seq, OPS_PER_PUBLISH_MAX))
    return run or whole_bundles(space.store.chain(author, from_seq, BUNDLE_ACTIONS_MAX))


def backoff_s(space: Space, failures: int) -> float:
    """How long to wait after so many failures in a row: twice as long each time, by lot."""
    delay_s = min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(failures, 16))
    return delay_s * (0.5 + space.rng.random() / 2)


async def publish_to(space: Space, peer: AgentPubKey, bell: Bell) -> None:
    """Bring one peer up to our head, then wait for the bell; for ever."""
    failures = 0
    while True:
        try:
            if await _push(space, peer):
                failures = 0
                continue
        except IoeError as error:
            if isinstance(error, Malformed):
                space.charge(peer, str(error))
            elif not isinstance(error, TransportError):
                log.info("publishing to %s: %s", to_text(peer)[:12], error)
            failures += 1
            await trio.sleep(backoff_s(space, failures))
            continue
        await bell.wait()


async def _push(space: Space, peer: AgentPubKey) -> bool:
    """Send the next run and take its receipt; False when there is nothing to send."""
    from_seq = space.store.next_for(peer)
    run = next_run(space, space.agent, from_seq)
    if not run:
        return False
    parcels = parcels_of(run, space.withhold)
    verdicts = await deliver(space, peer, parcels)
    for place, record in enumerate(run):
        verdict = verdicts.get(record.hash)
        if verdict == INVALID:
            text = f"{to_text(peer)[:12]} refuses our action {record.action.action_seq}"
            space.counters.refuse(text)
            raise Malformed(text)
        if verdict != VALID:
            run = run[:place]
            break
    if not run:
        raise TransportError("the peer is still validating; it will be asked again")
    space.store.delivered(peer, run[-1].action.action_seq + 1)
    space.deliveries_bell.ring()
    return True


async def deliver(space: Space, peer: AgentPubKey, parcels: Sequence[Parcel]) -> dict[bytes, int]:
    """Send parcels to one peer; its verdict on each action by hash, from its signed receipt."""
    if not space.head_confirmed.is_set():
        raise TransportError("nobody has told yet what others hold of our chain")
    answer = await space.ask(peer, Publish(tuple(parcels)), PUBLISH_TIMEOUT_S)
    if not isinstance(answer, Held):
        raise Malformed("a publish answered by something else than a receipt")
    receipt = open_receipt(answer.receipt, space.dna, peer)
    return {bytes(hash_): verdict for hash_, verdict in receipt.verdicts}


async def publish(space: Space) -> None:
    """Keep one task for each authority of our chain, and none for anyone else."""
    await space.head_confirmed.wait()
    scopes: dict[AgentPubKey, trio.CancelScope] = {}

    async def run(peer: AgentPubKey, scope: trio.CancelScope, bell: Bell) -> None:
        with scope:
            await publish_to(space, peer, bell)

    async with trio.open_nursery() as nursery:
        while True:
            targets = [peer for peer in space.authorities(space.agent) if peer != space.agent]
            for peer in [peer for peer in scopes if peer not in targets]:
                scopes.pop(peer).cancel()
                space.publish_bells.pop(peer)
            for peer in targets:
                if peer not in scopes:
                    bell = space.publish_bells[peer] = Bell()
                    scope = scopes[peer] = trio.CancelScope()
                    nursery.start_soon(run, peer, scope, bell)
            await space.peers_bell.wait()


async def keep_deliveries(space: Space) -> None:
    """Write the cursors down a little after they move; for ever."""
    while True:
        await space.deliveries_bell.wait()
        await trio.sleep(KEEP_DELIVERIES_S)
        await space.run(space.store.keep_deliveries)


def backlog(space: Space) -> tuple[int, int, int]:
    """(authorities that hold our whole chain, authorities, actions that the median one lacks)."""
    head = space.store.head(space.agent)
    due = 0 if head is None else head.seq + 1
    peers = [peer for peer in space.authorities(space.agent) if peer != space.agent]
    behind = sorted(due - space.store.next_for(peer) for peer in peers)
    return behind.count(0), len(peers), behind[len(behind) // 2] if behind else 0


async def throttle(space: Space) -> None:
    """Slow down who writes when the authorities cannot keep up.

    Only while there are any: offline, a chain grows as it likes.
    """
    _, authorities, behind = backlog(space)
    if authorities and behind > BACKLOG_ACTIONS_MAX:
        await trio.sleep(min(THROTTLE_S_MAX, behind / BACKLOG_ACTIONS_MAX * THROTTLE_S))
