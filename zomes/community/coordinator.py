"""Who is here, and as what."""

from typing import Any

from ioe_node.hdi import decode
from ioe_node.hdk import CoordinatorZome, Host
from zomes.community.integrity import Voucher, decode_proof
from zomes.community.integrity import zome as integrity

zome = CoordinatorZome(integrity)


@zome.function
async def members(host: Host) -> list[dict[str, Any]]:
    """Every agent whose chain is known here, in key order, and whether it is a steward."""
    stewards = host.properties.stewards
    return [{"agent": agent, "steward": agent in stewards} for agent in await host.agents()]


def role_of(proof: bytes | None) -> str:
    """ "steward", "member" or "device", as an admitted agent's membrane proof has it."""
    if not proof:
        return "steward"
    voucher: Voucher = decode(Voucher, decode_proof(proof)[-1].body)
    return voucher.role
