"""Finality on whole cells: reached, kept over restarts, handed over, and never for two branches."""

import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.errors import CallError, IoeError, TransportError
from ioe_node.hdk import DnaDef
from ioe_node.model.finality import WITNESSES
from ioe_node.model.signing import Signer
from ioe_node.store.store import Store
from ioe_node.store.witness import WitnessRows
from ioe_node.workflows.call_zome import CallHost
from ioe_node.workflows.finality import (
    FINAL,
    IMPOSSIBLE,
    IN_PROGRESS,
    NeverFinal,
    certificate_of,
    finalise,
    status,
)
from ioe_node.workflows.relief import staff
from sim.checkers import faults
from sim.double_spend import run_trial, run_trials
from sim.swarm import Home, Swarm

STAFFED_S = 100
HOMES = 11


async def enrolled(home: Home, name: str = "a thing") -> Any:
    """An action of `home`'s, and its hash."""
    thing = Signer(blake2b(name.encode(), digest_size=32).digest()).agent
    entry = {"device": thing, "kind": "monitor", "name": name}
    await home.call("identity", "enrol", entry)
    head = home.store.head(home.agent)
    assert head is not None
    return head.hash


def witnesses_of(home: Home) -> tuple[bytes, ...]:
    """Who witnesses for `home` now."""
    found = home.cell.space.witness_rows.newest(home.agent)
    assert found is not None, f"home {home.number} has no finality"
    steps = found.lineage.steps
    return tuple(steps[-1].heirs) if steps else (home.agent,)


def test_everyone_gets_witnesses_and_a_payee_finality(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        assert {len(witnesses_of(home)) for home in swarm.homes} == {WITNESSES}
        payer, payee = swarm.homes[3], swarm.homes[5]
        hash_ = await enrolled(payer)
        assert await swarm.settle()
        began_s = trio.current_time()
        certificate = await finalise(payee.cell.space, hash_)
        assert trio.current_time() - began_s < 1
        assert len(certificate.marks) >= 6
        assert (await status(payee.cell.space, hash_)).state == FINAL
        own = payee.store.record_at(payer.agent, 0)
        assert own is not None
        assert certificate_of(payee.cell.space, own.hash) is not None, "it rests on what is final"
        assert faults(swarm, []) == []

    play(story, homes=HOMES)


def test_one_alone_is_its_own_witness(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        founder = swarm.homes[0]
        hash_ = await enrolled(founder)
        await finalise(founder.cell.space, hash_)
        assert (await status(founder.cell.space, hash_)).state == FINAL

    play(story, homes=1)


def test_a_witness_that_was_killed_remembers(play: Callable[..., Any], tmp_path: Path) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        payer = swarm.homes[3]
        hash_ = await enrolled(payer)
        await finalise(payer.cell.space, hash_)
        by_agent = {home.agent: home for home in swarm.homes}
        chosen = by_agent[witnesses_of(payer)[0]]
        before = chosen.cell.space.witness_rows.duty(payer.agent)
        await swarm.kill(chosen)
        copy = tmp_path / "copy.db"
        shutil.copy(chosen.path, copy)
        store = Store(copy)
        assert WitnessRows(store).duty(payer.agent) == before
        store.close()
        await swarm.start(chosen)
        assert chosen.cell.space.witness_rows.duty(payer.agent) == before
        assert chosen.cell.space.standings.keys() == payer.cell.space.standings.keys()

    play(story, homes=HOMES)


def test_witnesses_that_are_gone_are_replaced(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        payer = swarm.homes[3]
        by_agent = {home.agent: home for home in swarm.homes}
        gone = [by_agent[agent] for agent in witnesses_of(payer)[:2]]
        for home in gone:
            await swarm.kill(home)
        hash_ = await enrolled(payer)
        await finalise(payer.cell.space, hash_)
        assert await staff(payer.cell.space)
        assert not {home.agent for home in gone} & set(witnesses_of(payer))
        third = by_agent[witnesses_of(payer)[0]]
        await swarm.kill(third)
        await finalise(payer.cell.space, await enrolled(payer, "another"))
        for home in gone:
            await swarm.start(home)
        late = await enrolled(payer, "a third")
        assert await swarm.settle()
        await finalise(gone[0].cell.space, late)

    play(story, homes=14)


def test_without_a_quorum_nothing_is_final_until_it_is_back(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        payer = swarm.homes[3]
        by_agent = {home.agent: home for home in swarm.homes}
        gone = [by_agent[agent] for agent in witnesses_of(payer)[:3]]
        for home in gone:
            await swarm.kill(home)
        hash_ = await enrolled(payer)
        with pytest.raises(TransportError, match="not final within"):
            await finalise(payer.cell.space, hash_, 20)
        assert (await status(payer.cell.space, hash_)).state == IN_PROGRESS
        await swarm.start(gone[0])
        await finalise(payer.cell.space, hash_, 20)

    play(story, homes=14)


def test_a_payee_learns_of_a_fork_by_asking(play: Callable[..., Any]) -> None:
    """Each half of the network holds one branch; one is final, and the other never."""

    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        forker = swarm.homes[-1]
        honest = swarm.homes[:-1]
        copy = forker.path.with_name("copy.db")
        await swarm.kill(forker)
        shutil.copy(forker.path, copy)
        payees, hashes = (honest[0], honest[1]), []
        for branch, path in enumerate((forker.path, copy)):
            forker.path = path
            for home in honest[1 - branch :: 2]:
                swarm.network.cut(forker.agent, home.agent)
            for one in honest[::2]:
                for other in honest[1::2]:
                    swarm.network.cut(one.agent, other.agent)
            await swarm.start(forker)
            hashes.append(await enrolled(forker, f"branch {branch}"))
            await trio.sleep(20)
            await swarm.kill(forker)
            swarm.network.heal()
        outcomes = []

        async def ask(payee: Home, hash_: Any) -> None:
            try:
                await finalise(payee.cell.space, hash_, 60)
                outcomes.append(FINAL)
            except IoeError as error:
                outcomes.append(type(error).__name__)

        async with trio.open_nursery() as nursery:
            for payee, hash_ in zip(payees, hashes, strict=True):
                nursery.start_soon(ask, payee, hash_)
        assert outcomes.count(FINAL) <= 1
        await trio.sleep(120)
        assert faults(swarm, [forker]) == []
        for payee, hash_ in zip(payees, hashes, strict=True):
            if certificate_of(payee.cell.space, hash_) is None:
                assert (await status(payee.cell.space, hash_)).state == IMPOSSIBLE
                with pytest.raises(NeverFinal):
                    await finalise(payee.cell.space, hash_)

    play(story, homes=12)


def test_a_zome_can_wait_for_finality_but_not_while_it_writes(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await trio.sleep(STAFFED_S)
        home = swarm.homes[2]
        hash_ = await enrolled(home)
        host = CallHost(home.cell.space, home.cell._settlements)
        assert not await host.is_final(hash_)
        assert await host.final(hash_, 5)
        assert await host.is_final(hash_)
        await host.create_link(home.agent, home.agent, "identity.none")
        with pytest.raises(CallError, match="before this call writes"):
            await host.final(hash_)
        host.let_go()

    play(story, homes=3)


def test_who_is_in_by_anothers_word_witnesses_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner admits devices by itself, so it can grind their places; were they to witness..."""
    template = tmp_path / "template.db"
    Store(template).close()
    seeds = (2, 4)
    assert all(run_trial(seed, True, template).finals <= 1 for seed in seeds)
    monkeypatch.setattr(DnaDef, "sponsor", lambda self, agent, proof: agent)
    assert any(run_trial(seed, True, template).finals == 2 for seed in seeds)


@pytest.mark.parametrize("attack", [True, False])
def test_a_double_spend_is_never_final_twice(tmp_path: Path, attack: bool) -> None:
    outcomes = run_trials(range(6), attack, tmp_path)
    assert [each.fault for each in outcomes] == [None] * 6
    assert any(each.finals for each in outcomes)
