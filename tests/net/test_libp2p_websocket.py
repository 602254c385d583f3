"""WebSocket beside TCP: the same links, whichever of the two an address names."""

import os
import re
import socket
import struct
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha1

import pytest
import trio

from ioe_node.errors import ConfigError, TransportError
from ioe_node.model.signing import Signer
from ioe_node.net.libp2p_listening import parse_listen
from ioe_node.net.libp2p_transport import Libp2pTransport, open_transport
from tests.net.conftest import PROTOCOL, MakeService, OpenHost

TCP = "/ip4/127.0.0.1/tcp/0"
WS = f"{TCP}/ws"
OPENING = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: PROOF\r\n\r\n"
)


def port_of(transport: Libp2pTransport) -> int:
    return int(transport.addresses()[0].split("/")[4])


@pytest.mark.parametrize("listens", [(WS, TCP), (TCP, WS), (WS, WS), ((TCP, WS), TCP)])
async def test_two_nodes_ask_each_other(
    open_host: OpenHost, listens: tuple[str | Sequence[str], str]
) -> None:
    one, other = [await open_host(listen=listen) for listen in listens]
    message = os.urandom(300_000)
    for asker, asked in ((other, one), (one, other)):
        for address in asked.addresses():
            asker.learn(asked.agent, (address,))
            assert await asker.request(PROTOCOL, asked.agent, message) == message


async def test_every_listening_address_is_told_and_dialled_alone(open_host: OpenHost) -> None:
    one = await open_host(listen=(TCP, WS))
    assert sorted(each.endswith("/ws") for each in one.addresses()) == [False, True]
    for address in one.addresses():
        asker = await open_host()
        asker.learn(one.agent, (address,))
        assert await asker.request(PROTOCOL, one.agent, b"hello") == b"hello"


async def test_a_wildcard_is_told_as_each_interface(make_service: MakeService) -> None:
    async with open_transport(os.urandom(32), "/ip4/0.0.0.0/tcp/0/ws") as transport:
        told = transport.addresses()
    assert told
    assert all(each.endswith("/ws") and "0.0.0.0" not in each for each in told)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\x00" * 4096,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 300_000,
        OPENING,
        OPENING + b"\x82\xff" + b"\xff" * 8,
        OPENING + b"\x82\x85mask" + b"junk!" * 100,
    ],
)
async def test_what_is_no_websocket_or_no_libp2p_costs_only_itself(
    open_host: OpenHost, hostile: bytes
) -> None:
    one, other = await open_host(listen=WS), await open_host()
    for reset in (False, True):
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(one))
        with suppress(trio.BrokenResourceError):
            await stream.send_all(hostile)
        if reset:
            linger = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await stream.aclose()
    other.learn(one.agent, one.addresses())
    assert await other.request(PROTOCOL, one.agent, b"hello") == b"hello"


async def test_whom_we_dial_may_be_no_websocket_either(open_host: OpenHost) -> None:
    one, other, stranger = await open_host(listen=WS), await open_host(), Signer(b"s" * 32).agent
    answers = [b"", b"junk\r\n\r\n", UPGRADED, UPGRADED + b"\xff" * 400]

    async def answer(stream: trio.SocketStream) -> None:
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", await stream.receive_some(4096))
        assert key is not None
        proof = b64encode(sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        await stream.send_all(answers[-1].replace(b"PROOF", proof))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        port = listener.socket.getsockname()[1]
        while answers:
            other.learn(stranger, (f"/ip4/127.0.0.1/tcp/{port}/ws",))
            with pytest.raises(TransportError):
                await other.request(PROTOCOL, stranger, b"hello")
            answers.pop()
        nursery.cancel_scope.cancel()
    other.learn(one.agent, one.addresses())
    assert await other.request(PROTOCOL, one.agent, b"hello") == b"hello"


async def test_a_port_is_free_again_when_the_node_has_stopped() -> None:
    async with open_transport(os.urandom(32), WS) as transport:
        port = port_of(transport)
    again = f"/ip4/127.0.0.1/tcp/{port}/ws"
    async with open_transport(os.urandom(32), again) as transport:
        assert transport.addresses() == (again,)
        with pytest.raises(ConfigError, match="cannot listen"):
            async with open_transport(os.urandom(32), again):
                pass


async def test_one_port_for_both_is_refused_and_not_half_used() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    both = [f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/127.0.0.1/tcp/{port}/ws"]
    with pytest.raises(ConfigError, match="is a port taken"):
        async with open_transport(os.urandom(32), both):
            pass


@pytest.mark.parametrize("bad", ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/wss", "/ws"])
def test_a_transport_that_we_have_not_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="not listening addresses"):
        parse_listen(bad)


async def test_a_hint_is_dialled_until_something_better_is_known(open_host: OpenHost) -> None:
    one, other = await open_host(), await open_host()
    other.learn(one.agent, one.addresses())
    other.hint(one.agent, ("/ip4/127.0.0.1/tcp/9",))
    assert await other.request(PROTOCOL, one.agent, b"hello") == b"hello"
    third = await open_host()
    third.hint(one.agent, one.addresses())
    assert await third.request(PROTOCOL, one.agent, b"hello") == b"hello"
