"""Relays on real sockets: two that cannot dial each other, and one or two that both can."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from libp2p.relay.circuit_v2.pb import circuit_pb2 as pb
from libp2p.relay.circuit_v2.pb import dcutr_pb2 as dcutr
from multiaddr import Multiaddr

from ioe_node.core import relaying
from ioe_node.errors import Malformed, TransportError
from ioe_node.net import libp2p_reach, libp2p_relay, libp2p_transport
from ioe_node.net.libp2p_dialling import id_of
from ioe_node.net.libp2p_punch import PUNCH_PROTOCOL, Punch, _addresses
from ioe_node.net.libp2p_relay import HOP_PROTOCOL, STOP_PROTOCOL, is_relayed, receive, send
from ioe_node.net.libp2p_stream import Libp2pStream
from ioe_node.net.libp2p_transport import Libp2pTransport, open_transport
from ioe_node.net.peer_id import CIRCUIT_PART, circuit_address, peer_id_bytes

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
PATIENCE_S = 10.0

pytestmark = pytest.mark.usefixtures("no_punch")
BEGIN = Punch.begin

Street = Callable[..., Awaitable[Any]]


@pytest.fixture
async def street(make_service: Any, protocol: str) -> AsyncIterator[Street]:
    """Opens hosts; each may be closed by cancelling its `scope`."""
    done = trio.Event()

    async def live(options: dict[str, Any], task_status: Any) -> None:
        with trio.CancelScope() as scope:
            async with open_transport(os.urandom(32), LOOPBACK, **options) as transport:
                transport.offer(protocol, make_service())
                transport.scope = scope  # type: ignore[attr-defined]
                task_status.started(transport)
                await done.wait()

    async with trio.open_nursery() as nursery:

        async def open_one(**options: Any) -> Libp2pTransport:
            opened: Libp2pTransport = await nursery.start(live, options)
            return opened

        yield open_one
        done.set()


@pytest.fixture
def no_punch(monkeypatch: pytest.MonkeyPatch) -> None:
    """On loopback every two can meet directly, and would."""

    async def begin(self: Punch, peer: Any) -> None:
        return

    monkeypatch.setattr(Punch, "begin", begin)


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # a host rings no bell
            await trio.sleep(0.02)


def circuits_of(transport: Libp2pTransport) -> tuple[str, ...]:
    return tuple(each for each in transport.addresses() if CIRCUIT_PART in each)


async def behind_a_nat(street: Street, *relays: Libp2pTransport) -> Libp2pTransport:
    """A host that has places at relays; only its circuits are told to others."""
    inner = await street(reach="relay")
    for relay in relays:
        inner.learn(relay.agent, relay.addresses())
    await until(lambda: len(circuits_of(inner)) == len(relays))
    return inner


async def hop(asker: Libp2pTransport, relay: Libp2pTransport, **fields: Any) -> int:
    """The status that a relay gives to one raw request."""
    await asker._dialling.connect(relay.agent)
    stream = Libp2pStream(await asker._host.new_stream(id_of(relay.agent), [HOP_PROTOCOL]))
    request = pb.HopMessage(type=fields["type"])
    if "target" in fields:
        request.peer.id = fields["target"]
    await send(stream, request)
    status = (await receive(stream, pb.HopMessage)).status
    await stream.reset()
    return int(status)


@pytest.mark.parametrize("size", [0, 1_000, 1_000_000])
async def test_a_circuit_carries_our_protocols_between_the_right_keys(
    street: Street, protocol: str, size: int
) -> None:
    relay, outer = await street(), await street()
    inner = await behind_a_nat(street, relay)
    outer.learn(inner.agent, circuits_of(inner))
    message = os.urandom(size)
    assert await outer.request(protocol, inner.agent, message) == message
    [connection] = outer._dialling.connections(inner.agent)
    assert is_relayed(connection)
    assert await inner.request(protocol, outer.agent, b"back") == b"back"
    assert not relay._dialling.known


async def test_a_direct_address_is_preferred(street: Street, protocol: str) -> None:
    relay, outer = await street(), await street()
    inner = await behind_a_nat(street, relay)
    outer.learn(inner.agent, inner.addresses())
    assert await outer.request(protocol, inner.agent, b"hello") == b"hello"
    assert not any(map(is_relayed, outer._dialling.connections(inner.agent)))


async def test_a_dead_address_delays_the_circuit_by_less_than_a_second(
    street: Street, protocol: str
) -> None:
    relay, outer = await street(), await street()
    inner = await behind_a_nat(street, relay)
    blackholes = tuple(f"/ip4/240.0.0.{each}/tcp/9" for each in range(1, 4))
    outer.learn(inner.agent, (*blackholes, *circuits_of(inner)))
    started = trio.current_time()
    assert await outer.request(protocol, inner.agent, b"hello") == b"hello"
    assert trio.current_time() - started < 2


async def test_another_relay_takes_over(street: Street, protocol: str) -> None:
    first, second, outer = await street(), await street(), await street()
    inner = await behind_a_nat(street, first, second)
    outer.learn(inner.agent, circuits_of(inner))
    assert await outer.request(protocol, inner.agent, b"hello") == b"hello"
    first.scope.cancel()  # type: ignore[attr-defined]
    await until(lambda: len(circuits_of(inner)) == 1)

    async def again() -> None:
        while True:
            try:
                assert await outer.request(protocol, inner.agent, b"again", 3) == b"again"
                return
            except TransportError:
                await trio.sleep(0.1)

    with trio.fail_after(PATIENCE_S):
        await again()


async def test_a_lost_relay_is_replaced(street: Street) -> None:
    relays = [await street() for _ in range(3)]
    inner = await street(reach="relay")
    for relay in relays:
        inner.learn(relay.agent, relay.addresses())
    await until(lambda: len(circuits_of(inner)) == libp2p_reach.RELAYS_KEPT)
    before = circuits_of(inner)
    relays[0].scope.cancel()  # type: ignore[attr-defined]
    await until(lambda: len(circuits_of(inner)) == 2 and circuits_of(inner) != before)


async def test_a_relay_that_is_reached_only_by_a_relay(street: Street, protocol: str) -> None:
    """An owner elsewhere, a neighbour behind a NAT, and a device that only the neighbour hears."""
    relay, owner = await street(), await street()
    neighbour = await behind_a_nat(street, relay)
    device = await behind_a_nat(street, neighbour)
    owner.learn(neighbour.agent, circuits_of(neighbour))
    owner.learn(device.agent, (circuit_address(neighbour.agent, "/ip4/240.0.0.1/tcp/9"),))
    assert await owner.request(protocol, device.agent, b"claim") == b"claim"


async def test_whoever_can_be_dialled_back_takes_no_relay(street: Street) -> None:
    peers = [await street(), await street()]
    ours = await street(reach="auto")
    for peer in peers:
        ours.learn(peer.agent, peer.addresses())
    await until(ours._reach._is_reached)
    assert not circuits_of(ours)


async def test_whoever_cannot_be_dialled_back_takes_one(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the peers our connection seems to come from elsewhere, as a NAT makes it."""
    peers = [await street(), await street()]
    for peer in peers:
        monkeypatch.setattr(peer._reach, "_places_of", lambda peer: ("/ip4/192.0.2.1/tcp/1",))
    ours = await street(reach="auto")
    for peer in peers:
        ours.learn(peer.agent, peer.addresses())
    await until(lambda: len(circuits_of(ours)) == 2)


async def test_whom_we_met_through_its_own_nat_is_no_relay(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, ours = await street(), await street(reach="relay")
    ours.learn(peer.agent, ("/ip4/10.1.0.2/tcp/4001",))
    peer.learn(ours.agent, ours.addresses())
    await peer._dialling.connect(ours.agent)
    await until(lambda: peer.agent in ours._reach._candidates)
    await trio.sleep(0.3)
    assert not circuits_of(ours)


async def test_a_relay_that_says_nonsense_of_how_it_sees_us_is_not_quoted(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await street()
    nonsense = ("/ip4/999.9.9.9/tcp/99999",)
    monkeypatch.setattr(relay._reach, "_places_of", lambda peer: nonsense)
    inner = await behind_a_nat(street, relay)
    assert inner._reach.seen_as() == ()
    assert inner._punch._ours() == []


async def test_a_host_that_relays_for_nobody_is_no_relay(street: Street) -> None:
    closed, inner = await street(relays=False), await street(reach="relay")
    inner.learn(closed.agent, closed.addresses())
    await until(lambda: closed.agent in inner._reach._candidates)
    await trio.sleep(0.3)
    assert not circuits_of(inner)


async def test_a_relay_refuses_what_it_must(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay, asker, other = await street(), await street(), await street()
    asker.learn(relay.agent, relay.addresses())
    stranger = peer_id_bytes(other.agent)
    refused = await hop(asker, relay, type=pb.HopMessage.CONNECT, target=stranger)
    assert refused == pb.NO_RESERVATION
    assert await hop(asker, relay, type=pb.HopMessage.STATUS) == pb.UNEXPECTED_MESSAGE
    monkeypatch.setattr(relaying, "RESERVATIONS_MAX", 0)
    assert await hop(asker, relay, type=pb.HopMessage.RESERVE) == pb.RESERVATION_REFUSED
    inner = await street(reach="relay")
    monkeypatch.setattr(relaying, "RESERVATIONS_MAX", 1)
    inner.learn(relay.agent, relay.addresses())
    await until(lambda: bool(circuits_of(inner)))
    monkeypatch.setattr(relaying, "CIRCUITS_MAX", 0)
    full = await hop(asker, relay, type=pb.HopMessage.CONNECT, target=peer_id_bytes(inner.agent))
    assert full == pb.RESOURCE_LIMIT_EXCEEDED


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xff\xff\xff", b"\x05hello", b"\x02\x08\x01", b"\x06\x08\x01\x12\x02\x0a\x00", b""],
)
@pytest.mark.parametrize("spoken", [HOP_PROTOCOL, STOP_PROTOCOL, PUNCH_PROTOCOL])
async def test_garbage_costs_a_stream_and_no_more(
    street: Street, protocol: str, garbage: bytes, spoken: str
) -> None:
    victim, rude = await street(), await street()
    rude.learn(victim.agent, victim.addresses())
    await rude._dialling.connect(victim.agent)
    stream = Libp2pStream(await rude._host.new_stream(id_of(victim.agent), [spoken]))
    await stream.write(garbage)
    await stream.finish()
    assert await rude.request(protocol, victim.agent, b"still there") == b"still there"


async def test_who_says_nothing_is_given_up(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libp2p_relay, "MESSAGE_DEADLINE_S", 0.1)
    victim, silent = await street(), await street()
    silent.learn(victim.agent, victim.addresses())
    await silent._dialling.connect(victim.agent)
    stream = Libp2pStream(await silent._host.new_stream(id_of(victim.agent), [HOP_PROTOCOL]))
    with trio.fail_after(2):
        try:
            assert await stream.read(1) == b""
        except TransportError:
            return


async def test_a_relay_that_we_did_not_ask_connects_nobody_with_us(street: Street) -> None:
    victim, rude = await street(), await street()
    rude.learn(victim.agent, victim.addresses())
    await rude._dialling.connect(victim.agent)
    stream = Libp2pStream(await rude._host.new_stream(id_of(victim.agent), [STOP_PROTOCOL]))
    request = pb.StopMessage(type=pb.StopMessage.CONNECT)
    request.peer.id = peer_id_bytes(rude.agent)
    await send(stream, request)
    assert (await receive(stream, pb.StopMessage)).status == pb.PERMISSION_DENIED


async def test_nobody_meets_directly_whom_no_relay_called(street: Street) -> None:
    victim, rude = await street(), await street()
    rude.learn(victim.agent, victim.addresses())
    await rude._dialling.connect(victim.agent)
    stream = Libp2pStream(await rude._host.new_stream(id_of(victim.agent), [PUNCH_PROTOCOL]))
    door = Multiaddr("/ip4/192.0.2.1/tcp/80").to_bytes()
    await send(stream, dcutr.HolePunch(type=dcutr.HolePunch.CONNECT, ObsAddrs=[door]))
    with pytest.raises(TransportError):
        await receive(stream, dcutr.HolePunch)


def test_of_the_addresses_to_meet_at_few_are_taken_and_direct_ones_only() -> None:
    texts = [*(f"/ip4/192.0.2.1/tcp/{each}" for each in range(1, 9)), "/ip4/192.0.2.1/udp/1"]
    named = [Multiaddr(text).to_bytes() for text in texts]
    message = dcutr.HolePunch(type=dcutr.HolePunch.CONNECT, ObsAddrs=named)
    assert [str(each) for each in _addresses(message)] == texts[:4]
    message = dcutr.HolePunch(type=dcutr.HolePunch.CONNECT, ObsAddrs=named[-1:])
    assert _addresses(message) == []
    for bad in (
        dcutr.HolePunch(type=dcutr.HolePunch.CONNECT, ObsAddrs=[b"junk"]),
        dcutr.HolePunch(type=dcutr.HolePunch.SYNC),
    ):
        with pytest.raises(Malformed):
            _addresses(bad)


async def test_a_circuit_ends_at_its_bytes_and_another_follows(
    street: Street, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libp2p_relay, "CIRCUIT_BYTES_MAX", 200_000)
    relay, outer = await street(), await street()
    inner = await behind_a_nat(street, relay)
    outer.learn(inner.agent, circuits_of(inner))
    for _ in range(3):
        with pytest.raises(TransportError):
            await outer.request(protocol, inner.agent, bytes(300_000), 1)
        assert await outer.request(protocol, inner.agent, b"small") == b"small"


async def test_two_that_met_through_a_relay_go_on_directly_and_no_request_is_lost(
    street: Street, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Punch, "begin", BEGIN)
    monkeypatch.setattr(libp2p_transport, "MOVE_DEADLINE_S", 1.0)
    monkeypatch.setattr(libp2p_reach.Reach, "_is_reached", lambda self: False)
    relay = await street()
    inner, outer = await behind_a_nat(street, relay), await behind_a_nat(street, relay)
    outer.learn(inner.agent, circuits_of(inner))

    async def ask(asker: Libp2pTransport, asked: Libp2pTransport) -> None:
        while asker._dialling.connections(asked.agent)[:-1] or relayed_only():
            assert await asker.request(protocol, asked.agent, b"hello") == b"hello"
            await trio.sleep(0.01)

    def relayed_only() -> bool:
        return all(map(is_relayed, outer._dialling.connections(inner.agent)))

    await outer.request(protocol, inner.agent, b"hello")
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, outer, inner)
            nursery.start_soon(ask, inner, outer)
    relay.scope.cancel()  # type: ignore[attr-defined]
    await until(lambda: not circuits_of(inner))
    assert await outer.request(protocol, inner.agent, b"still") == b"still"


async def test_nobody_is_sent_to_knock_at_a_strangers_door(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    knocked: list[str] = []

    async def knock(self: Any, address: str, peer: Any) -> bool:
        knocked.append(address)
        return True

    monkeypatch.setattr(libp2p_reach.Reach, "_knock", knock)
    victim, asker = await street(), await street()
    asker.learn(victim.agent, victim.addresses())
    doors = ("/ip4/192.0.2.1/tcp/80", "/ip4/127.0.0.1/tcp/80", "/dns4/victim/tcp/80", "x" * 100)
    asker._reach._direct = lambda: doors
    assert (await asker._reach._ask(victim.agent)).reached
    assert knocked == ["/ip4/127.0.0.1/tcp/80"]
