"""The load scenarios on virtual time: each, small, and what must hold in it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sim.result import Result
from sim.scenario import Setting
from sim.scenarios import SCENARIOS, run_scenario

STEADY = {"rate": 1.0, "writers": 3, "observers": 2}
FEW = {"samples": 10}


def run(
    name: str,
    directory: Path,
    nodes: int,
    settings: Mapping[str, Setting],
    virtual_s: float = 4,
    seed: int = 0,
) -> Result:
    options = SCENARIOS[name].options(
        nodes=nodes, seed=seed, virtual_s=virtual_s, settings=dict(settings)
    )
    result = run_scenario(name, directory, options)
    assert result.findings == []
    return result


def test_steady_writes_reach_every_observer(tmp_path: Path) -> None:
    result = run("dht_sync_lag", tmp_path, 5, STEADY)
    assert result.figure("deliveries lost") == 0
    assert result.figure("writes") >= 9
    assert 0 < result.figure("lag, p95") < 1.5


def test_receipts_of_every_authority_come_back(tmp_path: Path) -> None:
    assert run("validation_receipts", tmp_path, 4, FEW).figure("receipts, p95") < 1.0


def test_chains_are_read_while_nodes_come_and_go(tmp_path: Path) -> None:
    result = run("get_agent_activity", tmp_path, 6, {"volatile": True, "samples": 30})
    assert result.figure("reads that fell short") == 0


def test_pairs_settle_back_and_forth(tmp_path: Path) -> None:
    result = run("two_party_settlement", tmp_path, 4, {})
    assert result.figure("settlement, count") > 10
    assert result.figure("chains in doubt at the end") == 0


def test_the_same_seed_gives_the_same_trace(tmp_path: Path) -> None:
    hashes = []
    for number in range(2):
        directory = tmp_path / str(number)
        directory.mkdir()
        hashes.append(run("dht_sync_lag", directory, 4, STEADY, seed=3).trace_hash)
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    "name",
    ["zome_call_single_value", "remote_call_rate", "write_read", "write_validated"],
)
def test_the_calls_run(tmp_path: Path, name: str) -> None:
    assert run(name, tmp_path, 3, FEW).metrics


def test_every_signal_arrives(tmp_path: Path) -> None:
    assert run("local_signals", tmp_path, 2, {"signals": 50}).figure("received") == 50


def test_they_bear_the_names_of_the_load_scenarios_of_the_field() -> None:
    named = {"write_read", "dht_sync_lag", "validation_receipts", "get_agent_activity"}
    assert named <= set(SCENARIOS)
