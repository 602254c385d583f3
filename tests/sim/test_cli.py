"""`ioe-sim`: what it prints, and its exit codes."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import sim
from ioe_node.errors import LocalError
from sim import checkers, results, running
from sim import cli as sim_cli
from sim.cli import cli
from sim.scenario import RESERVED
from sim.scenarios import SCENARIOS

SHORT = ["run", "neighbourhood", "--nodes", "2", "--hours", "1", "--seed", "3"]

START_MAX_S = 30.0


def test_the_scenarios_are_listed() -> None:
    done = CliRunner().invoke(cli, ["list"])
    assert done.exit_code == 0
    listed = [line.partition(": ")[0] for line in done.output.splitlines()]
    assert listed == list(SCENARIOS)
    assert {"neighbourhood", "hostile", "metering", "kill_third"} <= set(listed)


def test_a_run_that_passes_is_summed_up() -> None:
    done = CliRunner().invoke(cli, SHORT)
    assert done.exit_code == 0, done.output
    assert "energy sold" in done.output
    assert "credits sum to zero" in done.output


def test_a_run_that_fails_says_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkers, "energy_sold_once", lambda homes: ["they do not"])
    done = CliRunner().invoke(cli, SHORT)
    assert done.exit_code == 1
    assert "they do not" in done.output
    assert "--seed 3" in done.output


def test_an_unknown_scenario_is_wrong_usage() -> None:
    assert CliRunner().invoke(cli, ["run", "nowhere"]).exit_code == 2


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> None:
        raise ExceptionGroup("trio's", [IndexError("nobody there")])

    monkeypatch.setattr(running, "run_scenario", crash)


@pytest.mark.usefixtures("crashing")
def test_a_run_that_crashes_says_its_seed_and_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "r.db"
    done = CliRunner().invoke(cli, [*SHORT, "--results", str(file)])
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ioe-sim: seed 3: crashed: IndexError: nobody there; 'ioe-sim run neigh")
    assert "--seed 3" in last
    assert "Traceback" in done.stderr
    (found,) = results.findings(file, 1)
    assert found.text == "crashed: IndexError: nobody there"


@pytest.mark.usefixtures("crashing")
def test_json_is_one_line_before_the_hash() -> None:
    lines = CliRunner().invoke(cli, [*SHORT, "--json", "--trace-hash"]).stdout.splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0])["trace_hash"] == lines[1]
    alone = json.loads(CliRunner().invoke(cli, [*SHORT, "--json"]).stdout)
    assert alone["trace_hash"] == lines[1]


def test_an_unknown_scenario_has_one_like_it_named() -> None:
    for words in (["run", "hostle"], ["sweep", "hostle"], ["replay", "--scenario", "hostle"]):
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 2
        assert "did you mean 'hostile'? 'ioe-sim list' names them" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["hostile", "--minutes", "1"],
        ["hostile", "--minutes", "0.2"],
        ["hostile", "--nodes", "2"],
        ["kill_third", "--nodes", "2"],
        ["unresponsive", "--nodes", "2"],
        ["neighbourhood", "--minutes", "0"],
        ["metering", "--churn", "-1"],
        ["metering", "--churn", "101"],
        ["kill_third", "--percent", "100"],
        ["hostile", "--offenders", "-1"],
        ["hostile", "--offenders", "8"],
        ["hostile", "--nodes", "8", "--offenders", "3"],
        ["hostile", "--rounds", "0"],
        ["join_large_network", "--newcomers", "0"],
    ],
)
def test_what_would_show_nothing_is_refused(words: list[str], crashing: None) -> None:
    done = CliRunner().invoke(cli, ["run", *words])
    assert done.exit_code == 2, done.output
    assert len(done.stderr.partition("Error: ")[2].splitlines()) == 1


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    example = (sim.__doc__ or "").partition("    from contextlib")
    file = tmp_path / "mine.py"
    text = (example[1] + example[2]).partition("\n`nodes` and")[0]
    file.write_text(textwrap.dedent(text))
    words = ["run", "--load", str(file), "many_pay_one", "--nodes", "2", "--minutes", "0.2"]
    try:
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
        assert "payment, p50" in done.output
        chosen = SCENARIOS["many_pay_one"]
        again = running.command_line(chosen, chosen.options())
        assert f"run --load {file} many_pay_one" in again
    finally:
        SCENARIOS.pop("many_pay_one", None)


def test_a_file_that_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import nothing_like_it")
    done = CliRunner().invoke(cli, ["run", "--load", str(file), "mine"])
    assert isinstance(done.exception, LocalError)
    assert "cannot be loaded: ModuleNotFoundError" in str(done.exception)


SCENARIO = """
from sim.scenario import Run, scenario

@scenario(nodes=2, minutes=1)
{defined}
    '''Says what it is.'''
"""


@pytest.mark.parametrize(
    ("defined", "said"),
    [
        *(
            (f"async def mine(run: Run, {name}: int = 1) -> None:", f"has an option {name}")
            for name in ("seed", "nodes", "hours", "results", "dir", "directory", "json")
        ),
        ("async def mine(run: Run, often) -> None:", "its option often must be"),
        ("async def mine(run: Run, often: int) -> None:", "its option often must be"),
        ("async def mine(run: Run, often: float = 2) -> None:", "its option often must be"),
        ("async def mine(run: Run, often: list = []) -> None:", "its option often must be"),
        ("async def mine(run: Run, *often: int) -> None:", "its option often must be"),
        ("async def mine() -> None:", "must be 'async def mine(run: Run, ...)'"),
        ("def mine(run: Run) -> None:", "must be 'async def mine(run: Run, ...)'"),
        ("async def hostile(run: Run) -> None:", "there is a scenario hostile already"),
    ],
)
def test_a_function_that_can_be_no_scenario_is_said_when_it_is_loaded(
    tmp_path: Path, defined: str, said: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(SCENARIO.format(defined=defined))
    done = CliRunner().invoke(cli, ["run", "--load", str(file), "mine"])
    assert isinstance(done.exception, LocalError), done.output
    assert str(done.exception).startswith(f"{file}: ")
    assert said in str(done.exception)
    assert "mine" not in SCENARIOS


def test_an_option_that_every_scenario_has_is_reserved() -> None:
    taken = [*running.swarm_options(SCENARIOS["partition_heal"]), *running.OUTPUTS]
    words = {str(each.name) for each in taken}
    for each in taken:
        words |= {word.lstrip("-").replace("-", "_") for word in each.opts}
    assert words | {"load", "help"} == RESERVED


SLOW = """
import os
from pathlib import Path

import trio

from sim.scenario import Run, scenario

@scenario(nodes=2, minutes=1)
async def slow(run: Run) -> None:
    '''Never ends, in a busy way.'''
    Path(os.environ["BEGUN"]).touch()
    while True:
        await trio.sleep(1)
"""


@pytest.mark.parametrize("command", [["run"], ["sweep", "--seeds", "0:2"]])
def test_what_is_terminated_leaves_nothing(tmp_path: Path, command: list[str]) -> None:
    """Begun as a shell begins a background job, too: with Ctrl-C ignored."""
    file, begun, temporary = tmp_path / "slow.py", tmp_path / "begun", tmp_path / "tmp"
    file.write_text(SLOW)
    temporary.mkdir()
    sim_cli_slow = [sys.executable, "-m", "sim.cli", *command, "--load", str(file), "slow"]
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *sim_cli_slow],
        cwd=Path(sim.__file__).parents[1],
        env={**os.environ, "BEGUN": str(begun), "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_s = time.monotonic() + START_MAX_S
    while not begun.exists() and time.monotonic() < until_s:
        time.sleep(0.05)
    assert list(temporary.iterdir())
    process.terminate()
    said = process.communicate(timeout=START_MAX_S)[1]
    assert process.returncode == sim_cli.TERMINATED == 143
    assert said.splitlines()[-1] == "ioe-sim: interrupted"
    assert list(temporary.iterdir()) == []


def test_an_interrupted_run_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise BaseExceptionGroup("trio's", [KeyboardInterrupt()])

    monkeypatch.setattr(running, "run_scenario", interrupted)
    monkeypatch.setattr(sys, "argv", ["ioe-sim", *SHORT])
    with pytest.raises(SystemExit) as left:
        sim_cli.main()
    assert left.value.code == 130
    assert capsys.readouterr().err == "ioe-sim: interrupted\n"
