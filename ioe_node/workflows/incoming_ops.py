"""Incoming ops: bound, dedupe, park in limbo, wait for the verdicts, answer with a receipt.

Nothing here judges; nothing here is visible to reads.  A sender may have so many rows and
bytes in limbo and no more: past that it is told to try again.
"""

from collections.abc import Sequence

import trio

from ioe_node.errors import Busy, Malformed, PeerError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.action import decode_action
from ioe_node.model.codec import encode
from ioe_node.model.hashes import action_hash
from ioe_node.model.record import Parcel, WireRecord, first_action, signature_of
from ioe_node.model.warrant import INVALID, PENDING, VALID, Receipt, seal_receipt
from ioe_node.net.messages import Held
from ioe_node.store.limbo import ToPark
from ioe_node.workflows import cascade
from ioe_node.workflows.space import Space
from ioe_node.workflows.validation import Verdicts

LIMBO_BYTES_PER_PEER_MAX = 64 * 1024 * 1024
VERDICT_WAIT_S = 5.0


def first_of(parcel: Parcel) -> tuple[ActionHash, AgentPubKey, int]:
    """(hash, author, sequence) of a parcel's first action; raises `Malformed`."""
    data = first_action(parcel)
    action = decode_action(data)
    return action_hash(data, action.author), action.author, action.action_seq


def hashes_of(parcel: Parcel) -> list[ActionHash]:
    """Every action's hash in a parcel; raises `Malformed`."""
    author = first_of(parcel)[1]
    actions = (parcel.action,) if isinstance(parcel, WireRecord) else parcel.actions
    return [action_hash(data, author) for data in actions]


async def park(space: Space, sender: AgentPubKey, parcels: Sequence[Parcel]) -> None:
    """Bound, dedupe and park; rings the validation bell.

    `sender` is ourselves for what we fetched.  Our own chain is nobody's to give us.
    """
    rows: list[ToPark] = []
    for parcel in parcels:
        hash_, author, seq = first_of(parcel)
        if author == space.agent:
            continue
        if sender != space.agent:
            if author in space.blocked:
                raise PeerError(f"the author of action {seq} is warranted; its ops are refused")
            if seq and space.store.head(author) is None and author != sender:
                raise Busy("no action of that author is here yet; its first ones come first")
        held = space.store.record(hash_)
        # Under another signature it may be the same action sealed twice.
        if held is None or held.proof.signature != signature_of(parcel):
            rows.append(ToPark(hash_, author, seq, encode(parcel), sender))
    if not rows:
        return
    count, size = space.store.limbo.load(sender)
    if (
        count + len(rows) > space.limits.limbo_rows
        or size + sum(len(row.wire) for row in rows) > LIMBO_BYTES_PER_PEER_MAX
    ):
        raise Busy("your share of limbo is full; try again when what you sent is judged")
    await space.run(space.store.limbo.park, rows, space.clock.now_us())
    space.validation_bell.ring()


async def pull(space: Space, author: AgentPubKey, peers: list[AgentPubKey]) -> bool:
    """Park a chain past what we hold of it, from whoever of `peers` answers first.

    Whether it goes on after that.
    """
    chain = await cascade.retrieve_chain(space, author, space.next_seq(author), peers)
    if chain is None:
        return False
    await park(space, space.agent, chain.parcels)
    return chain.more


async def receive(
    space: Space, verdicts: Verdicts, sender: AgentPubKey, parcels: Sequence[Parcel]
) -> Held:
    """Take a publish and answer with the signed verdicts reached in `VERDICT_WAIT_S`."""
    hashes = [hashes_of(parcel) for parcel in parcels]
    if any(author == space.agent for _, author, _ in map(first_of, parcels)):
        raise Malformed("our own chain, sent to us")
    await park(space, sender, parcels)
    with trio.move_on_after(VERDICT_WAIT_S):
        for bundle in hashes:
            await verdicts.wait(bundle[0])
    items: list[tuple[bytes, int]] = []
    for bundle in hashes:
        if space.store.has(bundle[-1]):
            verdict = VALID
        else:
            verdict = INVALID if verdicts.refused(bundle[0]) else PENDING
        items += [(hash_, verdict) for hash_ in bundle]
    receipt = Receipt(space.agent, space.clock.now_us(), tuple(items))
    return Held(seal_receipt(receipt, space.sign))
