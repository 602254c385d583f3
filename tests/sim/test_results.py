"""Results go to disk and come back; sweeps run in processes; plots are pictures."""

import csv
import importlib.util
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ioe_node.errors import LocalError
from sim import afterwards, results, running, sweep
from sim.cli import cli
from sim.conditions import Conditions
from sim.plots import GROWTH, plot_growth
from sim.result import Metric
from sim.scenario import SCENARIOS, Options

SHORT = ["run", "partition_heal", "--nodes", "3", "--minutes", "1", "--seed", "5"]


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one run, and its CSV beside it."""
    folder = tmp_path_factory.mktemp("results")
    done = invoke(
        *SHORT, "--results", str(folder / "r.db"), "--csv", str(folder / "r.csv"), "--trace-hash"
    )
    assert done.exit_code == 0, done.output
    (folder / "hash").write_text(done.output.split()[-1])
    return folder / "r.db"


def test_options_come_back_as_they_were() -> None:
    options = Options(7, 3, 60.0, Conditions(loss_per_million=5), {"churn": 2.5})
    assert results.unpacked(results.packed(options)) == options


def test_a_run_is_kept_with_its_checkers_and_figures(kept: Path) -> None:
    (run,) = results.runs(kept)
    assert (run["scenario"], run["nodes"], run["seed"], run["passed"]) == (
        "partition_heal",
        3,
        5,
        1,
    )
    assert run["trace_hash"] == kept.with_name("hash").read_text()
    assert results.findings(kept, 1) == []
    by_name = {row["name"]: row["value"] for row in results.figures(kept)}
    assert by_name["nodes running in the end"] == 3
    series = results.figures(kept, series=True)
    assert {row["name"] for row in series} == {"messages", "bundles committed", "nodes running"}
    with kept.with_name("r.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert names == [row["name"] for row in results.figures(kept)]


def test_results_are_shown_and_written(kept: Path, tmp_path: Path) -> None:
    shown = invoke("results", str(kept), "--csv", str(tmp_path / "all.csv"))
    assert shown.exit_code == 0
    assert "healed after" in shown.output
    assert (tmp_path / "all.csv").read_text().startswith("run,scenario,nodes")
    assert '"runs"' in invoke("results", str(kept), "--json").output


def test_parquet_comes_back(kept: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    done = invoke("results", str(kept), "--parquet", str(tmp_path / "all.parquet"))
    assert done.exit_code == 0
    assert parquet.read_table(tmp_path / "all.parquet").to_pylist() == results.figures(kept)


def test_a_replay_is_the_same_and_prints_its_events(kept: Path) -> None:
    done = invoke("replay", str(kept), "--from", "0", "--until", "0.2")
    assert done.exit_code == 0, done.output
    assert "is the same" in done.output.splitlines()[-1]
    assert any(" message " in line for line in done.output.splitlines())
    own = invoke("replay", "--scenario", "partition_heal", "--nodes", "3", "--minutes", "1")
    assert own.exit_code == 0
    assert invoke("replay").exit_code == 2


def test_a_run_is_drawn(kept: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from sim.plots import plot_run

    taken = [
        Metric(row["name"], row["value"], row["unit"], row["at_s"])
        for row in results.figures(kept, series=True)
    ]
    plot_run(tmp_path / "run.png", "a run", taken)
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_figures_that_are_not_there_names_those_that_are(tmp_path: Path) -> None:
    shown = [{"name": name} for name in ("reads", "reads, p50", "reads")]
    with pytest.raises(LocalError) as refused:
        plot_growth(tmp_path / "none.png", shown, GROWTH)
    assert str(refused.value).splitlines()[1:] == ["  reads", "  reads, p50"]
    with pytest.raises(LocalError, match="no run has any figure"):
        plot_growth(tmp_path / "none.png", [], ("reads",))


def test_a_sweep_of_two_jobs_keeps_every_run_and_its_growth_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    words = ["sweep", "metering", "--nodes", "2,3", "--seeds", "0:2", "--minutes", "11"]
    done = invoke(*words, "--jobs", "2", "--results", str(file))
    assert done.exit_code == 0, done.output
    assert "4 of 4 runs done, 0 failed" in done.output
    kept = sorted((run["nodes"], run["seed"]) for run in results.runs(file))
    assert kept == [(2, 0), (2, 1), (3, 0), (3, 1)]
    pytest.importorskip("matplotlib")
    drawn = invoke("plot", str(file), "--out", str(tmp_path / "s.png"))
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_sweep_says_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def interrupted(name: str, todo: Any, jobs: int) -> Any:
        try:
            yield todo[0], sweep.run_job(name, results.packed(todo[0]), str(tmp_path))
            raise KeyboardInterrupt
        finally:
            ended.append(jobs)

    monkeypatch.setattr(afterwards, "sweep_here", interrupted)
    file = tmp_path / "s.db"
    done = invoke("sweep", "metering", "--nodes", "2", "--minutes", "6", "--results", str(file))
    assert "1 of 10 runs were done; they are in" in done.output
    assert ended == [2]
    assert len(results.runs(file)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["s.db"]


def test_a_sweep_interrupted_at_once_names_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(afterwards, "sweep_here", interrupted)
    file = tmp_path / "s.db"
    done = invoke("sweep", "metering", "--nodes", "2", "--results", str(file))
    assert done.stderr.splitlines()[0] == "0 of 10 runs were done"
    assert not file.exists()


def test_a_run_that_crashes_does_not_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        raise IndexError("nobody there")

    def here(name: str, text: str, place: str) -> Any:
        return sweep.run_job(name, text, place)

    monkeypatch.setattr(running, "run_scenario", crash)
    monkeypatch.setattr(sweep, "_in_a_process", here)
    file = tmp_path / "s.db"
    words = ["sweep", "metering", "--nodes", "2", "--seeds", "4:6", "--results", str(file)]
    done = invoke(*words)
    assert done.exit_code == 1
    assert "2 of 2 runs done, 2 failed" in done.output
    for seed in (4, 5):
        said = f"seed {seed}, 2 nodes, crashed: IndexError: nobody there; repeat: ioe-sim run"
        assert said in done.output
    assert [run["passed"] for run in results.runs(file)] == [0, 0]


def test_a_process_that_dies_is_a_failed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> None:
        raise BrokenProcessPool("it died")

    monkeypatch.setattr(sweep, "_in_a_process", die)
    done = invoke("sweep", "metering", "--nodes", "2", "--seeds", "4")
    assert done.exit_code == 1
    assert "seed 4, 2 nodes, crashed: BrokenProcessPool: it died" in done.output


@pytest.mark.parametrize(
    "words",
    [
        ["run", "metering", "--results", "{text}"],
        ["sweep", "metering", "--results", "{text}"],
        ["results", "{text}"],
        ["replay", "{text}"],
        ["run", "metering", "--results", "{folder}/none/r.db"],
        ["run", "metering", "--plot", "{folder}/a.txt"],
        ["run", "metering", "--csv", "{folder}/none/a.csv"],
        ["run", "metering", "--parquet", "{folder}/none/a.parquet"],
        ["plot", "{text}", "--out", "{folder}/a.txt"],
    ],
)
def test_what_could_not_be_kept_is_said_before_the_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(running, "run_scenario", lambda *given: begun.append(given))
    monkeypatch.setattr(afterwards, "sweep_here", lambda *given: begun.append(given))
    text = tmp_path / "text"
    text.write_text("no database, and long enough to be seen as none" * 10)
    done = invoke(*(word.format(text=text, folder=tmp_path) for word in words))
    assert isinstance(done.exception, LocalError)
    assert "\n" not in str(done.exception)
    assert not begun


def test_parquet_without_pyarrow_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LocalError, match="pyarrow"):
        results.must_write(tmp_path / "a.parquet", parquet=True)


def test_a_scheduler_without_dask_is_said_in_one_line() -> None:
    done = invoke("sweep", "metering", "--nodes", "2", "--scheduler", "tcp://127.0.0.1:1")
    assert done.exit_code != 0
    assert "Dask" in str(done.exception) or "no scheduler answers" in str(done.exception)


@pytest.mark.parametrize(
    "words",
    [
        ["sweep", "metering", "--nodes", "ten"],
        ["sweep", "metering", "--set", "colour=red"],
        ["sweep", "metering", "--set", "churn=much"],
        ["sweep", "metering", "--seeds", "5:1"],
        ["sweep", "metering", "--nodes", "1"],
        ["sweep", "metering", "--nodes", "2,10001"],
        ["sweep", "metering", "--minutes", "0"],
        ["sweep", "metering", "--set", "churn=101"],
        ["sweep", "hostile", "--minutes", "1"],
        ["sweep", "hostile", "--nodes", "8", "--set", "offenders=3"],
        ["replay", "--scenario", "metering", "--nodes", "1"],
        ["replay", "--scenario", "hostile", "--minutes", "1"],
        ["run", "metering", "--nodes", "1"],
        ["run", "metering", "--nodes", "10001"],
    ],
)
def test_wrong_usage_is_said(words: list[str]) -> None:
    assert invoke(*words).exit_code == 2


def test_each_scenario_has_its_own_options_in_its_help() -> None:
    for name, chosen in SCENARIOS.items():
        shown = invoke("run", name, "--help").output
        for setting in chosen.settings:
            assert f"--{setting.replace('_', '-')}" in shown
