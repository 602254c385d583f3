"""Public profiles: an agent's own, or what the provider that it names says for it."""

from typing import Any

from ioe_node.hdk import ActionHash, AgentPubKey, CallError, Host
from zomes.claims.coordinator import linked, read, remove_own, replace_own, zome
from zomes.claims.integrity import Delegation, Profile


@zome.function
async def delegate(host: Host, agent: AgentPubKey | None = None, url: str = "") -> ActionHash:
    """Let an agent, or whoever is at a URL, answer for our public profile, and nobody else."""
    return await replace_own(host, Delegation(host.agent_info().agent, agent, url))


@zome.function
async def end_delegation(host: Host) -> bool:
    """Let nobody answer for us any more; False if nobody did."""
    return bool(await remove_own(host, host.agent_info().agent, "Delegation"))


async def _provider(
    host: Host, subject: AgentPubKey
) -> tuple[ActionHash, Delegation] | tuple[None, None]:
    for each in await linked(host, subject):
        if each.kind == "Delegation":
            found = await read(host, each, subject)
            if found is not None:
                return each.target, found.entry
    return None, None


@zome.function
async def set_profile(
    host: Host, name: str, about: str = "", subject: AgentPubKey | None = None
) -> ActionHash:
    """Publish our profile, or that of an agent who named us its provider."""
    us = host.agent_info().agent
    if subject in (None, us):
        return await replace_own(host, Profile(us, None, name, about))
    assert subject is not None
    delegation, entry = await _provider(host, subject)
    if entry is None or entry.agent != us:
        raise CallError("that agent has not named us its provider; it runs 'ioe profile delegate'")
    return await replace_own(host, Profile(subject, delegation, name, about))


@zome.function
async def profile(host: Host, subject: AgentPubKey | None = None) -> dict[str, Any]:
    """An agent's public profile, by whom, and its provider, which alone answers if there is one.

    A provider at a URL is asked there: `name` and `about` are empty.
    """
    who = subject or host.agent_info().agent
    delegation, entry = await _provider(host, who)
    by = who if entry is None else entry.agent
    listed: dict[str, Any] = {
        "subject": who,
        "provider": None if entry is None else entry.agent,
        "url": "" if entry is None else entry.url,
        "by": None,
        "name": "",
        "about": "",
    }
    for each in await linked(host, who):
        if each.kind == "Profile" and each.author == by:
            found = await read(host, each, who)
            if found is not None and found.entry.delegation == delegation:
                told = {"by": by, "name": found.entry.name, "about": found.entry.about}
                return {**listed, **told}
    return listed
