"""Offer to pay for reductions, claim one, pay for what was claimed."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    REDUCTIONS_PER_DAY_MAX,
    Incentive,
    Reduction,
    day_of,
    earns_micro,
    saved_milli_wh,
)
from zomes.demand.integrity import zome as integrity

CLAIMS_READ = 96
LOOKED_BACK_MAX = 128
"""Readings since the baseline, of which the first `READINGS_MAX` count."""
PAYMENTS_PER_CALL_MAX = 64
PAYMENTS_READ = 10_000
PAYERS_REMEMBERED_MAX = 64
MEMO = "saved"

zome = CoordinatorZome(integrity)


@zome.function
async def offer(
    host: Host,
    start_us: Timestamp,
    end_us: Timestamp,
    micro_per_kwh: int,
    budget_micro: int,
    device_day_micro: int | None = None,
) -> ActionHash:
    """Offer to pay so many micro-credits for each kWh that a member saves between two times.

    One device earns at most `device_day_micro` in a day: a tenth of the budget if none is given.
    """
    most = max(1, budget_micro // 10) if device_day_micro is None else device_day_micro
    made = await host.create(Incentive(start_us, end_us, micro_per_kwh, budget_micro, most))
    await host.create_link(host.agent_info().dna, made, OFFERS)
    return made


@zome.function
async def offers(host: Host) -> list[dict[str, Any]]:
    """The incentives that are not over, the best paid first."""
    return [_shown(each) for each in await _standing(host)]


async def _standing(host: Host) -> list[Found]:
    """The incentives that are not over, the best paid first."""
    now_us, listed = host.now_us(), []
    for link in await host.get_links(host.agent_info().dna, OFFERS):
        found = await host.get(ActionHash(link.target))
        if found is not None and isinstance(found.entry, Incentive) and found.entry.end > now_us:
            listed.append(found)
    return sorted(listed, key=lambda each: (-each.entry.micro_per_kwh, each.hash))


def _shown(found: Found) -> dict[str, Any]:
    entry: Incentive = found.entry
    return {
        "incentive": found.hash,
        "payer": found.action.author,
        "start_us": entry.start,
        "end_us": entry.end,
        "micro_per_kwh": entry.micro_per_kwh,
        "budget_micro": entry.budget_micro,
        "device_day_micro": entry.device_day_micro,
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
    earned = await _earned_micro(host, day_of(during[0]["start"]))
    best, earns = None, 0
    for found in await _standing(host):
        incentive: Incentive = found.entry
        micro = earns_micro(saved, incentive, earned.get(found.hash, 0))
        within = incentive.start <= during[0]["start"] and during[-1]["end"] <= incentive.end
        if within and micro > earns:
            best, earns = found.hash, micro
    if best is None:
        return None
    hashes = [tuple(ActionHash(each["hash"]) for each in part) for part in (before, during)]
    made = await host.create(Reduction(best, hashes[0], hashes[1], saved, earns))
    return {"reduction": made, "saved_milli_wh": saved, "earns_micro": earns}


async def _earned_micro(host: Host, day: int) -> dict[ActionHash, int]:
    """What we have earned on a day, by incentive."""
    earned: dict[ActionHash, int] = {}
    for each in await host.query(Reduction, limit=REDUCTIONS_PER_DAY_MAX):
        first = await host.get(each.entry.during[0])
        if first is None or day_of(first.entry.start) != day:
            break
        earned[each.entry.incentive] = earned.get(each.entry.incentive, 0) + each.entry.earns_micro
    return earned


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
            "earns_micro": each.entry.earns_micro,
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
    known = await _paid(host)
    paid = dict(known.by_name)
    # What was paid under an older one is not known any more: better nothing than twice.
    ours = {each.hash: each.entry for each in made if each.action.timestamp_us >= known.since_us}
    for device in sorted(await host.call("identity", "at_work", {})):
        for each in (await claims(host, AgentPubKey(device)))[::-1]:
            incentive = ours.get(each["incentive"])
            if incentive is None or _name(each["reduction"]) in paid:
                continue
            amount = each["earns_micro"]
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


@dataclass(frozen=True)
class _Paid:
    """What we have paid for each reduction and, in all, for each incentive, by their names.

    Read up to our settlement `through`; `since_us` is 0 where that is all, else the time of the
    oldest settlement that was read.
    """

    through: ActionHash | None
    by_name: Mapping[str, int]
    since_us: int


_remembered: OrderedDict[tuple[bytes, bytes], _Paid] = OrderedDict()
"""By network and payer, so that a run reads only what was settled since the one before."""


async def _paid(host: Host) -> _Paid:
    us = host.agent_info()
    before = _remembered.get((us.dna, us.agent), _Paid(None, {}, 0))
    asked = {"limit": PAYMENTS_READ, "after": before.through}
    listed = await host.call("currency", "history", asked)
    if len(listed) >= PAYMENTS_READ:
        before = _Paid(None, {}, listed[-1]["timestamp_us"])
    by_name = dict(before.by_name)
    for each in listed:
        words = each["memo"].split()
        if words[:1] == [MEMO] and each["amount_micro"] < 0:
            for name in words[1:]:
                by_name[name] = by_name.get(name, 0) - each["amount_micro"]
    found = _Paid(listed[0]["hash"] if listed else before.through, by_name, before.since_us)
    _remembered[us.dna, us.agent] = found
    _remembered.move_to_end((us.dna, us.agent))
    while len(_remembered) > PAYERS_REMEMBERED_MAX:
        _remembered.popitem(last=False)
    return found


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
