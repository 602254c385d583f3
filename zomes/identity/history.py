"""Which keys an agent has had, and who owns what, as read from the chains and links.

What an agent goes on from stands at the beginning of its chain: an OpenChain, or the keyset that
follows a revocation.  What it ended with is its CloseChain, or a revocation that is linked from
its key.  Both are read, so from any of its keys all of them are found.
"""

from dataclasses import asdict, dataclass
from typing import Any

from ioe_node.hdi import CloseChain, OpenChain
from ioe_node.hdk import ActionHash, AgentPubKey, Found, Host
from zomes.identity.integrity import (
    REVOKED,
    SUCCESSIONS_MAX,
    Acceptance,
    Acknowledgement,
    Keyset,
    Offer,
    Release,
    Revocation,
)

KEYS_EACH_WAY_MAX = 16


@dataclass(frozen=True)
class Era:
    """One key's time: from its first action to the last that counts (None: it is in use).

    `how` it ended: "in use", "rotated" or "revoked" (then `to` is the next key, if any), "sold"
    (`to` is the buyer), or "closed".
    """

    agent: AgentPubKey
    from_us: int
    until_us: int | None
    how: str
    to: AgentPubKey | None


async def newest_of(host: Host, entry_type: type, author: AgentPubKey) -> Found | None:
    """The newest entry of a type on a chain."""
    found = await host.query(entry_type, author=author, limit=1)
    return found[0] if found else None


async def revocation_of(host: Host, agent: AgentPubKey) -> Found | None:
    """The revocation that ends an agent earliest, if there is one that counts."""
    linked = [await host.get(ActionHash(e.target)) for e in await host.get_links(agent, REVOKED)]
    standing = [
        found
        for found in linked
        if found is not None
        and isinstance(found.entry, Revocation)
        and found.entry.agent == agent
        and not await _overtaken(host, found)
    ]
    return min(standing, key=lambda found: (found.entry.cut_seq, found.hash), default=None)


async def _overtaken(host: Host, revocation: Found) -> bool:
    """`integrity.overtaken`, by what can be read anywhere."""
    entry: Revocation = revocation.entry
    keyset = await newest_of(host, Keyset, entry.agent)
    if keyset is not None:
        return keyset.action.action_seq > entry.cut_seq
    said = await newest_of(host, Acknowledgement, entry.agent)
    key: AgentPubKey | None = revocation.action.author
    for _ in range(SUCCESSIONS_MAX + 1):
        if said is None or key in (said.entry.owner, None):
            break
        key = await _gone_on_for(host, key)
    return said is not None and key != said.entry.owner


async def _gone_on_for(host: Host, agent: AgentPubKey) -> AgentPubKey | None:
    """For whom an agent goes on by its keyset, if what that follows counts."""
    keyset = await newest_of(host, Keyset, agent)
    follows = None if keyset is None else keyset.entry.follows
    end = None if follows is None else await host.get(follows)
    if end is None or not isinstance(end.entry, Revocation):
        return None if end is None else end.action.author
    revoked: AgentPubKey = end.entry.agent
    return None if await _overtaken(host, end) else revoked


async def _begun(host: Host, agent: AgentPubKey) -> tuple[int, AgentPubKey | None] | None:
    """(since when an agent's chain is, for whom it goes on); None when there is no chain."""
    records = await host.activity(agent)
    if not records:
        return None
    opened = [each.action.prev_target for each in records if isinstance(each.action, OpenChain)]
    before = AgentPubKey(opened[0]) if opened else None
    return records[0].action.timestamp_us, before or await _gone_on_for(host, agent)


async def last_of(host: Host, agent: AgentPubKey) -> Found | None:
    """The newest action of a chain as it is known; None when none of it can be reached."""
    return next(iter(await host.newest(agent, 1)), None)


async def _era(host: Host, agent: AgentPubKey, from_us: int) -> Era:
    """One key's time, and what it ended with."""
    last = await last_of(host, agent)
    close = last.action if last is not None and isinstance(last.action, CloseChain) else None
    to = close.new_target if close is not None else None
    target = AgentPubKey(to) if to is not None and to[:3] == agent[:3] else None
    revoked = await revocation_of(host, agent)
    if revoked is not None:
        entry: Revocation = revoked.entry
        cut = await host.get(entry.cut)
        until_us = None if cut is None else cut.action.timestamp_us
        counts = close is not None and close.action_seq <= entry.cut_seq
        successor = entry.successor or (target if counts else None)
        return Era(agent, from_us, until_us or from_us, "revoked", successor)
    if close is None:
        return Era(agent, from_us, None, "in use", None)
    how = "closed"
    if target is not None:
        how = "sold" if await _bought(host, target, agent) else "rotated"
    return Era(agent, from_us, close.timestamp_us, how, target)


async def _bought(host: Host, buyer: AgentPubKey, device: AgentPubKey) -> bool:
    """Whether `buyer` has accepted `device`."""
    for accepted in await host.query(Acceptance, author=buyer):
        offer = await host.get(accepted.entry.offer)
        if offer is not None and offer.entry.device == device:
            return True
    return False


async def eras_of(host: Host, agent: AgentPubKey) -> list[Era]:
    """Every key of an agent, oldest first; empty when nothing is known of it."""
    eras: list[Era] = []
    key: AgentPubKey | None = agent
    while key is not None and len(eras) < KEYS_EACH_WAY_MAX and key not in _keys(eras):
        begun = await _begun(host, key)
        if begun is None:
            break
        eras.insert(0, await _era(host, key, begun[0]))
        key = begun[1]
    back = len(eras)
    while eras and eras[-1].how != "sold" and len(eras) < back + KEYS_EACH_WAY_MAX:
        to = eras[-1].to
        begun = await _begun(host, to) if to is not None and to not in _keys(eras) else None
        if to is None or begun is None or begun[1] != eras[-1].agent:
            break
        eras.append(await _era(host, to, begun[0]))
    return eras


def _keys(eras: list[Era]) -> list[AgentPubKey]:
    return [era.agent for era in eras]


async def keys_of(host: Host, agent: AgentPubKey) -> list[AgentPubKey]:
    """Every key of an owner, newest first; of an agent that is not known, the one key."""
    return _keys(await eras_of(host, agent))[::-1] or [agent]


async def history(host: Host, agent: AgentPubKey) -> list[dict[str, Any]]:
    """`eras_of`, plain."""
    return [asdict(era) for era in await eras_of(host, agent)]


async def change(host: Host, by: ActionHash) -> dict[str, Any] | None:
    """What one action says has become of a key; None if it says nothing of the kind.

    `kind` is "new keys" (`successor` goes on) or "new owner" (of a device: `owner` has bought it);
    `agent` is the key that ended, `since_us` the action's time.
    """
    found = await host.get(by)
    if found is None:
        return None
    action, entry = found.action, found.entry
    said: dict[str, Any] = {"since_us": action.timestamp_us}
    if isinstance(entry, Keyset) and entry.follows is not None:
        end = await host.get(entry.follows)
        if end is not None and isinstance(end.entry, Revocation):
            ended = end.entry.agent
            return {**said, "kind": "new keys", "agent": ended, "successor": action.author}
    closed = await host.get(action.close_hash) if isinstance(action, OpenChain) else None
    if closed is None or not isinstance(closed.action, CloseChain):
        return None
    said["agent"] = closed.action.author
    if closed.action.new_target == action.author:
        return {**said, "kind": "new keys", "successor": action.author}
    return {**said, "kind": "new owner", "owner": closed.action.new_target}


async def key_at(host: Host, agent: AgentPubKey, time_us: int) -> AgentPubKey | None:
    """Which of an agent's keys was in force then."""
    for era in await eras_of(host, agent):
        if era.from_us <= time_us and (era.until_us is None or time_us <= era.until_us):
            return era.agent
    return None


async def acknowledged_of(host: Host, device: AgentPubKey) -> Found | None:
    """A device's own word on whose it is, unless its chain has ended or it was revoked."""
    said = await newest_of(host, Acknowledgement, device)
    last = None if said is None else await last_of(host, device)
    if last is None or isinstance(last.action, CloseChain):
        return None
    return None if await revocation_of(host, device) else said


async def word_on(host: Host, device: AgentPubKey, owners: list[AgentPubKey]) -> Found | None:
    """The newest Offer or Release of a device by whoever of its owner's keys spoke last.

    What was said under a key after it was revoked is a thief's.
    """
    for owner in owners:
        revoked = await revocation_of(host, owner)
        found = [
            each
            for entry_type in (Offer, Release)
            for each in await host.query(entry_type, author=owner)
            if each.entry.device == device
            and (revoked is None or each.action.action_seq <= revoked.entry.cut_seq)
        ]
        if found:
            return max(found, key=lambda each: each.action.action_seq)
    return None
