"""Answering: one request of an admitted peer, by what is held here."""

from collections.abc import Callable

from ioe_node.core.quota import Fault
from ioe_node.errors import Busy, Malformed, Membrane, PeerError, Refused
from ioe_node.hdi import AgentPubKey
from ioe_node.net.messages import (
    Activity,
    Answer,
    Call,
    Compare,
    Done,
    Find,
    Get,
    GetOps,
    GetWarrants,
    Knock,
    Links,
    Offer,
    Outcome,
    Propose,
    Publish,
    Relieve,
    Request,
    Sign,
    Standings,
    Warrants,
    Witness,
    encode,
    requests,
)
from ioe_node.workflows.call_zome import runner_for_peers
from ioe_node.workflows.compare import answer_compare, answer_offer
from ioe_node.workflows.incoming_ops import receive
from ioe_node.workflows.integration import keep
from ioe_node.workflows.locate import known_near
from ioe_node.workflows.pages import Reading, read_answer
from ioe_node.workflows.remote_call import serve
from ioe_node.workflows.settle import DraftHost, Settlements
from ioe_node.workflows.space import Space
from ioe_node.workflows.spread import answer_get_warrants
from ioe_node.workflows.standing import on_knock, on_standings
from ioe_node.workflows.turns import cost_of, take_turn
from ioe_node.workflows.validation import Verdicts
from ioe_node.workflows.witnessing import on_relieve, on_witness


async def answer(
    space: Space,
    verdicts: Verdicts,
    settlements: Settlements,
    host: Callable[[], DraftHost],
    peer: AgentPubKey,
    data: bytes,
) -> bytes:
    """The answer to one request; raises `PeerError` (charged) for what must not be asked.

    Its turn and its cost: `workflows.turns`.
    """
    if peer in space.blocked:
        raise Membrane(space.why_blocked(peer))
    space.heard(peer)
    await take_turn(space, peer, len(data))
    try:
        request = requests.decode(data)
        if not space.sure and _shows(space, request):
            raise Busy("we have yet to ask what others hold of our chain; try again")
        space.quota.spend(peer, cost_of(request), 0, space.clock.now_us())
        if isinstance(request, Reading):
            reply = await space.run(read_answer, space, request)
        else:
            reply = encode(await _answer(space, verdicts, settlements, host, peer, request))
    except Refused:
        raise  # a third peer refused us: this asker did no wrong
    except PeerError as error:
        fault = Fault.MALFORMED if isinstance(error, Malformed) else Fault.REFUSED
        space.charge(peer, str(error), fault)
        raise
    space.quota.spend(peer, 0, len(reply), space.clock.now_us())
    return reply


def _shows(space: Space, request: Request) -> bool:
    """Whether the answer may show, or go by, what we wrote; see `workflows.restore`."""
    if isinstance(request, Activity):
        return request.author == space.agent
    shown = Get | GetOps | Links | Compare | Offer | Call | Propose | Sign | Outcome
    return isinstance(request, shown)


async def _answer(
    space: Space,
    verdicts: Verdicts,
    settlements: Settlements,
    host: Callable[[], DraftHost],
    peer: AgentPubKey,
    request: object,
) -> Answer:
    match request:
        case Publish():
            return await receive(space, verdicts, peer, request.parcels)
        case Find():
            return known_near(space, request)
        case Compare():
            return await answer_compare(space, peer, request)
        case Offer():
            return answer_offer(space, peer, request)
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
        case Call():
            return await serve(runner_for_peers(space, settlements), peer, request)
        case Standings():
            return await on_standings(space, peer, request)
        case Knock():
            return on_knock(space, request)
        case Witness():
            return await on_witness(space, request)
        case Relieve():
            return await on_relieve(space, request)
    raise Malformed("a request of no kind that we know")
