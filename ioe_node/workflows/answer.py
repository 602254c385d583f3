"""Answering: one request of an admitted peer, by what is held here."""

from collections.abc import Callable

from ioe_node.errors import Busy, Malformed, Membrane, PeerError
from ioe_node.hdi import ActionHash, AgentPubKey, EntryHash
from ioe_node.hdk import Host
from ioe_node.model.hashes import ENTRY
from ioe_node.model.record import Record, WireRecord, parcels_of
from ioe_node.net.messages import (
    Activity,
    Answer,
    Chain,
    Compare,
    Done,
    Find,
    Get,
    GetOps,
    GetWarrants,
    Links,
    Offer,
    Outcome,
    Propose,
    Publish,
    Records,
    Sign,
    Warrants,
    encode,
    requests,
)
from ioe_node.workflows.cascade import get_links
from ioe_node.workflows.compare import answer_compare, answer_get_ops, answer_offer
from ioe_node.workflows.incoming_ops import receive
from ioe_node.workflows.integration import keep
from ioe_node.workflows.locate import known_near
from ioe_node.workflows.publish import next_run
from ioe_node.workflows.settle import Settlements
from ioe_node.workflows.space import Space
from ioe_node.workflows.spread import answer_get_warrants
from ioe_node.workflows.validation import Verdicts

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
        raise Membrane("you are warranted in this network")
    space.heard(peer)
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
        case Find():
            return known_near(space, request)
        case Compare():
            return answer_compare(space, peer, request)
        case Offer():
            return answer_offer(space, peer, request)
        case GetOps():
            return answer_get_ops(space, request)
        case GetWarrants():
            return answer_get_warrants(space, request)
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
    raise Malformed("a request of no kind that we know")
