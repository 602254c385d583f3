"""Who is near whom in a swarm, found without asking everybody."""

from pathlib import Path
from random import Random

import trio

from ioe_node.core.authority import authorities
from ioe_node.core.membership import Membership
from ioe_node.model.hashes import agent_key, key_of
from sim.closest import Closest, Places, acquaintances
from sim.swarm import open_swarm
from sim.virtual_clock import run_virtual

HOMES = 30


def test_the_nearest_are_those_that_a_search_of_all_finds() -> None:
    rng = Random(1)
    agents = [agent_key(rng.randbytes(32)) for _ in range(500)]
    closest = Closest(agents)
    for _ in range(200):
        basis = bytes(35) + rng.randbytes(4)
        assert closest.to(basis) == authorities(basis, agents)
    assert Closest(agents[:3]).to(agents[9]) == authorities(agents[9], agents[:3])


def test_acquaintances_find_the_same_authorities_as_who_met_everybody() -> None:
    rng = Random(2)
    places = {agent_key(rng.randbytes(32)): rng.getrandbits(32) for _ in range(400)}
    by_key = Places((key_of(agent), agent) for agent in places)
    by_place = Places((at, agent) for agent, at in places.items())
    for us in list(places)[:20]:
        known = acquaintances(us, places[us], by_key, by_place, rng)
        assert us not in known
        assert len(known) < 200
        membership = Membership(us, places[us])
        for agent in known:
            membership.welcome(agent, places[agent], True, 0)
        assert list(membership.authorities(key_of(us))) == authorities(us, places)


def test_homes_that_are_acquainted_wake_all_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_swarm(tmp_path, 5, HOMES, acquainted=True) as swarm:
            assert await swarm.settle()
            assert len(swarm.running()) == HOMES
            await trio.sleep(30)
            for home in swarm.homes:
                assert len(home.cell.space.others()) == HOMES - 1

    run_virtual(main, seed=5)
