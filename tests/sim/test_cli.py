"""`ioe-sim`: what it prints, and its exit codes."""

import sys
from typing import Any

import pytest
from click.testing import CliRunner

from sim import checkers, running
from sim import cli as sim_cli
from sim.cli import cli
from sim.scenarios import SCENARIOS

SHORT = ["run", "neighbourhood", "--nodes", "2", "--hours", "1", "--seed", "3"]


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
