"""Routes about the node itself, who is near, and its communities."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from ioe_node.api.http_cells import agent_of, cell_for
from ioe_node.api.http_errors import Away, NotFound
from ioe_node.api.http_routes import Nothing, route
from ioe_node.api.http_types import (
    Alert,
    Claimed,
    ClaimOf,
    CommunityState,
    Health,
    InCommunity,
    Member,
    MembersOf,
    Near,
    Peer,
    Since,
    Status,
)
from ioe_node.conductor.calls import community_list, device_claim
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.peer_calls import peers_list
from ioe_node.conductor.weighing import weights_of
from ioe_node.model.hashes import to_text
from ioe_node.model.plain import plain

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api

OWNER = "owner"


@cache
def node_version() -> str:
    """The version that is installed."""
    try:
        return version("ioe-node")
    except PackageNotFoundError:
        return "unknown"


@route("GET", "/api/v1/status", "read")
async def status(api: "Api", asked: Nothing) -> Status:
    """This node: who it is, its communities, what is wrong."""
    conductor = api.conductor
    agent, device = to_text(conductor.signer().agent), conductor.config.device
    found = await community_list(conductor)
    communities = [
        CommunityState(
            each["community"],
            to_text(each["dna"]),
            agent,
            1 + len(each["peers"]),
            each["actions"],
            each["unpublished"],
        )
        for each in found
    ]
    faults = [
        *sorted(conductor.faults.values()),
        *(text for each in found for text in each["faults"]),
    ]
    name = OWNER if device is None else device.name
    return Status(conductor.role, name, agent, node_version(), communities, faults)


@route("GET", "/api/v1/near", "read")
async def near(api: "Api", asked: Nothing) -> list[Near]:
    """Devices that announce themselves near here."""
    return [
        Near(plain(card.agent), card.name, card.kind, card.state)
        for card in api.conductor.meeting.cards()
        if card.kind != OWNER
    ]


@route("POST", "/api/v1/claims", "control", fails=(404, 409))
async def claim(api: "Api", asked: Nothing, body: ClaimOf) -> Claimed:
    """Claim a device that is near, with the code that it shows.

    If it is set to ask for its button, press that within 60 seconds.
    """
    device = agent_of(body.device)
    if all(card.agent != device for card in api.conductor.meeting.cards()):
        raise NotFound("no such device is near; see /api/v1/near")
    made = await device_claim(api.conductor, device, body.code, body.name, body.community)
    api.live.changed()
    return Claimed(plain(made["device"]), made["kind"], made["name"], made["failed"])


@route("GET", "/api/v1/members", "read", fails=(404, 409))
async def members(api: "Api", asked: MembersOf) -> list[Member]:
    """Everybody in a community; `kind` is steward, member or device."""
    cell = cell_for(api.conductor, asked.community, "community")
    near = {card.agent for card in api.conductor.meeting.cards()} | {cell.space.agent}
    known = {each["agent"]: each for each in await peers_list(api.conductor, asked.community)}
    scores = await _scores(api, cell) if asked.reputation else {}
    found = []
    for each in await cell.call("community", "members", {}):
        agent = each["agent"]
        peer = known.get(agent, {"role": "member", "name": ""})
        kind = "steward" if each["steward"] else str(peer["role"])
        name = OWNER if agent == cell.space.agent else str(peer["name"])
        found.append(Member(to_text(agent), name, kind, agent in near, scores.get(agent)))
    return found


async def _scores(api: "Api", cell: Cell) -> dict[bytes, int | None]:
    """Our view of the members that we deal with most, in points."""
    if not cell.has("reputation"):
        return {}
    weights = weights_of(api.conductor.config.reputation, str(api.conductor.home.config))
    shown = await cell.call("reputation", "show", {"weights": weights})
    return {each["agent"]: each["score"] for each in shown["views"]}


@route("GET", "/api/v1/peers", "read", fails=(404, 409))
async def peers(api: "Api", asked: InCommunity) -> list[Peer]:
    """Everyone we know of in a community and how they behave, as 'ioe peers --json'."""
    cell_for(api.conductor, asked.community, "community")
    found = plain(await peers_list(api.conductor, asked.community))
    return msgspec.convert(found, list[Peer])


@route("GET", "/api/v1/alerts", "read")
async def alerts(api: "Api", asked: Since) -> list[Alert]:
    """What happened: the alerts kept after number `since`, oldest first."""
    return msgspec.convert(api.conductor.alerts.since(asked.since), list[Alert])


@route("GET", "/healthz", None)
async def healthz(api: "Api", asked: Nothing) -> Health:
    """Whether the process answers."""
    return Health(True)


@route("GET", "/readyz", None, fails=(503,))
async def readyz(api: "Api", asked: Nothing) -> Health:
    """Whether every community is open; 503 says which is not."""
    conductor = api.conductor
    invitations: list[Any] = [] if conductor.role == "unowned" else conductor.home.invitations()
    closed = [each.seed for each in invitations if each.dna_hash not in conductor.cells]
    if closed:
        raise Away(f"{len(closed)} of {len(invitations)} communities are not open; see ioe status")
    return Health(True)
