"""The swarm finds bugs: three are planted, one at a time, and a checker complains of each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.store.store import Store
from ioe_node.workflows import fetches, gossip, incoming_ops, integration, publish, validation
from sim import byzantine
from sim.result import Result
from sim.scenario import Setting
from sim.scenarios import SCENARIOS, run_scenario
from sim.swarm import Swarm
from sim.watch import CHECK_EVERY_S, GRACE_S, Watch

NEWCOMER_AFTER_S = 30.0
SEED = 3
"""By it each bug comes to light by itself, before what follows from it."""

ONE_OFFENDER: dict[str, Setting] = {"offenders": 1}

Plant = Callable[[pytest.MonkeyPatch], None]


def no_fork_check(patch: pytest.MonkeyPatch) -> None:
    """Two actions at one place of a chain: the second is let go without a word."""

    def none_of(space: Any, found: Any, row: int, *rest: Any) -> tuple[()]:
        found.done_rows.append(row)
        return ()

    patch.setattr(validation, "_judge_known", none_of)
    judge_alone = validation._judge_alone

    def alone(space: Any, found: Any, row: int, sender: Any, record: Any) -> Any:
        known = found.overlay.record_at(record.action.author, record.action.action_seq)
        if known is not None and known.hash != record.hash:
            return none_of(space, found, row)
        return judge_alone(space, found, row, sender, record)

    patch.setattr(validation, "_judge_alone", alone)

    async def fetch_record(space: Any, hash_: Any, with_chain: bool) -> None:
        record = await integration.cascade.retrieve_record(space, hash_)
        if record is not None:
            known = space.store.record_at(record.action.author, record.action.action_seq)
            if known is None or known.hash == hash_:
                await fetch_any(space, hash_, with_chain)

    fetch_any = integration._fetch_record
    patch.setattr(integration, "_fetch_record", fetch_record)


def receipt_before_writing(patch: pytest.MonkeyPatch) -> None:
    """A receipt says that what came is valid before anything of it was judged or written."""
    patch.setattr(incoming_ops, "visible", lambda space, parcel: True)


def commit_before_writing(patch: pytest.MonkeyPatch) -> None:
    """A commit returns at once; every tenth is forgotten before it is written."""
    commit, number = Store.commit, 0

    def forgetful(self: Store, *rest: Any) -> None:
        nonlocal number
        number += 1
        if number % 10:
            commit(self, *rest)

    patch.setattr(Store, "commit", forgetful)


def no_handover(patch: pytest.MonkeyPatch) -> None:
    """Whoever comes into an authority set late is given nothing, and fetches nothing."""

    async def nothing(*_: Any) -> None:
        pass

    patch.setattr(gossip.Gossip, "_heal_chains", nothing)
    patch.setattr(fetches.Fetches, "offer", lambda *_: None)
    push = publish._push
    begun_s: dict[Any, float] = {}

    async def push_to_the_old(space: Any, peer: Any) -> bool:
        now_s = trio.current_time()
        late = now_s - begun_s.setdefault(space.agent, now_s) > NEWCOMER_AFTER_S
        if late and space.store.next_for(peer) == 0:
            return False
        return await push(space, peer)

    patch.setattr(publish, "_push", push_to_the_old)


PLANTS: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (no_fork_check, receipt_before_writing, commit_before_writing, no_handover)
}


def run(
    name: str, directory: Path, nodes: int, minutes: float, settings: dict[str, Setting]
) -> Result:
    options = SCENARIOS[name].options(
        nodes=nodes, seed=SEED, virtual_s=minutes * 60, settings=settings
    )
    return run_scenario(name, directory, options)


@pytest.mark.parametrize(
    ("plant", "scenario", "nodes", "minutes", "settings", "checker"),
    [
        (receipt_before_writing, "hostile", 6, 2, ONE_OFFENDER, "what is acknowledged is on disk"),
        (commit_before_writing, "hostile", 6, 2, ONE_OFFENDER, "what is acknowledged is on disk"),
        (no_handover, "kill_third", 12, 0.5, {}, "redundancy comes back"),
    ],
)
def test_a_planted_bug_is_found(
    plant: Plant,
    scenario: str,
    nodes: int,
    minutes: float,
    settings: dict[str, Setting],
    checker: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    result = run(scenario, tmp_path, nodes, minutes, settings)
    assert checker in {finding.checker for finding in result.findings}


def test_forks_that_nobody_looks_for_are_found(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_fork_check(monkeypatch)

    async def story(swarm: Swarm) -> None:
        assert await swarm.settle()
        offender = swarm.homes[-1]
        swarm.offenders.append(offender)
        found = Watch(swarm, CHECK_EVERY_S)
        await byzantine.fork(swarm, offender, swarm.rng("test"))
        for _ in range(round((GRACE_S + 20) / CHECK_EVERY_S)):
            await trio.sleep(CHECK_EVERY_S)
            found.look_once()
        assert {each.checker for each in found.findings} == {"no fork goes unnoticed"}

    play(story, homes=5)
