"""Who is asked what others hold of our chain: holders, and those who tell, for a while."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from ioe_node.hdi import AgentPubKey
from ioe_node.model.agent_info import seal_info
from ioe_node.model.hashes import key_of, proof_digest, to_text
from ioe_node.model.signing import Signer
from ioe_node.workflows.restore import (
    NOTICE_AFTER_S,
    PEERS_ASKED_MAX,
    Inquiry,
)
from sim.checkers import faults
from sim.copies import put_aside, put_back, take_away
from sim.swarm import Home, Swarm
from tests.workflows.test_restore import enrol

Story = Callable[[Swarm], Awaitable[None]]
HOMES = 5
ZERO_ARCS = 12


async def among_zero_arcs(swarm: Swarm) -> Home:
    """A home of those that hold nothing, as are all that are closest to it."""
    for _ in range(ZERO_ARCS):
        await swarm.add(holds=False)
    assert await swarm.settle()
    await trio.sleep(60)

    def holders_near(home: Home) -> int:
        others = [each for each in swarm.homes if each is not home]
        others.sort(key=lambda each: key_of(each.agent) ^ key_of(home.agent))
        return sum(each.holds for each in others[:PEERS_ASKED_MAX])

    home = min(swarm.homes[2:], key=holders_near)
    assert holders_near(home) == 0
    return home


@pytest.mark.parametrize("lost", ["an older copy", "all", "all, and it knows of none"])
def test_those_are_asked_who_hold_chains_however_many_do_not(
    play: Callable[..., None], tmp_path: Path, lost: str
) -> None:
    async def story(swarm: Swarm) -> None:
        home = await among_zero_arcs(swarm)
        await put_aside(swarm, home, tmp_path / "older copy")
        await home.cell.space.head_confirmed.wait()
        for number in range(3):
            await enrol(home, swarm.homes[1], f"after the copy {number}")
        head = await take_away(swarm, home)
        if lost == "an older copy":
            shutil.copy(tmp_path / "older copy", home.path)
        elif lost == "all, and it knows of none":
            home.committed.clear()
        await swarm.start(home)
        await home.cell.space.head_confirmed.wait()
        assert home.store.head(home.agent) == head
        await enrol(home, swarm.homes[1], "after")
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, 2)


def test_who_holds_nothing_does_not_confirm(play: Callable[..., None], tmp_path: Path) -> None:
    async def story(swarm: Swarm) -> None:
        home, holder = swarm.homes
        for _ in range(4):
            await swarm.add(holds=False)
        assert await swarm.settle()
        await put_aside(swarm, home, tmp_path / "older copy")
        await home.cell.space.head_confirmed.wait()
        await enrol(home, holder, "after the copy")
        assert await swarm.settle()
        head = home.store.head(home.agent)
        await put_back(swarm, home, tmp_path / "older copy")
        await swarm.kill(holder)
        await swarm.start(home)
        await trio.sleep(600)
        assert not home.cell.space.head_confirmed.is_set()
        await swarm.start(holder)
        with trio.fail_after(60):
            await home.cell.space.head_confirmed.wait()
        assert home.store.head(home.agent) == head

    play(story, 2)


def test_where_nobody_else_holds_anything_nobody_is_waited_for(play: Callable[..., None]) -> None:
    async def story(swarm: Swarm) -> None:
        home = swarm.homes[0]
        for _ in range(4):
            await swarm.add(holds=False)
        assert await swarm.settle()
        await swarm.kill(home)
        await swarm.start(home)
        await trio.sleep(1)
        assert home.cell.space.head_confirmed.is_set()

    play(story, 1)


def test_whom_nobody_admitted_is_waited_for_only_so_long(play: Callable[..., None]) -> None:
    async def story(swarm: Swarm) -> None:
        space = swarm.homes[0].cell.space
        inquiry = Inquiry(space, (), 0)
        for number in range(5):
            stranger = Signer(bytes([number]) * 32)
            proof, now_us = proof_digest(None), space.clock.now_us()
            info = seal_info(stranger.agent, space.dna, proof, True, (), now_us, stranger.sign)
            space.learn(info)
        assert inquiry.known(named=True) == 6
        assert inquiry.known(named=False) == 1

    play(story, 2)


def silence(swarm: Swarm, *mute: Home) -> None:
    """These answer everything but what they hold of a chain."""
    agents = [home.agent for home in mute]
    swarm.network.passes = lambda message: (
        message.kind != "Activity" or message.receiver not in agents
    )


def test_one_who_never_tells_keeps_nobody_silent(play: Callable[..., None]) -> None:
    async def story(swarm: Swarm) -> None:
        teller, home, mute = swarm.homes
        silence(swarm, mute)
        await swarm.kill(home)
        await swarm.start(home)
        with trio.fail_after(60):
            await home.cell.space.head_confirmed.wait()
        await enrol(home, teller, "after")
        assert await swarm.settle([home, teller])
        assert home.cell.space.faults == []

    play(story, 3)


def test_the_owner_is_told_who_was_asked_in_vain(play: Callable[..., None]) -> None:
    def named(agent: AgentPubKey, text: str) -> bool:
        return to_text(agent)[:12] in text

    async def story(swarm: Swarm) -> None:
        one, home, other = swarm.homes
        silence(swarm, one, other)
        await swarm.kill(home)
        await swarm.start(home)
        space = home.cell.space
        await trio.sleep(NOTICE_AFTER_S / 2)
        assert space.faults == []
        await trio.sleep(NOTICE_AFTER_S)
        (text,) = space.faults
        asked, told = text.split("; told: ")
        assert named(one.agent, asked)
        assert named(other.agent, asked)
        assert told.startswith("nobody")
        silence(swarm)
        await trio.sleep(60)
        assert space.head_confirmed.is_set()
        assert space.faults == []

    play(story, 3)
