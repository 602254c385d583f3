"""What can be told of everybody's settlements: statements, and an audit from the chains alone.

These functions belong to the same zome as those of `coordinator`.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from currency import delivery, matches
from currency.accounts import account_of
from currency.coordinator import HISTORY_MAX, zome
from currency.integrity import Carried, Matched, Settlement, fees_of
from currency.statement import Movement, Tariff, carbon_of, statement_of
from ioe_node.hdi import Create, half_of
from ioe_node.hdk import ActionHash, AgentPubKey, Busy, CallError, Found, Host

PRICE_MICRO_PER_BP = 100


@zome.function
async def statement(
    host: Host, from_us: int, until_us: int, agent: AgentPubKey | None = None
) -> dict[str, Any]:
    """What a member (ourselves by default) and its devices metered, traded and saved in a time.

    `complete` is False where more was metered or settled since than is read for a statement.
    """
    member = agent or host.agent_info().agent
    devices = await host.call("identity", "portfolio", {"owner": member})
    own = sorted({member, *(each["device"] for each in devices)})
    metered: list[tuple[int, int]] = []
    used: list[tuple[int, int | None]] = []
    drawn = 0
    movements: list[Movement] = []
    complete = True
    for each in own:
        asked = {"device": each, "from_us": from_us, "until_us": until_us}
        summed = await host.call("metering", "summed", asked)
        metered.append((summed["import_milli_wh"], summed["export_milli_wh"]))
        plant = await host.call("origin", "plant", {"agent": each})
        if plant is None or plant["source"] != "storage":
            drawn += summed["import_milli_wh"]
            used += await _used(host, each, from_us, until_us)
        settled = await host.query(
            Settlement,
            author=each,
            limit=HISTORY_MAX,
            enough=lambda found: found.action.timestamp_us < from_us,
        )
        complete &= summed["complete"] and len(settled) < HISTORY_MAX
        movements += [
            _moved(found) for found in settled if from_us <= found.action.timestamp_us < until_us
        ]
    tariff = Tariff(host.properties.grid_import_micro, host.properties.grid_export_micro)
    made = statement_of(own, metered, movements, tariff)
    carbon = carbon_of(drawn, used, host.properties.values.grid_g_co2_per_kwh)
    said = {"member": member, "devices": len(own) - 1, "complete": complete}
    return {**said, **asdict(made), **asdict(carbon)}


async def _used(
    host: Host, agent: AgentPubKey, from_us: int, until_us: int
) -> list[tuple[int, int | None]]:
    asked = {"from_us": from_us, "to_us": until_us, "agent": agent}
    parts = await host.call("origin", "used", asked)
    return [(each["energy_milli_wh"], each["g_co2_per_kwh"]) for each in parts]


def _moved(found: Found) -> Movement:
    entry: Settlement = found.entry
    payer, payee = (party.agent for party in entry.parties)
    us = found.action.author
    other, sign = (payee, -1) if us == payer else (payer, 1)
    energy = entry.energy_milli_wh if entry.seller == us else -entry.energy_milli_wh
    paid_for: Literal["fee", "other"] = "other" if entry.fee is None else "fee"
    kind = paid_for if entry.seller is None else "energy"
    return Movement(other, sign * entry.amount_micro, energy, kind)


@zome.function
async def why(host: Host, settlement: ActionHash) -> dict[str, Any]:
    """How a settlement's amount came about: its match, what the meters counted, prices and fees.

    Energies in milli-Wh, prices in micro-credits a kWh; `match` is None where none was settled.
    `fees` are what the seller owes by it, `certificates` what it gave of its energy's origin.
    """
    found = await host.get(settlement)
    if found is None or not isinstance(found.entry, Settlement):
        raise CallError("that is no settlement that is known here; see 'ioe credit history'")
    entry: Settlement = found.entry
    payer, payee = (party.agent for party in entry.parties)
    matched = None if entry.matched is None else await _match(host, entry, entry.matched)
    seller = entry.seller
    told: dict[str, Any] = {
        "payer": payer,
        "payee": payee,
        "seller": seller,
        "amount_micro": entry.amount_micro,
        "energy_milli_wh": entry.energy_milli_wh,
        "price_micro": host.properties.price_bp * PRICE_MICRO_PER_BP,
        "match": None if matched is None else matched[0],
        "memo": entry.memo,
        "fees": [],
        "certificates": [],
    }
    if seller is not None:
        zones = ("", "") if matched is None else matched[1]
        parts = fees_of(entry, *zones, host.properties)
        named = zip(host.properties.fees, parts, strict=True)
        told["fees"] = [{"name": fee.name, "micro": part} for fee, part in named if part]
        assert isinstance(found.action, Create), "a settlement is created"
        of_seller = entry.parties[[payer, payee].index(seller)]
        half = half_of(of_seller, found.action.entry_type, found.action.entry_hash)[0]
        asked = {"giver": seller, "sale": half}
        told["certificates"] = await host.call("origin", "given_for", asked)
    return told


async def _match(
    host: Host, entry: Settlement, matched: Matched
) -> tuple[dict[str, Any], tuple[str, str]]:
    """What was matched and metered of it, and the zones that its energy went between."""
    gate = await host.get(matched.gate)
    taken = None if matched.taken is None else await host.get(matched.taken)
    reading = None if entry.reading is None else await host.get(entry.reading)
    lacks = (matched.taken, entry.reading) != tuple(each and each.hash for each in (taken, reading))
    if gate is None or lacks:
        raise Busy("the gate or a reading of that settlement is not here yet; try again")
    until = gate.entry.matches[: matched.place + 1]
    due = until[-1]
    exports = {} if reading is None else {due.seller: reading.entry.export_milli_wh}
    imports = {} if taken is None else {due.buyer: taken.entry.import_milli_wh}
    told = {
        "start": gate.entry.start,
        "mechanism": host.properties.mechanism,
        "energy_milli_wh": due.energy_milli_wh,
        "price_micro": due.price_micro,
        "delivered_milli_wh": delivery.delivered(until, exports)[-1],
        "taken_milli_wh": delivery.taken(until, imports)[-1],
        "grid_import_micro": host.properties.grid_import_micro,
        "grid_export_micro": host.properties.grid_export_micro,
    }
    return told, await matches.zones(host, due)


@dataclass(frozen=True)
class Trail:
    """Where an audit stands on one chain: what a page needs to know of those before it.

    `reading` is the last that was sold from, `reading_seq` its place, and `sold_milli_wh` what was
    sold out of it so far.
    """

    balance_micro: int = 0
    last: ActionHash | None = None
    reading: ActionHash | None = None
    reading_seq: int = -1
    sold_milli_wh: int = 0


class Findings:
    """What is wrong on a page, and what cannot be told."""

    def __init__(self) -> None:
        self.faults: list[dict[str, Any]] = []
        self.unchecked: list[dict[str, Any]] = []

    def wrong(self, action: ActionHash, why: str) -> None:
        self.faults.append({"action": action, "why": why})

    def unseen(self, action: ActionHash, why: str) -> None:
        self.unchecked.append({"action": action, "why": why})


@zome.function
async def audit_page(
    host: Host, agent: AgentPubKey, from_seq: int = 0, trail: Trail | None = None
) -> dict[str, Any]:
    """Check the next part of a chain: its balance, both halves of all, and what was sold of what.

    Goes on at `next_seq` with `trail`, until `next_seq` is None.  Nothing is taken from a state
    that some node keeps: whatever is added up was read from the chains, with its signatures.
    """
    at, findings = trail or Trail(), Findings()
    page = await host.activity(agent, from_seq)
    settlements, over = 0, None
    for found in page:
        if isinstance(found.entry, Carried):
            at, over = await _begun(host, found, at, findings)
        elif isinstance(found.entry, Settlement):
            settlements += 1
            at = await _stepped(host, found, at, findings)
    next_seq = page[-1].action.action_seq + 1 if page else None
    unread = next_seq is None and not await _was_read(host, agent, from_seq)
    return {
        "next_seq": next_seq,
        "trail": asdict(at),
        "settlements": settlements,
        "over": over,
        "faults": findings.faults,
        "unchecked": findings.unchecked,
        "unread": unread,
    }


async def _was_read(host: Host, agent: AgentPubKey, to_seq: int) -> bool:
    """Whether a chain was read to the newest action that anybody shows."""
    newest = await host.newest(agent, 1)
    return bool(newest) and newest[0].action.action_seq < to_seq


async def _begun(
    host: Host, found: Found, at: Trail, findings: Findings
) -> tuple[Trail, AgentPubKey | None]:
    """The trail on an account that goes on from another chain, and whose that was."""
    entry: Carried = found.entry
    if at.last is not None:
        findings.wrong(found.hash, "an account carried over to one that has begun")
    close = await host.get(entry.close)
    before = None if entry.previous is None else await host.get(entry.previous)
    if close is None or (before is None and entry.previous is not None):
        findings.unseen(found.hash, "the end of the account before is with nobody")
    elif getattr(close.action, "new_target", None) != found.action.author:
        findings.wrong(found.hash, "an account carried over from a chain closed for another")
    elif before is not None and account_of(before).balance_micro != entry.account.balance_micro:
        findings.wrong(found.hash, "an account carried over with another balance")
    over = None if close is None else close.action.author
    return Trail(entry.account.balance_micro, found.hash), over


async def _stepped(host: Host, found: Found, at: Trail, findings: Findings) -> Trail:
    """The trail after a settlement."""
    entry: Settlement = found.entry
    agents = [party.agent for party in entry.parties]
    if len(agents) != 2 or len(entry.sides) != 2 or found.action.author not in agents:
        findings.wrong(found.hash, "a settlement of others, or not of two")
        return at
    place = agents.index(found.action.author)
    side = entry.sides[place]
    balance_micro = at.balance_micro + (entry.amount_micro if place else -entry.amount_micro)
    if side.previous != at.last:
        findings.wrong(found.hash, "it does not follow the settlement before it")
    if side.account.balance_micro != balance_micro:
        findings.wrong(found.hash, "the balance is not what it was with this amount")
    assert isinstance(found.action, Create), "a settlement is created"
    other = half_of(entry.parties[1 - place], found.action.entry_type, found.action.entry_hash)[0]
    if await host.get(other) is None:
        findings.unseen(found.hash, "the other party's half is with nobody")
    after = replace(at, balance_micro=side.account.balance_micro, last=found.hash)
    if entry.energy_milli_wh and entry.seller == found.action.author:
        return await _sold(host, found, after, findings)
    return after


async def _sold(host: Host, found: Found, at: Trail, findings: Findings) -> Trail:
    """The trail after a sale: of a reading no more than it exported, and none before the last."""
    entry: Settlement = found.entry
    if entry.reading is None:
        findings.wrong(found.hash, "energy sold without a reading")
        return at
    again = entry.reading == at.reading
    sold = entry.energy_milli_wh + (at.sold_milli_wh if again else 0)
    reading = await host.get(entry.reading)
    if reading is None:
        findings.unseen(found.hash, "the reading that was sold from is with nobody")
        return replace(at, reading=entry.reading, sold_milli_wh=sold)
    if reading.action.author != found.action.author:
        findings.wrong(found.hash, "a sale out of another's reading")
    elif sold > getattr(reading.entry, "export_milli_wh", 0):
        findings.wrong(found.hash, "more sold out of a reading than it exported")
    elif not again and reading.action.action_seq <= at.reading_seq:
        findings.wrong(found.hash, "a sale out of a reading before the last one")
    return replace(
        at,
        reading=entry.reading,
        reading_seq=reading.action.action_seq,
        sold_milli_wh=sold,
    )
