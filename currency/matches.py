"""What is due by the gates and the readings that are here: matches first, then what they leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from currency import delivery, ledger
from currency.delivery import Terms
from currency.integrity import grid_of, matches_of, silent_from, terms_of
from currency.ledger import Account
from currency.market.match import Match
from ioe_node.hdk import ActionHash, AgentPubKey, Busy, CallError, Found, Host, TransportError

REST_US = 2_000_000
"""So long after an interval its readings are on their way."""
LOOK_BACK_INTERVALS = 96
PATIENCE_INTERVALS = 16
"""Who cannot be reached is waited for so long after an interval."""


@dataclass(frozen=True)
class Due:
    """A match at its place in a gate, both readings that settle it, and what it comes to."""

    gate: Found
    place: int
    match: Match
    reading: Found | None
    taken: Found | None
    terms: Terms


async def counting(host: Host, start: int) -> Found | None:
    """The gate of an interval that counts here; None without one, `Busy` while it is on its way."""
    known = await host.call("market", "gate_of", {"start": start})
    if known is None:
        return None
    return await _gate(host, known["hash"])


async def _gate(host: Host, gate: ActionHash) -> Found:
    found = await host.get(gate)
    if found is None:
        raise Busy("the gate of that interval is not here yet; try again")
    if matches_of(found) is None:
        raise CallError("a match is settled by the gate that made it; that is none")
    return found


async def at(host: Host, gate: ActionHash, place: int, at_us: int) -> Due:
    """The match at a place of a gate, which must say what the one that counts here says.

    Raises `Busy` while that is not so, or a reading is out that may still come at `at_us`.
    """
    found = await _gate(host, gate)
    ours = await counting(host, found.entry.start)
    if ours is None or matches_of(ours) != matches_of(found):
        raise Busy("another gate of that interval counts here; try again")
    if not 0 <= place < len(found.entry.matches):
        raise CallError("that gate has no match at this place")
    due = await _due(host, found, place, at_us)
    if due is None:
        raise Busy("not every reading of that interval is here yet; try again")
    return due


async def _due(host: Host, gate: Found, place: int, at_us: int) -> Due | None:
    """What a match comes to; None while a reading is out that may still come."""
    match: Match = gate.entry.matches[place]
    reading, taken = [
        await _reading(host, agent, gate.entry.start) for agent in (match.seller, match.buyer)
    ]
    if None in (reading, taken) and at_us < silent_from(gate.entry.start, host):
        return None
    terms = terms_of(gate.entry.matches, place, reading, taken, host.properties)
    return Due(gate, place, match, reading, taken, terms)


async def _reading(host: Host, agent: AgentPubKey, start: int) -> Found | None:
    known = await host.call("metering", "of", {"device": agent, "start": start})
    return None if known is None else await host.get(known)


async def zones(host: Host, match: Match) -> tuple[str, str]:
    """From which zone to which a match's energy goes, by its orders; asked where it matters."""
    if not any(fee.zone for fee in host.properties.fees):
        return "", ""
    source, destination = [await host.get(order) for order in (match.ask, match.bid)]
    if source is None or destination is None:
        raise Busy("the orders of that match are not here yet; try again")
    return source.entry.zone, destination.entry.zone


async def gates(host: Host, account: Account) -> dict[int, Found | None]:
    """The gates of intervals that are over and for which we had orders, oldest first.

    As far back as there may be something of ours to settle, or of others with us.  None for one
    that is on its way, which is waited for.
    """
    length_us = host.properties.interval_us
    over_us = host.now_us() - length_us - REST_US
    oldest_us = over_us - LOOK_BACK_INTERVALS * length_us
    if account.gate_start >= 0:
        recent_us = over_us - PATIENCE_INTERVALS * length_us
        oldest_us = max(oldest_us, min(account.gate_start, recent_us))
    ordered = await host.call("market", "ordered", {"from_start": oldest_us})
    known: dict[int, Found | None] = {}
    for start in ordered:
        if start > over_us:
            break
        try:
            gate = await counting(host, start)
        except TransportError:
            if patient(host, start):
                known[start] = None
            continue
        if gate is not None:
            known[start] = gate
    return known


def patient(host: Host, start: int) -> bool:
    """Whether one who cannot be reached is waited for to settle that interval."""
    end_us: int = start + host.properties.interval_us
    age_us = host.now_us() - end_us
    return age_us < PATIENCE_INTERVALS * int(host.properties.interval_us)


async def to_settle(
    host: Host, gate: Found, seller: AgentPubKey, account: Account
) -> list[tuple[int, Due | None]]:
    """(place, what is due) of a seller's matches in a gate that are not settled, in their order.

    None for one whose readings are still out.  What comes to nothing is left out.
    """
    mark = (account.gate_start, account.gate_place)
    due: list[tuple[int, Due | None]] = []
    for place, match in enumerate(gate.entry.matches):
        if match.seller != seller or match.buyer == seller or (gate.entry.start, place) <= mark:
            continue
        each = await _due(host, gate, place, host.now_us())
        if each is None or each.terms != Terms(0, 0):
            due.append((place, each))
    return due


async def shares(host: Host, start: int) -> list[tuple[AgentPubKey, AgentPubKey, int]] | None:
    """(seller, buyer, milli-Wh) of one interval; None while a trader's reading is still out.

    It shares out what no match has sold; where a gate counts, once the interval is over.  Devices
    trade; a substation's meter only watches.
    """
    readings: Sequence[dict[str, Any]] = await host.call("metering", "at", {"start": start})
    if not all(each["present"] for each in readings):
        return None
    exports = {each["agent"]: each["export_milli_wh"] for each in readings}
    imports = {each["agent"]: each["import_milli_wh"] for each in readings}
    gate = await counting(host, start)
    if gate is not None:
        if host.now_us() < start + host.properties.interval_us + REST_US:
            return None
        grid = grid_of(host.properties)
        exports, imports = delivery.residual(gate.entry.matches, exports, imports, grid)
    traders = [each["agent"] for each in readings if each["method"] == "device"]
    return [
        (AgentPubKey(seller), AgentPubKey(buyer), energy)
        for seller, buyer, energy in ledger.share_out(
            {agent: exports[agent] for agent in traders},
            {agent: imports[agent] for agent in traders},
        )
    ]
