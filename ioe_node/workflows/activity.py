"""Another agent's chain, read from where it is held, a page at a time.

An authority reads its own store, everyone else asks the authorities.  Seals and links are
checked here; nothing is written down.  What was read of a chain is kept in memory for a while
(`workflows.chains_read`), so that whoever looks again only asks for what is new.
"""

from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.record import Record, open_parcel
from ioe_node.net.messages import Activity, Answer, Chain
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.pages import run_of
from ioe_node.workflows.space import Space


async def read_chain(space: Space, author: AgentPubKey, from_seq: int) -> list[Record]:
    """The next whole bundles of a chain from `from_seq` on; empty when there are no more.

    `from_seq` is 0 or follows a record that was read before.  Empty also when nobody who
    should hold the chain can be reached.
    """
    authorities = await authorities_of(space, author)
    if space.agent in (author, *authorities) and space.store.head(author) is not None:
        return await space.run(run_of, space.store, author, from_seq)
    # Nobody vouches for its own chain: what others would not take is not read either.
    others = [agent for agent in authorities if agent != author]
    order = space.rng.sample(others, len(others))
    ask = Activity(author, from_seq)
    found = await space.ask_first(order, ask, lambda answer: _open(space, answer, author, from_seq))
    return found or []


def _open(space: Space, answer: Answer, author: AgentPubKey, from_seq: int) -> list[Record] | None:
    """The records of an answer: of this chain, from this place on, each following the last.

    None for a whole chain of nothing: whoever holds it shows its genesis.
    """
    if not isinstance(answer, Chain):
        raise Malformed("a chain asked for, something else answered")
    records = [record for parcel in answer.parcels for record in open_parcel(parcel, space.dna)]
    for place, record in enumerate(records):
        action = record.action
        if action.author != author or action.action_seq != from_seq + place:
            raise Malformed("another chain, or another place of it, than was asked for")
        if place and action.prev_action != records[place - 1].hash:
            raise Malformed("a chain whose actions do not follow each other")
    return records or (None if from_seq == 0 else [])


async def read_whole_chain(space: Space, author: AgentPubKey) -> list[Record]:
    """A chain as its authorities hold it now, oldest first."""
    return await space.chains_read.up_to_date(
        author, lambda from_seq: read_chain(space, author, from_seq)
    )
