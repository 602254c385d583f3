"""The server half of `bench.http`: a process that serves, and pushes messages when told.

    python -m bench.http_push ours|bare DIRECTORY

`ours` is a real conductor with its API; each message is a signal of the node.  `bare` is Starlette
on the same Hypercorn worker with nothing around it: one route that answers ready bytes, one
WebSocket that sends ready text.  Both print `{"port": ..., "token": ...}` and then read numbers
from their standard input, one a line: so many messages are pushed to everybody who watches.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import trio
import trio.lowlevel
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ioe_node.api.http_server import serve_http
from ioe_node.api.http_tokens import TOKEN_BYTES, Tokens
from ioe_node.clock import SystemClock
from ioe_node.conductor import keytree
from ioe_node.conductor.conductor import Conductor
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import MINIMAL, Keystore
from ioe_node.config import parse_config

QUEUE_MAX = 4_096
BURST = 50
SIGNAL = {
    "kind": "app",
    "zome": "metering",
    "value": {"metered": 1_767_261_600_000_000, "import_milli_wh": 250_000, "export_milli_wh": 0},
}
CONFIG = """
role = "owner"
[api]
http = "127.0.0.1:0"
requests_per_s = 1000000
"""


async def _orders() -> AsyncIterator[int]:
    """What standard input asks for, until it ends."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        yield int(line)


def _told(port: int, token: str) -> None:
    print(json.dumps({"port": port, "token": token}), flush=True)


async def ours(folder: Path) -> None:
    """A node of an owner without a community."""
    home = Home(folder)
    home.create()
    Keystore.create(home.keystore, b"bench", keytree.owner_secrets(bytes(32)), cost=MINIMAL)
    conductor = Conductor(
        home,
        parse_config(CONFIG, "the bench"),
        Keystore.open(home.keystore, b"bench"),
        SystemClock(),
        Random(1),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        url: str = await nursery.start(serve_http, conductor)
        made = Tokens(conductor).create("bench", ("read",), None, Random(2).randbytes(TOKEN_BYTES))
        _told(int(url.rpartition(":")[2]), made)
        async for count in _orders():
            for number in range(count):
                conductor.signals.emit(SIGNAL)
                if number % BURST == 0:
                    await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def bare() -> None:
    """The least that the same libraries can do."""
    clients: set[trio.MemorySendChannel[str]] = set()
    text, body = json.dumps({"seq": 1_000_000, **SIGNAL}), json.dumps({"ok": True}).encode()

    async def watch(socket: WebSocket) -> None:
        await socket.accept(socket.scope["subprotocols"][0])
        send, receive = trio.open_memory_channel[str](QUEUE_MAX)
        clients.add(send)
        with suppress(WebSocketDisconnect):
            async for each in receive:
                await socket.send({"type": "websocket.send", "text": each})

    async def answer(request: Request) -> Response:
        return Response(body, media_type="application/json")

    routes = [Route("/healthz", answer), WebSocketRoute("/api/v1/stream", watch)]
    app: Any = Starlette(routes=routes)
    config = HypercornConfig()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        binds: list[str] = await nursery.start(serve, app, config)
        _told(int(binds[0].rpartition(":")[2]), "none")
        async for count in _orders():
            for number in range(count):
                for each in clients:
                    each.send_nowait(text)
                if number % BURST == 0:
                    await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        trio.run(ours, Path(sys.argv[2]))
    else:
        trio.run(bare)
