"""A disk that was lost, or an older copy put back, does not make a node fork its own chain."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.conductor import cell
from ioe_node.core.chain import Head
from ioe_node.errors import AnotherContinuation, Busy, IoeError, TransportError
from ioe_node.net.messages import Activity, Chain, Done
from ioe_node.workflows import pages
from ioe_node.workflows.finality import finalise, status
from ioe_node.workflows.publish import deliver
from ioe_node.workflows.restore import (
    BEGIN_PATIENCE_S,
    HEAD_PATIENCE_S,
    begin,
    enough,
)
from ioe_node.workflows.settle import CHAIN_WAIT_S
from sim.checkers import faults
from sim.copies import cut_off, put_aside, put_back, take_away
from sim.disk import lose
from sim.swarm import Home, Swarm

Story = Callable[[Swarm], Awaitable[None]]
HOMES = 5
ZERO_ARCS = 12


async def enrol(home: Home, device: Home, name: str) -> Any:
    payload = {"device": device.agent, "kind": "monitor", "name": name}
    return await home.call("identity", "enrol", payload)


def test_a_lost_file_is_fetched_back(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:4]
        for number in range(3):
            await enrol(home, other, f"before {number}")
        head = await take_away(swarm, home)
        await swarm.start(home)
        assert home.store.head(home.agent) == head
        await enrol(home, other, "after")
        assert await swarm.settle()
        assert faults(swarm) == []
        assert [each.cell.space.blocked for each in swarm.homes] == [set()] * HOMES

    play(story)


def test_nobody_is_believed_while_more_can_be_asked(
    play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who can be reached at first lacks what the others hold."""

    async def story(swarm: Swarm) -> None:
        stale, _, home, other, _ = swarm.homes
        await enrol(home, other, "before")
        head = await take_away(swarm, home)
        honest = pages._activity

        def lag(space: Any, ask: Activity) -> Any:
            return Chain((), False) if space.agent == stale.agent else honest(space, ask)

        monkeypatch.setattr(pages, "_activity", lag)
        cut_off(swarm, home, [stale])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(swarm.start, home)
            await trio.sleep(BEGIN_PATIENCE_S / 2)
            swarm.network.heal()
        assert home.store.head(home.agent) == head
        assert await swarm.settle()
        assert home.cell.space.head_confirmed.is_set()

    play(story)


def test_a_fresh_key_does_not_wait_for_a_machine_that_is_gone(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(swarm: Swarm) -> None:
        *_, gone = swarm.homes
        await swarm.kill(gone)

        async def begin_by_an_old_list(space: Any, bootstrap: Any, begun: bool) -> None:
            await begin(space, (*bootstrap, gone.agent), begun)

        monkeypatch.setattr(cell, "begin", begin_by_an_old_list)
        began_s = trio.current_time()
        home = await swarm.add()
        assert trio.current_time() - began_s < BEGIN_PATIENCE_S / 2
        await enrol(home, swarm.homes[1], "at once")

    play(story, 3)


def test_a_witness_knows_of_its_loss(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(swarm: Swarm) -> None:
        lost, older, sound, *_ = swarm.homes[1:]
        await put_aside(swarm, older, tmp_path / "older copy")
        await put_aside(swarm, sound, tmp_path / "not put back")
        for home in (lost, older, sound):
            await enrol(home, swarm.homes[0], "before")
        await take_away(swarm, lost)
        await put_back(swarm, older, tmp_path / "older copy")
        await swarm.kill(sound)
        at_us = sound.clock.now_us()
        for home in (lost, older, sound):
            await swarm.start(home)
            await home.cell.space.head_confirmed.wait()
        noted = [home.cell.space.witness_rows.lost_us() for home in (lost, older, sound)]
        assert all(each is not None and each >= at_us for each in noted[:2])
        assert noted[2] is None, "an ordinary restart is no loss"

    play(story)


def test_who_is_alone_writes_on_and_shows_it_when_others_have_told(
    play: Callable[[Story], None],
) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:4]
        await swarm.kill(home)
        cut_off(swarm, home)
        await swarm.start(home)
        with trio.fail_after(4 * HEAD_PATIENCE_S):
            await enrol(home, other, "on an island")
        space = home.cell.space
        assert not space.head_confirmed.is_set()
        with pytest.raises(Busy):
            await home.call("currency", "pay", {"payee": other.agent, "amount_micro": 5})
        with pytest.raises(TransportError):
            await deliver(space, other.agent, ())
        swarm.network.heal()
        assert await swarm.settle()
        assert space.head_confirmed.is_set()
        assert faults(swarm) == []

    play(story)


def test_what_the_disk_could_not_take_is_asked_for_again(
    play: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:4]
        await put_aside(swarm, home, tmp_path / "older copy")
        await enrol(home, other, "after the copy")
        assert await swarm.settle()
        head = home.store.head(home.agent)
        await put_back(swarm, home, tmp_path / "older copy")
        cut_off(swarm, home)
        await swarm.start(home)
        home.fail_disk("disk full")
        swarm.network.heal()
        await trio.sleep(60)
        assert not home.cell.space.head_confirmed.is_set()
        home.fail_disk(None)
        await trio.sleep(60)
        assert home.store.head(home.agent) == head
        assert home.cell.space.head_confirmed.is_set()

    play(story)


@pytest.mark.parametrize(
    ("told", "reached", "known", "said"),
    [
        (0, 0, 0, True),
        (0, 0, 1, False),
        (1, 1, 1, True),
        (1, 1, 2, False),
        (2, 2, 2, True),
        (2, 3, 9, False),
        (3, 5, 9, True),
        (3, 6, 9, False),
        (5, 8, 9, True),
    ],
)
def test_three_and_most_of_those_reached_are_enough(
    told: int, reached: int, known: int, said: bool
) -> None:
    assert enough(told, reached, known) == said


def test_a_lost_file_is_fetched_back_though_it_rests_on_other_chains(
    play: Callable[[Story], None],
) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:4]
        for payer, payee in ((home, other), (other, home)):
            await payer.call("currency", "pay", {"payee": payee.agent, "amount_micro": 5})
        await enrol(home, other, "after both")
        head = await take_away(swarm, home)
        await swarm.start(home)
        assert home.store.head(home.agent) == head
        await trio.sleep(10)
        await home.call("currency", "pay", {"payee": other.agent, "amount_micro": 5})
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


def test_an_older_copy_is_brought_up_to_date_before_anything_is_written(
    play: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:4]
        copy = tmp_path / "older copy"
        await put_aside(swarm, home, copy)
        await enrol(home, other, "after the copy")
        assert await swarm.settle()
        await put_back(swarm, home, copy)
        await swarm.start(home)
        await enrol(home, swarm.homes[0], "on top of it")
        assert await swarm.settle()
        assert faults(swarm) == []
        assert home.cell.space.faults == []
        names = [each["name"] for each in await home.call("identity", "portfolio", {})]
        assert names == ["on top of it", "after the copy"]

    play(story)


def test_a_lying_answer_about_our_chain_is_charged_and_stops_nothing(
    play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's chain, an earlier place of ours, and no chain at all, each from one peer."""

    async def story(swarm: Swarm) -> None:
        *liars, _, home = swarm.homes
        await enrol(home, liars[0], "before")
        assert await swarm.settle()
        await swarm.kill(home)
        honest = pages._activity

        def lie(space: Any, ask: Activity) -> Any:
            if ask.author != home.agent:
                return honest(space, ask)
            if space.agent == liars[0].agent:
                return honest(space, Activity(liars[1].agent, 0))
            if space.agent == liars[1].agent:
                return honest(space, Activity(home.agent, 0))
            return Done() if space.agent == liars[2].agent else honest(space, ask)

        monkeypatch.setattr(pages, "_activity", lie)
        await swarm.start(home)
        await enrol(home, liars[0], "after")
        assert home.cell.space.faults == []
        assert all(home.cell.space.quota.charges(liar.agent) >= 1 for liar in liars)
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


async def go_astray(swarm: Swarm, home: Home, copy: Path) -> Head | None:
    """Have a home write to an older copy, then meet the others; its head as they hold it."""
    other = swarm.homes[3]
    await put_aside(swarm, home, copy)
    await enrol(home, other, "the true one")
    assert await swarm.settle()
    head = home.store.head(home.agent)
    await put_back(swarm, home, copy)
    cut_off(swarm, home)
    await swarm.start(home)
    with trio.fail_after(120):
        for number in range(3):
            await enrol(home, other, f"written while nobody could be asked {number}")
    swarm.network.heal()
    return head


@pytest.mark.parametrize("restarted", [False, True])
def test_a_copy_that_was_written_to_is_no_fork(
    play: Callable[[Story], None], tmp_path: Path, restarted: bool
) -> None:
    async def story(swarm: Swarm) -> None:
        home = swarm.homes[2]
        await go_astray(swarm, home, tmp_path / "older copy")
        if restarted:
            await swarm.kill(home)
            await swarm.start(home)
        await trio.sleep(60)
        space = home.cell.space
        assert any("another continuation" in text for text in space.faults)
        assert not space.head_confirmed.is_set()
        assert [each.cell.space.blocked for each in swarm.homes] == [set()] * HOMES

    play(story)


def test_who_is_astray_writes_and_accuses_no_more_and_says_why(
    play: Callable[[Story], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:4]
        true = await go_astray(swarm, home, tmp_path / "older copy")
        space = home.cell.space
        asked: list[Any] = []
        with monkeypatch.context() as patch:
            patch.setattr(space, "want", lambda *hashes: asked.append(hashes))
            await trio.sleep(60)
        assert asked == [], "a peer that tells the head of the other branch is asked for nothing"
        head = home.store.head(home.agent)
        assert true is not None
        assert head is not None
        space.want([true.hash])
        await trio.sleep(10)
        assert "a warrant names us" not in caplog.text
        payment = {"payee": other.agent, "amount_micro": 5}
        with pytest.raises(AnotherContinuation, match=str(home.path)):
            await enrol(home, other, "in vain")
        with pytest.raises(AnotherContinuation):
            await home.call("currency", "pay", payment)
        with pytest.raises(AnotherContinuation):
            await status(space, head.hash)
        with pytest.raises(AnotherContinuation):
            await finalise(space, head.hash)
        assert home.store.head(home.agent) == head

    play(story)


def test_who_is_astray_shows_nothing_though_it_was_sure_before(
    play: Callable[[Story], None],
) -> None:
    """Few could be asked at first, and told that they held no more."""

    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:4]
        space = home.cell.space
        space.astray = "another continuation"
        held = home.store.head(home.agent)
        with pytest.raises(Busy):
            await other.cell.space.ask(home.agent, Activity(home.agent, 0))
        with pytest.raises(Busy):
            await other.call("currency", "pay", {"payee": home.agent, "amount_micro": 5})
        assert home.store.head(home.agent) == held

    play(story)


def test_who_is_astray_comes_back_under_the_same_key(
    play: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:4]
        head = await go_astray(swarm, home, tmp_path / "older copy")
        await trio.sleep(60)
        assert home.cell.space.astray
        await swarm.kill(home)
        lose(home.path)
        await swarm.start(home)
        assert home.store.head(home.agent) == head
        assert home.cell.space.faults == []
        await enrol(home, other, "after")
        await trio.sleep(10)
        await home.call("currency", "pay", {"payee": other.agent, "amount_micro": 5})
        assert await swarm.settle()
        assert faults(swarm) == []
        assert [each.cell.space.blocked for each in swarm.homes] == [set()] * HOMES

    play(story)


def test_who_is_astray_signs_no_settlement_and_asks_for_the_outcome_of_none(
    play: Callable[[Story], None],
) -> None:
    async def story(swarm: Swarm) -> None:
        payer, payee = swarm.homes[2:4]
        heads = [home.store.head(home.agent) for home in (payer, payee)]

        async def pay() -> None:
            with pytest.raises(IoeError):
                await payer.call("currency", "pay", {"payee": payee.agent, "amount_micro": 5})

        async with trio.open_nursery() as nursery, payee.cell.space.chain_lock:
            nursery.start_soon(pay)
            await trio.sleep(0.9 * CHAIN_WAIT_S)
            assert payer.store.promised() is not None
            payee.cell.space.astray = "another continuation"
        payer.cell.space.astray, payee.cell.space.astray = "another continuation", ""
        await trio.sleep(10)
        assert [home.store.head(home.agent) for home in (payer, payee)] == heads
        payer.cell.space.astray = ""
        await trio.sleep(10)
        assert payer.store.promised() is None, "it was taken back"

    play(story)
