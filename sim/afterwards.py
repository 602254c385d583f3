"""`ioe-sim sweep`, `replay`, `results` and `plot`: many runs, one again, and what they left."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ioe_node.cli.output import json_option, show, table
from ioe_node.errors import LocalError
from ioe_node.model.hashes import to_text
from sim import results
from sim.naming import load_option, registered
from sim.plots import GROWTH, must_draw, plot_growth
from sim.result import Result
from sim.running import (
    attempt,
    check_size,
    command_line,
    figure,
    progress_bar,
    type_of,
    workplace,
)
from sim.scenario import SCENARIOS, Options, Scenario
from sim.sweep import sweep_here, sweep_on
from sim.trace import Event, Trace
from sim.virtual_clock import EPOCH_US

JOBS_MAX = 256
EVENTS_PRINTED_MAX = 10_000
_FILE = click.Path(dir_okay=False, path_type=Path)


def numbers(text: str) -> list[int]:
    """`10,100` or `0:20` (the end is left out), or both mixed; raises `click.BadParameter`."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, colon, last = part.partition(":")
            found += range(int(first), int(last)) if colon else [int(first)]
    except ValueError:
        raise click.BadParameter(f"'{text}' is no list like 10,100 or 0:20") from None
    if not found:
        raise click.BadParameter(f"'{text}' names none")
    return found


def settings_of(chosen: Scenario, texts: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts as the scenario's own options; raises `click.BadParameter`."""
    given: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        name = name.replace("-", "_")
        if name not in chosen.settings:
            known = ", ".join(chosen.settings) or "none"
            raise click.BadParameter(f"{chosen.name} has no option '{name}' (it has {known})")
        try:
            given[name] = type_of(chosen, name).convert(value, None, None)
        except click.BadParameter as error:
            raise click.BadParameter(f"{name}: {error.message}") from None
    return given


set_option = click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A scenario's own option."
)
minutes_option = click.option("--minutes", type=click.FloatRange(0), help="Virtual minutes.")


@click.command()
@load_option
@click.argument("scenario", type=registered)
@click.option("--nodes", default="", metavar="LIST", help="10,100,1000  [default: the scenario's]")
@click.option("--seeds", default="0:10", show_default=True, metavar="LIST", help="0:20 or 1,5,9.")
@minutes_option
@set_option
@click.option("--jobs", type=click.IntRange(1, JOBS_MAX), default=2, show_default=True)
@click.option("--scheduler", metavar="ADDRESS", help="Use this Dask scheduler (tcp://...).")
@click.option("--results", "file", type=_FILE, help="Add the runs to this SQLite file.")
def sweep(
    scenario: str,
    nodes: str,
    seeds: str,
    minutes: float | None,
    settings: tuple[str, ...],
    jobs: int,
    scheduler: str | None,
    file: Path | None,
) -> None:
    """Run SCENARIO for every number of nodes and every seed, in several processes."""
    chosen = SCENARIOS[scenario]
    own = settings_of(chosen, settings)
    length_s = None if minutes is None else minutes * 60
    todo = [
        check_size(chosen, chosen.options(nodes=each, seed=seed, virtual_s=length_s, settings=own))
        for each in (numbers(nodes) if nodes else [chosen.nodes])
        for seed in numbers(seeds)
    ]
    if file is not None:
        results.must_add(file)
    if scheduler is None:
        outcomes = sweep_here(scenario, todo, jobs)
    else:
        outcomes = sweep_on(scheduler, scenario, todo)
    failed, done = _collect(chosen, todo, outcomes, file)
    click.echo(f"{done} of {len(todo)} runs done, {failed} failed")
    sys.exit(1 if failed else 0)


def _collect(
    chosen: Scenario,
    todo: Sequence[Options],
    outcomes: Iterator[tuple[Options, Result]],
    file: Path | None,
) -> tuple[int, int]:
    """Keep and say each outcome; (failed, done).  An interruption says what was done."""
    failed = done = 0
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    try:
        with bar:
            task = bar.add_task(chosen.name, total=len(todo))
            for options, result in outcomes:
                bar.advance(task)
                if file is not None:
                    results.save(file, options, result)
                done += 1
                for finding in result.findings[:1]:
                    failed += 1
                    what = f"at {finding.at_s:g} s: {finding.checker}: {finding.text}"
                    click.echo(
                        f"seed {options.seed}, {options.nodes} nodes, "
                        f"{finding.text if result.crash else what}; repeat: "
                        f"{command_line(chosen, options)}"
                    )
    except KeyboardInterrupt:
        kept = f"; they are in {file}" if done and file is not None else ""
        click.echo(f"{done} of {len(todo)} runs were done{kept}", err=True)
        raise
    finally:
        outcomes.close()  # type: ignore[attr-defined]  # both are generators: ends their processes
    return failed, done


@click.command()
@load_option
@click.argument("file", type=_FILE, required=False)
@click.option("--run", "number", type=int, help="Which run of FILE.  [default: the newest]")
@click.option(
    "--scenario", type=registered, metavar="NAME", help="Run this twice, instead of FILE."
)
@click.option("--nodes", type=int)
@click.option("--seed", type=int, default=0, show_default=True)
@minutes_option
@set_option
@click.option("--from", "from_s", type=float, help="Print what happened from this second...")
@click.option("--until", "until_s", type=float, help="...until this one; virtual time.")
def replay(
    file: Path | None,
    number: int | None,
    scenario: str | None,
    nodes: int | None,
    seed: int,
    minutes: float | None,
    settings: tuple[str, ...],
    from_s: float | None,
    until_s: float | None,
) -> None:
    """Run again what FILE holds, or a scenario twice, and compare the traces."""
    if (file is None) == (scenario is None):
        raise click.UsageError("name a file of results, or a scenario")
    if file is not None:
        chosen, options, expected = _recorded(file, number)
    else:
        chosen = SCENARIOS[str(scenario)]
        length_s = None if minutes is None else minutes * 60
        own = settings_of(chosen, settings)
        options = check_size(
            chosen, chosen.options(nodes=nodes, seed=seed, virtual_s=length_s, settings=own)
        )
        expected = _run(chosen, options, Trace()).trace_hash
    window = None
    if from_s is not None or until_s is not None:
        begin_us = EPOCH_US + round((from_s or 0.0) * 1e6)
        end_us = EPOCH_US + round(until_s * 1e6) if until_s is not None else 2**63 - 1
        window = (begin_us, end_us)
    trace = Trace(keep_us=window)
    result = _run(chosen, options, trace)
    for event in trace.events[:EVENTS_PRINTED_MAX]:
        click.echo(_event_text(event))
    if len(trace.events) > EVENTS_PRINTED_MAX:
        click.echo(f"... and {len(trace.events) - EVENTS_PRINTED_MAX} more", err=True)
    if result.crash:
        click.echo(f"seed {options.seed}: {result.findings[0].text}", err=True)
    same = result.trace_hash == expected
    click.echo(f"{result.trace_hash} {'is the same' if same else f'differs from {expected}'}")
    sys.exit(0 if same else 1)


def _recorded(file: Path, number: int | None) -> tuple[Scenario, Options, str]:
    rows = [row for row in results.runs(file) if number is None or row["id"] == number]
    if not rows:
        raise LocalError(f"{file} has no such run")
    row = rows[-1]
    if row["scenario"] not in SCENARIOS:
        raise LocalError(f"there is no scenario '{row['scenario']}' (--load its file)")
    options = results.unpacked(row["options"])
    return SCENARIOS[row["scenario"]], options, row["trace_hash"]


def _run(chosen: Scenario, options: Options, trace: Trace) -> Result:
    with workplace(None, options.nodes) as place, progress_bar(chosen, options) as progress:
        return attempt(chosen, place, options, progress, trace)


def _event_text(event: Event) -> str:
    """One line: the virtual second, what happened, to whom."""

    def plain(value: Any) -> str:
        if isinstance(value, bytes):
            return to_text(value)[:13]
        return " ".join(map(plain, value)) if isinstance(value, list) else str(value)

    what, at_us, *rest = event
    return f"{(at_us - EPOCH_US) / 1e6:12.6f} {what} {' '.join(map(plain, rest))}"


@click.command(name="results")
@click.argument("file", type=_FILE)
@click.option("--csv", type=_FILE, help="Write every figure here.")
@click.option("--parquet", type=_FILE, help="The same as Parquet.")
@json_option
def show_results(file: Path, csv: Path | None, parquet: Path | None, as_json: bool) -> None:
    """What the runs in FILE came to."""
    if csv is not None:
        results.must_write(csv)
    if parquet is not None:
        results.must_write(parquet, parquet=True)
    rows = results.runs(file)
    figures = results.figures(file)
    if csv is not None:
        results.write_csv(csv, figures)
    if parquet is not None:
        results.write_parquet(parquet, figures)
    show({"runs": rows, "figures": figures}, as_json, _table_of(file, rows, figures))


def _table_of(
    file: Path, rows: list[dict[str, Any]], figures: list[dict[str, Any]]
) -> Callable[[], None]:
    def people() -> None:
        lines = []
        for row in rows:
            head = (row["id"], row["scenario"], row["nodes"], row["seed"])
            lines.append((*head, "passed" if row["passed"] else "failed", f"{row['wall_s']:.1f} s"))
            for found in results.findings(file, row["id"]):
                lines.append((*head, found.checker, found.text))
            for each in figures:
                if each["run"] == row["id"]:
                    lines.append((*head, each["name"], figure(each["value"], each["unit"])))
        table(str(file), ("run", "scenario", "nodes", "seed", "what", "figure"), lines)

    return people


@click.command()
@click.argument("file", type=_FILE)
@click.option("--out", type=_FILE, help="The picture.  [default: FILE with .png]")
@click.option("--metric", "names", multiple=True, help="Which figures; may be repeated.")
def plot(file: Path, out: Path | None, names: tuple[str, ...]) -> None:
    """Draw how the figures of the runs in FILE grow with the number of nodes."""
    path = out or file.with_suffix(".png")
    must_draw(path)
    plot_growth(path, results.figures(file), names or GROWTH)
    click.echo(str(path))
