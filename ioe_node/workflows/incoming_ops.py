"""Incoming ops: bound, dedupe, park in limbo, wait for the verdicts, answer with a receipt.

Nothing here judges; nothing here is visible to reads.  A peer may have so many rows and bytes in
limbo and no more, as many again of what we fetched from it: past that it is told to try again, or
another is asked.  A record without its chain is taken if something of it belongs near here, while
not too much of its author is held like that.
"""

from collections.abc import Sequence

import trio

from ioe_node.core.authority import REDUNDANCY
from ioe_node.core.share import within
from ioe_node.errors import Busy, Malformed, PeerError, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.action import decode_action
from ioe_node.model.codec import encode
from ioe_node.model.hashes import action_hash, key_of
from ioe_node.model.op import foreign_bases
from ioe_node.model.record import Parcel, WireRecord, first_action, is_part, signature_of
from ioe_node.model.warrant import INVALID, PENDING, VALID, Receipt, seal_receipt
from ioe_node.net.messages import Held
from ioe_node.store.limbo import ToPark
from ioe_node.workflows import cascade
from ioe_node.workflows.space import Space
from ioe_node.workflows.validation import Verdicts

LIMBO_BYTES_PER_PEER_MAX = 64 * 1024 * 1024
ALONE_ROWS_PER_AUTHOR_MAX = 65_536
ALONE_BYTES_PER_AUTHOR_MAX = 256 * 1024 * 1024
NEAR = 2 * REDUNDANCY
"""Views of who is closest differ by a few, and by half the network while that is cut in two."""
FAR = 8 * REDUNDANCY
"""Who takes us for one of the closest, though so many are closer, has not looked."""
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


async def park(
    space: Space,
    sender: AgentPubKey,
    parcels: Sequence[Parcel],
    on_chain: bool = False,
    fetched: bool = False,
) -> set[ActionHash]:
    """Bound, dedupe and park; rings the validation bell.

    `sender` is ourselves for what we made, not for what we `fetched`.  Our own chain is nobody's
    to give us.  `on_chain` says that a record which is held alone is wanted on its chain.

    The first actions of what is not for us, or not now; raises `Busy` when that is all there is,
    and `PeerError` for what nobody should have sent us.
    """
    rows: list[ToPark] = []
    left: dict[ActionHash, Busy] = {}
    for parcel in parcels:
        hash_, author, seq = first_of(parcel)
        if author == space.agent:
            continue
        try:
            if sender != space.agent and not fetched:
                if author in space.blocked:  # as the sender may not know yet
                    raise Busy("the author is warranted here; its ops are not taken")
                _check_share(space, sender, parcel, author, seq)
            # Under another signature it may be the same action sealed twice.
            here = _on_chain(space, parcel) if on_chain else visible(space, parcel)
            if here and not _sealed_otherwise(space, parcel, hash_):
                continue
            if sender != space.agent and not fetched:
                _check_load(space, parcel, author)
            rows.append(ToPark(hash_, author, seq, encode(parcel), sender, fetched))
        except Busy as busy:
            left[hash_] = busy
    if left and not rows:
        raise next(iter(left.values()))
    if rows:
        _check_room(space, sender, rows, fetched)
        await space.run(space.store.limbo.park, rows, space.clock.now_us())
        space.validation_bell.ring()
    return set(left)


def _check_room(space: Space, sender: AgentPubKey, rows: Sequence[ToPark], fetched: bool) -> None:
    """Raise `Busy` for more than a peer may have in limbo."""
    count, size = space.store.limbo.load(sender, fetched)
    if (
        count + len(rows) > space.limits.limbo_rows
        or size + sum(len(row.wire) for row in rows) > LIMBO_BYTES_PER_PEER_MAX
    ):
        raise Busy("your share of limbo is full; try again when what you sent is judged")


def with_room(space: Space, peers: Sequence[AgentPubKey]) -> list[AgentPubKey]:
    """Those whose answers have not filled their shares of limbo with what hangs on nothing."""
    found = []
    for peer in peers:
        rows, size = space.store.limbo.load(peer, fetched=True)
        if rows < space.limits.limbo_rows and size < LIMBO_BYTES_PER_PEER_MAX:
            found.append(peer)
    return found


def _check_share(
    space: Space, sender: AgentPubKey, parcel: Parcel, author: AgentPubKey, seq: int
) -> None:
    """Raise `Busy` for what is not for us to hold, or not yet; `PeerError` for what never is."""
    if not space.membership.holds:
        raise Busy("we hold no share for others; look for the authorities again")
    if not space.is_authority(author):
        if not isinstance(parcel, WireRecord):
            raise Busy("that chain is not in our share; look for its authorities again")
        _check_bases(space, parcel, author)
    elif seq and space.store.head(author) is None and author != sender and not is_part(parcel):
        raise Busy("no action of that author is here yet; its first ones come first")


def _check_bases(space: Space, wire: WireRecord, author: AgentPubKey) -> None:
    """Raise for a record that came without its chain and none of whose ops belongs here."""
    action = decode_action(wire.action)
    hash_ = action_hash(wire.action, author)
    bases = [hash_, *foreign_bases(action, hash_, space.rules.by_hash(action))]
    keys = [key_of(basis) for basis in bases]
    for redundancy in (NEAR, FAR):
        share = space.membership.share(space.agent, redundancy)
        if any(within(share, key) for key in keys):
            break
    else:
        raise PeerError("nothing of that record belongs anywhere near here")
    if redundancy > NEAR:
        raise Busy("nothing of that record is in our share; look for its authorities again")


def _check_load(space: Space, parcel: Parcel, author: AgentPubKey) -> None:
    """Raise `Busy` for a record to be held alone when enough of its author is."""
    if not is_part(parcel) and space.is_authority(author):
        return
    rows, size = space.store.alone_load(author)
    if rows >= ALONE_ROWS_PER_AUTHOR_MAX or size >= ALONE_BYTES_PER_AUTHOR_MAX:
        raise Busy("we hold as much of that author without its chain as we may")


def _sealed_otherwise(space: Space, parcel: Parcel, first: ActionHash) -> bool:
    held = space.store.record(first)
    return held is not None and held.proof.signature != signature_of(parcel)


def visible(space: Space, parcel: Parcel) -> bool:
    """Whether a parcel is integrated here, on its author's chain if that is in our share."""
    hashes = hashes_of(parcel)
    if is_part(parcel) or (len(hashes) == 1 and not space.is_authority(first_of(parcel)[1])):
        return space.store.has(hashes[0])
    return _on_chain(space, parcel)


def _on_chain(space: Space, parcel: Parcel) -> bool:
    hashes = hashes_of(parcel)
    _, author, seq = first_of(parcel)
    return space.store.on_chain(author, seq + len(hashes) - 1, hashes[-1])


async def pull(
    space: Space, author: AgentPubKey, peers: Sequence[AgentPubKey], offered: bool = False
) -> bool:
    """Park a chain past what we hold of it, from whoever of `peers` answers first.

    Whether it goes on after that; raises `TransportError` if they have `offered` it and do not
    give it.
    """
    from_seq = space.next_seq(author)
    found = await cascade.retrieve_chain(space, author, from_seq, with_room(space, peers), offered)
    if found is None or first_of(found[1].parcels[0])[2] > from_seq:  # it hangs on nothing
        if offered:
            raise TransportError("a chain that was offered and not given")
        return False
    giver, chain = found
    await park(space, giver, chain.parcels, on_chain=True, fetched=True)
    return chain.more


async def catch_up(
    space: Space, author: AgentPubKey, peers: Sequence[AgentPubKey], offered: bool = False
) -> None:
    """`pull` again and again, each run once the one before it is integrated, up to its end."""
    while True:
        begun = space.next_seq(author)
        more = await pull(space, author, peers, offered)
        with trio.move_on_after(VERDICT_WAIT_S):
            while space.next_seq(author) == begun:
                await space.integrated.wait()
        if not more or space.next_seq(author) == begun:
            return


async def receive(
    space: Space, verdicts: Verdicts, sender: AgentPubKey, parcels: Sequence[Parcel]
) -> Held:
    """Take a publish and answer with the signed verdicts reached in `VERDICT_WAIT_S`."""
    hashes = [hashes_of(parcel) for parcel in parcels]
    if any(author == space.agent for _, author, _ in map(first_of, parcels)):
        raise Malformed("our own chain, sent to us")
    left = await park(space, sender, parcels)
    with trio.move_on_after(VERDICT_WAIT_S):
        for parcel, bundle in zip(parcels, hashes, strict=True):
            if bundle[0] not in left and not visible(space, parcel):
                await verdicts.wait(bundle[0])
    items: list[tuple[bytes, int]] = []
    for parcel, bundle in zip(parcels, hashes, strict=True):
        if bundle[0] not in left and visible(space, parcel):
            verdict = VALID
        else:
            verdict = INVALID if verdicts.refused(bundle[0]) else PENDING
        items += [(hash_, verdict) for hash_ in bundle]
    receipt = Receipt(space.agent, space.clock.now_us(), tuple(items))
    return Held(seal_receipt(receipt, space.dna, space.sign))
