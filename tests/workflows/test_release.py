"""What is not ours is handed over and let go; a node may hold nothing; a disk has an end."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.core.quota import Limits
from ioe_node.errors import TransportError
from ioe_node.hdi import AgentPubKey
from ioe_node.net.messages import Lacking, Offer
from ioe_node.workflows import release
from ioe_node.workflows.activity import read_chain
from ioe_node.workflows.release import AT_THE_LIMIT, RELEASE_AFTER_S, ROUND_S, arc_of
from sim.checkers import faults
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

Play = Callable[..., Any]
LONG_S = RELEASE_AFTER_S + 10 * ROUND_S


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def run(story: Callable[[Swarm], Awaitable[Any]], homes: int = 4) -> Any:
        async def main() -> Any:
            async with open_swarm(tmp_path, 1, homes) as swarm:
                await swarm.settle()
                return await story(swarm)

        return run_virtual(main, seed=1)

    return run


async def enrol(home: Home, device: Home, name: str) -> Any:
    payload = {"device": device.agent, "kind": "monitor", "name": name}
    return await home.call("identity", "enrol", payload)


async def pay(payer: Home, payee: Home) -> None:
    """Pay, again while what it rests on is fetched."""
    while True:
        try:
            await payer.call("currency", "pay", {"payee": payee.agent, "amount_micro": 1_000})
            return
        except TransportError:
            await trio.sleep(1)


def strangers(home: Home) -> list[AgentPubKey]:
    """Whose chains are held here and are not to be."""
    space = home.cell.space
    return [
        author
        for author in home.store.authors()
        if author != home.agent and not space.is_authority(author)
    ]


def test_who_was_pushed_out_of_an_authority_set_lets_go(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        for _ in range(4):
            await swarm.add()
        assert await swarm.settle()
        await trio.sleep(120)
        held = sum(len(strangers(home)) for home in swarm.homes)
        assert held > 0
        await trio.sleep(RELEASE_AFTER_S / 2)
        assert sum(len(strangers(home)) for home in swarm.homes) >= held / 2
        await trio.sleep(LONG_S)
        assert [strangers(home) for home in swarm.homes] == [[]] * len(swarm.homes)
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story, homes=8)


def test_nothing_goes_that_an_authority_lacks(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(swarm: Swarm) -> None:
        zero = await swarm.add(holds=False)
        other = swarm.homes[1]
        assert await zero.get(other.store.chain(other.agent)[0].hash)
        space = zero.cell.space
        ask = space.ask

        async def one_lacks(peer: AgentPubKey, request: Any, *more: Any) -> Any:
            if isinstance(request, Offer) and peer == swarm.homes[2].agent:
                return Lacking(tuple(head.author for head in request.heads))
            return await ask(peer, request, *more)

        monkeypatch.setattr(space, "ask", one_lacks)
        await pay(zero, other)
        assert other.agent in zero.store.authors()
        await trio.sleep(LONG_S)
        assert other.agent in zero.store.authors()
        monkeypatch.undo()
        await trio.sleep(5 * ROUND_S)
        assert zero.store.authors() == [zero.agent]

    play(story)


def test_a_zero_node_holds_nothing_and_does_all_else(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        zero = await swarm.add(holds=False)
        others = swarm.homes[:4]
        enrolled = await enrol(others[1], others[2], "theirs")
        await enrol(zero, others[3], "ours")
        assert await swarm.settle()
        for home in others:
            chain = await read_chain(home.cell.space, zero.agent, 0)
            assert chain == zero.store.chain(zero.agent)
            assert zero.agent not in home.cell.space.authorities(home.agent)
            assert zero.agent not in home.cell.space.authorities(zero.agent)
        theirs = await read_chain(zero.cell.space, others[1].agent, 0)
        assert [record.hash for record in theirs][-1:] == [
            others[1].store.chain(others[1].agent)[-1].hash
        ]
        assert await zero.get(theirs[-1].hash) == theirs[-1]
        assert enrolled is not None
        assert await zero.call("identity", "portfolio", {})
        await pay(zero, others[0])
        await trio.sleep(LONG_S)
        assert zero.store.authors() == [zero.agent]
        assert zero.store.alone_below(0, 10)[1] == []
        await swarm.kill(zero)
        await swarm.start(zero)
        await trio.sleep(300)
        assert zero.store.authors() == [zero.agent]
        assert arc_of(zero.cell.space) == "zero"
        assert await swarm.settle()
        assert faults(swarm) == []
        assert all(not home.cell.space.quota.slowed(home.clock.now_us()) for home in others)

    play(story)


def test_an_arc_may_change_over_a_restart(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        home = swarm.homes[3]
        await enrol(swarm.homes[1], home, "one")
        assert await swarm.settle()
        assert len(home.store.authors()) == 4
        await swarm.kill(home)
        home.holds = False
        await swarm.start(home)
        await trio.sleep(LONG_S)
        assert home.store.authors() == [home.agent]
        await swarm.kill(home)
        home.holds = True
        await swarm.start(home)
        assert await swarm.settle()
        await trio.sleep(120)
        assert len(home.store.authors()) == 4
        assert faults(swarm) == []

    play(story)


def test_at_the_limit_of_the_disk_a_node_holds_no_share(play: Play) -> None:
    async def story(swarm: Swarm) -> None:
        home = swarm.homes[3]
        await enrol(swarm.homes[1], home, "one")
        assert await swarm.settle()
        space = home.cell.space
        roomy = space.limits
        used = home.store.used_bytes()
        space.limits = replace(Limits(), disk_bytes_max=used)
        await trio.sleep(3 * ROUND_S)
        assert not space.membership.holds
        assert space.faults == [AT_THE_LIMIT]
        assert arc_of(space).startswith("zero until")
        others = swarm.homes[:3]
        assert all(home.agent not in each.cell.space.authorities(home.agent) for each in others)
        await enrol(home, swarm.homes[1], "two")
        await enrol(swarm.homes[2], swarm.homes[1], "three")
        await trio.sleep(30)
        head = others[0].store.head(home.agent)
        assert head == home.store.head(home.agent)
        away = swarm.homes[2]
        assert home.store.head(away.agent) != away.store.head(away.agent)
        assert not others[0].cell.space.quota.slowed(home.clock.now_us())
        space.limits = roomy
        await trio.sleep(3 * ROUND_S)
        assert space.membership.holds
        assert space.faults == []
        assert await swarm.settle()
        assert faults(swarm) == []

    play(story)


def test_a_round_with_nothing_to_release_reads_no_chain(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(swarm: Swarm) -> None:
        store = swarm.homes[0].store
        job = release.Release(swarm.homes[0].cell.space)
        reads: list[str] = []
        monkeypatch.setattr(store, "_read", lambda *args: reads.append("a read") or [])
        job._watch_chains()
        await job._watch_alone()
        await job._let_go(0)
        monkeypatch.undo()
        assert reads == []

    play(story)
