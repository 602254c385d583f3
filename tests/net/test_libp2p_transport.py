"""Real hosts and real processes on loopback."""

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import trio
from nacl.signing import SigningKey

from ioe_node.errors import ConfigError, LocalError, Malformed, PeerError, Refused, TransportError
from ioe_node.model.hashes import agent_key
from ioe_node.net import libp2p_transport, room
from ioe_node.net.framing import Request, encode_frame
from ioe_node.net.libp2p_transport import open_transport
from ioe_node.net.peer_id import agent_of_peer_id
from ioe_node.net.room import OPENINGS_BURST
from ioe_node.net.transport import MESSAGE_BYTES_MAX, Transport

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


def port_of(address: str) -> int:
    return int(address.rpartition("/")[2])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_it_is_a_transport_named_by_its_key(open_host) -> None:
    transport: Transport = await open_host()
    assert agent_of_peer_id(str(transport._host.get_id())) == transport.agent
    [address] = transport.addresses()
    assert address.startswith("/ip4/127.0.0.1/tcp/")
    assert port_of(address) > 0


async def test_one_that_is_closed_listens_nowhere() -> None:
    async with open_transport(bytes(32), [LOOPBACK], 10, 1_000_000) as transport:
        assert transport.addresses()
    assert transport.addresses() == ()


@pytest.mark.parametrize("size", [0, 1, 100_000, 1_000_000, 10_000_000, MESSAGE_BYTES_MAX])
async def test_messages_of_any_size_come_back(open_host, protocol, size: int) -> None:
    asker, answerer = await open_host(), await open_host()
    asker.learn(answerer.agent, answerer.addresses())
    message = random.Random(size).randbytes(size)
    assert await asker.request(protocol, answerer.agent, message) == message


async def test_what_is_too_large_or_senseless_is_our_own_error(open_host, protocol) -> None:
    asker = await open_host()
    with pytest.raises(LocalError):
        await asker.request(protocol, agent_key(bytes(32)), bytes(MESSAGE_BYTES_MAX + 1))
    with pytest.raises(LocalError):
        await asker.request(protocol, asker.agent, b"")
    with pytest.raises(LocalError):
        await asker.request("/not/offered", agent_key(bytes(32)), b"")


async def test_two_hundred_at_once(open_host, protocol) -> None:
    asker, answerer = await open_host(), await open_host()
    asker.learn(answerer.agent, answerer.addresses())

    async def ask(number: int) -> None:
        message = number.to_bytes(2, "big") * 500
        assert await asker.request(protocol, answerer.agent, message) == message

    async with trio.open_nursery() as askers:
        for number in range(200):
            askers.start_soon(ask, number)
    assert len(answerer._inbound) == 1


async def test_both_dial_at_once(open_host, protocol) -> None:
    for _ in range(5):
        left, right = await open_host(), await open_host()
        left.learn(right.agent, right.addresses())
        right.learn(left.agent, left.addresses())

        async def ask_often(asker, answerer) -> None:
            for number in range(20):
                message = bytes([number])
                assert await asker.request(protocol, answerer.agent, message, 3) == message

        async with trio.open_nursery() as askers:
            askers.start_soon(ask_often, left, right)
            askers.start_soon(ask_often, right, left)


async def test_the_dialled_asks_back_without_an_address(open_host, protocol) -> None:
    dialler, dialled = await open_host(), await open_host()
    dialler.learn(dialled.agent, dialled.addresses())
    await dialler.request(protocol, dialled.agent, b"hello")
    assert await dialled.request(protocol, dialler.agent, b"back") == b"back"


async def test_given_up_requests_leave_the_link_in_use(open_host, make_service, protocol) -> None:
    async def slow(_peer, message: bytes) -> bytes:
        await trio.sleep(0.05 if message else 0)
        return message

    asker, answerer = await open_host(), await open_host(make_service(handle=slow))
    asker.learn(answerer.agent, answerer.addresses())
    rng = random.Random(1)
    for _ in range(100):
        with trio.move_on_after(rng.uniform(0, 0.01)):
            await asker.request(protocol, answerer.agent, rng.randbytes(rng.randrange(200_000)))
    [link] = answerer._inbound.values()
    assert await asker.request(protocol, answerer.agent, b"") == b""
    assert [link] == list(answerer._inbound.values())
    assert not answerer.charges


async def test_a_slow_handler_stalls_nobody(open_host, make_service, protocol) -> None:
    async def slow(_peer, message: bytes) -> bytes:
        if message == b"slow":
            await trio.sleep_forever()
        return message

    asker, answerer = await open_host(), await open_host(make_service(handle=slow))
    asker.learn(answerer.agent, answerer.addresses())

    async def ask_slow() -> None:
        with pytest.raises(TransportError, match="no answer"):
            await asker.request(protocol, answerer.agent, b"slow", 1.0)

    async with trio.open_nursery() as askers:
        for _ in range(10):
            askers.start_soon(ask_slow)
        while askers.child_tasks:
            started = trio.current_time()
            await asker.request(protocol, answerer.agent, b"quick", 0.5)
            assert trio.current_time() - started < 0.5
            await trio.sleep(0.1)
    assert len(answerer._inbound) == 1


async def test_errors_are_typed_and_never_leak(open_host, make_service, protocol, caplog) -> None:
    async def fail(_peer, message: bytes) -> bytes:
        if message == b"bad":
            raise Malformed("no such op")
        raise ZeroDivisionError("secret")

    asker, answerer = await open_host(), await open_host(make_service(handle=fail))
    asker.learn(answerer.agent, answerer.addresses())
    with pytest.raises(Refused) as refusal:
        await asker.request(protocol, answerer.agent, b"bad")
    assert (refusal.value.code, refusal.value.text) == ("malformed", "no such op")
    assert answerer.charges == {asker.agent: 1}
    with caplog.at_level(logging.CRITICAL, "ioe.net"), pytest.raises(Refused) as refusal:
        await asker.request(protocol, answerer.agent, b"?")
    assert refusal.value.code == "internal"
    assert "secret" not in refusal.value.text


async def test_a_refused_membrane_answers_nothing(open_host, make_service, protocol) -> None:
    heard = []

    async def hear(_peer, message: bytes) -> bytes:
        heard.append(message)
        return b"data"

    outsider = await open_host(make_service(hello=b"bogus"))
    member = await open_host(make_service(handle=hear))
    outsider.learn(member.agent, member.addresses())
    for _ in range(3):
        with pytest.raises(Refused) as refusal:
            await outsider.request(protocol, member.agent, b"give")
        assert refusal.value.code == "membrane"
    assert heard == []
    assert member.charges[outsider.agent] == 3


async def test_a_withdrawn_network_is_not_answered(open_host, protocol) -> None:
    asker, answerer = await open_host(), await open_host()
    asker.learn(answerer.agent, answerer.addresses())
    await asker.request(protocol, answerer.agent, b"")
    answerer.withdraw(protocol)
    with pytest.raises(TransportError):
        await asker.request(protocol, answerer.agent, b"", 2)


async def test_addresses_are_tried_in_turn_and_failure_is_remembered_briefly(
    open_host, protocol
) -> None:
    asker, answerer = await open_host(), await open_host()
    other = await open_host()
    dead = f"/ip4/127.0.0.1/tcp/{free_port()}"
    asker.learn(answerer.agent, (dead, "nonsense", *other.addresses()))
    with pytest.raises(TransportError, match="3 addresses"):
        await asker.request(protocol, answerer.agent, b"")
    with pytest.raises(TransportError, match="a moment ago"):
        await asker.request(protocol, answerer.agent, b"")
    asker.learn(answerer.agent, (dead, "nonsense", *other.addresses(), *answerer.addresses()))
    assert await asker.request(protocol, answerer.agent, b"found") == b"found"


async def test_garbage_on_the_port_and_on_the_stream_hurts_nobody_else(open_host, protocol) -> None:
    member, guest, vandal = await open_host(), await open_host(), await open_host()
    guest.learn(member.agent, member.addresses())
    vandal.learn(member.agent, member.addresses())
    for garbage in (b"\x00" * 1000, os.urandom(5000), b"GET / HTTP/1.1\r\n\r\n", b""):
        raw = await trio.open_tcp_stream("127.0.0.1", port_of(member.addresses()[0]))
        await raw.send_all(garbage)
        await raw.aclose()
    for garbage in (os.urandom(5000), encode_frame(Request(1, b"give"))):
        stream = await vandal._open_stream(protocol, member.agent)
        await stream.write(garbage)
        with trio.fail_after(2):
            with suppress(TransportError):
                assert await stream.read(1000) == b""
    assert member.charges == {vandal.agent: 2}
    assert await guest.request(protocol, member.agent, b"well") == b"well"


async def test_a_peer_that_answers_garbage_is_charged(open_host, protocol) -> None:
    asker, vandal = await open_host(), await open_host()
    asker.learn(vandal.agent, vandal.addresses())

    async def answer_garbage(stream) -> None:
        await stream.write(os.urandom(1000))
        await stream.read(1000)

    vandal.withdraw(protocol)
    vandal._host.set_stream_handler(protocol, answer_garbage)
    with pytest.raises(TransportError, match="broke the protocol"):
        await asker.request(protocol, vandal.agent, b"?")
    assert asker.charges == {vandal.agent: 1}


async def test_killed_and_restarted_elsewhere_it_is_reached_again(
    open_host, protocol, start_echo_process
) -> None:
    seed32 = os.urandom(32)
    peer = agent_key(bytes(SigningKey(seed32).verify_key))
    asker = await open_host()
    process, address = await trio.to_thread.run_sync(start_echo_process, seed32)
    asker.learn(peer, (address,))
    assert await asker.request(protocol, peer, b"one") == b"one"
    process.kill()
    process.wait()
    with pytest.raises(TransportError):
        await asker.request(protocol, peer, b"gone", 2)

    _, address = await trio.to_thread.run_sync(start_echo_process, seed32)
    asker.learn(peer, (address,))
    started = time.perf_counter()
    assert await asker.request(protocol, peer, b"two", 2) == b"two"
    assert time.perf_counter() - started < 1


async def test_a_frozen_peer_is_hung_up_on_and_dialled_anew(
    open_host, protocol, start_echo_process
) -> None:
    seed32 = os.urandom(32)
    peer = agent_key(bytes(SigningKey(seed32).verify_key))
    asker = await open_host()
    process, address = await trio.to_thread.run_sync(start_echo_process, seed32)
    asker.learn(peer, (address,))
    assert await asker.request(protocol, peer, b"one") == b"one"
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(TransportError, match="no answer"):
        await asker.request(protocol, peer, b"frozen", 0.3)
    with trio.fail_after(2):
        while asker._dialling.connections(peer):  # noqa: ASYNC110
            await trio.sleep(0.01)
    process.send_signal(signal.SIGCONT)
    assert await asker.request(protocol, peer, b"two", 2) == b"two"


async def test_closing_is_quick_and_quiet(make_service, protocol) -> None:
    async def forever(_peer, _message: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with open_transport(os.urandom(32), LOOPBACK) as answerer:
        answerer.offer(protocol, make_service(handle=forever))
        async with trio.open_nursery() as nursery:

            async def ask(asker) -> None:
                with pytest.raises(TransportError):
                    await asker.request(protocol, answerer.agent, b"?")

            async with open_transport(os.urandom(32), LOOPBACK) as asker:
                asker.offer(protocol, make_service())
                asker.learn(answerer.agent, answerer.addresses())
                for _ in range(5):
                    nursery.start_soon(ask, asker)
                while not answerer._inbound:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                closing = time.perf_counter()
            assert time.perf_counter() - closing < 1


async def test_an_error_in_the_body_comes_out_as_itself() -> None:
    with pytest.raises(PeerError, match="mine"):
        async with open_transport(os.urandom(32), LOOPBACK):
            raise PeerError("mine")


async def test_cancelling_the_body_is_clean() -> None:
    with trio.move_on_after(0.05) as scope:
        async with open_transport(os.urandom(32), LOOPBACK):
            await trio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("listen", ["nonsense", "/ip4/192.0.2.77/tcp/4001"])
async def test_an_address_that_cannot_be_listened_on_is_a_config_error(listen: str) -> None:
    with pytest.raises(ConfigError):
        async with open_transport(os.urandom(32), listen):
            raise AssertionError


def test_the_peer_id_module_loads_without_libp2p() -> None:
    command = "import sys, ioe_node.net.peer_id; assert 'libp2p' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)


async def test_a_port_that_another_node_listens_on_is_refused() -> None:
    async with open_transport(os.urandom(32), "/ip4/127.0.0.1/tcp/0") as first:
        with pytest.raises(ConfigError, match="cannot listen"):
            async with open_transport(os.urandom(32), first.addresses()[0]):
                pytest.fail("two nodes share a port")
        where = first.addresses()
    async with open_transport(os.urandom(32), where[0]) as second:  # free again at once
        assert second.addresses() == where


async def test_connections_of_strangers_keep_no_member_out(
    open_host, make_service, protocol, monkeypatch
) -> None:
    """Every place is taken by agents that never ask to be admitted; a member at work stays."""
    monkeypatch.setattr(libp2p_transport, "ROOM_EVERY_S", 0.1)
    monkeypatch.setattr(room, "STRANGER_S", 0.1)
    async with open_transport(os.urandom(32), LOOPBACK, connections_max=8) as crowded:
        crowded.offer(protocol, make_service())
        member, late = await open_host(), await open_host()
        for each in (member, late):
            each.learn(crowded.agent, crowded.addresses())
        assert await member.request(protocol, crowded.agent, b"first") == b"first"
        connection = member._dialling.connections(crowded.agent)[0]
        for _ in range(7):
            stranger = await open_host()
            stranger.learn(crowded.agent, crowded.addresses())
            with suppress(TransportError):
                await stranger._dialling.connect(crowded.agent)
        answer = b""
        with trio.fail_after(20):
            while not answer:
                with suppress(TransportError):
                    answer = await late.request(protocol, crowded.agent, b"late", 2)
                await trio.sleep(0.2)
        assert answer == b"late"
        assert await member.request(protocol, crowded.agent, b"still") == b"still"
        assert member._dialling.connections(crowded.agent) == [connection]


async def test_a_peer_that_opens_links_without_end_is_not_listened_to(open_host, protocol) -> None:
    member, vandal, guest = await open_host(), await open_host(), await open_host()
    for each in (vandal, guest):
        each.learn(member.agent, member.addresses())
    for _ in range(2 * OPENINGS_BURST):
        with suppress(TransportError):
            await vandal._open_stream(protocol, member.agent)
    with pytest.raises(TransportError):
        await vandal.request(protocol, member.agent, b"?", 2)
    assert await guest.request(protocol, member.agent, b"well") == b"well"
