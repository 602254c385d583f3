import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.clock import SystemClock
from ioe_node.drivers.driver import Reading
from ioe_node.drivers.http_digest import RESPONSE_BYTES_MAX, Answer
from ioe_node.drivers.shelly import Shelly, parse_url
from ioe_node.drivers.shelly_frames import (
    decode_answer,
    decode_device_info,
    decode_json,
    decode_status,
)
from ioe_node.errors import ConfigError, LocalError, TransportError
from sim.shelly_plug import Plug
from sim.shelly_server import Guard, answer_frame, serve

NOW_US = 1_767_225_600_000_000


class SteppedClock:
    def __init__(self) -> None:
        self.at_us = NOW_US

    def now_us(self) -> int:
        return self.at_us


def steady_load(at_us: int) -> tuple[int, int]:
    """3.6 W: a milli-Wh a second."""
    return 3600, (at_us - NOW_US) // 1_000_000 + 77


def driver_of(port: int, password: str | None = None, deadline_s: float = 5) -> Shelly:
    return Shelly("127.0.0.1", port, 0, password, SystemClock(), deadline_s)


KEYS = [
    "switch:0",
    "sys",
    "aenergy",
    "ret_aenergy",
    "total",
    "unixtime",
    "apower",
    "output",
    "result",
    "error",
    "code",
    "message",
    "id",
    "gen",
    "ver",
    "on",
    "nc",
    "offset",
    "method",
    "params",
    "auth",
    "nonce",
    "response",
    "username",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from(KEYS), children),
)


# --- against the emulator ----------------------------------------------------------------------


async def test_reads_and_switches(nursery: trio.Nursery) -> None:
    clock = SteppedClock()
    port = await nursery.start(serve, Plug(steady_load, clock))
    plug = driver_of(port)
    assert await plug.read() == Reading(NOW_US, 0, 0, 3600, True)
    clock.at_us += 1_234_999_999
    assert await plug.read() == Reading(NOW_US + 1_234_000_000, 1234, 0, 3600, True)
    await plug.set_on(False)
    clock.at_us += 60_000_000
    assert await plug.read() == Reading(NOW_US + 1_294_000_000, 1234, 0, 0, False)
    await plug.set_on(True)
    clock.at_us += 1_000_000
    assert (await plug.read()).import_milli_wh == 1235
    info = await plug.device_info()
    assert (info.generation, info.model, info.auth_on) == (2, "SNPL-00112EU", False)


async def test_a_quantum_keeps_time_and_energy_together(nursery: trio.Nursery) -> None:
    clock = SteppedClock()
    port = await nursery.start(serve, Plug(steady_load, clock, quantum_s=900))
    clock.at_us += 2_000_000_000
    reading = await driver_of(port).read()
    assert (reading.at_us, reading.import_milli_wh) == (NOW_US + 1_800_000_000, 1800)


async def test_digest_authentication(nursery: trio.Nursery, tmp_path: Path) -> None:
    port = await nursery.start(serve, Plug(steady_load, SteppedClock(), password="hütte 9"))
    secret = tmp_path / "password"
    secret.write_text("hütte 9\n", "utf-8")
    plug = Shelly.from_options({"url": f"http://127.0.0.1:{port}", "password_file": str(secret)})
    for _ in range(3):
        assert (await plug.read()).switched_on
    for _ in range(70):  # others use up the nonces that the plug remembers: ours goes stale
        with pytest.raises(LocalError, match="password_file"):
            await driver_of(port).read()
    assert (await plug.read()).switched_on
    with pytest.raises(LocalError, match="password_file"):
        await driver_of(port, "wrong").read()
    assert (await driver_of(port).device_info()).auth_on


async def test_a_component_it_does_not_have(nursery: trio.Nursery) -> None:
    port = await nursery.start(serve, Plug(steady_load, SteppedClock()))
    plug = Shelly.from_options({"url": f"http://127.0.0.1:{port}/", "component_id": 1})
    with pytest.raises(LocalError, match="component_id"):
        await plug.read()
    with pytest.raises(LocalError, match="component_id"):
        await plug.set_on(True)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\xff" * 100_000,
        b"GET / HTTP/1.1\r\n",
        b"POST /rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n" + b" " * 99999,
        b"POST /rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n\xff{",
        b"GET /rpc HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET /rpc HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        + (b"\xff" * 64),
    ],
)
async def test_the_emulator_outlives_bad_requests(
    nursery: trio.Nursery, request_bytes: bytes
) -> None:
    port = await nursery.start(serve, Plug(steady_load, SteppedClock()))
    with suppress(trio.BrokenResourceError):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request_bytes)
            await stream.send_eof()
            async for _ in stream:
                pass
    assert (await driver_of(port).read()).switched_on


@given(JSON)
def test_any_rpc_frame_is_answered(value: object) -> None:
    plug = Plug(steady_load, SteppedClock(), password="secret")
    guard = Guard("realm", "secret")
    for frame in (
        value,
        {"id": 1, "method": "Switch.Set", "params": value},
        {"id": 1, "method": "Switch.Set", "auth": value},
        {"id": 1, "method": "Shelly.GetComponents", "params": value},
    ):
        for asked in (guard, None):
            answer_frame(plug, asked, json.dumps(frame))


# --- against servers that misbehave ------------------------------------------------------------


@asynccontextmanager
async def server(handler: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def answering(answer: bytes) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def handler(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        try:
            await stream.send_all(answer)
        except trio.BrokenResourceError:
            return  # the driver had enough

    return handler


def response(status: int, body: bytes, header: str = "X: y") -> bytes:
    return f"HTTP/1.1 {status} S\r\n{header}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


HUGE = b"x" * (RESPONSE_BYTES_MAX + 1)


@pytest.mark.parametrize(
    ("answer", "family", "word"),
    [
        (b"", TransportError, "hung up"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", TransportError, "hung up"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", TransportError, "hung up"),
        (response(500, b""), TransportError, "HTTP 500"),
        (response(503, b"busy"), TransportError, "HTTP 503"),
        (response(429, b""), TransportError, "HTTP 429"),
        (response(404, b""), LocalError, "url"),
        (response(302, b"", "Location: /"), LocalError, "url"),
        (response(401, b""), LocalError, "password_file"),
        (response(200, b"<html>"), LocalError, "url"),
        (response(200, b"[]"), LocalError, "url"),
        (response(200, b"[" * 100_000), LocalError, "url"),
        (response(200, HUGE), LocalError, "bytes: check that `url`"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", LocalError, "HTTP"),
        (b"y" * 100_000, LocalError, "HTTP"),
    ],
)
async def test_every_answer_is_one_of_the_two_errors(
    answer: bytes, family: type[Exception], word: str
) -> None:
    async with server(answering(answer)) as port:
        with pytest.raises(family, match=word) as refusal:
            await driver_of(port).read()
    assert type(refusal.value) is family
    assert f"127.0.0.1:{port}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


async def test_nobody_there_and_nobody_answering() -> None:
    async with server(answering(b"")) as port:
        pass
    with pytest.raises(TransportError, match="cannot connect"):
        await driver_of(port).read()

    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with server(silent) as port:
        with pytest.raises(TransportError, match="no answer"):
            await driver_of(port, deadline_s=0.05).read()


# --- pure --------------------------------------------------------------------------------------


def status_of(text: str) -> dict[str, object]:
    return decode_json(text.encode())


@given(st.integers(0, 10**13), st.integers(0, 10**13))
def test_registers_are_exact(imported: int, exported: int) -> None:
    """aenergy counts both directions; every milli-Wh survives its decimal text."""
    status = status_of(
        f'{{"switch:0": {{"output": false, "apower": -12.3,'
        f' "aenergy": {{"total": {Decimal(imported + exported) / 1000}}},'
        f' "ret_aenergy": {{"total": {Decimal(exported) / 1000}}}}},'
        f' "sys": {{"unixtime": 1767225601}}}}'
    )
    assert decode_status(status, 0, 0) == Reading(
        1_767_225_601_000_000, imported, exported, -12_300, False
    )


def test_a_plug_without_a_clock_or_direction() -> None:
    status = status_of('{"switch:3": {"aenergy": {"total": 1.2349}}, "sys": {"unixtime": null}}')
    assert decode_status(status, 3, 42) == Reading(42, 1234, 0, None, None)


@pytest.mark.parametrize(
    ("switch", "word"),
    [
        ('{"output": true}', "does not meter"),
        ('{"aenergy": 5}', "total"),
        ('{"aenergy": {"total": null}}', "total"),
        ('{"aenergy": {"total": -0.001}}', "total"),
        ('{"aenergy": {"total": "5"}}', "not a number"),
        ('{"aenergy": {"total": true}}', "not a number"),
        ('{"aenergy": {"total": 1e99999}}', "bounds"),
        ('{"aenergy": {"total": 1e9999999}}', "bounds"),
        ('{"aenergy": {"total": 1}, "apower": -1e9999999}', "bounds"),
        ('{"aenergy": {"total": 1}, "apower": -1e13}', "bounds"),
        ('{"aenergy": {"total": 1}, "ret_aenergy": {"total": 2}}', "reset"),
        ("7", "component_id"),
    ],
)
def test_a_switch_that_makes_no_sense(switch: str, word: str) -> None:
    with pytest.raises(LocalError, match=word):
        decode_status(status_of(f'{{"switch:0": {switch}}}'), 0, NOW_US)


@pytest.mark.parametrize("unixtime", ["0", "-5", "1e9", "99999999999999", '"1"', "true"])
def test_a_time_that_is_none(unixtime: str) -> None:
    status = status_of(
        f'{{"switch:0": {{"aenergy": {{"total": 1}}}}, "sys": {{"unixtime": {unixtime}}}}}'
    )
    with pytest.raises(LocalError, match="unixtime"):
        decode_status(status, 0, NOW_US)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"NaN",
        b'{"a": Infinity}',
        b'{"a": 1e' + b"9" * 30,
        b"9" * 5000,
        b'{"a":' + b"9" * 5000 + b"}",
        b"null",
    ],
)
def test_what_is_not_a_json_object(body: bytes) -> None:
    with pytest.raises(LocalError, match="JSON"):
        decode_json(body)


@given(st.integers(100, 599), st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_decodes_or_is_one_of_the_two_errors(status: int, body: bytes) -> None:
    try:
        result = decode_answer(Answer(status, "", body))
        for decode in (
            lambda: decode_status(result, 0, NOW_US),
            lambda: decode_device_info(result),
        ):
            decode()
    except (LocalError, TransportError):
        return


@given(JSON)
def test_any_status_is_a_reading_or_a_local_error(value: object) -> None:
    status = {"switch:0": {"aenergy": value, "ret_aenergy": value, "apower": value}, "sys": value}
    text = json.dumps(status)
    try:
        reading = decode_status(status_of(text), 0, NOW_US)
    except LocalError:
        return
    assert reading.import_milli_wh >= 0
    assert reading.export_milli_wh >= 0


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (404, LocalError),
        (-103, LocalError),
        (-105, LocalError),
        (401, LocalError),
        (-114, TransportError),
        (-104, TransportError),
        (None, LocalError),
        ([], LocalError),
    ],
)
def test_rpc_errors(code: object, family: type[Exception]) -> None:
    body = json.dumps({"id": 1, "error": {"code": code, "message": "because"}}).encode()
    with pytest.raises(family):
        decode_answer(Answer(200, "", body))


def test_a_first_generation_device_is_named() -> None:
    with pytest.raises(LocalError, match="generation 1"):
        decode_device_info({"id": "a", "model": "b", "ver": "c", "gen": 1})


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://192.168.1.20", ("192.168.1.20", 80)),
        ("http://plug.local:8080/", ("plug.local", 8080)),
        ("http://[::1]:81", ("::1", 81)),
    ],
)
def test_urls(url: str, where: tuple[str, int]) -> None:
    assert parse_url(url) == where


@pytest.mark.parametrize(
    "url",
    [
        "",
        "192.168.1.20",
        "https://a",
        "http://",
        "http://a:99999",
        "http://a/rpc",
        "http://u:p@a",
        "http://a?b",
        "http://[::1",
        "http://" + "a" * 64,
        "http://a b",
    ],
)
def test_bad_urls(url: str) -> None:
    with pytest.raises(ConfigError, match="url"):
        Shelly.from_options({"url": url})


@given(st.text())
def test_any_url_is_parsed_or_refused(text: str) -> None:
    for url in (text, f"http://{text}"):
        try:
            host, port = parse_url(url)
        except ConfigError:
            continue
        assert host
        assert 0 <= port <= 65535


def test_bad_options(tmp_path: Path) -> None:
    for options, named in [
        ({"ulr": "http://a"}, "ulr"),
        ({"url": "http://a", "component_id": -1}, "component_id"),
        ({"url": "http://a", "password_file": str(tmp_path / "none")}, "password_file"),
    ]:
        with pytest.raises(ConfigError, match=named):
            Shelly.from_options(options)
