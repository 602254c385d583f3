"""The control socket: who has no token gets nothing, and nobody keeps others out for long."""

import json
import socket
import struct
from contextlib import suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from ioe_node.conductor import calls, control
from ioe_node.conductor.control import CLIENTS_MAX, REQUEST_BYTES_MAX, serve_control
from ioe_node.conductor.frames import LENGTH_BYTES, decode_body, encode_frame, length_of
from ioe_node.conductor.home import Home
from ioe_node.conductor.signals import SIGNALS_PER_CLIENT_MAX, Signals
from ioe_node.errors import ConfigError, DiskFull

WAIT_S = 0.2


class Served:
    """A control socket before a conductor of which nothing is used but its home and signals."""

    def __init__(self, home: Home) -> None:
        self.lives = trio.Event()
        self.lives.set()
        self.conductor: Any = SimpleNamespace(
            home=home,
            config=SimpleNamespace(control_port=0),
            signals=Signals(),
            offered={},
            alive=lambda: self.lives.wait(),
        )
        self.found: dict[str, Any] = {}

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.found["port"])

    def request(self, call: str, **arguments: Any) -> bytes:
        return encode_frame({"token": self.found["token"], "call": call, "args": arguments})


async def receive(stream: trio.SocketStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


async def answer(stream: trio.SocketStream) -> dict[str, Any]:
    with trio.fail_after(10):
        return decode_body(await receive(stream, length_of(await receive(stream, LENGTH_BYTES))))


@pytest.fixture
async def served(tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> Served:
    async def echo(conductor: Any, text: Any = "") -> Any:
        return {"echo": text}

    async def fail(conductor: Any, how: str) -> None:
        raise {"disk": DiskFull("no space"), "bug": ValueError("a bug")}[how]

    monkeypatch.setitem(calls.CALLS, "echo", echo)
    monkeypatch.setitem(calls.CALLS, "fail", fail)
    for name in ("FIRST_REQUEST_WAIT_S", "SLOT_WAIT_S"):
        monkeypatch.setattr(control, name, WAIT_S)
    home = Home(tmp_path)
    served = Served(home)
    await nursery.start(serve_control, served.conductor)
    served.found = json.loads(home.control.read_text())
    assert home.control.stat().st_mode & 0o777 == 0o600
    return served


async def test_calls_are_answered_in_turn_on_one_connection(served: Served) -> None:
    async with await served.connect() as stream:
        for text in ("one", b"two", 3, None, ["four"]):
            await stream.send_all(served.request("echo", text=text))
            assert await answer(stream) == {"ok": {"echo": text}}


async def test_what_is_asked_between_two_lives_is_answered_in_the_next(served: Served) -> None:
    served.lives = trio.Event()
    async with await served.connect() as stream:
        await stream.send_all(served.request("echo"))
        with trio.move_on_after(WAIT_S) as waiting:
            await answer(stream)
        assert waiting.cancelled_caught
        served.lives.set()
        assert await answer(stream) == {"ok": {"echo": ""}}


@pytest.mark.parametrize(
    "request_",
    [
        {"call": "echo"},
        {"token": "", "call": "echo"},
        {"token": "x" * 43, "call": "echo"},
        {"token": b"\x00", "call": "follow"},
        {"token": None},
        {},
    ],
)
async def test_without_the_token_there_is_no_answer(
    served: Served, request_: dict[str, Any]
) -> None:
    async with await served.connect() as stream:
        await stream.send_all(encode_frame(request_))
        with pytest.raises(EOFError):
            await answer(stream)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        (REQUEST_BYTES_MAX + 1).to_bytes(4, "big") + b"x" * 1000,
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x01\x90",
    ],
)
async def test_garbage_ends_its_own_connection_only(served: Served, data: bytes) -> None:
    async with await served.connect() as good, await served.connect() as bad:
        await bad.send_all(data)
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await answer(bad)
        await good.send_all(served.request("echo"))
        assert await answer(good) == {"ok": {"echo": ""}}


async def test_random_bytes_end_their_own_connection_only(served: Served) -> None:
    rng = Random(3)
    for _ in range(50):
        async with await served.connect() as bad:
            with suppress(trio.BrokenResourceError):
                await bad.send_all(rng.randbytes(rng.randrange(1, 300)))
                await bad.send_eof()
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await answer(bad)
    async with await served.connect() as good:
        await good.send_all(served.request("echo"))
        assert await answer(good) == {"ok": {"echo": ""}}


@pytest.mark.parametrize(
    ("call", "arguments", "error", "text"),
    [
        ("nothing", {}, "Unauthorised", "no control call 'nothing'"),
        ("__init__", {}, "Unauthorised", "no control call"),
        ("echo", {"txt": 1}, "CallError", "txt"),
        ("echo", {"conductor": 1}, "CallError", "conductor"),
        ("fail", {"how": "disk"}, "DiskFull", "no space"),
    ],
)
async def test_a_refusal_is_typed_and_the_connection_goes_on(
    served: Served, call: str, arguments: dict[str, Any], error: str, text: str
) -> None:
    async with await served.connect() as stream:
        await stream.send_all(served.request(call, **arguments))
        found = await answer(stream)
        assert (found["error"], found["exit_code"]) == (error, 1)
        assert text in found["text"]
        await stream.send_all(served.request("echo"))
        assert await answer(stream) == {"ok": {"echo": ""}}


async def test_an_answer_that_cannot_be_sent_is_a_refusal(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def huge(conductor: Any) -> bytes:
        return bytes(65 * 1024 * 1024)

    async def fraction(conductor: Any) -> float:
        return 0.1

    monkeypatch.setitem(calls.CALLS, "huge", huge)
    monkeypatch.setitem(calls.CALLS, "fraction", fraction)
    async with await served.connect() as stream:
        for call, why in (("huge", "ask for less"), ("fraction", "cannot be packed")):
            await stream.send_all(served.request(call))
            assert why in (await answer(stream))["text"]


async def test_a_bug_in_a_call_ends_its_own_connection_only(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async with await served.connect() as stream:
        await stream.send_all(served.request("fail", how="bug"))
        with pytest.raises(EOFError):
            await answer(stream)
    assert "a bug" in caplog.text
    async with await served.connect() as stream:
        await stream.send_all(served.request("echo"))
        assert await answer(stream) == {"ok": {"echo": ""}}


async def test_whoever_connects_and_says_nothing_is_sent_away(served: Served) -> None:
    """More than there are places: a stranger without the token cannot keep the owner out."""
    async with trio.open_nursery() as nursery:
        ended = 0

        async def hang(data: bytes) -> None:
            nonlocal ended
            async with await served.connect() as stream:
                await stream.send_all(data)
                with pytest.raises((EOFError, trio.BrokenResourceError)):
                    await receive(stream, control.REQUEST_BYTES_MAX)
                ended += 1

        for place in range(CLIENTS_MAX + 8):
            nursery.start_soon(hang, (b"", b"\x00", b"\x00\x00\x01\x00half")[place % 3])
        await trio.sleep(3 * WAIT_S)
        async with await served.connect() as stream:
            await stream.send_all(served.request("echo"))
            assert await answer(stream) == {"ok": {"echo": ""}}
    assert ended == CLIENTS_MAX + 8


async def test_one_client_too_many_is_told_so_and_a_place_becomes_free(served: Served) -> None:
    streams = [await served.connect() for _ in range(CLIENTS_MAX)]
    for stream in streams:
        await stream.send_all(served.request("follow"))
        assert await answer(stream) == {"ok": True}
    async with await served.connect() as late:
        await late.send_all(served.request("echo"))
        found = await answer(late)
        assert (found["error"], found["exit_code"]) == ("Busy", 4)
    await streams.pop().aclose()
    async with await served.connect() as stream:
        await stream.send_all(served.request("echo"))
        assert await answer(stream) == {"ok": {"echo": ""}}
    for stream in streams:
        await stream.aclose()


async def test_a_follower_hears_what_happens_after(served: Served) -> None:
    signals: Signals = served.conductor.signals
    signals.emit({"kind": "before"})
    async with await served.connect() as stream:
        await stream.send_all(served.request("follow"))
        assert await answer(stream) == {"ok": True}
        for number in range(3):
            signals.emit({"kind": "test", "number": number})
        for number in range(3):
            assert await answer(stream) == {"signal": {"kind": "test", "number": number}}


async def test_a_slow_follower_is_told_how_much_it_missed(served: Served) -> None:
    signals: Signals = served.conductor.signals
    text = "x" * 10_000
    async with await served.connect() as stream:
        await stream.send_all(served.request("follow"))
        assert await answer(stream) == {"ok": True}
        count = SIGNALS_PER_CLIENT_MAX + 2_000
        for number in range(count):
            signals.emit({"kind": "test", "number": number, "text": text})
            if number % 100 == 0:
                await trio.lowlevel.checkpoint()
        heard, missed = 0, 0
        while not missed:
            found = (await answer(stream))["signal"]
            if found["kind"] == "gap":
                missed = found["missed"]
            else:
                assert found["number"] == heard
                heard += 1
                if heard + 100 > count - SIGNALS_PER_CLIENT_MAX:
                    signals.emit({"kind": "test", "number": count, "text": text})
                    count += 1
        assert heard + missed <= count
        assert missed > 0


async def test_a_follower_that_leaves_is_forgotten(served: Served) -> None:
    signals: Signals = served.conductor.signals
    async with await served.connect() as stream:
        await stream.send_all(served.request("follow"))
        await answer(stream)
        assert len(signals._clients) == 1
    with trio.fail_after(5):
        while signals._clients:
            signals.emit({"kind": "test"})
            await trio.sleep(0.01)


async def test_a_follower_that_is_cut_off_is_no_error(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """As with `ioe signals | head -2`: the client ends with signals unread."""
    signals: Signals = served.conductor.signals
    stream = await served.connect()
    await stream.send_all(served.request("follow"))
    await answer(stream)
    for number in range(100):
        signals.emit({"kind": "test", "number": number})
    await trio.testing.wait_all_tasks_blocked(0.05)
    # A reset, not a goodbye.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()
    with trio.fail_after(5):
        while signals._clients:
            signals.emit({"kind": "test"})
            await trio.sleep(0.01)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert caplog.text == ""


async def test_a_port_that_is_taken_names_the_key(served: Served) -> None:
    served.conductor.config.control_port = served.found["port"]
    with pytest.raises(ConfigError, match="control_port"):
        await serve_control(served.conductor)
