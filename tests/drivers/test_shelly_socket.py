"""The WebSocket of a Shelly: what it tells, and devices that misbehave on it."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
import wsproto
import wsproto.events
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers import shelly_socket as subject
from ioe_node.drivers.driver import Reading
from ioe_node.drivers.shelly import Shelly
from ioe_node.drivers.shelly_socket import answer_challenge, decode_challenge
from ioe_node.errors import LocalError, TransportError
from sim.shelly_plug import Plug
from sim.shelly_server import DUMMY_HA2, Guard, serve

NOW_US = 1_767_225_600_000_000
# Said by a Plus Plug S, firmware 1.4.4, to the one that had sent it a frame.
NOTICE = (
    '{"src":"shellyplusplugs-a8032ab1c2d3","dst":"ioe-node","method":"NotifyStatus","params":'
    '{"ts":1767225631.27,"switch:0":{"id":0,"output":true,"source":"button"}}}'
)
STATUS = {"switch:0": {"output": True, "aenergy": {"total": 1.5}}, "sys": {"unixtime": 1767225631}}


class SteppedClock:
    at_us = NOW_US

    def now_us(self) -> int:
        return self.at_us


def steady_load(at_us: int) -> tuple[int, int]:
    return 3600, (at_us - NOW_US) // 1_000_000


def driver_of(port: int, password: str | None = None) -> Shelly:
    return Shelly("127.0.0.1", port, 0, password, SteppedClock(), 1.0)


@pytest.mark.parametrize("password", [None, "hütte 9"])
async def test_a_press_is_told_at_once_and_a_plug_that_goes_away_too(
    nursery: trio.Nursery, password: str | None
) -> None:
    plug = Plug(steady_load, SteppedClock(), password=password)
    send, told = trio.open_memory_channel[Reading](10)
    async with trio.open_nursery() as powered:
        port = await powered.start(serve, plug)
        watching = driver_of(port, password)
        ended = trio.Event()

        async def watch() -> None:
            with pytest.raises(TransportError, match=f"127.0.0.1:{port}"):
                await watching.watch(send.send_nowait)
            ended.set()

        nursery.start_soon(watch)
        assert (await told.receive()).switched_on is True
        for _ in range(3):  # more than one request with one challenge
            plug.press()
            reading = await told.receive()
            assert reading.switched_on is plug.on
            assert (reading.power_milli_w == 0) is not plug.on
        powered.cancel_scope.cancel()
    with trio.fail_after(5):
        await ended.wait()


async def test_a_wrong_password_says_so(nursery: trio.Nursery) -> None:
    port = await nursery.start(serve, Plug(steady_load, SteppedClock(), password="secret"))
    for given_ in (None, "wrong"):
        with pytest.raises(LocalError, match="password_file"):
            await driver_of(port, given_).watch(lambda reading: None)


Talk = Callable[[trio.SocketStream], Awaitable[None]]


async def serving(nursery: trio.Nursery, talk: Talk) -> int:
    async def handler(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await talk(stream)

    listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def accept(stream: trio.SocketStream) -> wsproto.WSConnection:
    socket = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    while True:
        socket.receive_data(await stream.receive_some(65_536))
        for event in socket.events():
            if isinstance(event, wsproto.events.Request):
                await stream.send_all(socket.send(wsproto.events.AcceptConnection()))
                return socket


async def answer(stream: trio.SocketStream, socket: wsproto.WSConnection, text: str) -> None:
    """Say so to whatever comes next."""
    socket.receive_data(await stream.receive_some(65_536))
    list(socket.events())
    await stream.send_all(socket.send(wsproto.events.Message(data=text)))


@pytest.mark.parametrize(
    ("text", "family", "word"),
    [
        ("[]", LocalError, "url"),
        ("{", LocalError, "url"),
        ('{"id": 1}', LocalError, "url"),
        ('{"id": 2, "result": {}}', TransportError, "no answer"),
        ('{"id": 1, "result": {"sys": {}}}', LocalError, "component_id"),
        ('{"id": 1, "error": {"code": 401, "message": "no"}}', LocalError, "JSON"),
        ('{"id": 1, "error": {"code": 401, "message": "{}"}}', LocalError, "digest"),
        ('{"id": 1, "error": {"code": 503, "message": "busy"}}', TransportError, "busy"),
        (json.dumps("x" * 300_000), LocalError, "bytes"),
    ],
)
async def test_every_answer_is_one_of_the_two_errors(
    nursery: trio.Nursery, text: str, family: type[Exception], word: str
) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await answer(stream, await accept(stream), text)
        await trio.sleep_forever()

    port = await serving(nursery, talk)
    with pytest.raises(family, match=word) as refusal:
        await driver_of(port, "secret").watch(lambda reading: None)
    assert type(refusal.value) is family
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("opening", "family"),
    [
        (b"", TransportError),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", TransportError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", LocalError),
        (b"\xff", TransportError),
    ],
)
async def test_what_is_no_websocket(
    nursery: trio.Nursery, opening: bytes, family: type[Exception]
) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.receive_some(65_536)
        await stream.send_all(opening)
        await stream.aclose()

    with pytest.raises(family):
        await driver_of(await serving(nursery, talk)).watch(lambda reading: None)


async def test_a_recorded_notice_makes_it_ask_for_the_counters(nursery: trio.Nursery) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        socket = await accept(stream)
        first = {**STATUS, "switch:0": {"output": False, "aenergy": {"total": 1}}}
        await answer(stream, socket, json.dumps({"id": 1, "result": first}))
        await stream.send_all(socket.send(wsproto.events.Message(data=NOTICE)))
        await answer(stream, socket, json.dumps({"id": 2, "result": STATUS}))
        await trio.sleep_forever()

    send, told = trio.open_memory_channel[Reading](10)
    nursery.start_soon(driver_of(await serving(nursery, talk)).watch, send.send_nowait)
    assert (await told.receive()).switched_on is False
    assert await told.receive() == Reading(1_767_225_631_000_000, 1500, 0, None, True)


async def test_one_that_falls_silent_is_left(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "QUIET_S", 0.1)

    async def talk(stream: trio.SocketStream) -> None:
        await answer(stream, await accept(stream), json.dumps({"id": 1, "result": STATUS}))
        await trio.sleep_forever()

    with pytest.raises(TransportError, match="silent"):
        await driver_of(await serving(nursery, talk)).watch(lambda reading: None)


def test_our_digest_is_the_one_that_is_checked() -> None:
    guard = Guard("realm", "secret")
    challenge = {"error": {"code": 401, "message": json.dumps(guard.challenge())}}
    for count in range(1, 20):
        made = answer_challenge(decode_challenge(challenge), "secret", count, "nonce")
        assert guard.accepts(made, str(count), DUMMY_HA2)
    assert not guard.accepts(made, "19", DUMMY_HA2), "each only once"


FIELDS = st.sampled_from(["realm", "nonce", "algorithm"])


@given(st.dictionaries(FIELDS, st.none() | st.integers() | st.text()))
def test_any_challenge_is_answered_or_refused(challenge: dict[str, Any]) -> None:
    frame = {"error": {"code": 401, "message": json.dumps(challenge)}}
    with suppress(LocalError):
        json.dumps(answer_challenge(decode_challenge(frame), "secret", 1, "nonce"))
