"""The network bench refuses what a scenario could only crash on, or pass without showing."""

from typing import Any

import pytest
from click.testing import CliRunner

from bench import network


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been played."""
    played: list[Any] = []

    def play(_: Any, directory: Any, *rest: Any) -> list[Any]:
        played.append(rest)
        return []

    monkeypatch.setattr(network.trio, "run", play)
    return played


@pytest.mark.parametrize(
    "words",
    [
        ["--scenario", "get_agent_activity_volatile", "--nodes", "4"],
        ["--scenario", "unresponsive", "--nodes", "5"],
        ["--scenario", "dht_sync_lag", "--writers", "0"],
        ["--scenario", "dht_sync_lag", "--observers", "0"],
        ["--scenario", "dht_sync_lag", "--nodes", "29"],
        ["--scenario", "dht_sync_lag", "--writers", "26"],
        ["--scenario", "dht_sync_lag", "--observers", "6"],
        ["--scenario", "nowhere"],
        ["--nodes", "1"],
        ["--nodes", "10"],
        ["--seconds", "-5"],
        ["--seconds", "0"],
        ["--rate", "0"],
    ],
)
def test_what_would_show_nothing_is_refused(words: list[str], begun: list[Any]) -> None:
    done = CliRunner().invoke(network.main, words)
    assert done.exit_code == 2, done.output
    assert not begun


@pytest.mark.parametrize(
    "words",
    [
        ["--scenario", "get_agent_activity_volatile", "--nodes", "5"],
        ["--scenario", "unresponsive", "--nodes", "6"],
        ["--scenario", "dht_sync_lag", "--nodes", "2", "--writers", "1", "--observers", "1"],
        ["--scenario", "write_read", "--nodes", "2"],
        [],
    ],
)
def test_the_least_that_shows_something_is_played(words: list[str], begun: list[Any]) -> None:
    done = CliRunner().invoke(network.main, words)
    assert done.exit_code == 0, done.output
    assert len(begun) == 1


def test_the_help_names_every_scenario_and_the_short_set() -> None:
    lines = CliRunner().invoke(network.main, ["--help"]).output.splitlines()
    for name, chosen in network.SCENARIOS.items():
        assert chosen.summary
        (line,) = (each for each in lines if name in each.split()[:2])
        assert line.split()[:1] == (["*"] if chosen.short else [name])
        assert chosen.summary in line
