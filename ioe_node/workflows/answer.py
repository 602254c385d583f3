"""Answering: one request of an admitted peer, by what is held here."""

from collections.abc import Callable

from ioe_node.errors import Busy, Malformed, PeerError
from ioe_node.hdi import ActionHash, AgentPubKey, EntryHash
from ioe_node.hdk import Host
from ioe_node.model.hashes import ENTRY
from ioe_node.model.record import Record, WireRecord, parcels_of
from ioe_node.net.messages import (
    Activity,
    Answer,
    Chain,
    Done,
    Get,
    Links,
    Outcome,
    Peers,
    Propose,
    Publish,
    Records,
    Relieve,
    Sign,
    Standings,
    Warrants,
    Witness,
    encode,
    requests,
)
from ioe_node.workflows.cascade import get_links
from ioe_node.workflows.incoming_ops import receive
from ioe_node.workflows.integration import keep
from ioe_node.workflows.peers import known_infos, learn_all
from ioe_node.workflows.publish import next_run
from ioe_node.workflows.settle import Settlements
from ioe_node.workflows.space import Space
from ioe_node.workflows.standing import on_standings
from ioe_node.workflows.validation import Verdicts
from ioe_node.workflows.witnessing import on_relieve, on_witness

RECORDS_OF_AN_ENTRY_MAX = 64


def _travelling(space: Space, record: Record) -> WireRecord:
    alone = space.store.alone(record)
    return WireRecord(
        alone.action_bytes, alone.proof, None if space.withhold(record) else alone.entry
    )


def _get(space: Space, hash_: bytes) -> Records:
    if hash_[:3] == ENTRY:
        found = space.store.by_entry(EntryHash(hash_))[:RECORDS_OF_AN_ENTRY_MAX]
    else:
        record = space.store.record(ActionHash(hash_))
        found = [] if record is None else [record]
    return Records(tuple(_travelling(space, record) for record in found))


def _activity(space: Space, ask: Activity) -> Chain:
    author = AgentPubKey(ask.author)
    run = next_run(space, author, ask.from_seq)
    head = space.store.head(author)
    more = bool(run) and head is not None and run[-1].action.action_seq < head.seq
    if run and run[0].proof.index and not run[0].proof.cosignatures:
        raise PeerError("that place is inside a bundle; ask from its first action")
    return Chain(tuple(parcels_of(run, space.withhold)), more)


async def answer(
    space: Space,
    verdicts: Verdicts,
    settlements: Settlements,
    host: Callable[[], Host],
    peer: AgentPubKey,
    data: bytes,
) -> bytes:
    """The answer to one request; raises `PeerError` (charged) for what must not be asked."""
    if peer in space.blocked:
        raise PeerError("you are warranted in this network")
    try:
        request = requests.decode(data)
        return encode(await _answer(space, verdicts, settlements, host, peer, request))
    except Malformed as error:
        space.charge(peer, str(error))
        raise


async def _answer(
    space: Space,
    verdicts: Verdicts,
    settlements: Settlements,
    host: Callable[[], Host],
    peer: AgentPubKey,
    request: object,
) -> Answer:
    match request:
        case Publish():
            return await receive(space, verdicts, peer, request.parcels)
        case Get():
            return _get(space, request.hash)
        case Activity():
            return _activity(space, request)
        case Links():
            records = get_links(space, request.base)
            return Records(tuple(_travelling(space, record) for record in records))
        case Peers():
            learn_all(space, request)
            return known_infos(space)
        case Warrants():
            judged = [await keep(space, signed) for signed in request.warrants]
            if not all(judged):
                raise Busy("what a warrant rests on is not here yet; tell it again")
            return Done()
        case Propose():
            return await settlements.on_propose(host(), peer, request)
        case Sign():
            return await settlements.on_sign(peer, request)
        case Outcome():
            return settlements.on_outcome(peer, request)
        case Standings():
            return on_standings(space, request)
        case Witness():
            return await on_witness(space, request)
        case Relieve():
            return await on_relieve(space, request)
    raise Malformed("a request of no kind that we know")
