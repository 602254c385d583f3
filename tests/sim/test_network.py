"""The wires: latency, loss, bandwidth, doubles, order, cuts; and that they are cheap."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio

from ioe_node.errors import Busy, Refused, TransportError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.signing import Signer
from ioe_node.net.transport import Service
from sim.conditions import Conditions
from sim.memory_transport import MemoryTransport, kind_of
from sim.network import Network
from sim.virtual_clock import VirtualClock, run_virtual

PROTOCOL = "/test/1"
PING = b"\x81\xa4type\xa4Ping"


def agent(number: int) -> AgentPubKey:
    return Signer(number.to_bytes(32, "big")).agent


class Party:
    """Some agents on a network; each counts and echoes what it is asked."""

    def __init__(self, conditions: Conditions, agents: int) -> None:
        self.network = Network(Random(1), VirtualClock(), conditions=conditions)
        self.agents = [agent(number) for number in range(agents)]
        self.heard: list[tuple[int, bytes]] = []
        self.refuse: Exception | None = None

    def join(self, nursery: trio.Nursery, number: int) -> MemoryTransport:
        async def handle(_asker: AgentPubKey, data: bytes) -> bytes:
            self.heard.append((number, data))
            if self.refuse is not None:
                raise self.refuse
            return data

        host = self.network.join(self.agents[number], nursery)
        host.offer(PROTOCOL, Service(lambda: b"", lambda _peer, _hello: None, handle))
        return host


Story = Callable[[Party, list[MemoryTransport]], Awaitable[Any]]


def played(story: Story, conditions: Conditions | None = None, agents: int = 3) -> Any:
    async def main() -> Any:
        party = Party(conditions or Conditions(), agents)
        async with trio.open_nursery() as nursery:
            found = await story(party, [party.join(nursery, each) for each in range(agents)])
            nursery.cancel_scope.cancel()
        return found

    return run_virtual(main, seed=1)


async def took_s(host: MemoryTransport, peer: AgentPubKey, data: bytes = PING) -> float:
    begun_s = trio.current_time()
    assert await host.request(PROTOCOL, peer, data) == data
    return trio.current_time() - begun_s


def test_latency_is_drawn_between_its_bounds() -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> list[float]:
        return [await took_s(hosts[0], party.agents[1]) for _ in range(200)]

    seconds = played(story, Conditions(latency_min_s=0.010, latency_max_s=0.020))
    assert 0.020 <= min(seconds) < 0.025
    assert 0.035 < max(seconds) <= 0.043
    assert seconds == played(story, Conditions(latency_min_s=0.010, latency_max_s=0.020))


def test_each_pair_is_as_far_apart_as_it_is() -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> list[float]:
        pairs = [(0, 1), (0, 1), (1, 0), (0, 2)]
        return [await took_s(hosts[one], party.agents[other]) for one, other in pairs]

    there, again, back, other = played(
        story, Conditions(latency_min_s=0, latency_max_s=0, far_s=0.2)
    )
    assert there == pytest.approx(again, abs=0.002) == pytest.approx(back, abs=0.002)
    assert abs(other - there) > 0.005


def test_messages_queue_on_the_senders_uplink() -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> float:
        begun_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            for peer in party.agents[1:]:
                nursery.start_soon(hosts[0].request, PROTOCOL, peer, bytes(5_000))
        return trio.current_time() - begun_s

    thin = Conditions(latency_min_s=0, latency_max_s=0, uplink_bytes_per_s=10_000)
    assert played(story, thin) == pytest.approx(1.5, abs=0.01)  # 2 x 0.5 s there, 0.5 s back
    assert played(story) < 0.1


def test_so_many_are_lost_as_is_said() -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> int:
        answered = 0
        for _ in range(300):
            answered += await _answers(hosts[0], party.agents[1])
        return answered

    assert 300 * 0.8**2 - 30 < played(story, Conditions(loss_per_million=200_000)) < 300 * 0.64 + 30


async def _answers(host: MemoryTransport, peer: AgentPubKey, timeout_s: float = 0.5) -> bool:
    try:
        await host.request(PROTOCOL, peer, PING, timeout_s)
    except TransportError:
        return False
    return True


def test_what_is_doubled_is_handled_twice_and_answered_once() -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> int:
        for _ in range(10):
            assert await hosts[0].request(PROTOCOL, party.agents[1], PING) == PING
        await trio.sleep(1)
        return len(party.heard)

    assert played(story, Conditions(duplicate_per_million=1_000_000)) == 20


def test_what_is_overtaken_comes_late() -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> list[bytes]:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(hosts[0].request, PROTOCOL, party.agents[1], bytes([number]))
                await trio.sleep(0.05)
        return [data for _, data in party.heard]

    in_order = played(story)
    assert in_order == sorted(in_order)
    late = played(story, Conditions(reorder_per_million=500_000))
    assert late != in_order == sorted(late)


def test_cuts_stop_what_they_say_and_heal() -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> None:
        network, (one, two, three) = party.network, party.agents
        network.cut_one_way(one, two)
        assert not await _answers(hosts[0], two)
        assert not await _answers(hosts[1], one)  # asked, and the answer does not come back
        assert party.heard == [(0, PING)]
        network.heal()
        network.partition(([one], [two]))
        assert not await _answers(hosts[0], two)
        assert await _answers(hosts[0], three)
        assert network.whole_since_s == float("inf")
        network.heal()
        assert network.whole_since_s == trio.current_time()
        network.cut_off(three)
        assert not await _answers(hosts[1], three)
        network.heal()
        assert await _answers(hosts[0], two)

    played(story)


def test_who_is_hushed_takes_requests_and_never_answers() -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> None:
        hosts[1].hushed = True
        assert not await _answers(hosts[0], party.agents[1])
        assert await _answers(hosts[1], party.agents[0])
        hosts[1].hushed = False
        assert await _answers(hosts[0], party.agents[1])

    played(story)


def test_who_has_left_is_not_reached_and_what_it_was_asked_breaks_off() -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> None:
        party.network.leave(party.agents[1])
        with pytest.raises(TransportError, match="nobody listens"):
            await hosts[0].request(PROTOCOL, party.agents[1], PING)

    played(story)


@pytest.mark.parametrize(("refusal", "comes"), [(Busy("wait"), Busy), (Refused("x", "y"), Refused)])
def test_errors_travel(refusal: Exception, comes: type[Exception]) -> None:
    async def story(party: Party, hosts: list[MemoryTransport]) -> None:
        party.refuse = refusal
        with pytest.raises(comes):
            await hosts[0].request(PROTOCOL, party.agents[1], PING)

    played(story)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(PING + b"\xa1x", "Ping"), (b"", "?"), (b"\x81\xa4type", "?"), (b"\x81\xa4type\x05", "?")],
)
def test_the_kind_of_a_message_is_what_its_first_key_says(data: bytes, kind: str) -> None:
    assert kind_of(data) == kind
