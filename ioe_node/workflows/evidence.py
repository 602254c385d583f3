"""What speaks for or against an agent: the newest of its chain, and the warrants against it.

A view of many agents reads a little of each.  So the end of a chain is found by its places, a
handful of short messages however long the chain is, and only what is wanted of it is read.
"""

from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.hdk import Conviction
from ioe_node.model.codec import Codec
from ioe_node.model.record import Record, open_parcel
from ioe_node.model.warrant import WARRANT_BYTES_MAX, SignedWarrant, decode_warrant
from ioe_node.net.messages import (
    PLACES_PER_MESSAGE_MAX,
    Activity,
    Answer,
    Chain,
    Place,
    Placed,
    Places,
)
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.space import Space

NEWEST_MAX = 1_024
PAGES_MAX = 8
READERS_TRIED_MAX = 3
SEQ_BITS = 32

signed_warrants: Codec[SignedWarrant] = Codec(SignedWarrant, "signed warrant", WARRANT_BYTES_MAX)


async def newest_of_chain(space: Space, author: AgentPubKey, count: int) -> list[Record]:
    """The newest `count` records of a chain (`NEWEST_MAX` at most), newest first, checked.

    Empty when nobody who should hold the chain can be reached.
    """
    count = max(0, min(count, NEWEST_MAX))
    authorities = await authorities_of(space, author)
    own = space.store.head(author) if space.agent in (author, *authorities) else None
    if own is not None:
        from_seq = max(0, own.seq + 1 - count)
        return (await space.run(space.store.chain, author, from_seq, count))[::-1]
    others = [agent for agent in authorities if agent != author]  # as in `read_chain`
    order = space.rng.sample(others, len(others))
    for _ in range(min(READERS_TRIED_MAX, len(order)) if count else 0):
        found = await _read_end(space, order, author, count)
        if found:
            return found
        order = order[1:] + order[:1]  # whoever spoke first named places that nobody shows
    return []


async def _read_end(
    space: Space, order: list[AgentPubKey], author: AgentPubKey, count: int
) -> list[Record]:
    head_seq = await _head_seq(space, order, author)
    at = max(0, head_seq + 1 - count)
    found: list[Record] = []
    for _ in range(PAGES_MAX):
        page = await _page(space, order, author, at) if at <= head_seq else None
        if not page or (found and page[0].action.prev_action != found[-1].hash):
            break
        found += page
        at = page[-1].action.action_seq + 1
    return found[-count:][::-1]


async def _head_seq(space: Space, order: list[AgentPubKey], author: AgentPubKey) -> int:
    """The last place of a chain that is taken, as the holders say; -1 for none.

    First by powers of two, then each time by a 256th of what is left.
    """
    taken = await _last_taken(space, order, author, [2**bit - 1 for bit in range(SEQ_BITS + 1)])
    low, high = taken, min(2 * taken + 1, 2**SEQ_BITS - 1)  # one past it, on a chain without holes
    while taken >= 0 and high - low > 1:
        step = max(1, -(-(high - low) // PLACES_PER_MESSAGE_MAX))
        asked = list(range(low + step, high, step))
        low = max(low, await _last_taken(space, order, author, asked))
        high = min(high, low + step)
    return low


async def _last_taken(
    space: Space, order: list[AgentPubKey], author: AgentPubKey, seqs: list[int]
) -> int:
    """The highest of these places, in rising order, that is taken; -1 if none is."""

    def take(answer: Answer) -> int | None:
        if not isinstance(answer, Placed) or len(answer.hashes) != len(seqs):
            raise Malformed("places asked for, something else answered")
        held = [seq for seq, hash_ in zip(seqs, answer.hashes, strict=True) if hash_ is not None]
        return held[-1] if held else None

    ask = Places(tuple(Place(author, seq) for seq in seqs))
    found = await space.ask_first(order, ask, take)
    return -1 if found is None else found


async def _page(
    space: Space, order: list[AgentPubKey], author: AgentPubKey, from_seq: int
) -> list[Record] | None:
    """A run of a chain that begins with the bundle that `from_seq` is in."""

    def take(answer: Answer) -> list[Record] | None:
        if not isinstance(answer, Chain):
            raise Malformed("a chain asked for, something else answered")
        records = [record for parcel in answer.parcels for record in open_parcel(parcel, space.dna)]
        for before, record in zip([None, *records], records, strict=False):
            follows = before is None or record.action.prev_action == before.hash
            if record.action.author != author or not follows:
                raise Malformed("another chain than was asked for, or one that does not follow")
        if (
            records
            and not records[0].action.action_seq <= from_seq <= records[-1].action.action_seq
        ):
            raise Malformed("another place of a chain than was asked for")
        return records or None

    found: list[Record] | None = await space.ask_first(order, Activity(author, from_seq), take)
    return found


async def convictions_of(space: Space, agent: AgentPubKey) -> list[Conviction]:
    """The warrants kept here that convict an agent, in the order in which they came."""
    convictions = []
    for hash_, convicted, data, kept_us in await space.run(space.store.warrant_rows):
        if convicted == agent:
            warrant = decode_warrant(signed_warrants.decode(data))
            false = convicted != warrant.warrantee
            kind = "FalseWarrant" if false else type(warrant).__name__
            convictions.append(Conviction(hash_, kind, AgentPubKey(warrant.accuser), kept_us))
    return convictions
