"""Restore: before we write, do others hold more of our own chain than this disk does?

A disk that was lost, or an older copy put back, must not make us write a second action where
we have published one: that is a fork, and a warrant.  So the chain is held until those closest to
us, who should hold it, have said what they have of it; the longest is judged like anybody's, but
for what lies on others' chains, and written.  Private content never left this disk and does not
come back.
"""

from typing import Any

import trio

from ioe_node.errors import IoeError, Malformed, StoreError, TransportError
from ioe_node.hdi import AgentPubKey, Invalid
from ioe_node.model.hashes import key_of, to_text
from ioe_node.model.record import Record, open_parcel
from ioe_node.net.messages import Activity, Chain
from ioe_node.workflows.genesis import genesis
from ioe_node.workflows.locate import ask_near, lookup
from ioe_node.workflows.overlay import Overlay
from ioe_node.workflows.space import Space, log

ASK_TIMEOUT_S = 3.0
PEERS_ASKED_MAX = 8
BEGIN_PATIENCE_S = 15.0
BEGIN_RETRY_S = 1.0


def _open(space: Space, from_seq: int, answer: object) -> list[list[Record]]:
    """The bundles of an answer, each sealed by us; raises `Malformed` for anything else.

    Nobody can make what we have not signed, so what passes here is ours.
    """
    if not isinstance(answer, Chain):
        raise Malformed("our chain asked for, something else answered")
    bundles = [open_parcel(parcel) for parcel in answer.parcels]
    if any(bundle[0].action.author != space.agent for bundle in bundles):
        raise Malformed("another chain than ours")
    if bundles and bundles[0][0].action.action_seq != from_seq:
        raise Malformed("another place of our chain than was asked for")
    return bundles


async def _furthest(space: Space, peers: list[AgentPubKey]) -> tuple[int, list[list[Record]]]:
    """(how many answered, the answer that reaches furthest) about our chain past our head."""
    from_seq = space.next_seq(space.agent)
    answers: list[list[list[Record]]] = []

    async def one(peer: AgentPubKey) -> None:
        try:
            answer = await space.ask(peer, Activity(space.agent, from_seq), ASK_TIMEOUT_S)
            answers.append(_open(space, from_seq, answer))
        except Malformed as error:
            space.charge(peer, str(error))
        except IoeError as error:
            log.debug("asking %s for our chain: %s", to_text(peer)[:12], error)

    async with trio.open_nursery() as nursery:
        for peer in peers[:PEERS_ASKED_MAX]:
            nursery.start_soon(one, peer)
    return len(answers), max(answers, key=lambda each: sum(map(len, each)), default=[])


async def catch_up(space: Space, peers: list[AgentPubKey]) -> int:
    """Take what others hold of our chain past our head; how many answered.

    The caller holds the chain.  Raises `StoreError` when what they hold does not follow it.
    """
    while True:
        answered, bundles = await _furthest(space, peers)
        for bundle in bundles:
            await _take(space, bundle)
        if not bundles:
            return answered


async def _take(space: Space, records: list[Record]) -> None:
    """Write a bundle that we sealed once; what its rules look up was here then, and need not be."""
    overlay = Overlay(space.store)
    for record in records:
        verdict = space.rules.validate(record, overlay.head(space.agent), overlay)
        if isinstance(verdict, Invalid):
            raise StoreError(
                "other nodes hold another continuation of our chain than this disk: an older copy "
                "was put back and written to; ask the steward for a new invitation of a new node"
            )
        overlay.add(record)
    ops = [space.ops_held(record) for record in records]
    await space.run(space.store.close_pass, records, ops, space.by_hash(records), [])
    space.grants = None
    log.warning("restored %d actions of our own chain from other nodes", len(records))


async def _keepers(space: Space, bootstrap: tuple[AgentPubKey, ...]) -> list[AgentPubKey]:
    """Who should hold our chain: those closest to us, whom the bootstrap peers lead to."""

    async def one(peer: AgentPubKey) -> None:
        try:
            await ask_near(space, peer, key_of(space.agent))
        except IoeError as error:
            log.debug("asking %s for peers: %s", to_text(peer)[:12], error)

    async with trio.open_nursery() as nursery:
        for peer in bootstrap:
            if peer not in space.admitted:
                nursery.start_soon(one, peer)
    near = await lookup(space, key_of(space.agent), PEERS_ASKED_MAX)
    return list(dict.fromkeys([*near.peers, *bootstrap]))[:PEERS_ASKED_MAX]


async def begin(space: Space, bootstrap: tuple[AgentPubKey, ...], begun: bool) -> None:
    """Our first time here: genesis, unless others already hold a chain of ours.

    `begun` says that this node has written here before, so that an empty store is a loss.
    Raises `TransportError` while nobody can be asked, `StoreError` when what is lost is nowhere.
    """
    founder = space.membrane_proof is None
    if begun or not founder:
        answered = 0
        with trio.move_on_after(BEGIN_PATIENCE_S):
            while not answered:
                answered = await catch_up(space, await _keepers(space, bootstrap))
                await trio.sleep(0 if answered else BEGIN_RETRY_S)
        lost = space.store.head(space.agent) is None
        if lost and not answered and (bootstrap or space.others()):
            raise TransportError("no node of the community answers; is one of them running?")
        if lost and begun:
            raise StoreError(
                "this node's chain is gone from its disk and nobody asked holds it; name a node "
                "that does under 'bootstrap' in the config"
            )
    await genesis(space)
    space.ring_publish()


async def check_head(
    space: Space, bootstrap: tuple[AgentPubKey, ...], task_status: Any = trio.TASK_STATUS_IGNORED
) -> None:
    """Hold the chain until those who can be reached have said what they hold of it."""
    async with space.chain_lock:
        task_status.started()
        try:
            await catch_up(space, await _keepers(space, bootstrap))
        except StoreError as error:
            space.fault(str(error))
