"""`ioe-sim run`: one command a scenario, with the scenario's own options."""

import json
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ioe_node.cli.output import table
from ioe_node.errors import LocalError
from sim.conditions import PER_MILLION, Conditions
from sim.plots import plot_run
from sim.result import Result
from sim.results import figures_of, save, write_csv, write_parquet
from sim.scenario import Options, Scenario, run_scenario

NODES_MAX = 10_000
HOURS_MAX = 24 * 366
FILES_PER_NODE = 2
FILES_BESIDES = 256
"""A store has its file and its log open; the process some others."""


def allow_files(nodes: int) -> None:
    """Raise this process's own limit on open files as far as it must; raises `LocalError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_BESIDES + FILES_PER_NODE * nodes
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = hard if hard == resource.RLIM_INFINITY else max(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    except (ValueError, OSError):
        raise LocalError(
            f"{nodes} nodes need {wanted} open files and this user may have {hard}; "
            "raise it (ulimit -Hn) or run fewer nodes"
        ) from None


def conditions_of(
    base: Conditions, loss: float | None, duplicate: float | None, reorder: float | None
) -> Conditions:
    """`base` with these chances, in percent, where they are given."""
    given = {
        "loss_per_million": loss,
        "duplicate_per_million": duplicate,
        "reorder_per_million": reorder,
    }
    chosen = {
        name: round(percent * PER_MILLION / 100)
        for name, percent in given.items()
        if percent is not None
    }
    return replace(base, **chosen)


def _option(name: str, default: Any) -> click.Option:
    words = [f"--{name.replace('_', '-')}", name]
    if isinstance(default, bool):
        return click.Option([f"{words[0]}/--no-{words[0][2:]}", name], default=default)
    return click.Option(words, type=type(default), default=default, show_default=True)


_PERCENT = click.FloatRange(0, 100)


def swarm_options(chosen: Scenario) -> list[click.Parameter]:
    """Size, seed, length and wires, and the scenario's own options."""
    length = f"{chosen.virtual_s / 60:g} minutes"
    return [
        click.Option(
            ["--nodes"], type=click.IntRange(2, NODES_MAX), default=chosen.nodes, show_default=True
        ),
        click.Option(
            ["--seed"], type=int, default=0, show_default=True, help="What the lots are drawn by."
        ),
        click.Option(
            ["--hours"],
            type=click.FloatRange(0, HOURS_MAX),
            help=f"Virtual hours of load.  [default: {length}]",
        ),
        click.Option(
            ["--minutes"], type=click.FloatRange(0, HOURS_MAX * 60), help="The same in minutes."
        ),
        click.Option(["--loss"], type=_PERCENT, help="Percent of messages that are lost."),
        click.Option(["--duplicate"], type=_PERCENT, help="Percent that come twice."),
        click.Option(["--reorder"], type=_PERCENT, help="Percent that come late."),
        *(_option(name, default) for name, default in chosen.settings.items()),
    ]


_FILE = click.Path(dir_okay=False, path_type=Path)
OUTPUTS: list[click.Parameter] = [
    click.Option(
        ["--dir", "directory"],
        type=click.Path(file_okay=False, path_type=Path),
        help="Keep the nodes' files here.  [default: a directory that is removed]",
    ),
    click.Option(["--results"], type=_FILE, help="Add the run to this SQLite file."),
    click.Option(["--csv"], type=_FILE, help="Write its figures here."),
    click.Option(["--parquet"], type=_FILE, help="The same as Parquet."),
    click.Option(["--plot"], type=_FILE, help="Draw what happened over time (PNG, SVG, PDF)."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print figures and findings as JSON."),
    click.Option(["--trace-hash"], is_flag=True, help="Print the hash of all that happened, last."),
]


def options_of(chosen: Scenario, given: dict[str, Any]) -> Options:
    """The options of a run; takes what `swarm_options` has named out of `given`."""
    hours, minutes = given.pop("hours"), given.pop("minutes")
    length_s = (hours or 0) * 3_600 + (minutes or 0) * 60
    return chosen.options(
        nodes=given.pop("nodes"),
        seed=given.pop("seed"),
        virtual_s=length_s or None,
        conditions=conditions_of(
            chosen.conditions, given.pop("loss"), given.pop("duplicate"), given.pop("reorder")
        ),
        settings={name: given.pop(name) for name in chosen.settings},
    )


def command_line(chosen: Scenario, options: Options) -> str:
    """What repeats a run."""
    words = [f"ioe-sim run {chosen.name} --nodes {options.nodes} --seed {options.seed}"]
    if options.virtual_s != chosen.virtual_s:
        words.append(f"--minutes {options.virtual_s / 60:g}")
    for word in ("loss", "duplicate", "reorder"):
        per_million = getattr(options.conditions, f"{word}_per_million")
        if per_million != getattr(chosen.conditions, f"{word}_per_million"):
            words.append(f"--{word} {per_million * 100 / PER_MILLION:g}")
    for name, value in options.settings.items():
        option = name.replace("_", "-")
        if value == chosen.settings[name]:
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words.append(f"--{option} {value}")
    return " ".join(words)


def run_command_of(chosen: Scenario) -> click.Command:
    """`ioe-sim run <scenario>`."""

    def callback(**given: Any) -> None:
        options = options_of(chosen, given)
        run_one(chosen, options, **given)

    return click.Command(
        chosen.name,
        callback=callback,
        params=[*swarm_options(chosen), *OUTPUTS],
        help=chosen.story.__doc__,
        short_help=chosen.summary,
    )


def run_one(
    chosen: Scenario,
    options: Options,
    directory: Path | None,
    results: Path | None,
    csv: Path | None,
    parquet: Path | None,
    plot: Path | None,
    as_json: bool,
    trace_hash: bool,
) -> None:
    """Run, print and keep what came of it, and leave with the exit code."""
    with workplace(directory, options.nodes) as place, progress_bar(chosen, options) as progress:
        result = run_scenario(chosen.name, place, options, progress)
    report(result, as_json)
    if results is not None:
        save(results, options, result)
    if csv is not None:
        write_csv(csv, figures_of(result))
    if parquet is not None:
        write_parquet(parquet, figures_of(result))
    if plot is not None:
        plot_run(plot, command_line(chosen, options), result.series)
    if not result.passed:
        at_s = result.findings[0].at_s
        click.echo(
            f"ioe-sim: seed {options.seed}: a checker failed at virtual second {at_s:g}; "
            f"'{command_line(chosen, options)}' repeats it",
            err=True,
        )
    if trace_hash:
        click.echo(result.trace_hash)
    sys.exit(0 if result.passed else 1)


@contextmanager
def workplace(directory: Path | None, nodes: int) -> Iterator[Path]:
    """Where the nodes' files are: a directory that is kept, or one that is removed."""
    allow_files(nodes)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="ioe-sim-") as name:
        yield Path(name)


@contextmanager
def progress_bar(chosen: Scenario, options: Options) -> Iterator[Any]:
    """A bar on stderr; gives the function that moves it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} virtual s"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(f"{chosen.name}, {options.nodes} nodes", total=options.virtual_s)
        yield lambda virtual_s: bar.update(task, completed=virtual_s)


def figure(value: float, unit: str) -> str:
    """A figure for people: whole ones with separators, others with three digits."""
    text = f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:,.3f}"
    return f"{text} {unit}".rstrip()


def report(result: Result, as_json: bool) -> None:
    """What came of a run, for people or as JSON."""
    if as_json:
        click.echo(
            json.dumps(
                {
                    "scenario": result.scenario,
                    "nodes": result.nodes,
                    "seed": result.seed,
                    "virtual_s": result.virtual_s,
                    "wall_s": result.wall_s,
                    "metrics": [metric._asdict() for metric in result.metrics],
                    "checkers": result.checks,
                    "findings": [finding._asdict() for finding in result.findings],
                    "trace_hash": result.trace_hash,
                },
                indent=2,
            )
        )
        return
    rows = [
        ("nodes", str(result.nodes)),
        ("seed", str(result.seed)),
        ("virtual time", f"{result.virtual_s:,.0f} s"),
        ("wall time", f"{result.wall_s:.1f} s"),
        *((metric.name, figure(metric.value, metric.unit)) for metric in result.metrics),
    ]
    for name in result.checks:
        found = [each for each in result.findings if each.checker == name]
        rows += [(name, f"at {each.at_s:g} s: {each.text}") for each in found] or [(name, "yes")]
    table(f"{result.scenario}, what came of it", ("what", "figure"), rows)
