"""REST, the live stream and memory of a node that serves them, beside bare Starlette.

    python -m bench.http [--json] [--seconds N]

*Reads* come over 16 connections that are kept open, each asking anew as soon as it is answered.
*Updates* are messages that arrived at 20 WebSockets that watch at once.  Server and clients are
processes of this machine; ours and the peer, an app of the same Starlette and Hypercorn with
nothing around it, take turns.  *Memory* is resident, by the kernel: of an owner's node with
three devices that it polls, its API asked and watched, and of one of these devices' nodes.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import trio
import trio.lowlevel

from bench.node import resident_mb
from bench.report import Line, show
from ioe_node.clock import SystemClock
from sim.shelly_plug import Plug
from sim.shelly_server import serve as serve_plug
from sim.street import Node, claim, stop_all

CONNECTIONS = 16
BROWSERS = 20
RUNS = 3
WINDOW = 500
"""Messages on their way to each browser at most; a node keeps more for one that reads slowly."""
MEMORY_MB_MAX = 130.0
DEVICES = 3
WATCHED_S = 10.0
PLUG_MILLI_W = 1_000_000
US_PER_HOUR = 3_600_000_000
OPENING = (
    "GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket"
    "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Protocol: ioe.v1, ioe.token.{token}\r\n\r\n"
)
LONG, TEXT = 126, 0x81


@dataclass
class Server:
    """A process that serves."""

    port: int
    token: str
    process: subprocess.Popen[bytes] | None = None

    def push(self, messages: int) -> None:
        """Have it send so many to everybody who watches."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{messages}\n".encode())
        self.process.stdin.flush()


def _spawn(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@asynccontextmanager
async def serving(which: str, folder: Path) -> AsyncIterator[Server]:
    """A process of `bench.http_push`; ended afterwards."""
    command = [sys.executable, "-m", "bench.http_push", which, str(folder)]
    process = _spawn(command)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        told = json.loads(await trio.to_thread.run_sync(process.stdout.readline))
        yield Server(told["port"], told["token"], process)
    finally:
        process.stdin.close()
        process.terminate()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(process.wait)
        process.stdout.close()


# -- reads ----------------------------------------------------------------------------------------


async def reads(server: Server, path: str, seconds: float) -> tuple[int, float]:
    """(answers, seconds) over `CONNECTIONS` connections; raises unless each is a 200."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    request, count = head.encode(), 0
    began = perf_counter()

    async def client() -> None:
        nonlocal count
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            while perf_counter() - began < seconds:
                await stream.send_all(request)
                await _answer(stream)
                count += 1
                if count % 1_000 == 0:
                    await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(client)
    return count, perf_counter() - began


async def _answer(stream: trio.SocketStream) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(data.decode(errors="replace"))
    (length,) = (
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    left = length - len(body)
    while left > 0:
        left -= len(await stream.receive_some(65_536))


# -- the stream -----------------------------------------------------------------------------------


@dataclass
class Browser:
    """Counts the messages that come over one WebSocket."""

    stream: trio.SocketStream
    came: int = 0
    _data: bytearray = field(default_factory=bytearray)

    async def run(self, counted: Callable[[], None]) -> None:
        """Until cancelled."""
        while part := await self.stream.receive_some(262_144):
            self._data += part
            self.came += self._frames()
            counted()

    def _frames(self) -> int:
        """Whole text frames, each up to 64 kB, taken off what has come; others are passed over."""
        at = found = 0
        data = self._data
        while len(data) - at >= 4:
            length, head = data[at + 1], 2
            if length == LONG:
                length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            if len(data) - at < head + length:
                break
            found += data[at] == TEXT
            at += head + length
        del data[:at]
        return found


async def watch(server: Server) -> Browser:
    """A browser that watches."""
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    await stream.send_all(OPENING.format(token=server.token).encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some(4_096)
    if not data.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(data.decode(errors="replace"))
    return Browser(stream)


async def updates(server: Server, seconds: float) -> tuple[int, float]:
    """(messages that arrived at all `BROWSERS` together, seconds)."""
    browsers = [await watch(server) for _ in range(BROWSERS)]
    await trio.sleep(0.5)
    moved = trio.Event()

    def counted() -> None:
        moved.set()

    async with trio.open_nursery() as nursery:
        for each in browsers:
            nursery.start_soon(each.run, counted)
        began, pushed = perf_counter(), 0
        while perf_counter() - began < seconds:
            if pushed - min(each.came for each in browsers) <= WINDOW // 2:
                server.push(WINDOW // 2)
                pushed += WINDOW // 2
            moved = trio.Event()
            await moved.wait()
        came, took = sum(each.came for each in browsers), perf_counter() - began
        nursery.cancel_scope.cancel()
    for each in browsers:
        await each.stream.aclose()
    return came, took


# -- memory ---------------------------------------------------------------------------------------


def load(at_us: int) -> tuple[int, int]:
    """(milliwatts, milli-Wh since 1970) of a plug's load."""
    return PLUG_MILLI_W, PLUG_MILLI_W * at_us // US_PER_HOUR


async def memory(folder: Path) -> tuple[float, float]:
    """Resident MB of an owner's node with three devices, watched, and of a device's node."""
    clock = SystemClock()
    owner = Node("ada", "owner", folder / "ada")
    async with trio.open_nursery() as nursery:
        plugs = [Plug(load, clock) for _ in range(DEVICES)]
        ports: list[int] = [await nursery.start(serve_plug, plug) for plug in plugs]
        devices = [
            Node(f"plug{n}", "consumer", folder / f"plug{n}", {"url": f"http://127.0.0.1:{port}"})
            for n, port in enumerate(ports)
        ]
        try:
            await owner.init([], 1_000, 60_000)
            owner.start()
            address = (await owner.ready())["addresses"][0]
            await owner.ask("community_create", name="bench", amend={"interval_us": 1_000_000})
            for each in devices:
                each.driver = "ioe_node.drivers.shelly:Shelly"
                await each.init([address], 1_000, 60_000)
                each.start()
                await claim(owner, each)
            await _use(owner)
            return resident_mb(owner), max(resident_mb(each) for each in devices)
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await stop_all([owner, *devices])


async def _use(owner: Node) -> None:
    """Ask for everything, and watch for a while."""
    url: str = (await owner.ask("status"))["serves"]["http"]
    made = await owner.ask("api_token_create", name="bench", may=["read"])
    server = Server(int(url.rpartition(":")[2]), made["token"])
    browser = await watch(server)
    for path in ("status", "devices", "flow", "wallet", "sankey", "members", "peers", "alerts"):
        await reads(server, f"/api/v1/{path}", 0.2)
    await reads(server, "/metrics", 0.2)
    with trio.move_on_after(WATCHED_S):
        await browser.run(lambda: None)
    await browser.stream.aclose()


# -- the lines ------------------------------------------------------------------------------------


async def measure(folder: Path, seconds: float) -> list[Line]:
    """Every line of this benchmark; the raw counts go to standard error."""
    rates: dict[str, list[float]] = {}

    def note(what: str, count: int, took: float) -> None:
        click.echo(f"{what}: {count} in {took:.2f} s", err=True)
        rates.setdefault(what, []).append(count / took)

    async with serving("ours", folder / "node") as ours, serving("bare", folder) as bare:
        for _ in range(RUNS):
            note("reads, bare", *await reads(bare, "/healthz", seconds))
            note("reads", *await reads(ours, "/healthz", seconds))
            note("reads with a token", *await reads(ours, "/api/v1/status", seconds))
            note("updates, bare", *await updates(bare, seconds))
            note("updates", *await updates(ours, seconds))
    owner_mb, device_mb = await memory(folder)
    made = [
        _against("REST reads, 16 connections (/healthz)", rates, "reads", "reads, bare", "/s"),
        _against(
            "REST reads, 16 connections (/api/v1/status, token)",
            rates,
            "reads with a token",
            "reads, bare",
            "/s",
        ),
        _against("live updates to 20 WebSockets", rates, "updates", "updates, bare", "messages/s"),
    ]
    return [
        *made,
        _memory(f"resident memory, owner, {DEVICES} devices, API and stream used", owner_mb),
        _memory("resident memory, a plug's node, API on", device_mb),
    ]


def _against(work: str, rates: dict[str, list[float]], what: str, peer: str, unit: str) -> Line:
    return Line(work, median(rates[what]), unit, RUNS, None, median(rates[peer]))


def _memory(work: str, value: float) -> Line:
    aim = f"<= {MEMORY_MB_MAX:g} MB"
    return Line(work, value, "MB", 1, MEMORY_MB_MAX, None, aim, value <= MEMORY_MB_MAX)


@click.command()
@click.option("--json", "in_json", is_flag=True, help="One JSON object a line.")
@click.option("--seconds", default=3.0, show_default=True, help="How long each run takes.")
def main(in_json: bool, seconds: float) -> None:
    """REST, live stream and memory of a node's API."""
    with tempfile.TemporaryDirectory(prefix="ioe-bench-") as directory:
        lines = trio.run(measure, Path(directory), seconds)
    show("http", lines, in_json)


if __name__ == "__main__":
    main()
