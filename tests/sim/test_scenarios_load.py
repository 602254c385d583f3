"""The load scenarios on virtual time: each that is quick, small, and what must hold in it."""

from pathlib import Path

import pytest

from sim.scenarios_load import LOAD_SCENARIOS, LoadOptions, LoadResult, run_load

SMALL = LoadOptions(seconds=4, rate=1.0, writers=3, observers=2)


def test_steady_writes_reach_every_observer(tmp_path: Path) -> None:
    result = run_load("dht_sync_lag", tmp_path, 5, options=SMALL)
    assert result.figures["deliveries lost"] == (0, "")
    assert result.figures["writes"][0] >= 9
    assert 0 < result.figures["lag, p95"][0] < 1.5


def test_receipts_of_every_authority_come_back(tmp_path: Path) -> None:
    result = run_load("validation_receipts", tmp_path, 4)
    assert result.figures["without all receipts"] == (0, "writes")
    assert result.figures["receipts, p95"][0] < 1.0


def test_two_halves_that_were_cut_come_together(tmp_path: Path) -> None:
    result = run_load("partition_heal", tmp_path, 4, options=SMALL)
    assert result.figures["delivered"] == (100.0, "%")


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    runs: list[LoadResult] = []
    for number in range(2):
        directory = tmp_path / str(number)
        directory.mkdir()
        runs.append(run_load("dht_sync_lag", directory, 4, seed=3, options=SMALL))
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "name", ["zome_call_single_value", "local_signals", "remote_call_rate", "write_validated"]
)
def test_the_calls_run(tmp_path: Path, name: str) -> None:
    assert run_load(name, tmp_path, 3).figures


def test_they_bear_the_names_of_the_load_scenarios_of_the_field() -> None:
    named = {"write_read", "dht_sync_lag", "validation_receipts", "get_agent_activity"}
    assert named <= set(LOAD_SCENARIOS)
