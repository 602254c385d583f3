"""Reading ledgers of certificates from the chains that they stand on."""

from collections.abc import Collection
from dataclasses import dataclass

from ioe_node.hdk import ActionHash, AgentPubKey, Busy, Found, Host
from zomes.origin.holdings import Holdings
from zomes.origin.integrity import STEPS, Give, Issue, Store, holdings_of, number_of

STEPS_READ = 10_000
SALES_READ = 256


@dataclass(frozen=True)
class Sale:
    """Energy of a reading that was sold: the seller's half, its place there, who bought it."""

    settlement: ActionHash
    seq: int
    buyer: AgentPubKey
    energy_milli_wh: int


async def must_get(host: Host, action: ActionHash) -> Found:
    """A record, or `Busy`."""
    found = await host.get(action)
    if found is None:
        raise Busy("a record that this certificate rests on is not here yet; try again")
    return found


async def standing(host: Host, agent: AgentPubKey) -> tuple[Found | None, Holdings]:
    """(last step, what is held after it) of an agent's ledger."""
    newest = [found for step in STEPS for found in await host.query(step, author=agent, limit=1)]
    last = max(newest, key=lambda found: found.action.action_seq, default=None)
    return last, holdings_of(last)


async def steps_since(host: Host, agent: AgentPubKey, seq: int) -> list[Found]:
    """The steps of an agent's ledger from a place on its chain on, oldest first."""

    def before(found: Found) -> bool:
        return bool(found.action.action_seq < seq)

    listed = [
        found
        for step in STEPS
        for found in await host.query(step, author=agent, limit=STEPS_READ, enough=before)
        if not before(found)
    ]
    return sorted(listed, key=lambda found: found.action.action_seq)


async def brought(host: Host, agent: AgentPubKey, held: Holdings) -> dict[int, Found]:
    """What brought an agent each part and lot that it holds, by its number."""
    numbers = held.numbers
    if not numbers:
        return {}
    oldest = min(numbers)

    def enough(found: Found) -> bool:
        return number_of(found) < oldest

    came: dict[int, Found] = {}
    for kind in (Issue, Give, Store):
        for found in await host.query(kind, author=agent, limit=STEPS_READ, enough=enough):
            gave = isinstance(found.entry, Give) and found.entry.parties[0].agent == agent
            if not gave and number_of(found) in numbers:
                came[number_of(found)] = found
    return came


async def sales_of(
    host: Host, seller: AgentPubKey, readings: Collection[ActionHash]
) -> dict[ActionHash, list[Sale]]:
    """What an agent sold of its own `readings`, oldest first, of its newest `SALES_READ`."""
    sales: dict[ActionHash, list[Sale]] = {}
    asked = {"agent": seller, "limit": SALES_READ}
    for each in reversed(await host.call("currency", "history", asked)):
        settled = await host.get(each["hash"]) if each["energy_milli_wh"] else None
        if settled is not None and settled.entry.reading in readings:
            place = settled.action.action_seq
            sale = Sale(each["hash"], place, each["with"], each["energy_milli_wh"])
            sales.setdefault(settled.entry.reading, []).append(sale)
    return sales


async def given_since(host: Host, giver: AgentPubKey, seq: int) -> dict[ActionHash, int]:
    """Milliwatt-hours that an agent gave for each of its sales, from a place on its chain on."""

    def before(found: Found) -> bool:
        return bool(found.action.action_seq < seq)

    given: dict[ActionHash, int] = {}
    for found in await host.query(Give, author=giver, limit=STEPS_READ, enough=before):
        sale = found.entry.sale
        if sale is not None:
            given[sale] = given.get(sale, 0) + found.entry.energy_milli_wh
    return given
