"""Reading: local first, then an authority; what comes from afar is checked here.

A peer's answer is never believed: hash, seal and entry are checked again by the reader, and
nothing of it is written down.
"""

from collections.abc import Sequence

from ioe_node.errors import Malformed, PeerError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.action import AgentValidationPkg, decode_action
from ioe_node.model.record import Record, first_action, open_parcel, open_record
from ioe_node.net.messages import Activity, Answer, Chain, Get, Records
from ioe_node.net.transport import REQUEST_TIMEOUT_S
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.revocation import door_fault
from ioe_node.workflows.space import Space

OFFERED_TIMEOUT_S = 4.0


def get_record(space: Space, hash_: ActionHash) -> Record | None:
    """The record, if it is held here."""
    return space.store.record(hash_)


async def retrieve_record(space: Space, hash_: ActionHash) -> Record | None:
    """The record, from here or from an authority of its author's neighbourhood."""
    held = get_record(space, hash_)
    if held is not None:
        return held
    found = await find_record(space, hash_, await authorities_of(space, hash_))
    return None if found is None else found[1]


async def find_record(
    space: Space, hash_: ActionHash, peers: Sequence[AgentPubKey]
) -> tuple[AgentPubKey, Record] | None:
    """The record from whoever of `peers` answers first, and who that is."""

    def take(answer: Answer) -> Record | None:
        if not isinstance(answer, Records) or not answer.records:
            return None
        record = open_record(answer.records[0], space.dna)
        if record.hash != hash_:
            raise Malformed("another record than was asked for")
        return record

    return await space.ask_first_of(peers, Get(hash_), take)


async def retrieve_chain(
    space: Space,
    author: AgentPubKey,
    from_seq: int,
    peers: Sequence[AgentPubKey],
    offered: bool = False,
) -> tuple[AgentPubKey, Chain] | None:
    """A run of a chain from whoever of `peers` answers first, and who that is; the pipeline
    validates it.

    If they have `offered` it they are given less time, and charged if it is not there.
    """

    def take(answer: Answer) -> Chain | None:
        if offered and answer == Chain((), False):
            raise Malformed("a chain that was offered and is not there")
        if not isinstance(answer, Chain) or not answer.parcels:
            return None
        if any(decode_action(data).author != author for data in map(first_action, answer.parcels)):
            raise Malformed("another chain than was asked for")
        return answer

    timeout_s = OFFERED_TIMEOUT_S if offered else REQUEST_TIMEOUT_S
    return await space.ask_first_of(peers, Activity(author, from_seq), take, timeout_s)


async def retrieve_admission(space: Space, agent: AgentPubKey) -> None:
    """Have an agent count as admitted if its genesis, held by its authorities, shows that it is.

    Raises `PeerError` when it is not.
    """
    found = await retrieve_chain(space, agent, 0, await authorities_of(space, agent))
    for record in [] if found is None else open_parcel(found[1].parcels[0], space.dna):
        if isinstance(record.action, AgentValidationPkg):
            fault = door_fault(space, agent, record.action.membrane_proof)
            if fault is not None:
                raise PeerError(f"an author whom the membrane does not admit: {fault}")
            space.welcome(agent)
