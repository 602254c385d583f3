"""Sell: settle what gates have matched, then share out what they leave; and look before we sign."""

from typing import Any

from currency import matches
from currency.accounts import account_of, standing
from currency.integrity import Settlement, is_reading_of
from ioe_node.hdk import (
    ActionHash,
    AgentPubKey,
    Busy,
    CallError,
    Found,
    Host,
    LocalError,
    PeerError,
    TransportError,
)

SALES_PER_CALL_MAX = 64
FEE_EVERY_US = 24 * 3_600 * 1_000_000


async def sell(host: Host) -> dict[str, int]:
    """Settle what our gates have matched and sell what else we export, oldest interval first.

    Run it on a schedule.  Each is a settlement.  An interval is left for the next run while a
    partner is busy or away, for `PATIENCE_INTERVALS`; one who declines is passed by.  As a buyer,
    claim what a seller owes us that has not come to settle it.
    """
    us = host.agent_info().agent
    _, account = await standing(host, us)
    exports = await host.call("metering", "exports", {"from_seq": account.reading_seq})
    readings = {each["start"]: each for each in exports}
    done = {"sold": 0, "declined": 0, "energy_milli_wh": 0}
    gates = await matches.gates(host, account)
    for start in sorted({*readings, *gates}):
        if start in gates and not await _settle_matches(host, gates[start], done):
            break
        if start in readings and not await _share_out(host, readings[start], done):
            break
        if done["sold"] >= SALES_PER_CALL_MAX:
            break
    for gate in gates.values():
        if gate is not None:
            await _claim(host, gate, done)
    await _pay_fees(host)
    return done


async def _settle_matches(host: Host, gate: Found | None, done: dict[str, int]) -> bool:
    """Settle what a gate has matched of ours to sell; False when one must be tried again."""
    if gate is None:
        return False
    us = host.agent_info().agent
    _, account = await standing(host, us)
    for _, due in await matches.to_settle(host, gate, us, account):
        settled = due is not None and await _settle_match(host, due.match.buyer, due, done)
        if not settled and matches.patient(host, gate.entry.start):
            return False
    return True


async def _settle_match(
    host: Host, partner: AgentPubKey, due: matches.Due, done: dict[str, int]
) -> bool:
    terms = {"gate": due.gate.hash, "place": due.place}
    return await _settle(host, partner, "currency.match", terms, due.terms.sold_milli_wh, done)


async def _claim(host: Host, gate: Found, done: dict[str, int]) -> None:
    """Settle as a buyer what sellers owe us since longer than an interval; who is away, later."""
    us = host.agent_info().agent
    if host.now_us() < gate.entry.start + 2 * host.properties.interval_us + matches.REST_US:
        return
    for seller in sorted({each.seller for each in gate.entry.matches if each.buyer == us}):
        _, account = await standing(host, seller)
        for _, due in await matches.to_settle(host, gate, seller, account):
            if due is None:
                break
            if due.match.buyer == us and due.terms.owed_micro < 0:
                await _settle_match(host, seller, due, done)


async def _share_out(host: Host, reading: dict[str, Any], done: dict[str, int]) -> bool:
    """Sell what no match has sold of a reading of ours; False when it must be tried again."""
    us = host.agent_info().agent
    try:
        shares = await matches.shares(host, reading["start"])
    except Busy:
        shares = None
    if shares is None:
        return False
    served = await _served(host, us, reading["hash"], reading["seq"])
    ours = [(buyer, energy) for seller, buyer, energy in shares if seller == us]
    waiting = 0
    for buyer, energy in ours:
        if buyer not in served:
            terms = {"reading": reading["hash"], "energy_milli_wh": energy}
            waiting += not await _settle(host, buyer, "currency.sale", terms, energy, done)
    return not waiting or reading["age"] >= matches.PATIENCE_INTERVALS


async def _settle(
    host: Host,
    partner: AgentPubKey,
    draft: str,
    terms: dict[str, Any],
    energy: int,
    done: dict[str, int],
) -> bool:
    """One settlement; False when the partner must be tried again, and `done` says the rest."""
    signed = await _signed(host, partner, draft, terms)
    if signed:
        host.emit_signal({"sold_to": partner, "energy_milli_wh": energy})
        done["sold"] += 1
        done["energy_milli_wh"] += energy
    elif signed is False:
        done["declined"] += 1
    return signed is not None


async def _signed(
    host: Host, partner: AgentPubKey, draft: str, terms: dict[str, Any]
) -> bool | None:
    """Whether a partner signs, or declines; None when it must be tried again."""
    try:
        await host.countersign(partner, draft, terms)
    except TransportError:
        return None
    except (PeerError, LocalError) as error:
        host.emit_signal({"declined_by": partner, "why": str(error)})
        return False
    return True


async def _pay_fees(host: Host) -> None:
    """Pay what we owe of each fee, once a day."""
    us, day_ago_us = host.agent_info().agent, host.now_us() - FEE_EVERY_US
    _, account = await standing(host, us)
    if not any(account.fees_micro):
        return
    lately = await host.query(
        Settlement, enough=lambda each: each.action.timestamp_us <= day_ago_us
    )
    paid = {
        each.entry.fee
        for each in lately
        if each.entry.parties[0].agent == us and each.action.timestamp_us > day_ago_us
    }
    for place, owed_micro in enumerate(account.fees_micro):
        if owed_micro and place not in paid:
            payee = host.properties.fees[place].payee
            await _signed(host, payee, "currency.fee", {"place": place})


async def check_order(host: Host, due: matches.Due) -> None:
    """The seller's own look: to settle this one passes none over that is to be settled before."""
    us, place = due.match.seller, (due.gate.entry.start, due.place)
    _, account = await standing(host, us)
    for start, gate in (await matches.gates(host, account)).items():
        if not matches.patient(host, start) or start > place[0]:
            continue
        if gate is None:
            raise Busy("an earlier gate is on its way; try again")
        first = await matches.to_settle(host, gate, us, account)
        if first and (start, first[0][0]) < place:
            raise Busy("an earlier match is to be settled first; try again")


async def check_offer(host: Host, reading: Found, buyer: AgentPubKey, energy: int) -> None:
    """The buyer's own look: the share-out of that interval gives it this energy, once."""
    seller = reading.action.author
    if not is_reading_of(reading, seller):
        raise CallError("a sale is of what a reading says; that is none")
    shares = await matches.shares(host, reading.entry.start)
    if shares is None:
        raise Busy("not every reading of that interval is here yet; try again")
    if (seller, buyer, energy) not in shares:
        raise Busy("another share-out of that interval than ours; try again")
    if buyer in await _served(host, seller, reading.hash, reading.action.action_seq):
        raise CallError("this energy is bought already")


async def _served(
    host: Host, seller: AgentPubKey, reading: ActionHash, seq: int
) -> set[AgentPubKey]:
    """Who has a share of a reading, by the seller's chain, on which it stands at `seq`.

    Readings are sold in order, so the search ends where the seller had not come to this one.
    """
    settlements = await host.query(
        Settlement, author=seller, enough=lambda each: account_of(each).reading_seq < seq
    )
    return {
        each.entry.parties[0].agent
        for each in settlements
        if each.entry.reading == reading and each.entry.matched is None
    }
