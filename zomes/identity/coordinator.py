"""Enrol a device, acknowledge an owner, list a portfolio."""

from typing import Any, Literal

from ioe_node.hdi import Timestamp
from ioe_node.hdk import ActionHash, AgentPubKey, CoordinatorZome, Host
from zomes.identity.integrity import AT_WORK, Acknowledgement, Enrolment
from zomes.identity.integrity import zome as integrity

zome = CoordinatorZome(integrity)


@zome.function
async def enrol(
    host: Host,
    device: AgentPubKey,
    kind: Literal["consumer", "generator", "storage", "monitor"],
    name: str,
) -> ActionHash:
    """The owner's word that a device is theirs."""
    return await host.create(Enrolment(device, kind, name, Timestamp(host.now_us())))


@zome.function
async def acknowledge(host: Host, owner: AgentPubKey) -> ActionHash | None:
    """The device's word, once it can see its owner's; None until then."""
    us = host.agent_info().agent
    said = await host.query(Acknowledgement, limit=1)
    if said:
        return said[0].hash
    for found in await host.query(Enrolment, author=owner):
        if found.entry.device == us:
            acknowledged = await host.create(Acknowledgement(owner, found.hash))
            await host.create_link(host.agent_info().dna, acknowledged, AT_WORK)
            return acknowledged
    return None


@zome.function
async def at_work(host: Host) -> list[AgentPubKey]:
    """Every device of the community that has an owner, in key order."""
    links = await host.get_links(host.agent_info().dna, AT_WORK)
    return sorted({link.author for link in links})


@zome.function
async def portfolio(host: Host, owner: AgentPubKey | None = None) -> list[dict[str, Any]]:
    """The devices that an owner (ourselves by default) enrolled, newest first."""
    listed = []
    for found in await host.query(Enrolment, author=owner):
        enrolment = found.entry
        said = await host.query(Acknowledgement, author=enrolment.device, limit=1)
        listed.append(
            {
                "device": enrolment.device,
                "kind": enrolment.kind,
                "name": enrolment.name,
                "claimed_at": enrolment.claimed_at,
                "acknowledged": bool(said and said[0].entry.enrolment == found.hash),
            }
        )
    return listed
