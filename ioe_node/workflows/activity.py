"""Another agent's chain, read from where it is held, a page at a time.

An authority reads its own store.  Everyone else asks the authorities, one after another with
a little patience for each, so that one that is silent delays a read and does not end it, and
one that is well is enough.  Seals and links are checked here; nothing is written down.
"""

from collections.abc import Sequence

import trio

from ioe_node.errors import IoeError, Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import to_text
from ioe_node.model.record import Record, open_parcel
from ioe_node.net.messages import Activity, Answer, Chain
from ioe_node.workflows.publish import next_run
from ioe_node.workflows.space import Space, log

HEDGE_AFTER_S = 0.25


async def read_chain(space: Space, author: AgentPubKey, from_seq: int) -> list[Record]:
    """The next whole bundles of a chain from `from_seq` on; empty when there are no more.

    `from_seq` is 0 or follows a record that was read before.  Empty also when nobody who
    should hold the chain can be reached.
    """
    authorities = space.authorities(author)
    if space.agent in (author, *authorities) and space.store.head(author) is not None:
        return next_run(space, author, from_seq)
    others = [peer for peer in authorities if peer != space.agent]
    order = sorted(space.rng.sample(others, len(others)), key=lambda peer: peer in space.slow)
    return await _ask_in_turn(space, order, author, from_seq)


async def _ask_in_turn(
    space: Space, peers: Sequence[AgentPubKey], author: AgentPubKey, from_seq: int
) -> list[Record]:
    """The first answer that stands; the next peer is asked as soon as one fails or is slow."""
    answers: list[list[Record]] = []

    async def one(peer: AgentPubKey, over: trio.Event, scope: trio.CancelScope) -> None:
        try:
            answer = await space.ask(peer, Activity(author, from_seq))
            space.slow.discard(peer)
            answers.append(_open(answer, author, from_seq))
            scope.cancel()
        except Malformed as error:
            space.charge(peer, str(error))
        except IoeError as error:
            log.debug("asking %s for a chain: %s", to_text(peer)[:12], error)
        finally:
            over.set()

    async with trio.open_nursery() as nursery:
        for peer in peers:
            over = trio.Event()
            nursery.start_soon(one, peer, over, nursery.cancel_scope)
            with trio.move_on_after(HEDGE_AFTER_S) as patience:
                await over.wait()
            if patience.cancelled_caught:
                space.slow.add(peer)
    return answers[0] if answers else []


def _open(answer: Answer, author: AgentPubKey, from_seq: int) -> list[Record]:
    """The records of an answer: of this chain, from this place on, each following the last."""
    if not isinstance(answer, Chain):
        raise Malformed("a chain asked for, something else answered")
    records = [record for parcel in answer.parcels for record in open_parcel(parcel)]
    for place, record in enumerate(records):
        action = record.action
        if action.author != author or action.action_seq != from_seq + place:
            raise Malformed("another chain, or another place of it, than was asked for")
        if place and action.prev_action != records[place - 1].hash:
            raise Malformed("a chain whose actions do not follow each other")
    return records
