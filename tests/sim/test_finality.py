"""Finality on whole cells: reached, kept over restarts, handed over, and never for two branches."""

import shutil
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from ioe_node.core import witness as witness_rules
from ioe_node.core.lineage import CLOCK_SKEW_US_MAX
from ioe_node.errors import CallError, IoeError, TransportError
from ioe_node.hdi import AgentPubKey
from ioe_node.hdk import DnaDef
from ioe_node.model.finality import WITNESSES
from ioe_node.model.signing import Signer
from ioe_node.store.store import Store
from ioe_node.store.witness import WitnessRows
from ioe_node.workflows.call_zome import CallHost
from ioe_node.workflows.finality import (
    ATTEND_MAX_S,
    FINAL,
    IMPOSSIBLE,
    IN_PROGRESS,
    STAFFING_S,
    NeverFinal,
    certificate_of,
    finalise,
    status,
)
from ioe_node.workflows.relief import staff
from sim.checkers import faults
from sim.double_spend import main as double_spend
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


async def staffed(swarm: Swarm) -> Home:
    """A payer, once everybody has all the witnesses it needs."""
    await trio.sleep(STAFFED_S)
    return swarm.homes[3]


def witnessing(swarm: Swarm, payer: Home) -> list[Home]:
    """The homes that witness for a payer now."""
    by_agent = {home.agent: home for home in swarm.homes}
    return [by_agent[AgentPubKey(agent)] for agent in witnesses_of(payer)]


async def lose(swarm: Swarm, homes: Sequence[Home]) -> None:
    """Take these homes' files from them; all hold their chains by then, and they restore them."""
    assert await swarm.settle()
    for home in homes:
        await swarm.kill(home)
        for path in home.path.parent.glob(home.path.name + "*"):
            path.unlink()
        await swarm.start(home)


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
        payer = await staffed(swarm)
        hash_ = await enrolled(payer)
        await finalise(payer.cell.space, hash_)
        chosen = witnessing(swarm, payer)[0]
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
        payer = await staffed(swarm)
        gone = witnessing(swarm, payer)[:2]
        for home in gone:
            await swarm.kill(home)
        hash_ = await enrolled(payer)
        await finalise(payer.cell.space, hash_)
        assert await staff(payer.cell.space)
        assert not {home.agent for home in gone} & set(witnesses_of(payer))
        third = witnessing(swarm, payer)[0]
        await swarm.kill(third)
        await finalise(payer.cell.space, await enrolled(payer, "another"))
        for home in gone:
            await swarm.start(home)
        late = await enrolled(payer, "a third")
        assert await swarm.settle()
        await finalise(gone[0].cell.space, late)

    play(story, homes=14)


@pytest.mark.parametrize("homes", [WITNESSES + 1, HOMES])
def test_witnesses_that_forgot_serve_again_after_a_handover(
    play: Callable[..., Any], homes: int
) -> None:
    """Where there are no others, the same witnesses follow themselves."""

    async def story(swarm: Swarm) -> None:
        payer = await staffed(swarm)
        await finalise(payer.cell.space, await enrolled(payer))
        before = witnesses_of(payer)
        lost = [home for home in witnessing(swarm, payer) if home.number][:2]
        await lose(swarm, lost)
        assert all(home.cell.space.witness_rows.duty(payer.agent) is None for home in lost)
        certificate = await finalise(payer.cell.space, await enrolled(payer, "another"))
        signers = {before[mark.signer] for mark in certificate.marks}
        assert not signers & {home.agent for home in lost}
        await trio.sleep(2 * CLOCK_SKEW_US_MAX / 1e6 + STAFFING_S + 2 * ATTEND_MAX_S)
        after = witnesses_of(payer)
        await finalise(payer.cell.space, await enrolled(payer, "a third"))
        if homes == HOMES:
            assert not set(after) & {home.agent for home in lost}
        else:
            assert after == before
            await swarm.kill(witnessing(swarm, payer)[0])
            await swarm.kill(witnessing(swarm, payer)[-1])
            await finalise(payer.cell.space, await enrolled(payer, "a fourth"))
        newest = payer.cell.space.witness_rows.newest(payer.agent)
        assert newest is not None
        steps = len(newest.lineage.steps)
        await trio.sleep(3 * STAFFING_S)
        newest = payer.cell.space.witness_rows.newest(payer.agent)
        assert newest is not None
        assert len(newest.lineage.steps) <= steps + 1, "and then all is as it was"

    play(story, homes=homes)


def test_one_lost_disk_and_a_minority_that_colludes_do_not_make_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template.db"
    Store(template).close()
    assert run_trial(35, True, template).finals <= 1
    monkeypatch.setattr(witness_rules, "begun_after", lambda view_us, lost_us: True)
    assert run_trial(35, True, template).finals == 2


def test_without_a_quorum_nothing_is_final_until_it_is_back(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        payer = await staffed(swarm)
        gone = witnessing(swarm, payer)[:3]
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


@pytest.mark.parametrize("words", [("--trials", "0"), ("--processes", "0")])
def test_no_trials_are_refused(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(double_spend, words).exit_code == 2


@pytest.mark.parametrize("attack", [True, False])
def test_a_double_spend_is_never_final_twice(tmp_path: Path, attack: bool) -> None:
    outcomes = run_trials(range(6), attack, tmp_path)
    assert [each.fault for each in outcomes] == [None] * 6
    assert any(each.finals for each in outcomes)
