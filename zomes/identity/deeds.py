"""Deeds that may take key-holders' consents, as they are before anyone has consented.

The same arguments make the same entry on every node, so key-holders can be asked apart, by file
or over the network, and what they sign is what the owner's chain then says.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from ioe_node.hdi import Consent
from ioe_node.hdk import ActionHash, AgentPubKey, CallError, Found, Host, arguments
from zomes.identity.history import acknowledged_of, last_of, newest_of
from zomes.identity.integrity import (
    Deed,
    Keyset,
    Offer,
    Release,
    Revocation,
    message_of,
)

Drafted = tuple[Deed, Found | None]
"""A deed without consents, and the keyset whose consents it takes."""


async def _own_if_several(host: Host) -> Found | None:
    """Our own keyset, where one of its keys alone does not decide."""
    keyset = await newest_of(host, Keyset, host.agent_info().agent)
    return keyset if keyset is not None and keyset.entry.threshold > 1 else None


async def _must_get(host: Host, action: ActionHash) -> Found:
    found = await host.get(action)
    if found is None:
        raise CallError("that record is not here and no authority has it; try again")
    return found


async def set_keyset(
    host: Host, threshold: int, keys: tuple[bytes, ...], follows: ActionHash | None = None
) -> Drafted:
    keyset = await newest_of(host, Keyset, host.agent_info().agent)
    if keyset is None and follows is not None:
        end = await _must_get(host, follows)
        if not isinstance(end.entry, Revocation):
            keyset = await newest_of(host, Keyset, end.action.author)
    elif keyset is not None and follows is None:
        follows = keyset.entry.follows
    return Keyset(threshold, tuple(sorted(keys)), follows, ()), keyset


async def _given_up(host: Host, device: AgentPubKey) -> ActionHash:
    said = await acknowledged_of(host, device)
    if said is None:
        raise CallError("that device has no owner here, or its word cannot be read now")
    return said.hash


async def offer(host: Host, device: AgentPubKey, buyer: AgentPubKey) -> Drafted:
    return Offer(device, await _given_up(host, device), buyer, ()), await _own_if_several(host)


async def release(host: Host, device: AgentPubKey) -> Drafted:
    return Release(device, await _given_up(host, device), ()), await _own_if_several(host)


async def revoke(
    host: Host,
    agent: AgentPubKey,
    cut: ActionHash | None = None,
    successor: AgentPubKey | None = None,
    reason: str = "",
) -> Drafted:
    last = await (last_of(host, agent) if cut is None else _must_get(host, cut))
    if last is None:
        raise CallError("nothing of that agent's chain can be read now; try again")
    entry = Revocation(agent, last.action.action_seq, last.hash, successor, reason, ())
    theirs = [
        each
        for each in await host.query(Keyset, author=agent)
        if each.action.action_seq <= entry.cut_seq
    ]
    return entry, theirs[0] if theirs else await _own_if_several(host)


DEEDS: dict[str, Callable[..., Awaitable[Drafted]]] = {
    deed.__name__: deed for deed in (set_keyset, offer, release, revoke)
}


async def asked(host: Host, deed: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What key-holders are asked to sign, and who they are; `keys` is empty where none is asked.

    `payload` comes back complete: with it and the consents the deed's function does the deed.
    """
    if deed not in DEEDS:
        raise CallError(f"no deed '{deed[:40]}'; there are {', '.join(sorted(DEEDS))}")
    given = arguments(DEEDS[deed], payload, skip=1)
    entry, keyset = await DEEDS[deed](host, **given)
    if isinstance(entry, Revocation):
        given["cut"] = entry.cut
    if isinstance(entry, Keyset):
        given["follows"] = entry.follows
    shown = {"deed": deed, "payload": given}
    if keyset is None:
        return {**shown, "keyset": None, "threshold": 0, "keys": (), "message": b""}
    return {
        **shown,
        "keyset": keyset.hash,
        "threshold": keyset.entry.threshold,
        "keys": keyset.entry.keys,
        "message": message_of(host.agent_info().dna, keyset.hash, entry),
    }


async def done(host: Host, drafted: Drafted, consents: tuple[Consent, ...]) -> ActionHash:
    """Put a deed with its consents on our chain."""
    return await host.create(replace(drafted[0], consents=consents))
