"""Offer to pay for reductions, claim one, pay for what was claimed."""

from collections.abc import Sequence
from typing import Any

from ioe_node.hdk import (
    ActionHash,
    AgentPubKey,
    CoordinatorZome,
    Found,
    Host,
    LocalError,
    PeerError,
    Timestamp,
    TransportError,
)
from zomes.demand.integrity import (
    BASELINE_READINGS,
    OFFERS,
    READINGS_MAX,
    Incentive,
    Reduction,
    pay_micro,
    saved_milli_wh,
)
from zomes.demand.integrity import zome as integrity

CLAIMS_READ = 96
LOOKED_BACK_MAX = 128
"""Readings since the baseline, of which the first `READINGS_MAX` count."""
PAYMENTS_PER_CALL_MAX = 64
PAYMENTS_READ = 10_000
MEMO = "saved"

zome = CoordinatorZome(integrity)


@zome.function
async def offer(
    host: Host, start_us: Timestamp, end_us: Timestamp, micro_per_kwh: int, budget_micro: int
) -> ActionHash:
    """Offer to pay so many micro-credits for each kWh that a member saves between two times."""
    made = await host.create(Incentive(start_us, end_us, micro_per_kwh, budget_micro))
    await host.create_link(host.agent_info().dna, made, OFFERS)
    return made


@zome.function
async def offers(host: Host) -> list[dict[str, Any]]:
    """The incentives that are not over, the best paid first."""
    now_us, listed = host.now_us(), []
    for link in await host.get_links(host.agent_info().dna, OFFERS):
        found = await host.get(ActionHash(link.target))
        if found is not None and isinstance(found.entry, Incentive) and found.entry.end > now_us:
            listed.append(_shown(found))
    return sorted(listed, key=lambda each: (-each["micro_per_kwh"], each["incentive"]))


def _shown(found: Found) -> dict[str, Any]:
    entry: Incentive = found.entry
    return {
        "incentive": found.hash,
        "payer": found.action.author,
        "start_us": entry.start,
        "end_us": entry.end,
        "micro_per_kwh": entry.micro_per_kwh,
        "budget_micro": entry.budget_micro,
    }


@zome.function
async def claim(host: Host, start_us: int, end_us: int) -> dict[str, Any] | None:
    """Claim what our meter saved between two times, under the best incentive; None for nothing.

    The load was off then.  Only whole intervals inside it count.
    """
    during, before = await _run_of(host, start_us, end_us)
    if not during or len(before) < BASELINE_READINGS:
        return None
    drawn = [[each["import_milli_wh"] for each in part] for part in (before, during)]
    saved = saved_milli_wh(drawn[0], drawn[1])
    fitting = [
        each
        for each in await offers(host)
        if each["start_us"] <= during[0]["start"] and during[-1]["end"] <= each["end_us"]
    ]
    earns = pay_micro(saved, fitting[0]["micro_per_kwh"]) if fitting else 0
    if not earns:
        return None
    hashes = [tuple(ActionHash(each["hash"]) for each in part) for part in (before, during)]
    entry = Reduction(fitting[0]["incentive"], hashes[0], hashes[1], saved)
    made = await host.create(entry)
    return {"reduction": made, "saved_milli_wh": saved, "earns_micro": earns}


async def _run_of(host: Host, start_us: int, end_us: int) -> tuple[Sequence[Any], Sequence[Any]]:
    """Our readings inside a time, oldest first, and the `BASELINE_READINGS` before them."""
    asked = {"limit": LOOKED_BACK_MAX}
    readings = (await host.call("metering", "history", asked))[::-1]
    inside = [each for each in readings if start_us <= each["start"] and each["end"] <= end_us]
    if not inside:
        return (), ()
    first = readings.index(inside[0])
    return inside[:READINGS_MAX], readings[max(0, first - BASELINE_READINGS) : first]


@zome.function
async def claims(host: Host, device: AgentPubKey | None = None) -> list[dict[str, Any]]:
    """A device's newest reductions (ours by default), newest first."""
    found = await host.query(Reduction, author=device, limit=CLAIMS_READ)
    return [
        {
            "reduction": each.hash,
            "incentive": each.entry.incentive,
            "saved_milli_wh": each.entry.saved_milli_wh,
            "at_us": each.action.timestamp_us,
        }
        for each in found
    ]


@zome.function
async def reward(host: Host) -> dict[str, int]:
    """Pay for the reductions that others have claimed under our incentives; run it on a schedule.

    Each once, the oldest first, until an incentive's budget is spent.
    """
    made = await host.query(Incentive)
    done = {"paid": 0, "amount_micro": 0, "waiting": 0}
    if not made:
        return done
    paid, since_us = await _paid(host)
    # What was paid under an older one is not known any more: better nothing than twice.
    ours = {each.hash: each.entry for each in made if each.action.timestamp_us >= since_us}
    for device in sorted(await host.call("identity", "at_work", {})):
        for each in (await claims(host, AgentPubKey(device)))[::-1]:
            incentive = ours.get(each["incentive"])
            if incentive is None or _name(each["reduction"]) in paid:
                continue
            amount = pay_micro(each["saved_milli_wh"], incentive.micro_per_kwh)
            spent = paid.get(_name(each["incentive"]), 0)
            if spent + amount > incentive.budget_micro or done["paid"] >= PAYMENTS_PER_CALL_MAX:
                continue
            if await _pay(host, device, amount, each):
                paid[_name(each["incentive"])] = spent + amount
                done["paid"] += 1
                done["amount_micro"] += amount
            else:
                done["waiting"] += 1
    return done


async def _paid(host: Host) -> tuple[dict[str, int], int]:
    """What we have paid for each reduction and, in all, for each incentive, by their names.

    And since when that is all: 0 for ever, else the time of the oldest settlement that was read.
    """
    totals: dict[str, int] = {}
    listed = await host.call("currency", "history", {"limit": PAYMENTS_READ})
    for each in listed:
        words = each["memo"].split()
        if words[:1] == [MEMO] and each["amount_micro"] < 0:
            for name in words[1:]:
                totals[name] = totals.get(name, 0) - each["amount_micro"]
    return totals, listed[-1]["timestamp_us"] if len(listed) >= PAYMENTS_READ else 0


async def _pay(host: Host, device: AgentPubKey, amount: int, claim: dict[str, Any]) -> bool:
    """Whether it was paid; if not, the next run tries again."""
    names = (_name(claim[each]) for each in ("reduction", "incentive"))
    terms = {"payee": device, "amount_micro": amount, "memo": " ".join((MEMO, *names))}
    try:
        await host.get_judged(claim["reduction"])
        await host.call("currency", "pay", terms)
    except (TransportError, PeerError, LocalError) as error:
        host.emit_signal({"reduction": claim["reduction"], "unpaid": str(error)})
        return False
    return True


def _name(hash_: bytes) -> str:
    """What a payment's memo calls an action: short enough for two."""
    return hash_[3:35].hex()
