"""Holochain's load scenarios on real node processes on loopback, by their names.

    python -m bench.network                              the short set, about six minutes
    python -m bench.network --scenario dht_sync_lag --nodes 30 --seconds 300

One community grows as the scenarios need; what one writes stays for the next.  Every figure
is printed with its raw counts; CPU is that of all node processes.  Observers poll once a
second, which adds half a second to a lag.
"""

import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import click
import trio

from bench import network_calls, network_reads, network_spread, network_unresponsive
from bench.accounting import count
from bench.cluster import Cluster, Options, open_cluster
from bench.report import Line, show

REST_S = 2.0


@dataclass(frozen=True)
class Scenario:
    """What runs, on how many nodes unless told otherwise, and whether the short set has it."""

    run: Callable[[Cluster, Options], Awaitable[list[Line]]]
    nodes: int
    short: bool = True


SCENARIOS = {
    "zome_call_single_value": Scenario(network_calls.zome_call_single_value, 2),
    "local_signals": Scenario(network_calls.local_signals, 2),
    "remote_call_rate": Scenario(network_calls.remote_call_rate, 2),
    "write_read": Scenario(network_calls.write_read, 8),
    "write_validated": Scenario(network_calls.write_validated, 8),
    "two_party_settlement": Scenario(network_calls.two_party_settlement, 8),
    "validation_receipts": Scenario(network_reads.validation_receipts, 20),
    "get_agent_activity": Scenario(network_reads.get_agent_activity, 20),
    "get_agent_activity_volatile": Scenario(network_reads.get_agent_activity_volatile, 20, False),
    "unresponsive": Scenario(network_unresponsive.unresponsive, 20, False),
    "dht_sync_lag": Scenario(network_spread.dht_sync_lag, 30),
    "partition_heal": Scenario(network_reads.partition_heal, 30, False),
    "join_large_network": Scenario(network_reads.join_large_network, 30),
    "zero_arc_create_and_read": Scenario(network_reads.zero_arc_create_and_read, 22, False),
}


async def play(
    directory: Path, names: list[str], nodes: int | None, options: Options
) -> list[Line]:
    """The scenarios in the order of their sizes, on one growing cluster."""
    lines = []
    async with open_cluster(directory) as cluster:
        for name in names:
            size = nodes or SCENARIOS[name].nodes
            began, grown = perf_counter(), len(await cluster.grow(size))
            if grown:
                took = perf_counter() - began
                lines.append(count(f"start of {grown} nodes, up to {size}", took, "s"))
            await trio.sleep(REST_S)
            click.echo(f"{name} on {len(cluster.members)} nodes", err=True)
            lines += await SCENARIOS[name].run(cluster, options)
    return lines


@click.command()
@click.option(
    "--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="Repeatable."
)
@click.option("--nodes", type=click.IntRange(2, 200), help="[default: each scenario's own]")
@click.option("--seconds", default=60.0, show_default=True, help="How long writers write.")
@click.option("--rate", default=2.0, show_default=True, help="Writes a second and writer.")
@click.option("--writers", default=25, show_default=True)
@click.option("--observers", default=5, show_default=True)
@click.option(
    "--function",
    default="stream",
    show_default=True,
    type=click.Choice(["stream", "write"]),
    help="Entries on the chain only, or found by their hash too.",
)
@click.option("--json", "in_json", is_flag=True, help="One JSON object a line.")
def main(
    names: tuple[str, ...],
    nodes: int | None,
    seconds: float,
    rate: float,
    writers: int,
    observers: int,
    function: str,
    in_json: bool,
) -> None:
    """Holochain's load scenarios on real node processes on loopback."""
    chosen = [name for name in SCENARIOS if name in names] or [
        name for name, each in SCENARIOS.items() if each.short
    ]
    options = Options(seconds, rate, writers, observers, function)
    with tempfile.TemporaryDirectory(prefix="ioe-bench-") as directory:
        lines = trio.run(play, Path(directory), chosen, nodes, options)
    show("network", lines, in_json)


if __name__ == "__main__":
    main()
