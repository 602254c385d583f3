"""`ioe-sim run`: one command a scenario, with the scenario's own options."""

import json
import resource
import shlex
import sys
import tempfile
import time
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
from sim.disk import LOGS_MAX
from sim.plots import must_draw, plot_run
from sim.result import Result
from sim.results import figures_of, must_add, must_write, save, write_csv, write_parquet
from sim.scenario import Options, Scenario
from sim.scenario import Progress as Told
from sim.scenarios import run_scenario
from sim.trace import Trace

NODES_MAX = 10_000
HOURS_MAX = 24 * 366
FILES_BESIDES = 256


def allow_files(nodes: int) -> None:
    """Raise this process's own limit on open files as far as it must; raises `LocalError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_BESIDES + nodes * (2 if nodes <= LOGS_MAX else 1)
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


def type_of(chosen: Scenario, name: str) -> "click.ParamType[Any]":
    """What one of a scenario's own options takes."""
    default = chosen.settings[name]
    least, most = chosen.limits.get(name, (None, None))
    if isinstance(default, bool):
        return click.BOOL
    if isinstance(default, int):
        return click.IntRange(least, most)  # type: ignore[arg-type]  # whole ones all the same
    return click.FloatRange(least, most) if isinstance(default, float) else click.STRING


def _option(chosen: Scenario, name: str) -> click.Option:
    words, default = [f"--{name.replace('_', '-')}", name], chosen.settings[name]
    if isinstance(default, bool):
        return click.Option([f"{words[0]}/--no-{words[0][2:]}", name], default=default)
    return click.Option(words, type=type_of(chosen, name), default=default, show_default=True)


def check_size(chosen: Scenario, options: Options) -> Options:
    """`options`, if the scenario shows anything with them; raises `UsageError`."""
    if not chosen.nodes_min <= options.nodes <= NODES_MAX:
        raise click.UsageError(
            f"{chosen.name} takes {chosen.nodes_min} to {NODES_MAX} nodes, not {options.nodes}"
        )
    if options.virtual_s < chosen.virtual_min_s:
        raise click.UsageError(
            f"{chosen.name} takes at least {chosen.virtual_min_s / 60:g} minutes, "
            f"not {options.virtual_s / 60:g}"
        )
    why_not = chosen.refuse(options)
    if why_not is not None:
        raise click.UsageError(f"{chosen.name}: {why_not}")
    return options


_PERCENT = click.FloatRange(0, 100)


def swarm_options(chosen: Scenario) -> list[click.Parameter]:
    """Size, seed, length and wires, and the scenario's own options."""
    length = f"{chosen.virtual_s / 60:g} minutes"
    return [
        click.Option(
            ["--nodes"],
            type=int,
            default=chosen.nodes,
            show_default=True,
            help=f"How many; at least {chosen.nodes_min}.",
        ),
        click.Option(
            ["--seed"], type=int, default=0, show_default=True, help="What the lots are drawn by."
        ),
        click.Option(
            ["--hours"],
            type=click.FloatRange(0, HOURS_MAX),
            help=f"Virtual hours of load, at least {chosen.virtual_min_s / 60:g} minutes.  "
            f"[default: {length}]",
        ),
        click.Option(
            ["--minutes"], type=click.FloatRange(0, HOURS_MAX * 60), help="The same in minutes."
        ),
        click.Option(
            ["--acquainted"],
            is_flag=True,
            help="The nodes know each other from the start and wake all at once, as after a power "
            "cut: for swarms in which joining one by one would take hours.",
        ),
        click.Option(["--loss"], type=_PERCENT, help="Percent of messages that are lost."),
        click.Option(["--duplicate"], type=_PERCENT, help="Percent that come twice."),
        click.Option(["--reorder"], type=_PERCENT, help="Percent that come late."),
        *(_option(chosen, name) for name in chosen.settings),
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
    click.Option(
        ["--json", "as_json"],
        is_flag=True,
        help="Print figures, findings and the trace's hash (its key: trace_hash) as JSON.",
    ),
    click.Option(
        ["--trace-hash"],
        is_flag=True,
        help="Print the hash of all that happened as the last line; with --json, the line "
        "before it is the JSON, all of it.",
    ),
]


def options_of(chosen: Scenario, given: dict[str, Any]) -> Options:
    """The options of a run; takes what `swarm_options` has named out of `given`."""
    hours, minutes = given.pop("hours"), given.pop("minutes")
    length_s = (hours or 0) * 3_600 + (minutes or 0) * 60
    options = chosen.options(
        nodes=given.pop("nodes"),
        seed=given.pop("seed"),
        virtual_s=None if hours is None and minutes is None else length_s,
        conditions=conditions_of(
            chosen.conditions, given.pop("loss"), given.pop("duplicate"), given.pop("reorder")
        ),
        settings={name: given.pop(name) for name in chosen.settings},
        acquainted=given.pop("acquainted"),
    )
    return check_size(chosen, options)


def command_line(chosen: Scenario, options: Options) -> str:
    """What repeats a run."""
    loading = f"--load {shlex.quote(chosen.file)} " if chosen.file is not None else ""
    words = [f"ioe-sim run {loading}{chosen.name} --nodes {options.nodes} --seed {options.seed}"]
    if options.virtual_s != chosen.virtual_s:
        words.append(f"--minutes {options.virtual_s / 60:g}")
    if options.acquainted:
        words.append("--acquainted")
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
    if results is not None:
        must_add(results)
    if csv is not None:
        must_write(csv)
    if parquet is not None:
        must_write(parquet, parquet=True)
    if plot is not None:
        must_draw(plot)
    with workplace(directory, options.nodes) as place, progress_bar(chosen, options) as progress:
        result = attempt(chosen, place, options, progress)
    report(result, as_json, one_line=trace_hash)
    if results is not None:
        save(results, options, result)
    if csv is not None:
        write_csv(csv, figures_of(result))
    if parquet is not None:
        write_parquet(parquet, figures_of(result))
    if plot is not None and not result.crash:
        plot_run(plot, command_line(chosen, options), result.series)
    if not result.passed:
        found = result.findings[0]
        failed = f"a checker failed at virtual second {found.at_s:g}"
        what = found.text if result.crash else failed
        click.echo(
            f"{result.crash}ioe-sim: seed {options.seed}: {what}; "
            f"'{command_line(chosen, options)}' repeats it",
            err=True,
        )
    if trace_hash:
        click.echo(result.trace_hash)
    sys.exit(0 if result.passed else 1)


def attempt(
    chosen: Scenario,
    place: Path,
    options: Options,
    progress: Told = lambda virtual_s: None,
    trace: Trace | None = None,
) -> Result:
    """`run_scenario`, where an exception makes a failed run of what happened until then."""
    trace = trace or Trace()
    begun_s = time.perf_counter()
    try:
        return run_scenario(chosen.name, place, options, progress, trace)
    except Exception as error:
        result = Result(chosen.name, options.nodes, options.seed, trace, trace.hash())
        result.wall_s = time.perf_counter() - begun_s
        result.fail(error)
        return result


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


def report(result: Result, as_json: bool, one_line: bool) -> None:
    """What came of a run, for people or as JSON (on lines of its own, or on one)."""
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
                indent=None if one_line else 2,
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
