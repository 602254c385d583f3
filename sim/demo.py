"""The demo: a street lives a day of real data in a few minutes, and is then checked.

Eight node processes that speak libp2p on loopback: two owners, three homes with solar panels,
a battery, a smart plug behind an emulated Shelly, the distributor's meter.  The devices announce
themselves, are claimed by the codes that they show, meter, share, sell and are paid.  At the
end the energy must balance, the credits sum to zero, every chain verify and every node hold
the same ops; otherwise the exit code is 1.  With `--kills N`, nodes are killed with SIGKILL at
random moments and started again, and the same must hold.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import click
import trio
from rich.console import Console
from rich.table import Table

from currency.ledger import share_out
from dna.neighbourhood import DNA as NEIGHBOURHOOD
from ioe_node.cli.output import credits_text, kwh, short
from ioe_node.clock import SystemClock
from ioe_node.conductor.home import Home
from ioe_node.conductor.verify import verify_home
from ioe_node.drivers.citylearn import fetch, load_home
from ioe_node.drivers.profile import (
    HOUR_US,
    SimulatedClock,
    Timeline,
    draw_at,
    load_source,
    start_us,
)
from ioe_node.errors import IoeError, LocalError
from sim.shelly_plug import Plug
from sim.shelly_server import serve
from sim.street import Node, claim, stop_all

START_HOUR = 24 * 24 + 8
INTERVAL_MINUTES = 15
RATE = 480
LEAD_S = 40
FAST_HOURS = 6
CONVERGE_TIMEOUT_S = 90.0
PLUG_HOME = 4
PLUG_SHARE_BP = 2_500

console = Console(highlight=False, width=110)


@dataclass
class Street:
    """The nodes by their part in the story, and the time that they live in."""

    ada: Node
    ben: Node
    homes: list[Node]
    battery: Node
    plug: Node
    feeder: Node
    timeline: Timeline

    @property
    def traders(self) -> list[Node]:
        """The devices whose energy crosses the street."""
        return [*self.homes, self.battery, self.plug]

    @property
    def devices(self) -> list[Node]:
        """Every device."""
        return [*self.traders, self.feeder]

    @property
    def nodes(self) -> list[Node]:
        """Every node."""
        return [self.ada, self.ben, *self.devices]


def lay_out(directory: Path, timeline: Timeline, hour: int, plug_port: int) -> Street:
    """Who lives in the street and what each device's driver plays."""
    plug_load = f"load:{PLUG_HOME}*{PLUG_SHARE_BP}"
    shared = {
        "day": str(hour),
        "rate": str(timeline.rate),
        "started_at_us": str(timeline.started_at_us),
        "hours": str(timeline.hours),
        "update_minutes": str(INTERVAL_MINUTES),
    }

    def profile(name: str, kind: str, sources: Sequence[str], method: str = "device") -> Node:
        listed = ", ".join(f'"{each}"' for each in sources)
        options = {"sources": f"[{listed}]", **shared}
        driver = "ioe_node.drivers.profile:Profile"
        return Node(name, kind, directory / name, options, driver, method)

    homes = [profile(f"home{n}", "generator", [f"home:{n}"]) for n in (1, 2, 3)]
    everything = ["home:1", "home:2", "home:3", "battery:1,2,3", plug_load]
    return Street(
        ada=Node("ada", "owner", directory / "ada"),
        ben=Node("ben", "owner", directory / "ben"),
        homes=homes,
        battery=profile("battery", "storage", ["battery:1,2,3"]),
        plug=Node(
            "plug",
            "consumer",
            directory / "plug",
            {"url": f"http://127.0.0.1:{plug_port}"},
            "ioe_node.drivers.shelly:Shelly",
        ),
        feeder=profile("feeder", "monitor", everything, "substation"),
        timeline=timeline,
    )


async def set_up(street: Street) -> None:
    """Make the nodes, start them, found the community, claim every device."""
    poll_ms = INTERVAL_MINUTES * 60_000 // street.timeline.rate // 4
    await street.ada.init([], poll_ms, poll_ms)
    street.ada.start()
    address = (await street.ada.ready())["addresses"][0]
    async with trio.open_nursery() as nursery:
        for node in street.nodes[1:]:
            nursery.start_soon(node.init, [address], poll_ms, poll_ms)
    for node in street.nodes[1:]:
        node.start()
    for node in street.nodes[1:]:
        await node.ready()
    console.print(f"{len(street.nodes)} node processes run on loopback")
    await street.ada.ask("community_create", name="street", amend={})
    invited = await street.ada.ask("community_invite", agent=street.ben.agent)
    await street.ben.ask("community_join", invitation=invited["invitation"])
    console.print("ada founded the community 'street' and invited ben")
    for device in street.devices:
        owner = street.ben if device in (street.homes[2], street.plug) else street.ada
        await claim(owner, device)
        console.print(f"{owner.name} claimed {device.name} ({device.kind}) by its pairing code")


# --- the account of the day ------------------------------------------------------------------


async def readings_of(witness: Node, device: Node) -> list[dict[str, Any]]:
    """A device's interval readings as another node has them, newest first."""
    found: list[dict[str, Any]] = await witness.zome(
        "metering", "history", device=device.agent, limit=10_000
    )
    return found


async def tell(street: Street) -> None:
    """One line a simulated hour, until the simulated day is over."""
    assert street.timeline.hours is not None
    for hour in range(1, street.timeline.hours + 1):
        at_us = street.timeline.start_us + hour * HOUR_US
        await trio.sleep(max(0, street.timeline.real_us(at_us) - SystemClock().now_us()) / 1e6)
        try:
            await _tell_hour(street, hour)
        except IoeError as error:
            console.print(f"{(START_HOUR + hour) % 24:02}:00  (a witness is away: {error})")


async def _tell_hour(street: Street, hour: int) -> None:
    witness = street.ben
    metered = shared = moved = 0
    for device in street.traders:
        metered += sum(r["import_milli_wh"] for r in await readings_of(witness, device))
        sales = await witness.zome("currency", "history", agent=device.agent, limit=10_000)
        shared += sum(s["energy_milli_wh"] for s in sales if s["amount_micro"] > 0)
        moved += sum(s["amount_micro"] for s in sales if s["amount_micro"] > 0)
    status = (await witness.ask("status"))["communities"][0]
    parts = (
        f"{(START_HOUR + hour) % 24:02}:00",
        f"metered {kwh(metered):>8} kWh",
        f"shared {kwh(shared):>7} kWh",
        f"credits moved {credits_text(moved):>7}",
        f"ops validated {status['ops_validated']:>5}",
        f"refused {status['records_refused']}",
    )
    console.print("  ".join(parts))


async def kill_at_random(street: Street, kills: int, rng: Random) -> list[str]:
    """Kill and restart `kills` times over the day; what went wrong, if anything."""
    lost: list[str] = []
    assert street.timeline.hours is not None
    day_s = street.timeline.hours * 3_600 / street.timeline.rate
    begin = street.timeline.started_at_us / 1e6
    moments = sorted(begin + rng.uniform(0.05, 0.95) * day_s for _ in range(kills))
    for count, moment in enumerate(moments, 1):
        await trio.sleep(max(0.0, moment - time.time()))
        node = rng.choice(street.nodes)
        community = (await node.ready())["communities"][0]
        page = await node.ask("chain_show", from_seq=community["actions"] - 1, limit=1)
        await trio.sleep(rng.uniform(0, 0.5))
        await node.kill()
        node.start()
        await node.ready()
        again = await node.ask("chain_show", from_seq=page[0]["seq"], limit=1)
        if not again or again[0]["hash"] != page[0]["hash"]:
            lost.append(f"{node.name} lost its action {page[0]['seq']}")
        console.print(f"       kill -9 {count}/{kills}: {node.name} at action {page[0]['seq']}")
    return lost


# --- the checks ------------------------------------------------------------------------------


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


async def check(street: Street, lost: list[str], kills: int) -> bool:
    """Run every check and print the summary."""
    statuses = await settle_down(street, all_sold=not kills)
    energy, flows = await energy_check(street)
    credit, balances = await credit_check(street)
    shared = await share_check(street)
    checks = [
        energy,
        shared,
        credit,
        op_check(statuses),
        chain_check(street),
        refusal_check(statuses),
    ]
    if kills:
        # A sale that found its buyer dead for too long is given up: that is no fault.
        console.print(f"       shared: {shared.figures}")
        checks.append(Check("no committed action lost", not lost, f"{kills} kills, lost {lost}"))
    else:
        checks.insert(1, shared)
    table = Table(title="The day, node by node", title_justify="left")
    for column in ("node", "agent", "kind", "kWh in", "kWh out", "credits", "actions", "ops held"):
        table.add_column(column, justify="left" if column in ("node", "agent", "kind") else "right")
    for node in street.nodes:
        community = statuses[node.name]["communities"][0]
        imported, exported = flows.get(node.name, (0, 0))
        table.add_row(
            node.name,
            short(node.agent),
            node.kind,
            kwh(imported) if node.is_device else "",
            kwh(exported) if node.is_device else "",
            credits_text(balances.get(node.agent, 0)),
            str(community["actions"]),
            str(community["ops_held"]),
        )
    console.print(table)
    for each in checks:
        mark = "[green]ok[/green]    " if each.good else "[red]FAILED[/red]"
        console.print(f"{mark} {each.name}: {each.figures}")
    return all(each.good for each in checks)


# --- the whole -------------------------------------------------------------------------------


async def play(directory: Path, hours: int, kills: int, seed: int) -> bool:
    """The whole story in `directory`; whether every check holds."""
    began = time.monotonic()
    data = await trio.to_thread.run_sync(lambda: fetch(say=console.print))
    timeline = Timeline(start_us(START_HOUR), int((time.time() + LEAD_S) * 1_000_000), RATE, hours)
    source = load_source(load_home(data, PLUG_HOME), PLUG_SHARE_BP)
    plug = Plug(
        lambda at_us: draw_at(source, at_us),
        SimulatedClock(timeline, SystemClock()),
        quantum_s=INTERVAL_MINUTES * 60,
    )
    rng = Random(seed)
    street: Street | None = None
    lost: list[str] = []
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, plug)
        street = lay_out(directory, timeline, START_HOUR, port)
        try:
            await set_up(street)
            late_s = time.time() - timeline.started_at_us / 1e6
            if late_s > 0:
                raise LocalError(f"set-up took {late_s:.0f} s too long for --lead; give it more")
            console.print(f"{hours} simulated hours begin in {-late_s:.0f} s, {RATE} times as fast")
            async with trio.open_nursery() as day:
                day.start_soon(tell, street)
                if kills:
                    lost += await kill_at_random(street, kills, rng)
            good = await check(street, lost, kills)
        finally:
            with trio.CancelScope(shield=True):
                await stop_all(street.nodes)
        nursery.cancel_scope.cancel()
    console.print(
        f"{'all checks hold' if good else 'A CHECK FAILED'} after {time.monotonic() - began:.0f} s"
    )
    return good


@click.command()
@click.option("--hours", default=24, show_default=True, help="Simulated hours.")
@click.option("--fast", is_flag=True, help=f"Only {FAST_HOURS} simulated hours.")
@click.option("--kills", default=0, help="Kill -9 nodes so many times on the way.")
@click.option("--seed", default=1, show_default=True, help="Of the kills.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the nodes' directories here.")
def main(hours: int, fast: bool, kills: int, seed: int, keep: Path | None) -> None:
    """A street of real nodes lives a day of real data, and is checked.  Ctrl-C cleans up."""
    with tempfile.TemporaryDirectory(prefix="ioe-demo-") as temporary:
        directory = keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        try:
            good = trio.run(play, directory, FAST_HOURS if fast else hours, kills, seed)
        except* KeyboardInterrupt:
            console.print("interrupted; every node is stopped and its directory removed")
            sys.exit(130)
        except* IoeError as errors:
            for error in errors.exceptions:
                console.print(f"[red]{error}[/red]")
            sys.exit(1)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
