"""A disk that was lost, or an older copy put back, does not make a node fork its own chain."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.net.messages import Activity, Done
from ioe_node.workflows import pages
from sim.checkers import faults
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

Story = Callable[[Swarm], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 1, 4) as swarm:
                await swarm.settle()
                await story(swarm)

        run_virtual(main, seed=1)

    return run


async def enrol(home: Home, device: Home, name: str) -> Any:
    payload = {"device": device.agent, "kind": "monitor", "name": name}
    return await home.call("identity", "enrol", payload)


def remove(path: Path) -> None:
    for each in path.parent.glob(path.name + "*"):
        each.unlink()


async def put_aside(swarm: Swarm, home: Home, copy: Path) -> None:
    """Copy a home's file while it is off, and go on."""
    await swarm.kill(home)
    shutil.copy(home.path, copy)
    await swarm.start(home)


async def put_back(swarm: Swarm, home: Home, copy: Path) -> None:
    """Replace a home's file by the older copy; the home stays off."""
    await swarm.kill(home)
    remove(home.path)
    shutil.copy(copy, home.path)


def test_a_lost_file_is_fetched_back(play: Callable[[Story], None]) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:]
        for number in range(3):
            await enrol(home, other, f"before {number}")
        assert await swarm.settle()
        head = home.store.head(home.agent)
        await swarm.kill(home)
        remove(home.path)
        await swarm.start(home)
        assert home.store.head(home.agent) == head
        await enrol(home, other, "after")
        assert await swarm.settle()
        assert faults(swarm) == []
        assert [each.cell.space.blocked for each in swarm.homes] == [set()] * 4

    play(story)


def test_a_lost_file_is_fetched_back_though_it_rests_on_other_chains(
    play: Callable[[Story], None],
) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:]
        for payer, payee in ((home, other), (other, home)):
            await payer.call("currency", "pay", {"payee": payee.agent, "amount_micro": 5})
        await enrol(home, other, "after both")
        assert await swarm.settle()
        head = home.store.head(home.agent)
        await swarm.kill(home)
        remove(home.path)
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
        home, other = swarm.homes[2:]
        copy = tmp_path / "older copy"
        await put_aside(swarm, home, copy)
        await enrol(home, other, "after the copy")
        assert await swarm.settle()
        await put_back(swarm, home, copy)
        await swarm.start(home)
        await enrol(home, other, "on top of it")
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
        *liars, home = swarm.homes
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
            return Done()

        monkeypatch.setattr(pages, "_activity", lie)
        await swarm.start(home)
        await enrol(home, liars[0], "after")
        assert home.cell.space.faults == []
        assert all(home.cell.space.quota.charges(liar.agent) >= 1 for liar in liars)
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


def test_a_copy_that_was_written_to_is_said_to_be_beyond_repair(
    play: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(swarm: Swarm) -> None:
        home, other = swarm.homes[2:]
        copy = tmp_path / "older copy"
        await put_aside(swarm, home, copy)
        for number in range(3):
            await enrol(home, other, f"the true one {number}")
        assert await swarm.settle()
        await put_back(swarm, home, copy)
        for each in swarm.homes:
            if each is not home:
                swarm.network.cut(home.agent, each.agent)
        await swarm.start(home)
        with trio.fail_after(120):
            await enrol(home, other, "written while nobody could be asked")
        swarm.network.heal()
        await swarm.kill(home)
        await swarm.start(home)
        await trio.sleep(30)
        space = home.cell.space
        told = [*space.faults, *space.refused_by.values()]
        assert any("another continuation" in text or "warranted" in text for text in told)

    play(story)
