"""Turns: every request of a peer passes its quota here before anything of it is decoded."""

import trio

from ioe_node.core.quota import MICRO
from ioe_node.errors import Busy, Shunned
from ioe_node.hdi import AgentPubKey
from ioe_node.model.finality import Lineage
from ioe_node.net.messages import (
    Activity,
    Compare,
    Find,
    GetCertificate,
    GetOps,
    GetWarrants,
    Links,
    Offer,
    Places,
    Propose,
    Publish,
    Relieve,
    Request,
    Standings,
    Warrants,
    Witness,
)
from ioe_node.workflows.space import Space

PARCELS_PER_REQUEST = 16
"""So many parcels of a publish cost as much as one request."""
SPANS_PER_REQUEST = 16
"""So many spans of a comparison cost as much as one request."""
LINKS_PER_REQUEST = 64
"""So many links that lead to an action to be witnessed, each one hashed, cost as much as one."""
SEALS_PER_REQUEST = 16
"""So many signatures to be checked, of standings or in a lineage, cost as much as one."""
COSTS: dict[type, int] = {
    Activity: 4,
    Compare: 2,
    Find: 2,
    GetCertificate: 2,
    GetOps: 4,
    GetWarrants: 8,
    Links: 4,
    Offer: 2,
    Places: 4,
    Propose: 8,
    Relieve: 16,
    Standings: 4,
    Warrants: 8,
    Witness: 4,
}
"""In requests; what is not named costs one.  They read many rows, check many signatures, write to
the disk before they answer, ask others in their turn, or run a zome's code."""


def _seconds(us: int) -> int:
    return -(-us // MICRO)


def refuse_shunned(space: Space, peer: AgentPubKey) -> None:
    """Raise `Shunned` while a peer's links are refused."""
    us = space.quota.shunned_us(peer, space.clock.now_us())
    if us:
        raise Shunned(f"you misbehaved; come back in {_seconds(us)} s")


async def take_turn(space: Space, peer: AgentPubKey, size_bytes: int) -> None:
    """Wait a request's turn; raises `Busy` when that is long, `Shunned` after misbehaviour."""
    turn = space.quota.ask(peer, size_bytes, space.clock.now_us())
    if turn.answer == "shunned":
        raise Shunned(f"you misbehaved; come back in {_seconds(turn.us)} s")
    if turn.answer == "wait":
        raise Busy(f"you ask faster than we answer; come back in {_seconds(turn.us)} s")
    if turn.us:
        await trio.sleep(turn.us / MICRO)


def cost_of(request: Request) -> int:
    """What a request costs beyond the one that it is."""
    if isinstance(request, Publish):
        return len(request.parcels) // PARCELS_PER_REQUEST
    if isinstance(request, Compare):
        spans = len(request.ops) + len(request.chains)
        return COSTS[Compare] - 1 + spans // SPANS_PER_REQUEST
    if isinstance(request, Warrants):
        return COSTS[Warrants] * len(request.warrants)
    more = COSTS.get(type(request), 1) - 1
    if isinstance(request, Standings):
        return more + len(request.standings) // SEALS_PER_REQUEST
    if isinstance(request, Witness):
        return more + len(request.links) // LINKS_PER_REQUEST + _seals(request.lineage)
    if isinstance(request, Relieve):
        return more + _seals(request.lineage)
    return more


def _seals(lineage: Lineage) -> int:
    """What it costs to check a lineage."""
    retired = sum(len(step.retirements) for step in lineage.steps)
    return (1 + len(lineage.founders) + retired) // SEALS_PER_REQUEST
