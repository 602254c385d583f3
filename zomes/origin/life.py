"""The life of a certificate, told from public records alone, and what could not be read of it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ioe_node.hdk import ActionHash, AgentPubKey, Found, Host
from zomes.origin.holdings import Holdings
from zomes.origin.integrity import (
    VERIFIED,
    Give,
    Issue,
    Retire,
    Store,
    Verification,
    halves_of,
    holdings_of,
    number_of,
)
from zomes.origin.ledger import steps_since

EVENTS_MAX = 512


@dataclass
class Life:
    """What became of a certificate so far: its events, where its energy went, what was not read.

    `sums` are milliwatt-hours by what became of them: all that was issued is in one of them.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def tell(self, what: str, found: Found, energy: int, **more: Any) -> None:
        """Add an event that a record shows."""
        self.events.append(
            {
                "what": what,
                "at_us": found.action.timestamp_us,
                "agent": found.action.author,
                "action": found.hash,
                "energy_milli_wh": energy,
                **more,
            }
        )

    def count(self, what: str, energy: int) -> None:
        """Say where energy went."""
        if energy:
            self.sums[what] = self.sums.get(what, 0) + energy

    def miss(self, what: str, energy: int) -> None:
        """Say what could not be read, and how much energy went that way."""
        self.unread.append(what)
        self.count("not read", energy)


async def trace(host: Host, issued: Found) -> Life:
    """All that became of a certificate, of what was stored of it too; its own origin first."""
    life = Life()
    await _origin(host, issued, life)
    await _issued(host, issued, life)
    waiting = deque([(issued, issued.entry.energy_milli_wh)])
    while waiting:
        came, energy = waiting.popleft()
        if len(life.events) >= EVENTS_MAX:
            life.miss(f"what happened after {EVENTS_MAX} events", energy)
        else:
            waiting += await _follow(host, came, energy, life)
    return life


async def _origin(host: Host, issued: Found, life: Life) -> None:
    """Where the energy of a battery's certificate came from, the panel first."""
    before: list[Found] = []
    newer = issued
    while newer.entry.store is not None:
        lot = await host.get(newer.entry.store)
        older = None if lot is None else await host.get(lot.entry.certificate)
        if lot is None or older is None:
            life.miss("the origin of what the battery gave", 0)
            break
        before += [lot, older]
        newer = older
    for found in reversed(before):
        if isinstance(found.entry, Issue):
            await _issued(host, found, life)
        else:
            life.tell("stored", found, found.entry.energy_milli_wh)


async def _issued(host: Host, issued: Found, life: Life) -> None:
    entry: Issue = issued.entry
    reading = await host.get(entry.reading)
    if reading is None:
        life.miss("the reading that it was issued from", 0)
    else:
        life.tell("metered", reading, reading.entry.export_milli_wh)
    what = "issued" if entry.store is None else "discharged"
    life.tell(what, issued, entry.energy_milli_wh, source=entry.source, start_us=entry.start)
    for found in await verifications(host, issued.hash):
        life.tell("verified", found, entry.energy_milli_wh)


async def verifications(host: Host, certificate: ActionHash) -> list[Found]:
    """What verifiers have said of a certificate."""
    links = await host.get_links(certificate, VERIFIED)
    found = [await host.get(ActionHash(link.target)) for link in links]
    return [each for each in found if each is not None and isinstance(each.entry, Verification)]


async def _follow(host: Host, came: Found, energy: int, life: Life) -> list[tuple[Found, int]]:
    """Tell what its author did with what an action brought; what is to be followed from there."""
    agent = came.action.author
    steps = await steps_since(host, agent, came.action.action_seq)
    if came.hash not in [found.hash for found in steps]:
        life.miss("the chain of one that held it", energy)
        return []
    onward: list[tuple[Found, int]] = []
    left = energy
    for found in steps:
        if not _goes_on(found, came, agent):
            continue
        entry: Any = found.entry
        left -= entry.energy_milli_wh
        if isinstance(entry, Give):
            onward += await _given(host, found, life)
        elif isinstance(entry, Retire):
            life.tell(entry.purpose, found, entry.energy_milli_wh, reason=entry.reason)
            life.count(entry.purpose, entry.energy_milli_wh)
        elif isinstance(entry, Store):
            life.tell("stored", found, entry.energy_milli_wh, stored_milli_wh=entry.stored_milli_wh)
            life.count("lost in a battery", entry.energy_milli_wh - entry.stored_milli_wh)
            onward.append((found, entry.stored_milli_wh))
        else:
            await _issued(host, found, life)
            onward.append((found, entry.energy_milli_wh))
    _rest(came, holdings_of(steps[-1]), left, life)
    return onward


def _goes_on(found: Found, came: Found, agent: AgentPubKey) -> bool:
    """Whether a step of an agent's ledger takes from what `came` brought it."""
    if isinstance(found.entry, Issue):
        return bool(found.entry.store == came.hash)
    taken = isinstance(found.entry, Give) and found.entry.parties[0].agent != agent
    return not taken and bool(found.entry.came == came.hash)


async def _given(host: Host, gift: Found, life: Life) -> list[tuple[Found, int]]:
    entry: Give = gift.entry
    to = entry.parties[1].agent
    life.tell("given", gift, entry.energy_milli_wh, to=to, sale=entry.sale)
    taken = await host.get(halves_of(gift)[1])
    if taken is None:
        life.miss("the half of one that took it", entry.energy_milli_wh)
        return []
    return [(taken, entry.energy_milli_wh)]


def _rest(came: Found, held: Holdings, left: int, life: Life) -> None:
    """Say what became of energy that no step takes: it is held, or lapsed, or decayed."""
    here = held.energy_of(number_of(came))
    stored = isinstance(came.entry, Store)
    if here:
        life.tell("in the battery" if stored else "held", came, here)
    life.count("in a battery" if stored else "held", here)
    life.count("decayed" if stored else "lapsed", left - here)
