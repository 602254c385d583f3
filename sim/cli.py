"""The `ioe-sim` command: which scenarios there are, and running one."""

import logging
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ioe_node.cli.main import run as run_command
from ioe_node.cli.output import console, credits_text, kwh, table
from sim.scenarios import HOUR_S, SCENARIOS, Options, Result, run_scenario

HOMES_MAX = 1_024
HOURS_MAX = 24 * 366


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ioe-node")
def cli() -> None:
    """Swarms of real nodes in one process, on virtual time.

    \b
    Exit codes: 0 every checker passed, 1 one did not (its seed is printed), 2 wrong usage,
    130 interrupted.
    """
    logging.basicConfig(level=logging.ERROR)


@cli.command(name="list")
def list_scenarios() -> None:
    """Name the scenarios."""
    for name, scenario in SCENARIOS.items():
        first_line = (scenario.__doc__ or "").partition("\n")[0]
        click.echo(f"{name}: {first_line}")


@cli.command()
@click.argument("scenario", type=click.Choice(list(SCENARIOS)))
@click.option("--nodes", type=click.IntRange(2, HOMES_MAX), default=8, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="What the lots are drawn by.")
@click.option(
    "--hours",
    type=click.IntRange(1, HOURS_MAX),
    default=24,
    show_default=True,
    help="Virtual hours.",
)
@click.option("--trace-hash", is_flag=True, help="Print the hash of all that happened, last.")
def run(scenario: str, nodes: int, seed: int, hours: int, trace_hash: bool) -> None:
    """Run SCENARIO and check what it leaves."""
    options = Options(nodes, seed, hours)
    begun_s = time.perf_counter()
    with _bar() as bar, tempfile.TemporaryDirectory() as directory:
        task = bar.add_task(f"{scenario}, {nodes} nodes", total=hours)
        result = run_scenario(
            scenario,
            Path(directory),
            options,
            lambda virtual_s: bar.update(task, completed=virtual_s / HOUR_S),
        )
    _summary(scenario, options, result, time.perf_counter() - begun_s)
    if not result.passed:
        click.echo(
            f"ioe-sim: a checker failed; 'ioe-sim run {scenario} --nodes {nodes} --seed {seed} "
            f"--hours {hours}' repeats it",
            err=True,
        )
    if trace_hash:
        click.echo(result.trace.hash())
    sys.exit(0 if result.passed else 1)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} virtual hours"),
        TimeElapsedColumn(),
        console=console,
    )


def _summary(scenario: str, options: Options, result: Result, wall_s: float) -> None:
    trace = result.trace
    rows = [
        ("nodes", options.homes),
        ("seed", options.seed),
        ("virtual time", f"{result.virtual_s / HOUR_S:.2f} h"),
        ("wall time", f"{wall_s:.1f} s"),
        ("messages", f"{trace.messages:,} ({trace.message_bytes / 1e6:.1f} MB)"),
        ("bundles committed", f"{trace.commits:,}"),
        ("ops held, all nodes", f"{result.ops:,}"),
        ("kWh imported", kwh(result.imported_milli_wh)),
        ("kWh exported", kwh(result.exported_milli_wh)),
        ("kWh that could be shared", kwh(result.shareable_milli_wh)),
        ("kWh sold", f"{kwh(result.sold_milli_wh)} in {result.sales:,} sales"),
        ("credits, sum", credits_text(result.credits_sum_micro)),
    ]
    for name, faults in result.checks.items():
        rows += [(name, fault) for fault in faults] or [(name, "yes")]
    table(f"{scenario}, what came of it", ("what", "figure"), rows)


def main() -> None:
    """Run `ioe-sim`."""
    run_command("ioe-sim", lambda: cli)


if __name__ == "__main__":
    main()
