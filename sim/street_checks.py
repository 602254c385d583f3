"""What must hold in a street of nodes when its day is over, and the figures that say so."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import trio

from currency.ledger import share_out
from dna.neighbourhood import DNA as NEIGHBOURHOOD
from ioe_node.cli.output import credits_text, kwh
from ioe_node.conductor.home import Home
from ioe_node.conductor.verify import verify_home
from sim.street import Node, Street

INTERVAL_MINUTES = 15
CONVERGE_TIMEOUT_S = 90.0


async def readings_of(witness: Node, device: Node) -> list[dict[str, Any]]:
    """A device's interval readings as another node has them, newest first."""
    found: list[dict[str, Any]] = await witness.zome(
        "metering", "history", device=device.agent, limit=10_000
    )
    return found


async def settle_down(street: Street, all_sold: bool) -> dict[str, dict[str, Any]]:
    """Wait until every node holds the same ops and nothing is under way (nor left to sell).

    Gives up after `CONVERGE_TIMEOUT_S`; the checks then say what is missing.  Returns every
    node's status.
    """
    found: dict[str, dict[str, Any]] = {}
    quiet = 0
    last: set[bytes] = set()
    with trio.move_on_after(CONVERGE_TIMEOUT_S):
        while quiet < 3:
            await trio.sleep(1)
            found = {node.name: await node.ready() for node in street.nodes}
            communities = [each["communities"][0] for each in found.values()]
            for node, each in zip(street.nodes, communities, strict=True):
                each |= await node.ask("ops_digest")
            digests = {each["ops_digest"] for each in communities}
            done = len(digests) == 1 and not any(
                each["unpublished"] or each["in_doubt"] for each in communities
            )
            quiet = quiet + 1 if done and digests == last else 0
            if all_sold and quiet and not (await share_check(street)).good:
                quiet = 0
            last = digests
    return found


@dataclass(frozen=True)
class Check:
    """One thing that must hold, and the figures that say whether it does."""

    name: str
    good: bool
    figures: str


async def energy_check(street: Street) -> tuple[Check, dict[str, tuple[int, int]]]:
    """In equals out, over the intervals that every meter has, from another node's view."""
    flows: dict[str, tuple[int, int]] = {}
    spans = []
    held = {}
    for device in street.devices:
        held[device.name] = await readings_of(street.ben, device)
        if not held[device.name]:
            return Check("energy in = energy out", False, f"{device.name} has no readings"), {}
        spans.append((held[device.name][-1]["start"], held[device.name][0]["end"]))
    begin, end = max(span[0] for span in spans), min(span[1] for span in spans)
    intervals = (end - begin) // (INTERVAL_MINUTES * 60 * 1_000_000)
    whole = True
    for name, readings in held.items():
        inside = [r for r in readings if begin <= r["start"] and r["end"] <= end]
        whole = whole and len(inside) == intervals
        flows[name] = (
            sum(r["import_milli_wh"] for r in inside),
            sum(r["export_milli_wh"] for r in inside),
        )
    grid_in, grid_out = flows["feeder"]
    into = sum(flows[each.name][1] for each in street.traders) + grid_in
    out = sum(flows[each.name][0] for each in street.traders) + grid_out
    assert street.timeline.hours is not None
    wanted = street.timeline.hours * 60 // INTERVAL_MINUTES
    good = into == out and whole and intervals == wanted and into > 0
    figures = (
        f"{kwh(into)} kWh in, {kwh(out)} kWh out, difference {into - out} mWh, "
        f"{intervals} of {wanted} intervals at {len(held)} meters"
    )
    return Check("energy in = energy out", good, figures), flows


async def share_check(street: Street) -> Check:
    """What could be shared in each interval was sold, and nothing else."""
    exports: dict[int, dict[bytes, int]] = defaultdict(dict)
    imports: dict[int, dict[bytes, int]] = defaultdict(dict)
    sold = 0
    for device in street.traders:
        for reading in await readings_of(street.ben, device):
            exports[reading["start"]][device.agent] = reading["export_milli_wh"]
            imports[reading["start"]][device.agent] = reading["import_milli_wh"]
        sales = await street.ben.zome("currency", "history", agent=device.agent, limit=10_000)
        sold += sum(sale["energy_milli_wh"] for sale in sales if sale["amount_micro"] > 0)
    possible = sum(
        energy for start in exports for _, _, energy in share_out(exports[start], imports[start])
    )
    figures = f"{kwh(sold)} of {kwh(possible)} kWh that neighbours could share"
    return Check("what could be shared was sold", sold == possible > 0, figures)


async def credit_check(street: Street) -> tuple[Check, dict[bytes, int]]:
    """Every node finds the same balances, and they sum to zero."""
    audits = [await node.zome("currency", "audit") for node in street.nodes]
    sums = {audit["sum_micro"] for audit in audits}
    balances = {each["agent"]: each["balance_micro"] for each in audits[0]["balances"]}
    same = all(audit == audits[0] for audit in audits)
    moved = sum(each for each in balances.values() if each > 0)
    figures = f"sums {sorted(sums)} micro-credits at {len(audits)} nodes, {credits_text(moved)} net"
    return Check("credits sum to zero", sums == {0} and same and moved > 0, figures), balances


def op_check(statuses: dict[str, dict[str, Any]]) -> Check:
    """Every node holds the same ops, has published everything, has nothing in doubt."""
    communities = [status["communities"][0] for status in statuses.values()]
    digests = {each["ops_digest"].hex()[:8] for each in communities}
    counts = sorted({each["ops_held"] for each in communities})
    open_ = sum(each["unpublished"] + each["in_doubt"] for each in communities)
    figures = f"{counts} ops, digests {sorted(digests)}, {open_} unpublished or in doubt"
    return Check("every node holds the same ops", len(digests) == 1 and not open_, figures)


def refusal_check(statuses: dict[str, dict[str, Any]]) -> Check:
    """Nothing that honest nodes sent was refused, nobody is warranted."""
    communities = [status["communities"][0] for status in statuses.values()]
    refused = sum(each["records_refused"] for each in communities)
    blocked = sum(len(each["blocked"]) for each in communities)
    return Check(
        "nothing refused", not refused and not blocked, f"{refused} refused, {blocked} blocked"
    )


def chain_check(street: Street) -> Check:
    """Every chain in every node's files verifies, byte by byte."""
    known = {NEIGHBOURHOOD.name: NEIGHBOURHOOD}
    rows = [row for node in street.nodes for row in verify_home(Home(node.home), known)]
    faults = [row["fault"] for row in rows if row["fault"]]
    actions = sum(row["actions"] for row in rows)
    figures = f"{len(rows)} chains, {actions} actions, faults {faults}"
    good = not faults and len(rows) == len(street.nodes) ** 2
    return Check("every chain verifies", good, figures)
