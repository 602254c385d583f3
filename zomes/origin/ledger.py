"""Reading ledgers of certificates from the chains that they stand on."""

from dataclasses import dataclass

from ioe_node.hdk import ActionHash, AgentPubKey, Busy, Found, Host
from zomes.origin.holdings import Holdings
from zomes.origin.integrity import STEPS, Give, Issue, Store, holdings_of, number_of

STEPS_READ = 10_000
SALES_READ = 256


@dataclass(frozen=True)
class Sale:
    """Energy of a reading that was sold: the seller's half of the settlement, who bought it."""

    settlement: ActionHash
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


async def sales_of(host: Host, seller: AgentPubKey) -> dict[ActionHash, list[Sale]]:
    """What an agent sold of each of its readings, oldest first, of its newest `SALES_READ`."""
    sales: dict[ActionHash, list[Sale]] = {}
    asked = {"agent": seller, "limit": SALES_READ}
    for each in reversed(await host.call("currency", "history", asked)):
        settled = await host.get(each["hash"]) if each["energy_milli_wh"] else None
        reading = None if settled is None else settled.entry.reading
        metered = None if reading is None else await host.get(reading)
        if metered is not None and metered.action.author == seller:
            sale = Sale(each["hash"], each["with"], each["energy_milli_wh"])
            sales.setdefault(metered.hash, []).append(sale)
    return sales


async def given_for(host: Host, giver: AgentPubKey, sale: ActionHash) -> int:
    """How much an agent has given for one of its sales, in milliwatt-hours."""
    settled = (await must_get(host, sale)).action.action_seq

    def earlier(found: Found) -> bool:
        return bool(found.action.action_seq < settled)

    gifts = await host.query(Give, author=giver, enough=earlier)
    return sum(each.entry.energy_milli_wh for each in gifts if each.entry.sale == sale)
