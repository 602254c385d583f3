"""Warrants that come are judged off the loop: their evidence may be as large as a bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ioe_node.core.sys_validate import Rules
from ioe_node.hdi import Verdict
from ioe_node.model.hashes import DnaHash, WarrantHash
from ioe_node.model.record import Record
from ioe_node.model.warrant import InvalidRecord, SignedWarrant, Warrant, seal_warrant
from ioe_node.workflows import integration
from ioe_node.workflows.integration import keep
from sim.scenarios.readings import enrol
from sim.swarm import open_swarm
from sim.virtual_clock import run_virtual


def test_a_warrant_is_opened_and_judged_off_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, judged = True, []
    open_warrant, validate = integration.open_warrant, Rules.validate

    async def run(function: Callable[..., Any], *args: Any) -> Any:
        nonlocal outside
        outside = False
        try:
            return function(*args)
        finally:
            outside = True

    def opening(signed: SignedWarrant, network: DnaHash) -> tuple[WarrantHash, Warrant]:
        judged.append("evidence")
        assert not outside
        return open_warrant(signed, network)

    def validating(self: Rules, record: Record, *args: Any) -> Verdict:
        judged.append("record")
        assert not outside
        return validate(self, record, *args)

    async def main() -> None:
        async with open_swarm(tmp_path, 1, 3) as swarm:
            victim, liar, home = swarm.homes
            space = home.cell.space
            made = await enrol(victim, "meter")
            assert await swarm.settle()
            record = victim.store.record(made)
            assert record is not None
            wire = victim.store.alone(record).wire()
            monkeypatch.setattr(space, "run", run)
            monkeypatch.setattr(integration, "open_warrant", opening)
            monkeypatch.setattr(Rules, "validate", validating)
            for now_us in (space.clock.now_us(), space.clock.now_us() + 1):
                claim = InvalidRecord(victim.agent, liar.agent, now_us, wire, "I do not like it")
                assert await keep(space, seal_warrant(claim, space.dna, liar.signer.sign))
            assert judged == ["evidence", "record"] * 2
            assert space.blocked == {liar.agent}
            assert len(space.store.warrants()) == 1  # one is enough, though both are false

    run_virtual(main, seed=1)
