"""Enrol devices and acknowledge owners; give devices up; keys that follow, decide and end."""

from collections.abc import Mapping
from typing import Any, Literal

from ioe_node.hdi import Consent, Timestamp
from ioe_node.hdk import ActionHash, AgentPubKey, CoordinatorZome, Found, Host
from zomes.identity import deeds
from zomes.identity import history as reading
from zomes.identity.integrity import (
    AT_WORK,
    OFFERED,
    REVOKED,
    Acceptance,
    Acknowledgement,
    Enrolment,
    Keyset,
    Offer,
    Release,
)
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
    if said and said[0].entry.owner == owner:
        return said[0].hash
    for found in await host.query(Enrolment, author=owner):
        if found.entry.device == us:
            acknowledged = await host.create(Acknowledgement(owner, found.hash))
            if not said:
                await host.create_link(host.agent_info().dna, acknowledged, AT_WORK)
            return acknowledged
    return None


@zome.function
async def at_work(host: Host) -> list[AgentPubKey]:
    """Every device of the community that has an owner, in key order."""
    links = await host.get_links(host.agent_info().dna, AT_WORK)
    return sorted({link.author for link in links})


@zome.function
async def enrolled(host: Host, owner: AgentPubKey | None = None) -> list[AgentPubKey]:
    """Every device that an owner (ourselves by default) ever enrolled, newest first."""
    keys = await reading.keys_of(host, owner or host.agent_info().agent)
    return [found.entry.device for found in await _enrolments(host, keys)]


async def _enrolments(host: Host, keys: list[AgentPubKey]) -> list[Found]:
    return [found for key in keys for found in await host.query(Enrolment, author=key)]


@zome.function
async def portfolio(host: Host, owner: AgentPubKey | None = None) -> list[dict[str, Any]]:
    """The devices that are an owner's (our own by default), newest first.

    Also those that have not yet said so themselves; but a device that names another owner, has
    ended its chain or was revoked is nobody's on this owner's word.
    """
    keys = await reading.keys_of(host, owner or host.agent_info().agent)
    listed: dict[AgentPubKey, dict[str, Any]] = {}
    for found in await _enrolments(host, keys):
        enrolment: Enrolment = found.entry
        if enrolment.device in listed:
            continue
        said = await reading.acknowledged_of(host, enrolment.device)
        if said is None and await reading.newest_of(host, Acknowledgement, enrolment.device):
            continue
        if said is None and await reading.revocation_of(host, enrolment.device):
            continue
        if said is not None and said.entry.owner not in keys:
            continue
        listed[enrolment.device] = {
            "device": enrolment.device,
            "kind": enrolment.kind,
            "name": enrolment.name,
            "claimed_at": enrolment.claimed_at,
            "acknowledged": said is not None,
            "enrolled_by": found.action.author,
        }
    return list(listed.values())


@zome.function
async def owner_of(host: Host, device: AgentPubKey) -> AgentPubKey | None:
    """The key that a device's owner uses now; None for a device without one."""
    said = await reading.acknowledged_of(host, device)
    return None if said is None else (await reading.keys_of(host, said.entry.owner))[0]


# -- giving up ------------------------------------------------------------------------------------


@zome.function
async def offer(
    host: Host, device: AgentPubKey, buyer: AgentPubKey, consents: tuple[Consent, ...] = ()
) -> ActionHash:
    """Offer our device to a buyer; to ourselves: take back what we offered."""
    made = await deeds.done(host, await deeds.offer(host, device, buyer), consents)
    if buyer != host.agent_info().agent:
        await host.create_link(buyer, made, OFFERED)
    return made


@zome.function
async def release(
    host: Host, device: AgentPubKey, consents: tuple[Consent, ...] = ()
) -> ActionHash:
    """Give our device up to whoever claims it next."""
    return await deeds.done(host, await deeds.release(host, device), consents)


@zome.function
async def offers_to_us(host: Host, seller: AgentPubKey) -> list[dict[str, Any]]:
    """What a seller now offers us, newest first, and whether we have accepted it."""
    us, found, seen = host.agent_info().agent, [], set()
    accepted = {each.entry.offer for each in await host.query(Acceptance)}
    for each in await host.query(Offer, author=seller):
        device = each.entry.device
        word = None if device in seen else await reading.word_on(host, device, [seller])
        seen.add(device)
        if each.entry.buyer == us and word is not None and word.hash == each.hash:
            offered = {"offer": each.hash, "device": device, "accepted": each.hash in accepted}
            found.append(offered)
    return found


@zome.function
async def offered(host: Host) -> list[dict[str, Any]]:
    """What anybody now offers us and we have not accepted, with the `seller`."""
    links = await host.get_links(host.agent_info().agent, OFFERED)
    return [
        {**each, "seller": seller}
        for seller in sorted({link.author for link in links})
        for each in await offers_to_us(host, seller)
        if not each["accepted"]
    ]


@zome.function
async def accept(host: Host, offer: ActionHash) -> ActionHash:
    """Take what an offer offers us."""
    return await host.create(Acceptance(offer))


@zome.function
async def sold_to(host: Host, device: AgentPubKey | None = None) -> AgentPubKey | None:
    """Who has bought a device (ourselves by default): offered by its owner, and accepted."""
    word = await _owners_word(host, device)
    if word is None or isinstance(word.entry, Release) or word.entry.buyer == word.action.author:
        return None
    buyer: AgentPubKey = word.entry.buyer
    accepted = await host.query(Acceptance, author=buyer)
    return buyer if word.hash in [each.entry.offer for each in accepted] else None


@zome.function
async def released(host: Host, device: AgentPubKey | None = None) -> bool:
    """Whether its owner's newest word on a device (ourselves by default) lets it go."""
    word = await _owners_word(host, device)
    return word is not None and isinstance(word.entry, Release)


async def _owners_word(host: Host, device: AgentPubKey | None) -> Found | None:
    """What the owner whom a device has acknowledged says of it, or a later key of that owner's.

    A device goes by what it has judged itself: somebody who holds the owner's key may show it a
    word that lacks its consents.
    """
    us = host.agent_info().agent
    said = await reading.newest_of(host, Acknowledgement, device or us)
    if said is None:
        return None
    owners = await reading.keys_of(host, said.entry.owner)
    owners = owners[: owners.index(said.entry.owner) + 1]
    word = await reading.word_on(host, device or us, owners)
    if word is not None and (device or us) == us:
        await host.get_judged(word.hash)
    return word


# -- keys -----------------------------------------------------------------------------------------


@zome.function
async def keyset(host: Host, agent: AgentPubKey | None = None) -> dict[str, Any] | None:
    """The keyset in force for an agent (ourselves by default)."""
    found = await reading.newest_of(host, Keyset, agent or host.agent_info().agent)
    if found is None:
        return None
    entry: Keyset = found.entry
    return {
        "hash": found.hash,
        "threshold": entry.threshold,
        "keys": entry.keys,
        "follows": entry.follows,
    }


@zome.function
async def set_keyset(
    host: Host,
    threshold: int,
    keys: tuple[bytes, ...],
    follows: ActionHash | None = None,
    consents: tuple[Consent, ...] = (),
) -> ActionHash:
    """Put key-holders in force for us; see `consent_message` for whose consents it takes."""
    return await deeds.done(host, await deeds.set_keyset(host, threshold, keys, follows), consents)


@zome.function
async def consent_message(host: Host, deed: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What key-holders are asked to sign before we do such a deed, and who they are."""
    return await deeds.asked(host, deed, payload)


@zome.function
async def revoke(
    host: Host,
    agent: AgentPubKey,
    cut: ActionHash | None = None,
    successor: AgentPubKey | None = None,
    reason: str = "",
    consents: tuple[Consent, ...] = (),
) -> ActionHash:
    """End an agent whose key is lost or stolen, after `cut` (by default its newest action)."""
    drafted = await deeds.revoke(host, agent, cut, successor, reason)
    revoked = await deeds.done(host, drafted, consents)
    await host.create_link(agent, revoked, REVOKED)
    await _no_more_at_work(host, agent)
    return revoked


async def _no_more_at_work(host: Host, device: AgentPubKey) -> None:
    for link in await host.get_links(host.agent_info().dna, AT_WORK):
        if link.author == device:
            await host.delete_link(link.hash)


@zome.function
async def close(host: Host, new_target: AgentPubKey | None = None) -> ActionHash:
    """End our chain in favour of our next key, of our buyer, or of nobody."""
    await _no_more_at_work(host, host.agent_info().agent)
    return await host.close_chain(new_target)


@zome.function
async def open(host: Host, prev_target: AgentPubKey, close_hash: ActionHash) -> ActionHash:
    """Say that our chain continues one that was closed for us or for our owner."""
    return await host.open_chain(prev_target, close_hash)


@zome.function
async def history(host: Host, agent: AgentPubKey) -> list[dict[str, Any]]:
    """Every key that an agent has had, oldest first; see `history.Era`."""
    return await reading.history(host, agent)


@zome.function
async def change(host: Host, by: ActionHash) -> dict[str, Any] | None:
    """What an action changed about whose or which an agent's key is; see `history.change`."""
    return await reading.change(host, by)


@zome.function
async def key_at(host: Host, agent: AgentPubKey, time_us: int) -> AgentPubKey | None:
    """Which of an agent's keys was in force at a time."""
    return await reading.key_at(host, agent, time_us)
