"""Keep an agent's certificates: issue, give with each sale, use up what was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from currency import value
from currency.value import Source
from ioe_node.hdk import (
    ActionHash,
    AgentPubKey,
    Busy,
    CallError,
    CoordinatorZome,
    Found,
    Host,
    LocalError,
    Party,
    PeerError,
    TransportError,
)
from zomes.origin import holdings
from zomes.origin.holdings import PARTS_MAX, Holdings
from zomes.origin.integrity import (
    VERIFIED,
    Give,
    Issue,
    Plant,
    Retire,
    Side,
    Store,
    Verification,
    certificate_of,
    number_of,
    source_of,
    weaker,
)
from zomes.origin.integrity import zome as integrity
from zomes.origin.ledger import brought, given_since, must_get, sales_of, standing

READINGS_READ = 96
STEPS_PER_CALL_MAX = 32
GIFTS_PER_CALL_MAX = 64

zome = CoordinatorZome(integrity)


@zome.function
async def declare(
    host: Host,
    source: Source | Literal["storage"] | None,
    zone: str = "",
    capacity_milli_w: int = 0,
    efficiency_bp: int = 10_000,
    decay_bp: int = 0,
) -> ActionHash:
    """Say what our machine is; certificates are issued by it from then on."""
    return await host.create(Plant(source, zone, capacity_milli_w, efficiency_bp, decay_bp))


@zome.draft
async def give(
    host: Host,
    parties: tuple[Party, Party],
    came: ActionHash,
    energy_milli_wh: int,
    sale: ActionHash | None,
) -> Give:
    """The proposer gives the counterparty energy of what `came` brought it."""
    giver, taker = parties
    found = await must_get(host, came)
    certificate = certificate_of(found)
    last, giving = await standing(host, giver.agent)
    if taker.agent == host.agent_info().agent:
        await _check_gift(host, giver.agent, certificate, energy_milli_wh, sale)
    left = holdings.spent(giving, number_of(found), energy_milli_wh)
    if left is None:
        raise CallError("that is more than is held of this certificate")
    before, taking = await standing(host, taker.agent)
    gained = holdings.gained(taking, energy_milli_wh)
    sides = (
        Side(None if last is None else last.hash, left),
        Side(None if before is None else before.hash, gained),
    )
    return Give(parties, sides, certificate, came, energy_milli_wh, sale)


async def _check_gift(
    host: Host, giver: AgentPubKey, certificate: ActionHash, energy: int, sale: ActionHash | None
) -> None:
    """The taker's own look: a gift fits what we bought, or there is room for it."""
    if sale is None:
        _, ours = await standing(host, host.agent_info().agent)
        if len(ours.parts) >= PARTS_MAX:
            raise CallError("no room for gifts that nobody has bought")
        return
    issued = await must_get(host, certificate)
    if issued.action.author != giver:
        raise CallError("given for a sale of what another has made")
    reading, us = issued.entry.reading, host.agent_info().agent
    sales = (await sales_of(host, giver, (reading,))).get(reading, [])
    bought = [each for each in sales if (each.settlement, each.buyer) == (sale, us)]
    if not bought:
        raise CallError("given for something that we did not buy of that reading")
    given = await given_since(host, giver, bought[0].seq)
    if given.get(sale, 0) + energy > bought[0].energy_milli_wh:
        raise CallError("more than we bought of that reading")


@zome.function
async def hand(
    host: Host, agent: AgentPubKey, certificate: ActionHash, energy_milli_wh: int
) -> ActionHash:
    """Give another member energy of a certificate that we hold; both chains take it, or neither."""
    us = host.agent_info().agent
    if agent == us:
        raise CallError("that is you; give it to another member")
    came = await _holding(host, certificate, energy_milli_wh)
    terms = {"came": came.hash, "energy_milli_wh": energy_milli_wh, "sale": None}
    return await host.countersign(agent, "origin.give", terms)


async def _holding(host: Host, certificate: ActionHash, energy_milli_wh: int) -> Found:
    """What brought us so much of a certificate, in one piece."""
    us = host.agent_info().agent
    _, ours = await standing(host, us)
    came = await brought(host, us, ours)
    fitting = [
        found for found in came.values() if certificate in (found.hash, certificate_of(found))
    ]
    for found in fitting:
        if 0 < energy_milli_wh <= ours.energy_of(number_of(found)):
            source = source_of(found)
            if source is not None and not await host.is_final(source):
                host.hasten([source])
                raise Busy("what was given to us is not final yet; try again")
            return found
    raise CallError("we do not hold so much of this in one piece; see 'ioe certificate list'")


@zome.function
async def retire(
    host: Host,
    certificate: ActionHash,
    energy_milli_wh: int,
    purpose: Literal["consumed", "set aside", "burned"],
    reason: str = "",
) -> ActionHash:
    """Take energy that we hold out of the ledger: drawn by our meter, or set aside, or burned."""
    came = await _holding(host, certificate, energy_milli_wh)
    ledger = await _ledger(host)
    if purpose != "consumed":
        return await ledger.retire(came, energy_milli_wh, purpose, None, reason)
    issued = await must_get(host, certificate_of(came))
    reading = ledger.reading_at(issued.entry.start)
    if reading is None:
        raise CallError("our meter has no reading of the interval in which that was made")
    if energy_milli_wh > holdings.undrawn(ledger.after, reading["seq"], reading["import_milli_wh"]):
        raise CallError("that is more than our meter drew in that interval")
    return await ledger.retire(came, energy_milli_wh, "consumed", reading, reason)


@zome.function
async def verify(host: Host, certificate: ActionHash) -> ActionHash:
    """Vouch for a certificate, as a verifier of the community."""
    made = await host.create(Verification(certificate))
    await host.create_link(certificate, made, VERIFIED)
    return made


@dataclass
class Ledger:
    """Our own ledger while steps are added to it, and our measured readings, oldest first."""

    host: Host
    plant: Plant | None
    readings: Sequence[dict[str, Any]]
    previous: ActionHash | None
    after: Holdings
    made: dict[str, int] = field(default_factory=dict)

    def reading_at(self, start: int) -> dict[str, Any] | None:
        """Our measured reading of the interval that began then."""
        return next((each for each in self.readings if each["start"] == start), None)

    def full(self) -> bool:
        """Whether this call has added enough."""
        return sum(self.made.values()) >= STEPS_PER_CALL_MAX

    async def _add(self, what: str, entry: Issue | Retire | Store) -> ActionHash:
        self.previous, self.after = await self.host.create(entry), entry.after
        self.made[what] = self.made.get(what, 0) + 1
        return self.previous

    async def issue(self, reading: dict[str, Any]) -> None:
        """Certify all that a reading exported."""
        plant = self.plant
        assert plant is not None
        source = plant.source
        assert source is not None, "a machine that makes energy"
        assert source != "storage", "a machine that makes energy"
        energy = reading["export_milli_wh"]
        after = holdings.issued(self.after, reading["seq"], energy, energy, again=False)
        assert after is not None, "a reading after the last one"
        g_co2 = value.g_co2_of(source, self.host.properties.values)
        entry = Issue(
            self.previous,
            holdings.gained(after, energy),
            reading["hash"],
            reading["start"],
            reading["end"],
            energy,
            source,
            g_co2,
            plant.zone,
            reading["method"],
        )
        await self._add("issued", entry)

    async def discharge(self, reading: dict[str, Any], lot: Found, energy: int) -> None:
        """Certify what a reading exported, out of what was stored."""
        assert self.plant is not None
        origin: Issue = (await must_get(self.host, lot.entry.certificate)).entry
        exported, at = reading["export_milli_wh"], reading["start"]
        after = holdings.issued(self.after, reading["seq"], energy, exported, again=True)
        assert after is not None, "energy of a reading that is not used up"
        left = holdings.discharged(after, number_of(lot), energy, at, self.plant.decay_bp)
        assert left is not None, "a lot that holds so much"
        entry = Issue(
            self.previous,
            holdings.gained(left, energy),
            reading["hash"],
            reading["start"],
            reading["end"],
            energy,
            origin.source,
            origin.g_co2_per_kwh,
            origin.zone,
            weaker(origin.trust, reading["method"]),
            lot.hash,
        )
        await self._add("discharged", entry)

    async def retire(
        self,
        came: Found,
        energy: int,
        purpose: Literal["consumed", "set aside", "burned"],
        reading: dict[str, Any] | None,
        reason: str = "",
    ) -> ActionHash:
        """Take energy out of the ledger."""
        before: Holdings | None = self.after
        if reading is not None:
            drew = reading["import_milli_wh"]
            before = holdings.drawn(self.after, reading["seq"], energy, drew)
        assert before is not None, "energy that the reading drew"
        less = holdings.written_off if isinstance(came.entry, Store) else holdings.spent
        left = less(before, number_of(came), energy)
        assert left is not None, "energy that is held"
        issued = await must_get(self.host, certificate_of(came))
        certificate: Issue = issued.entry
        entry = Retire(
            self.previous,
            left,
            issued.hash,
            issued.action.author,
            certificate.start,
            certificate.source,
            certificate.g_co2_per_kwh,
            came.hash,
            energy,
            purpose,
            None if reading is None else reading["hash"],
            reason,
        )
        return await self._add(purpose, entry)

    async def store(self, came: Found, energy: int, reading: dict[str, Any]) -> None:
        """Put energy that our battery took up into a lot."""
        assert self.plant is not None
        drew = reading["import_milli_wh"]
        drawn = holdings.drawn(self.after, reading["seq"], energy, drew)
        assert drawn is not None, "energy that the reading drew"
        left = holdings.spent(drawn, number_of(came), energy)
        assert left is not None, "energy that is held"
        kept = holdings.kept_of(energy, self.plant.efficiency_bp)
        after = holdings.stored(left, kept, reading["end"])
        by, certificate = reading["hash"], certificate_of(came)
        entry = Store(self.previous, after, certificate, came.hash, energy, kept, by)
        await self._add("stored", entry)


async def _ledger(host: Host) -> Ledger:
    us = host.agent_info().agent
    last, ours = await standing(host, us)
    found = await host.query(Plant, limit=1)
    readings = await host.call("metering", "history", {"limit": READINGS_READ})
    return Ledger(
        host,
        found[0].entry if found else None,
        [each for each in reversed(readings) if each["quality"] == "measured"],
        None if last is None else last.hash,
        ours,
    )


@zome.function
async def keep(host: Host) -> dict[str, int]:
    """Give for our sales, use up what our meter drew, certify what it gave.

    Run it on a schedule.  Each gift is a settlement; all the rest is one bundle.  What a buyer that
    is away is owed, and what is not final yet, waits for the next run.
    """
    given = await _give_for_sales(host)
    ledger = await _ledger(host)
    await _use(ledger)
    if ledger.plant is not None and ledger.plant.source == "storage":
        await _discharge(ledger)
    elif ledger.plant is not None and ledger.plant.source is not None:
        for reading in ledger.readings:
            fresh = reading["seq"] > ledger.after.issued_seq and reading["export_milli_wh"]
            if fresh and not ledger.full():
                await ledger.issue(reading)
    return {"given": given, **ledger.made}


async def _give_for_sales(host: Host) -> int:
    """Give each buyer its part of what was sold of a reading; how many gifts were taken.

    Who does not take one is asked for the others in the next run.
    """
    us = host.agent_info().agent
    _, ours = await standing(host, us)
    came = await brought(host, us, ours)
    made = [
        (came[part.number], part.energy_milli_wh)
        for part in ours.parts
        if isinstance(came[part.number].entry, Issue)
    ]
    sales = await sales_of(host, us, {found.entry.reading for found, _ in made}) if made else {}
    oldest = min((sale.seq for each in sales.values() for sale in each), default=0)
    given = await given_since(host, us, oldest) if sales else {}
    away: set[AgentPubKey] = set()
    taken = 0
    for found, left in made:
        for sale in sales.get(found.entry.reading, ()):
            energy = min(sale.energy_milli_wh - given.get(sale.settlement, 0), left)
            if energy <= 0 or sale.buyer in away or taken >= GIFTS_PER_CALL_MAX:
                continue
            terms = {"came": found.hash, "energy_milli_wh": energy, "sale": sale.settlement}
            if await _give_to(host, sale.buyer, terms):
                given[sale.settlement] = given.get(sale.settlement, 0) + energy
                taken += 1
                left -= energy
            else:
                away.add(sale.buyer)
    return taken


async def _give_to(host: Host, buyer: AgentPubKey, terms: dict[str, Any]) -> bool:
    try:
        await host.countersign(buyer, "origin.give", terms)
    except TransportError:
        return False
    except (PeerError, LocalError) as error:
        host.emit_signal({"declined_by": buyer, "why": str(error)})
        return False
    return True


async def _use(ledger: Ledger) -> None:
    """Retire or store what we were given of the intervals in which our meter drew something."""
    host, us = ledger.host, ledger.host.agent_info().agent
    came = await brought(host, us, ledger.after)
    storing = ledger.plant is not None and ledger.plant.source == "storage"
    for part in ledger.after.parts:
        found = came[part.number]
        source = source_of(found)
        if source is None or ledger.full():
            continue
        issued = await must_get(host, found.entry.certificate)
        reading = ledger.reading_at(issued.entry.start)
        if reading is None:
            continue
        free = holdings.undrawn(ledger.after, reading["seq"], reading["import_milli_wh"])
        energy = min(part.energy_milli_wh, free)
        if energy <= 0:
            continue
        if not await host.is_final(source):
            host.hasten([source])
        elif storing:
            await ledger.store(found, energy, reading)
        else:
            await ledger.retire(found, energy, "consumed", reading)


async def _discharge(ledger: Ledger) -> None:
    """Certify what our battery gave, out of its oldest lots."""
    assert ledger.plant is not None
    came = await brought(ledger.host, ledger.host.agent_info().agent, ledger.after)
    for reading in ledger.readings:
        left = reading["export_milli_wh"]
        if reading["seq"] == ledger.after.issued_seq:
            left -= ledger.after.issued_milli_wh
        elif reading["seq"] < ledger.after.issued_seq:
            continue
        for lot in ledger.after.lots:
            there = holdings.decayed(lot, reading["start"], ledger.plant.decay_bp)
            energy = min(left, there.energy_milli_wh)
            if lot.at <= reading["start"] and energy > 0 and not ledger.full():
                await ledger.discharge(reading, came[lot.number], energy)
                left -= energy
