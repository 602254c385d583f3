"""The listener under bad manners: slow, silent, too many, and bytes of any kind."""

import os
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import httpx
import pytest
import trio

from ioe_node.api import http_server
from ioe_node.api.http_page import Page
from ioe_node.api.http_server import Bounded

FUZZ_SECONDS = int(os.environ.get("IOE_FUZZ_SECONDS", "2"))
WAIT_S = 10
STARTS = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /api/v1/status?a=%00 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n",
    b"POST /api/v1/payments HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/json\r\n\r\n5\r\n{\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket"
    b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    b"\x81\x82\x00\x00\x00\x00{}",
)


async def open_to(node: Any) -> trio.SocketStream:
    url = httpx.URL(node.url)
    return await trio.open_tcp_stream(url.host, url.port)


async def end_of(stream: trio.SocketStream) -> bytes:
    """All that comes before the other side closes."""
    data = b""
    with trio.fail_after(WAIT_S):
        try:
            while part := await stream.receive_some():
                data += part
        except trio.BrokenResourceError:
            pass
    return data


async def dribble(stream: trio.SocketStream, data: bytes) -> None:
    for byte in data:
        await stream.send_all(bytes([byte]))
        await trio.sleep(0.05)


async def test_who_sends_headers_byte_by_byte_is_cut_off(
    lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "IDLE_MAX_S", 0.3)
    owner = await lane.owner()
    async with await open_to(owner) as stream:
        began = monotonic()
        with pytest.raises(trio.BrokenResourceError):
            await dribble(stream, STARTS[0] * 100)
        assert monotonic() - began < WAIT_S


async def test_who_sends_nothing_is_cut_off(lane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "IDLE_MAX_S", 0.1)
    owner = await lane.owner()
    async with await open_to(owner) as stream:
        assert await end_of(stream) == b""


async def test_headers_without_end_are_refused(owner: Any) -> None:
    async with await open_to(owner) as stream:
        line = b"X-Filler: " + b"x" * 1_000 + b"\r\n"
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + line * 100)
        assert (await end_of(stream)).startswith(b"HTTP/1.1 431")


async def test_one_connection_too_many_is_closed_and_the_others_go_on(lane: Any) -> None:
    owner = await lane.owner(api="connections_max = 4")
    held = [await open_to(owner) for _ in range(4)]
    for stream in held:
        await stream.send_all(STARTS[0])
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
    async with await open_to(owner) as more:
        assert await end_of(more) == b""
    await held[0].aclose()
    await trio.sleep(0.05)
    async with await open_to(owner) as stream:
        await stream.send_all(STARTS[0])
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
    for stream in held[1:]:
        await stream.aclose()


async def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "SEND_WAIT_S", 0.1)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
    server = await listeners[0].accept()
    with trio.fail_after(WAIT_S), pytest.raises(trio.BrokenResourceError):
        await Bounded(server).send_all(bytes(50_000_000))
    await client.aclose()
    await listeners[0].aclose()


def broken(rng: Random) -> bytes:
    """A request with some of its bytes changed, left out, or followed by others."""
    data = bytearray(rng.choice(STARTS))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data))
        data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(4))
        data = data or bytearray(b"\r\n")
    return bytes(data) + rng.randbytes(rng.choice((0, 0, 30, 3_000)))


async def none_left() -> None:
    """Wait until no connection has a task any more."""
    with trio.fail_after(WAIT_S):
        while serving():  # noqa: ASYNC110  # tasks ring no bell
            await trio.sleep(0.02)


def serving() -> int:
    """How many connections have tasks."""
    tasks = [trio.lowlevel.current_root_task()]
    for task in tasks:
        assert task is not None
        for nursery in task.child_nurseries:
            tasks.extend(nursery.child_tasks)
    return sum(task is not None and "_run_handler" in task.name for task in tasks)


async def test_no_bytes_end_the_node(owner: Any) -> None:
    rng, until = Random(5), monotonic() + FUZZ_SECONDS
    sent = 0

    async def one() -> None:
        async with await open_to(owner) as stream:
            with trio.move_on_after(0.05):
                try:
                    await stream.send_all(broken(rng))
                    await stream.receive_some()
                except trio.BrokenResourceError:
                    pass

    while monotonic() < until:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        sent += 20
    assert sent >= 100
    await none_left()
    assert (await owner.get("/healthz")) == {"ok": True}


@pytest.mark.parametrize("start", STARTS, ids=range(len(STARTS)))
async def test_what_a_client_leaves_behind_ends_with_it(owner: Any, start: bytes) -> None:
    for rest in (b"", b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82", b"\xff" * 100):
        async with await open_to(owner) as stream:
            await stream.send_all(start + rest)
            await trio.sleep(0.05)
    await none_left()


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/payments"])
async def test_two_lengths_of_one_body_end_the_connection(owner: Any, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {owner.token}\r\n"
    framings = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    hidden = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with await open_to(owner) as stream:
        await stream.send_all(f"{head}{framings}{hidden}".encode())
        answer = await end_of(stream)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"not both" in answer
    assert answer.count(b"HTTP/1.1") == 1


async def test_an_upgrade_to_http2_is_answered_as_http1(owner: Any) -> None:
    async with await open_to(owner) as stream:
        await stream.send_all(STARTS[4].replace(b"GET /", b"GET /healthz"))
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", cert, "-subj", "/CN=home.example"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:home.example"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


async def test_with_a_certificate_it_is_https(lane: Any, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    owner = await lane.owner(
        api=f'tls_cert = "{cert}"\ntls_key = "{key}"\nnames = ["home.example"]'
    )
    assert owner.url.startswith("https://127.0.0.1:")
    async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=cert)) as client:
        for host in ("home.example", "127.0.0.1"):
            found = await client.get(f"{owner.url}/healthz", headers={"Host": host})
            assert found.json() == {"ok": True}
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.HTTPError):
            await client.get(owner.url.replace("https", "http"))


@pytest.fixture
def with_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def make(**files: bytes) -> Path:
        folder = tmp_path / "page"
        for name, data in files.items():
            path = folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        read = Page.read
        monkeypatch.setattr(Page, "read", lambda: read(folder))
        return folder

    return make


async def test_the_page_is_served_with_what_browsers_need(
    lane: Any, with_page: Callable[..., Path]
) -> None:
    script = b"let a = 1;\n" * 200
    with_page(index_html=b"<!doctype html>", assets__app_js=script)
    owner = await lane.owner()
    async with owner.client() as client:
        index = await client.get("/")
        assert (index.text, index.headers["cache-control"]) == ("<!doctype html>", "no-cache")
        assert index.headers["content-type"] == "text/html; charset=utf-8"
        found = await client.get("/assets/app.js")
        assert (found.content, found.headers["content-encoding"]) == (script, "gzip")
        assert "immutable" in found.headers["cache-control"]
        plain = await client.get("/assets/app.js", headers={"Accept-Encoding": "identity"})
        assert plain.content == script
        again = await client.get("/", headers={"If-None-Match": index.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for path in ("/../config.toml", "/%2e%2e/config.toml", "/assets", "/index.html/"):
            assert (await client.get(path)).status_code == 404
