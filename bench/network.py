"""Holochain's load scenarios on real node processes on loopback, by their names.

    python -m bench.network                              the short set, about six minutes
    python -m bench.network --scenario dht_sync_lag --nodes 30 --seconds 300

`--help` names the scenarios and says which are in the short set.  One community grows as they
need; what one writes stays for the next.  Every figure is printed with its raw counts; CPU
is that of all node processes.  Observers poll once a second, which adds half a second to a lag.
"""

import inspect
import tempfile
from collections.abc import Awaitable, Callable, Sequence
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
NODES_MAX = 200
RATE_MIN = 0.01


@dataclass(frozen=True)
class Scenario:
    """What runs, on how many nodes unless told otherwise, and whether the short set has it.

    With fewer than `nodes_min` nodes nobody would be left for one of its parts.
    """

    run: Callable[[Cluster, Options], Awaitable[list[Line]]]
    nodes: int
    short: bool = True
    nodes_min: int = 2

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]


SCENARIOS = {
    "zome_call_single_value": Scenario(network_calls.zome_call_single_value, 2),
    "local_signals": Scenario(network_calls.local_signals, 2),
    "remote_call_rate": Scenario(network_calls.remote_call_rate, 2),
    "write_read": Scenario(network_calls.write_read, 8),
    "write_validated": Scenario(network_calls.write_validated, 8),
    "two_party_settlement": Scenario(network_calls.two_party_settlement, 8),
    "validation_receipts": Scenario(network_reads.validation_receipts, 20),
    "get_agent_activity": Scenario(network_reads.get_agent_activity, 20),
    "get_agent_activity_volatile": Scenario(
        network_reads.get_agent_activity_volatile, 20, False, network_reads.VOLATILE_NODES_MIN
    ),
    "unresponsive": Scenario(
        network_unresponsive.unresponsive, 20, False, network_unresponsive.NODES_MIN
    ),
    "dht_sync_lag": Scenario(network_spread.dht_sync_lag, 30),
    "frozen_half": Scenario(network_reads.frozen_half, 30, False),
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


def check(names: Sequence[str], nodes: int | None, options: Options) -> None:
    """Raise `UsageError` for what a scenario could only crash on, or pass without showing."""
    for name in names:
        chosen = SCENARIOS[name]
        size = nodes or chosen.nodes
        if size < chosen.nodes_min:
            raise click.UsageError(f"{name} takes at least {chosen.nodes_min} nodes, not {size}")
        if chosen.run is network_spread.dht_sync_lag and options.writers + options.observers > size:
            raise click.UsageError(
                f"{name}: {options.writers} writers and {options.observers} observers are more "
                f"than {size} nodes, and none may be both; lower --writers or --observers"
            )


def _help() -> str:
    """What `--help` says: the scenarios, a line each."""
    width = max(map(len, SCENARIOS))
    lines = [
        f"  {'*' if each.short else ' '} {name:{width}}  {each.summary}"
        for name, each in SCENARIOS.items()
    ]
    return "\n".join(
        [
            "Holochain's load scenarios on real node processes on loopback.",
            "",
            "\b",
            "The scenarios; those with a star are the short set, which runs if none is named:",
            *lines,
        ]
    )


@click.command(help=_help(), context_settings={"max_content_width": 120})
@click.option(
    "--scenario",
    "names",
    multiple=True,
    metavar="NAME",
    type=click.Choice(list(SCENARIOS)),
    help="Repeatable.  [default: the short set]",
)
@click.option("--nodes", type=click.IntRange(2, NODES_MAX), help="[default: each scenario's own]")
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=60.0,
    show_default=True,
    help="How long writers write.",
)
@click.option(
    "--rate",
    type=click.FloatRange(RATE_MIN),
    default=2.0,
    show_default=True,
    help="Writes a second and writer.",
)
@click.option(
    "--writers", type=click.IntRange(1), default=25, show_default=True, help="Of dht_sync_lag."
)
@click.option(
    "--observers", type=click.IntRange(1), default=5, show_default=True, help="Of dht_sync_lag."
)
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
    chosen = [name for name in SCENARIOS if name in names] or [
        name for name, each in SCENARIOS.items() if each.short
    ]
    options = Options(seconds, rate, writers, observers, function)
    check(chosen, nodes, options)
    with tempfile.TemporaryDirectory(prefix="ioe-bench-") as directory:
        lines = trio.run(play, Path(directory), chosen, nodes, options)
    show("network", lines, in_json)


if __name__ == "__main__":
    main()
