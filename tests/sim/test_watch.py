"""Each checker finds the fault that is planted for it, and nothing in a sound swarm."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import trio

from ioe_node.hdi import ActionHash
from ioe_node.net.messages import Knock
from ioe_node.workflows import answer as answering
from ioe_node.workflows import integration
from sim import byzantine, checkers, watch
from sim.disk import SimulatedStore
from sim.home import Home
from sim.limits import LIMITS, Limit
from sim.scenarios.readings import enrol
from sim.survey import Settlement
from sim.swarm import Swarm
from sim.watch import GRACE_S, Watch


async def looked(swarm: Swarm, over_s: float = 10.0) -> Watch:
    """A watch that has looked for a while; whoever offends does so meanwhile."""
    found = Watch(swarm)
    for _ in range(int(over_s // 5)):
        await trio.sleep(5)
        found.look_once()
    return found


def names(found: Watch) -> set[str]:
    return {finding.checker for finding in found.findings}


async def write_some(swarm: Swarm) -> None:
    await swarm.settle()
    for home in swarm.homes:
        await enrol(home, "a thing")
    assert await swarm.settle()


def test_a_sound_swarm_is_found_sound(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        await swarm.homes[1].call(
            "currency", "pay", {"payee": swarm.homes[2].agent, "amount_micro": 5}
        )
        await swarm.crash(swarm.homes[3])
        await swarm.start(swarm.homes[3])
        found = await looked(swarm)
        assert await swarm.settle()
        await found.close()
        assert found.findings == []
        assert len(found.survey.settlements) == 1
        assert len(found.survey.places) > 4 * 4

    play(story)


def test_a_chain_that_was_changed_on_disk_is_found(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        home = swarm.homes[2]
        head = home.store.head(home.agent)
        assert head is not None
        with home.disk._transaction("spoil a record") as db:
            row = home.disk._agents[home.agent] << 32 | head.seq
            proof = bytes(db.execute("SELECT proof FROM record WHERE id=?", (row,)).fetchone()[0])
            spoilt = proof[:10] + bytes([proof[10] ^ 1]) + proof[11:]
            db.execute("UPDATE record SET proof=? WHERE id=?", (spoilt, row))
        found = await looked(swarm)
        assert names(found) == {"every chain verifies"}

    play(story)


def test_a_fork_that_nobody_checks_for_is_found(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: no node keeps a warrant."""

    async def told(*_: Any) -> bool:
        return True

    monkeypatch.setattr(integration, "keep", told)
    monkeypatch.setattr(answering, "keep", told)

    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        offender = swarm.homes[-1]
        swarm.offenders.append(offender)
        await byzantine.fork(swarm, offender, swarm.rng("test"))
        found = await looked(swarm, GRACE_S + 20)
        assert names(found) == {"no fork goes unnoticed"}

    play(story, homes=5)


def test_a_fork_that_is_noticed_is_no_finding(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        offender = swarm.homes[-1]
        swarm.offenders.append(offender)
        found = Watch(swarm)
        await byzantine.fork(swarm, offender, swarm.rng("test"))
        await enrol(offender, "a third branch, which all are told of")
        for _ in range(30):
            await trio.sleep(5)
            found.look_once()
        assert found.survey.forks
        assert found.findings == []

    play(story, homes=5)


def test_an_honest_author_that_forks_is_found(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        found = Watch(swarm)
        found.look_once()
        await byzantine.fork(swarm, swarm.homes[-1], swarm.rng("test"))
        await enrol(swarm.homes[-1], "a third branch, which all are told of")
        await trio.sleep(5)
        found.look_once()
        assert names(found) >= {"no fork goes unnoticed", "warrants are just"}

    play(story, homes=5)


def test_who_blocks_the_innocent_is_found(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        swarm.homes[1].cell.space.blocked.add(swarm.homes[2].agent)
        assert names(await looked(swarm)) == {"warrants are just"}

    play(story)


def test_what_exceeds_a_limit_is_found(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = Limit("peers known", lambda home: len(home.cell.space.peers.agents()), 2)
    monkeypatch.setattr(watch, "LIMITS", [peers])

    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        assert names(await looked(swarm)) == {"nobody exceeds a limit"}

    play(story)


def _hold_alone(home: Home) -> None:
    with home.disk._transaction("plant what came alone") as db:
        db.execute("INSERT INTO alone (author, seq, record, bytes) VALUES (?, 1, -1, 2)", (b"a",))


def _name_a_stranger(home: Home) -> None:
    home.cell.space.named[home.agent] = None


def _knock(home: Home) -> None:
    home.cell.space.knocks[home.agent, Knock(home.agent, 0)] = (0, True)


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("records of one author held alone", _hold_alone),
        ("bytes of one author held alone", _hold_alone),
        ("strangers known", _name_a_stranger),
        ("peers accounted for", None),
        ("standings known", None),
        ("knocks remembered", _knock),
    ],
)
def test_each_limit_is_measured(
    name: str,
    plant: Callable[[Home], None] | None,
    play: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (limit,) = (each for each in LIMITS if each.name == name)
    monkeypatch.setattr(watch, "LIMITS", [limit._replace(most=0)])

    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        found = Watch(swarm)
        if plant is not None:
            found.look_once()
            assert found.findings == []
            plant(swarm.homes[1])
        found.look_once()
        assert names(found) == {"nobody exceeds a limit"}
        assert f" {name}, at most 0" in found.findings[0].text

    play(story)


def test_what_is_acknowledged_before_it_is_written_is_found(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: a commit that returns and has written nothing."""

    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        monkeypatch.setattr(SimulatedStore, "commit", lambda *_: None)
        await enrol(swarm.homes[1], "lost")
        assert names(await looked(swarm)) == {"what is acknowledged is on disk"}

    play(story)


def test_a_receipt_for_what_is_not_kept_is_found(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        keeper = swarm.homes[2]
        keeper.spoil(byzantine.liar(keeper, swarm.rng("lies")))
        found = Watch(swarm)
        for number in range(5):
            await enrol(swarm.homes[1], f"thing {number}")
            await trio.sleep(5)
        found.look_once()
        assert "what is acknowledged is on disk" in names(found)

    play(story)


def test_a_settlement_of_which_one_half_is_missing_is_found(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        found = await looked(swarm)
        parties = (swarm.homes[1].agent, swarm.homes[2].agent)
        half = Settlement(parties, trio.current_time(), [parties[0]])
        found.survey.settlements[b"planted"] = half
        found.survey.balances[parties[0]] = 5
        await trio.sleep(GRACE_S / 2)
        found.look_once()
        assert found.findings == []
        await trio.sleep(GRACE_S)
        found.look_once()
        assert names(found) == {"settlements are on both chains"}
        half.committed.append(parties[1])
        found.look_once()
        assert names(found) >= {"credits sum to zero"}

    play(story)


def test_an_op_that_did_not_arrive_and_a_record_that_is_gone_are_found(
    play: Callable[..., Any],
) -> None:
    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        found = Watch(swarm)
        swarm.network.cut_off(swarm.homes[1].agent)
        await enrol(swarm.homes[1], "not heard of")
        found.look_once()
        assert found.findings == []
        missing = checkers.at_rest(swarm, found.survey)
        assert missing["every op is where it belongs"]
        assert not missing["nothing committed is lost"]
        swarm.homes[2].committed[99] = ActionHash(bytes(39))
        gone = checkers.at_rest(swarm, found.survey)["nothing committed is lost"]
        assert gone == ["home 2 has lost its action 99, and nobody holds it"]

    play(story)


def test_a_disk_that_is_lost_takes_along_what_nobody_else_holds(play: Callable[..., Any]) -> None:
    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        found = Watch(swarm)
        loser = swarm.homes[2]
        swarm.network.cut_off(loser.agent)
        await enrol(loser, "gone with the disk")
        found.look_once()
        before = len(loser.committed)
        await swarm.lose_disk(loser)
        swarm.network.heal()
        assert len(loser.committed) == before - 1
        await swarm.start(loser)
        await enrol(loser, "another at the same place")
        assert await swarm.settle()
        await found.close()
        assert found.findings == []

    play(story)


def test_a_copy_of_a_file_that_runs_after_it_is_a_fork(play: Callable[..., Any]) -> None:
    """An older copy put back and written to: the survey sees it, whoever blocks whom."""

    async def story(swarm: Swarm) -> None:
        await write_some(swarm)
        home: Home = swarm.homes[3]
        await swarm.kill(home)
        copy = home.path.with_name("copy.db")
        shutil.copy(home.path, copy)
        await swarm.start(home)
        await enrol(home, "first branch")
        await swarm.settle()
        found = await looked(swarm)
        assert found.findings == []
        await swarm.kill(home)
        shutil.copy(copy, home.path)
        swarm.network.cut_off(home.agent)
        await swarm.start(home)
        await trio.sleep(10)
        await enrol(home, "second branch")
        found.look_once()
        assert "no fork goes unnoticed" in names(found)

    play(story)
