"""Meeting: whoever invents strangers crowds out its own, and nobody whom others named; and the few
who hold anything are found among many who do not.
"""

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.core import membership
from ioe_node.core.authority import authorities
from ioe_node.hdi import AgentPubKey
from ioe_node.model.agent_info import SignedInfo, open_info, seal_info
from ioe_node.model.hashes import key_of, proof_digest
from ioe_node.model.signing import Signer
from ioe_node.net.messages import Find
from ioe_node.workflows.locate import known_near, lookup
from ioe_node.workflows.space import STRANGERS_MAX, STRANGERS_PER_NAMER_MAX, Space
from sim.swarm import Swarm, open_swarm
from sim.virtual_clock import run_virtual


def signer(name: str) -> Signer:
    return Signer(blake2b(name.encode(), digest_size=32).digest())


def info(space: Space, name: str) -> SignedInfo:
    one, now_us = signer(name), space.clock.now_us()
    addresses = space.transport.addresses()
    return seal_info(one.agent, space.dna, proof_digest(None), True, addresses, now_us, one.sign)


@pytest.fixture
def on_a_home(tmp_path: Path) -> Callable[[Callable[[Swarm], Awaitable[Any]]], Any]:
    def run(story: Callable[[Swarm], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with open_swarm(tmp_path, 1, 2) as swarm:
                return await story(swarm)

        return run_virtual(main, seed=1)

    return run


def test_one_that_names_many_crowds_out_its_own(on_a_home: Any) -> None:
    async def story(swarm: Swarm) -> None:
        space = swarm.homes[1].cell.space
        honest, liar = signer("honest").agent, signer("liar").agent
        named: list[AgentPubKey] = [space.learn(info(space, "real"), honest)]
        for number in range(2 * STRANGERS_MAX):
            last = space.learn(info(space, f"invented {number}"), liar)
        assert set(named) < set(space.strangers())
        assert last in space.strangers()
        assert len(space.strangers()) == 1 + STRANGERS_PER_NAMER_MAX
        late = space.learn(info(space, "real, too"), honest)
        assert late in space.strangers()

    on_a_home(story)


def test_many_that_name_many_crowd_out_their_own(on_a_home: Any) -> None:
    async def story(swarm: Swarm) -> None:
        space = swarm.homes[1].cell.space
        real = space.learn(info(space, "real"), signer("honest").agent)
        for number in range(2 * STRANGERS_MAX):
            liar = signer(f"liar {number % 20}").agent
            space.learn(info(space, f"invented {number}"), liar)
        assert len(space.named) == len(space.strangers()) == STRANGERS_MAX
        assert real in space.strangers()
        assert space.learn(info(space, "real, too"), signer("other").agent) in space.strangers()

    on_a_home(story)


def test_holders_are_named_alone_to_who_asks_for_them(on_a_home: Any) -> None:
    async def story(swarm: Swarm) -> None:
        for _ in range(3):
            await swarm.add(holds=False)
        holder, asked = swarm.homes[1], swarm.homes[0].cell.space

        def named(holders: bool) -> set[bytes]:
            infos = known_near(asked, Find(0, False, 20, holders)).infos[1:]
            return {open_info(each, asked.dna, None).agent for each in infos}

        assert named(False) == {each.agent for each in swarm.homes[1:]}
        assert named(True) == {holder.agent}

    on_a_home(story)


def test_of_few_holders_among_many_everyone_finds_those_near_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in (("BUCKET_PEERS_MAX", 3), ("PLACE_BUCKET_PEERS_MAX", 1), ("NEAREST", 10)):
        monkeypatch.setattr(membership, name, most)

    async def main() -> None:
        async with open_swarm(tmp_path, 5, 12) as swarm:
            for _ in range(30):
                await swarm.add(holds=False)
            await trio.sleep(60)
            holders = [home.agent for home in swarm.homes if home.holds]
            for home in swarm.homes:
                known = home.cell.space.authorities(home.agent)
                assert list(known) == authorities(home.agent, holders)

    run_virtual(main, seed=5)


def test_who_knows_no_holder_is_led_to_one_by_others(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_swarm(tmp_path, 5, 3) as swarm:
            for _ in range(2):
                await swarm.add(holds=False)
            await trio.sleep(60)
            holders = {home.agent for home in swarm.homes if home.holds}
            space = swarm.homes[-1].cell.space
            for agent in sorted(holders):
                space.membership.forget(agent)
            assert len(space.others()) == 1
            found = await lookup(space, key_of(space.agent), holders=True)
            assert holders <= set(found.peers)

    run_virtual(main, seed=5)
