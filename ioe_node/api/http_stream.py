"""The live stream: one WebSocket, JSON text messages, from us to the client only.

A browser shows its token in the handshake, as the second of two subprotocols, `ioe.v1` and
`ioe.token.TOKEN`; any client may instead send `{"token": "TOKEN"}` as its first message.  A query
string would end up in logs.  Closed with 4401 when the token is none or no more, 4403 when it may
not read, 1013 when there are too many.
"""

from typing import TYPE_CHECKING

import msgspec
import trio
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ioe_node.api.http_errors import ApiError, NotAWebSocket, NoToken
from ioe_node.api.http_guard import same_origin
from ioe_node.api.http_hub import Watcher
from ioe_node.api.http_routes import Nothing, check_scope, route
from ioe_node.errors import IoeError

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api

STREAM_PATH = "/api/v1/stream"
SUBPROTOCOL = "ioe.v1"
TOKEN_PREFIX = "ioe.token."
FIRST_MESSAGE_WAIT_S = 5.0
TOKEN_CHECKED_EVERY_S = 10.0
CLOSE_CODES = {401: 4401, 403: 4403, 429: 1013}
POLICY_VIOLATION = 1008


class First(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first message of a client that could not show its token in the handshake."""

    token: str


@route("GET", STREAM_PATH, None, fails=(426,))
async def live(api: "Api", asked: Nothing) -> None:
    """The live stream: open it as a WebSocket; JSON text messages, from the node only.

    A browser shows its token as the second of two subprotocols, `ioe.v1` and `ioe.token.TOKEN`;
    any client may instead send `{"token": "TOKEN"}` as its first message.  Each message has a
    `kind` and a number, `seq`: `live` has a device's values, `gap` says how many messages are
    `missed` at its place and has no number, `beat` comes every 15 seconds, all others are the
    node's signals.
    """
    raise NotAWebSocket("open it as a WebSocket")


async def stream(api: "Api", socket: WebSocket) -> None:
    """Serve one client until either side goes."""
    if not same_origin(socket.headers.get("origin"), socket.headers.get("host", "")):
        await socket.close(POLICY_VIOLATION)
        return
    offered = socket.scope["subprotocols"]
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    try:
        text = await _token_text(socket, offered)
        token = api.token_of(socket.client.host if socket.client else "", text)
        check_scope(token, "read")
        async with api.hub.watch() as watcher:
            await _serve(api, socket, watcher, text)
    except WebSocketDisconnect:
        return
    except IoeError as error:
        status = error.status if isinstance(error, ApiError) else 0
        await _close(socket, CLOSE_CODES.get(status, 1011), str(error))


async def _token_text(socket: WebSocket, offered: list[str]) -> str:
    for each in offered:
        if each.startswith(TOKEN_PREFIX):
            return each.removeprefix(TOKEN_PREFIX)
    with trio.move_on_after(FIRST_MESSAGE_WAIT_S):
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        try:
            return msgspec.json.decode(message.get("text") or "", type=First).token
        except (msgspec.DecodeError, UnicodeError):
            pass
    raise NoToken('the first message is {"token": "..."}')


async def _serve(api: "Api", socket: WebSocket, watcher: Watcher, text: str) -> None:
    """Send until the client goes, says something, or its token has ended."""
    why: list[tuple[int, str]] = []
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            if (await socket.receive())["type"] != "websocket.disconnect":
                why.append((POLICY_VIOLATION, "nothing more is expected from a client"))
            nursery.cancel_scope.cancel()

        async def watch_token() -> None:
            while True:
                await trio.sleep(TOKEN_CHECKED_EVERY_S)
                if api.tokens.known(text) is None:
                    break
            why.append((CLOSE_CODES[401], "the token has ended"))
            nursery.cancel_scope.cancel()

        nursery.start_soon(listen)
        nursery.start_soon(watch_token)
        while True:
            await socket.send({"type": "websocket.send", "text": await watcher.next()})
    for code, said in why:
        await _close(socket, code, said)


async def _close(socket: WebSocket, code: int, why: str) -> None:
    if socket.client_state is not WebSocketState.DISCONNECTED:
        await socket.close(code, why[:100])
