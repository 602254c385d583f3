"""Read certificates: who holds what, how each came about and ended, why it is worth what it is."""

from typing import Any

from currency import value
from currency.value import Kwh, Trust
from ioe_node.hdk import ActionHash, AgentPubKey, CallError, Found, Host
from zomes.origin import life
from zomes.origin.audit import audited
from zomes.origin.coordinator import zome
from zomes.origin.integrity import Give, Issue, Plant, Retire, certificate_of
from zomes.origin.ledger import STEPS_READ, brought, must_get, standing, steps_since

RETIRED_READ = 10_000


@zome.function
async def holdings(
    host: Host, agent: AgentPubKey | None = None, retired: int = 0
) -> list[dict[str, Any]]:
    """What an agent (ourselves by default) holds, oldest first: its parts, then its lots.

    And before that the newest `retired` that it took out of the ledger.
    """
    who = agent or host.agent_info().agent
    listed = []
    limit = min(max(0, retired), RETIRED_READ)
    for found in reversed(await host.query(Retire, author=who, limit=limit)):
        issued = await must_get(host, found.entry.certificate)
        listed.append(_held(issued, found.entry.purpose, found.entry.energy_milli_wh))
    _, held = await standing(host, who)
    came = await brought(host, who, held)
    for number in held.numbers:
        issued = await must_get(host, certificate_of(came[number]))
        state = "held" if any(part.number == number for part in held.parts) else "stored"
        listed.append(_held(issued, state, held.energy_of(number)))
    return listed


def _held(issued: Found, state: str, energy: int) -> dict[str, Any]:
    g_co2 = issued.entry.g_co2_per_kwh
    co2_mg = None if g_co2 is None else value.milligrams(energy, g_co2)
    return {**_shown(issued), "state": state, "energy_milli_wh": energy, "co2_mg": co2_mg}


def _shown(issued: Found) -> dict[str, Any]:
    entry: Issue = issued.entry
    return {
        "certificate": issued.hash,
        "issuer": issued.action.author,
        "issued_at_us": issued.action.timestamp_us,
        "start_us": entry.start,
        "end_us": entry.end,
        "issued_milli_wh": entry.energy_milli_wh,
        "source": entry.source,
        "g_co2_per_kwh": entry.g_co2_per_kwh,
        "zone": entry.zone,
        "trust": entry.trust,
        "reading": entry.reading,
        "stored": entry.store is not None,
    }


async def _certificate(host: Host, certificate: ActionHash) -> Found:
    found = await host.get(certificate)
    if found is None:
        raise CallError("that certificate is not here, and nobody who holds it answers; try again")
    if not isinstance(found.entry, Issue):
        raise CallError("that is no certificate; see 'ioe certificate list'")
    return found


async def _trust(host: Host, issued: Found) -> Trust:
    """Who vouches for a certificate: the best of its reading and what verifiers have said."""
    trust: Trust = issued.entry.trust
    return "verified" if await life.verifications(host, issued.hash) else trust


@zome.function
async def show(host: Host, certificate: ActionHash) -> dict[str, Any]:
    """One certificate, and what its issuer says that its machine is."""
    issued = await _certificate(host, certificate)
    machine = await _plant(host, issued.action.author)
    return {
        **_shown(issued),
        "trust": await _trust(host, issued),
        "capacity_milli_w": None if machine is None else machine.capacity_milli_w,
    }


@zome.function
async def plant(host: Host, agent: AgentPubKey | None = None) -> dict[str, Any] | None:
    """What an agent (ourselves by default) says that its machine is, and what its kWh weigh."""
    found = await _plant(host, agent or host.agent_info().agent)
    if found is None:
        return None
    weight = None
    if found.source is not None and found.source != "storage":
        weight = value.g_co2_of(found.source, host.properties.values)
    return {**vars(found), "g_co2_per_kwh": weight}


async def _plant(host: Host, agent: AgentPubKey) -> Plant | None:
    found = await host.query(Plant, author=agent, limit=1)
    return found[0].entry if found else None


@zome.function
async def used(
    host: Host, from_us: int, to_us: int, agent: AgentPubKey | None = None
) -> list[dict[str, Any]]:
    """What an agent (ourselves by default) consumed of certificates of the intervals in a span.

    Summed up by issuer and source.
    """

    def earlier(found: Found) -> bool:
        return bool(found.action.timestamp_us < from_us)

    sums: dict[tuple[Any, ...], int] = {}
    for found in await host.query(Retire, author=agent, limit=RETIRED_READ, enough=earlier):
        entry: Retire = found.entry
        if entry.purpose == "consumed" and from_us <= entry.start < to_us:
            key = (entry.issuer, entry.source, entry.g_co2_per_kwh)
            sums[key] = sums.get(key, 0) + entry.energy_milli_wh
    return [
        {"issuer": issuer, "source": source, "g_co2_per_kwh": weight, "energy_milli_wh": energy}
        for (issuer, source, weight), energy in sums.items()
    ]


@zome.function
async def given_for(host: Host, giver: AgentPubKey, sale: ActionHash) -> list[dict[str, Any]]:
    """The certificates that a seller gave for a sale; `sale` is the seller's half of it."""
    sold = await host.get(sale)
    if sold is None:
        return []
    seq = sold.action.action_seq

    def before(found: Found) -> bool:
        return bool(found.action.action_seq < seq)

    given = await host.query(Give, author=giver, limit=STEPS_READ, enough=before)
    listed = []
    for found in given:
        if found.entry.sale == sale:
            issued = await must_get(host, found.entry.certificate)
            listed.append(
                {
                    "certificate": issued.hash,
                    "energy_milli_wh": found.entry.energy_milli_wh,
                    "source": issued.entry.source,
                    "g_co2_per_kwh": issued.entry.g_co2_per_kwh,
                }
            )
    return listed


@zome.function
async def trace(host: Host, certificate: ActionHash) -> dict[str, Any]:
    """The life of a certificate from panel to socket, and what of it could not be read."""
    told = await life.trace(host, await _certificate(host, certificate))
    return {"events": told.events, "sums": told.sums, "unread": told.unread}


@zome.function
async def why(
    host: Host, certificate: ActionHash, user: AgentPubKey | None = None
) -> dict[str, Any]:
    """What a certificate's energy is worth to the community, factor by factor.

    Rounded down to a micro-credit.  To `user`; by default to whoever is known to have consumed the
    most recent part of it.
    """
    issued = await _certificate(host, certificate)
    entry: Issue = issued.entry
    if user is None:
        told = await life.trace(host, issued)
        used = [each["agent"] for each in told.events if each["what"] == "consumed"]
        user = used[-1] if used else None
    drawn, made = await _balance(host, entry.start)
    machine = None if user is None else await _plant(host, user)
    kwh = Kwh(
        entry.g_co2_per_kwh,
        entry.zone,
        None if machine is None or not machine.zone else machine.zone,
        drawn,
        made,
        await _trust(host, issued),
        None if user is None else len(await host.call("demand", "claims", {"device": user})),
    )
    factors = value.explain(kwh, host.properties.values)
    worth_micro, _ = value.worth(entry.energy_milli_wh, factors)
    return {
        "user": user,
        "energy_milli_wh": entry.energy_milli_wh,
        "factors": [vars(each) for each in factors],
        "worth_micro": worth_micro,
    }


async def _balance(host: Host, start: int) -> tuple[int, int]:
    """(drawn, made) by the community's devices in the interval that begins then, as known here."""
    readings = await host.call("metering", "at", {"start": start})
    known = [each for each in readings if each["present"] and each["method"] == "device"]
    return (
        sum(each["import_milli_wh"] for each in known),
        sum(each["export_milli_wh"] for each in known),
    )


@zome.function
async def audit(host: Host) -> dict[str, Any]:
    """Whether any energy is counted twice, by every ledger that is known here; see `audit`."""
    ledgers = {agent: await steps_since(host, agent, 0) for agent in await host.agents()}
    return vars(audited(ledgers))
