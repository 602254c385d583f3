"""Who is here, and as what."""

from typing import Any

from ioe_node.hdi import decode
from ioe_node.hdk import AgentPubKey, CoordinatorZome, Host
from zomes.community.integrity import SUCCESSOR, Invitation, Voucher, Written, decode_proof
from zomes.community.integrity import zome as integrity

zome = CoordinatorZome(integrity)


@zome.function
async def members(host: Host) -> list[dict[str, Any]]:
    """Every agent whose chain is known here, in key order, and whether it is a steward."""
    return [
        {"agent": agent, "steward": await _is_steward(host, agent)} for agent in await host.agents()
    ]


@zome.function
async def invite(host: Host, agent: AgentPubKey) -> Written:
    """Where our chain says that we invite an agent; it says so once."""
    for found in await host.query(Invitation):
        if found.entry.agent == agent:
            return Written(found.action.action_seq, found.hash)
    written = await host.create(Invitation(agent))
    made = await host.get(written)
    assert made is not None, "what was just committed is here"
    return Written(made.action.action_seq, written)


async def _is_steward(host: Host, agent: AgentPubKey) -> bool:
    if agent in host.properties.stewards:
        return True
    proofs = [getattr(each.action, "membrane_proof", None) for each in await host.activity(agent)]
    return any(proof and role_of(proof) == "steward" for proof in proofs)


def role_of(proof: bytes | None) -> str:
    """ "steward", "member" or "device", as an admitted agent's membrane proof has it."""
    role = "steward"
    for signed in decode_proof(proof) if proof else ():
        voucher: Voucher = decode(Voucher, signed.body)
        role = role if voucher.role == SUCCESSOR else voucher.role
    return role
