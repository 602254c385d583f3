"""Routes about our devices: how they are, and telling them what to do."""

from typing import TYPE_CHECKING

from ioe_node.api.http_cells import agent_of
from ioe_node.api.http_errors import NotFound, Unfit
from ioe_node.api.http_routes import Nothing, route
from ioe_node.api.http_types import Limited, LimitTo, Machine, OfAgent, Switched, SwitchTo
from ioe_node.conductor.machine import device_limit, device_switch
from ioe_node.hdi import AgentPubKey

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api


@route("GET", "/api/v1/devices", "read")
async def devices(api: "Api", asked: Nothing) -> list[Machine]:
    """Our devices and how each is now; on a device's own node, that one."""
    return await api.live.machines()


@route("POST", "/api/v1/devices/{agent}/switch", "control", fails=(404, 409))
async def switch(api: "Api", asked: OfAgent, body: SwitchTo) -> Switched:
    """Switch a device of ours; answered when the device has confirmed it."""
    device = await ours(api, asked.agent)
    await device_switch(api.conductor, body.on, device)
    api.live.changed()
    return Switched(body.on)


@route("POST", "/api/v1/devices/{agent}/limit", "control", fails=(404, 409))
async def limit(api: "Api", asked: OfAgent, body: LimitTo) -> Limited:
    """Have a device of ours draw, or give, no more than so much; null lifts the bound."""
    device = await ours(api, asked.agent)
    await device_limit(api.conductor, body.milli_w, device)
    api.live.changed()
    return Limited(body.milli_w)


async def ours(api: "Api", text: str) -> AgentPubKey:
    """The key of a device of ours; raises `NotFound`."""
    try:
        found = await api.live.find(agent_of(text))
    except Unfit:
        found = None
    if found is None:
        raise NotFound("no device of ours has that key; see /api/v1/devices")
    return found.agent
