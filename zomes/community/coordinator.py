"""Who is here."""

from typing import Any

from ioe_node.hdk import CoordinatorZome, Host
from zomes.community.integrity import zome as integrity

zome = CoordinatorZome(integrity)


@zome.function
async def members(host: Host) -> list[dict[str, Any]]:
    """Every agent whose chain is known here, in key order, and whether it is a steward."""
    stewards = host.properties.stewards
    return [{"agent": agent, "steward": agent in stewards} for agent in await host.agents()]
