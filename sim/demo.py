"""The demo: a street lives a day of real data in a few minutes, and is then checked.

Eight node processes that speak libp2p on loopback: two owners, three homes with solar panels,
a battery, a smart plug behind an emulated Shelly, the distributor's meter.  The devices announce
themselves, are claimed by the codes that they show, meter, share, sell and are paid.  At the
end the energy must balance, the credits sum to zero, every chain verify and every node hold
the same ops; otherwise the exit code is 1.  With `--kills N`, nodes are killed with SIGKILL at
random moments and started again, and the same must hold.
"""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import click
import trio
from rich.console import Console
from rich.table import Table

from ioe_node.cli.main import INTERRUPTED
from ioe_node.cli.output import credits_text, kwh, short
from ioe_node.clock import SystemClock
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
from sim.street import Node, Street, claim, stop_all
from sim.street_checks import (
    INTERVAL_MINUTES,
    Check,
    chain_check,
    credit_check,
    energy_check,
    op_check,
    readings_of,
    refusal_check,
    settle_down,
    share_check,
)

START_HOUR = 24 * 24 + 8
RATE = 480
POLL_MS = INTERVAL_MINUTES * 60_000 // RATE // 4
LEAD_MIN_S = 30.0
LEAD_FIRST_NODES = 9
"""How many times as long as the first node the whole street takes to be set up."""
FAST_HOURS = 6
PLUG_HOME = 4
PLUG_SHARE_BP = 2_500
PASSING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

console = Console(highlight=False, width=110)


# --- the street ------------------------------------------------------------------------------


def lay_out(directory: Path, ada: Node, timeline: Timeline, plug_port: int) -> Street:
    """Who lives in the street and what each device's driver plays."""
    plug_load = f"load:{PLUG_HOME}*{PLUG_SHARE_BP}"
    shared = {
        "day": str(START_HOUR),
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
        ada=ada,
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


async def begin(ada: Node) -> int:
    """Make and start the first node; when the day can begin, at the pace of this machine now.

    Microseconds since 1970.
    """
    began = time.monotonic()
    await ada.init([], POLL_MS, POLL_MS)
    ada.start()
    await ada.ready()
    lead_s = max(LEAD_MIN_S, LEAD_FIRST_NODES * (time.monotonic() - began))
    return int((time.time() + lead_s) * 1_000_000)


async def set_up(street: Street) -> None:
    """Make the other nodes, start them, found the community, claim every device."""
    address = (await street.ada.ready())["addresses"][0]
    async with trio.open_nursery() as nursery:
        for node in street.nodes[1:]:
            nursery.start_soon(node.init, [address], POLL_MS, POLL_MS)
    for node in street.nodes[1:]:
        node.start()
    for node in street.nodes[1:]:
        await node.ready()
    console.print(f"{len(street.nodes)} node processes run on loopback")
    await street.ada.ask("community_create", name="street", amend={})
    await street.ada.admit(street.ben)
    console.print("ada founded the community 'street' and invited ben")
    for device in street.devices:
        owner = street.ben if device in (street.homes[2], street.plug) else street.ada
        await claim(owner, device)
        console.print(f"{owner.name} claimed {device.name} ({device.kind}) by its pairing code")


# --- the day ---------------------------------------------------------------------------------


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


# --- the account -----------------------------------------------------------------------------


async def check(street: Street, lost: list[str], kills: int) -> bool:
    """Run every check and print the summary."""
    statuses = await settle_down(street, all_sold=not kills)
    energy, flows = await energy_check(street)
    credit, balances = await credit_check(street)
    shared = await share_check(street)
    checks = [
        energy,
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


async def play(directory: Path, data: Path, hours: int, kills: int, seed: int) -> bool:
    """The whole story in `directory`, on the homes of `data`; whether every check holds.

    Raises `KeyboardInterrupt` when a signal ended it.  Whatever ends it, no process is left.
    """
    began = time.monotonic()
    nodes = [Node("ada", "owner", directory / "ada")]
    good, story = False, trio.CancelScope()
    async with trio.open_nursery() as watch:
        await watch.start(_end_on_signal, story)
        try:
            with story:
                timeline = Timeline(start_us(START_HOUR), await begin(nodes[0]), RATE, hours)
                async with trio.open_nursery() as nursery:
                    port = await nursery.start(serve, _plug(data, timeline))
                    street = lay_out(directory, nodes[0], timeline, port)
                    nodes = street.nodes
                    good = await live(street, kills, Random(seed))
                    nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await stop_all(nodes)
        watch.cancel_scope.cancel()
    if story.cancelled_caught:
        raise KeyboardInterrupt
    took_s = time.monotonic() - began
    console.print(f"{'all checks hold' if good else 'A CHECK FAILED'} after {took_s:.0f} s")
    return good


async def _end_on_signal(story: trio.CancelScope, task_status: Any) -> None:
    """End the story at a checkpoint, never between a process and its name; hear out the rest."""
    with trio.open_signal_receiver(signal.SIGINT, *PASSING_SIGNALS) as signals:
        task_status.started()
        async for _ in signals:
            story.cancel()


def _plug(data: Path, timeline: Timeline) -> Plug:
    source = load_source(load_home(data, PLUG_HOME), PLUG_SHARE_BP)
    return Plug(
        lambda at_us: draw_at(source, at_us),
        SimulatedClock(timeline, SystemClock()),
        quantum_s=INTERVAL_MINUTES * 60,
    )


async def live(street: Street, kills: int, rng: Random) -> bool:
    """From the set-up to the checks; whether every one holds."""
    await set_up(street)
    timeline = street.timeline
    wait_s = timeline.started_at_us / 1e6 - time.time()
    if wait_s < 0:
        raise LocalError(
            f"the set-up took {-wait_s:.0f} s longer than the first node let expect; "
            "run it again when this machine has less to do"
        )
    console.print(f"{timeline.hours} simulated hours begin in {wait_s:.0f} s, {RATE} times as fast")
    lost: list[str] = []
    async with trio.open_nursery() as day:
        day.start_soon(tell, street)
        if kills:
            lost += await kill_at_random(street, kills, rng)
    return await check(street, lost, kills)


@click.command()
@click.option("--hours", default=24, type=click.IntRange(1), show_default=True, help="Simulated.")
@click.option("--fast", is_flag=True, help=f"Only {FAST_HOURS} simulated hours.")
@click.option("--kills", default=0, help="Kill -9 nodes so many times on the way.")
@click.option("--seed", default=1, show_default=True, help="Of the kills.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the nodes' directories here.")
def main(hours: int, fast: bool, kills: int, seed: int, keep: Path | None) -> None:
    """A street of real nodes lives a day of real data, and is checked.

    Ctrl-C, SIGTERM and a terminal that is closed clean up.
    """
    # A shell's background job is begun with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in PASSING_SIGNALS:
        signal.signal(number, _as_an_interrupt)
    exit_code = 1
    with tempfile.TemporaryDirectory(prefix="ioe-demo-") as temporary:
        directory = keep or Path(temporary)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            data = fetch(say=console.print)
            hours = FAST_HOURS if fast else hours
            exit_code = 0 if trio.run(play, directory, data, hours, kills, seed) else 1
        except* KeyboardInterrupt:
            exit_code = INTERRUPTED
        except* (IoeError, OSError) as errors:
            for error in _leaves(errors):
                console.print(str(error), style="red", markup=False)
    if exit_code == INTERRUPTED:
        console.print("interrupted; every node is stopped, and what was not to be kept is removed")
    sys.exit(exit_code)


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """The errors themselves, out of the groups that nurseries wrap them in."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _as_an_interrupt(number: int, frame: object) -> None:
    """Before and after the story, which hears the signals itself."""
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
