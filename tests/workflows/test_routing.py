"""Who is found through a cell by peer routing: members, foreign peers that spoke, nobody else."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from ioe_node.errors import TransportError
from ioe_node.model.hashes import AgentPubKey, agent_key
from ioe_node.net.foreign_peers import PASSED_ON_FOR_US
from ioe_node.net.peer_id import peer_id_bytes
from ioe_node.net.transport import Routing
from sim.network import MemoryTransport
from sim.swarm import Home, Swarm, open_swarm
from sim.virtual_clock import run_virtual

HOMES = 4
ALL_MET_S = 120
SECONDS_US = 1_000_000
Story = Callable[[Swarm, trio.Nursery], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 1, HOMES) as swarm, trio.open_nursery() as nursery:
                await trio.sleep(ALL_MET_S)
                assert {len(home.cell.space.others()) for home in swarm.homes} == {HOMES - 1}
                await story(swarm, nursery)
                nursery.cancel_scope.cancel()

        run_virtual(main, seed=1)

    return run


def foreigner(swarm: Swarm, nursery: trio.Nursery, number: int, serves: bool) -> MemoryTransport:
    """A libp2p peer that is no member."""
    peer = swarm.network.join(agent_key(bytes([number]) * 32), nursery)
    if serves:
        nothing = Routing(lambda _key, _asker: [], lambda _peer, _addresses: None)
        peer.offer_routing(kad(swarm), nothing)
    return peer


def kad(swarm: Swarm) -> str:
    return swarm.homes[0].cell.space.kad_protocol


async def found(asker: MemoryTransport, home: Home, wanted: AgentPubKey) -> list[AgentPubKey]:
    protocol = home.cell.space.kad_protocol
    near = await asker.find_node(protocol, home.agent, peer_id_bytes(wanted))
    return [peer for peer, _ in near]


def test_members_are_found_and_the_asker_is_not_told_of_itself(play) -> None:
    async def story(swarm: Swarm, nursery: trio.Nursery) -> None:
        asked, wanted = swarm.homes[1:3]
        stranger = foreigner(swarm, nursery, 7, serves=False)
        others = {home.agent for home in swarm.homes if home is not asked}
        near = await found(stranger, asked, wanted.agent)
        assert near[0] == wanted.agent
        assert set(near) == others
        assert (await found(stranger, asked, asked.agent))[0] == asked.agent
        member = swarm.homes[3].cell.space
        near = await found(member.transport, asked, member.agent)
        assert set(near) == others - {member.agent}

    play(story)


def test_a_foreign_peer_that_serves_is_passed_on_for_an_hour_and_is_no_member(play) -> None:
    async def story(swarm: Swarm, nursery: trio.Nursery) -> None:
        home = swarm.homes[1]
        server = foreigner(swarm, nursery, 7, serves=True)
        client = foreigner(swarm, nursery, 8, serves=False)
        for peer in (server, client):
            await found(peer, home, peer.agent)
        assert (await found(client, home, server.agent))[0] == server.agent
        assert client.agent not in await found(server, home, client.agent)
        assert server.agent not in home.cell.space.others()
        await trio.sleep(PASSED_ON_FOR_US / SECONDS_US + 1)
        assert server.agent not in await found(client, home, server.agent)

    play(story)


def test_the_warranted_are_told_nothing_and_told_of_to_nobody(play) -> None:
    async def story(swarm: Swarm, nursery: trio.Nursery) -> None:
        home, convict = swarm.homes[1:3]
        home.cell.space.block(convict.agent)
        with pytest.raises(TransportError, match="warranted"):
            await found(convict.cell.space.transport, home, home.agent)
        stranger = foreigner(swarm, nursery, 7, serves=False)
        assert convict.agent not in await found(stranger, home, convict.agent)

    play(story)


def test_nobody_answers_for_a_network_that_is_closed(play) -> None:
    async def story(swarm: Swarm, nursery: trio.Nursery) -> None:
        stranger = foreigner(swarm, nursery, 7, serves=False)
        other = foreigner(swarm, nursery, 8, serves=False)
        with pytest.raises(TransportError, match="does not speak"):
            await stranger.find_node(kad(swarm), other.agent, b"key")
        await swarm.kill(swarm.homes[1])
        with pytest.raises(TransportError, match="nobody listens"):
            await stranger.find_node(kad(swarm), swarm.homes[1].agent, b"key")

    play(story)
