"""Publishing what belongs outside our neighbourhood: entries, links, amendments, each alone.

Such a record goes to the authorities of each of its other bases, with the proof that it was
sealed but without its chain.  It is owed (`store.owed`, written with the record) until
`RECEIPTS_ENOUGH` of them, or all there are, have given receipts; gossip among them does the rest.
"""

from collections.abc import Sequence

import trio

from ioe_node.errors import IoeError, Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import to_text
from ioe_node.model.op import foreign_bases
from ioe_node.model.record import Parcel, Record
from ioe_node.model.warrant import INVALID, VALID
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.publish import (
    OPS_PER_PUBLISH_MAX,
    PUBLISH_BYTES_MAX,
    backoff_s,
    deliver,
)
from ioe_node.workflows.space import Space, log

RECEIPTS_ENOUGH = 5


class Receipts:
    """Who has given receipts for which of our records, since the start."""

    def __init__(self) -> None:
        self._from: dict[bytes, set[AgentPubKey]] = {}

    def note(self, peer: AgentPubKey, record: Record) -> None:
        """One more."""
        self._from.setdefault(record.hash, set()).add(peer)

    def has(self, peer: AgentPubKey, record: Record) -> bool:
        """Whether a peer has given one."""
        return peer in self._from.get(record.hash, ())

    def forget(self, record: Record) -> None:
        """It is not owed any more."""
        self._from.pop(record.hash, None)


async def publish_ops(space: Space) -> None:
    """Give the authorities what we owe them; for ever."""
    await space.head_confirmed.wait()
    receipts, failures = Receipts(), 0
    while True:
        seqs = space.store.owed(OPS_PER_PUBLISH_MAX)
        if not seqs or not space.others():
            await space.owed_bell.wait()
            continue
        repaid = await _round(space, receipts, seqs)
        await space.run(space.store.repaid, repaid)
        if len(repaid) == len(seqs):
            failures = 0
            continue
        failures += 1
        await space.owed_bell.wait(backoff_s(space, failures))


async def _round(space: Space, receipts: Receipts, seqs: Sequence[int]) -> list[int]:
    """Offer each record to those who lack it, all at once; which are repaid after that."""
    due: dict[AgentPubKey, list[Record]] = {}
    wanted: list[tuple[int, Record, list[tuple[AgentPubKey, ...]]]] = []
    for seq in seqs:
        record = space.store.record_at(space.agent, seq)
        assert record is not None, "what is owed is on our chain"
        bases = foreign_bases(record.action, record.hash, space.rules.by_hash(record.action))
        holders = [await authorities_of(space, basis) for basis in bases]
        wanted.append((seq, record, holders))
        for peer in dict.fromkeys(agent for group in holders for agent in group):
            if not _has(space, receipts, peer, record) and not _comes_anyway(space, peer):
                due.setdefault(peer, []).append(record)
    async with trio.open_nursery() as nursery:
        for peer, records in due.items():
            nursery.start_soon(give, space, receipts, peer, records)
    repaid = []
    for seq, record, holders in wanted:
        if all(_enough(space, receipts, group, record) for group in holders):
            receipts.forget(record)
            repaid.append(seq)
    return repaid


def _comes_anyway(space: Space, peer: AgentPubKey) -> bool:
    """An authority of our chain gets the record with it."""
    return peer in space.publish_bells


def _has(space: Space, receipts: Receipts, peer: AgentPubKey, record: Record) -> bool:
    return (
        peer == space.agent
        or receipts.has(peer, record)
        or space.store.next_for(peer) > record.action.action_seq
    )


def _enough(space: Space, receipts: Receipts, group: Sequence[AgentPubKey], record: Record) -> bool:
    have = sum(_has(space, receipts, peer, record) for peer in group)
    return have >= min(RECEIPTS_ENOUGH, len(group))


async def give(
    space: Space, receipts: Receipts, peer: AgentPubKey, records: Sequence[Record]
) -> None:
    """Send records, each alone, to one peer, and note its receipts."""
    parcels: list[Parcel] = []
    size = 0
    for record in records:
        wire = space.store.alone(record).wire()
        size += len(wire.action) + len(wire.entry or b"")
        if parcels and size > PUBLISH_BYTES_MAX:
            break
        parcels.append(wire)
    try:
        verdicts = await deliver(space, peer, parcels)
    except IoeError as error:
        if isinstance(error, Malformed):
            space.charge(peer, str(error))
        log.debug("giving ops to %s: %s", to_text(peer)[:12], error)
        return
    for record in records[: len(parcels)]:
        verdict = verdicts.get(record.hash)
        if verdict == VALID:
            receipts.note(peer, record)
        elif verdict == INVALID:
            space.counters.refuse(f"{to_text(peer)[:12]} refuses our {record.action.action_seq}")
