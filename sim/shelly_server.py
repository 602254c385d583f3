"""Serves an emulated Shelly plug over HTTP and WebSocket on trio, for tests and the demo.

Written after the vendor's public documentation of the Gen2+ RPC (RPC protocol, RPC channels,
Authentication): `GET /shelly`, `POST /rpc`, and `/rpc` as a WebSocket, with digest authentication
where the plug has a password.  The independent client `aioshelly` takes it for a plug
(tests/interop).  Alone, for whoever has no plug at hand:

    python -m sim.shelly_server --port 8099 --watts 2000
"""

import hmac
import json
import re
import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import h11
import trio
import wsproto
import wsproto.connection
import wsproto.events
import wsproto.utilities

from ioe_node.clock import SystemClock
from ioe_node.drivers.http_digest import digest_response, sha256_hex
from ioe_node.drivers.shelly_frames import USER
from sim.shelly_plug import Plug, RpcError

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings these stubs, and they shadow trio's own

REQUEST_BYTES_MAX = 64 * 1024
RECEIVE_BYTES = 16 * 1024
NOTICES_MAX = 32
NONCES_MAX = 64
MILLI_WH_US = 3_600_000
"""In so many microseconds a watt is a milliwatt-hour."""


# --- authentication ----------------------------------------------------------------------------


@dataclass
class Guard:
    """Challenges and checks digests (RFC 7616, SHA-256); remembers the nonces it gave out."""

    realm: str
    password: str
    _counts: dict[str, int] = field(default_factory=dict)  # nonce -> highest count seen

    def challenge(self) -> dict[str, Any]:
        while len(self._counts) >= NONCES_MAX:
            del self._counts[next(iter(self._counts))]
        nonce = secrets.token_hex(16)
        self._counts[nonce] = 0
        return {
            "auth_type": "digest",
            "nonce": nonce,
            "nc": 1,
            "realm": self.realm,
            "algorithm": "SHA-256",
        }

    def accepts(self, fields: dict[str, Any], count: str, ha2: str) -> bool:
        """True once for each nonce and count; `count` as it was hashed, hexadecimal or decimal."""
        if not all(str(value).isascii() for value in fields.values()):
            return False
        nonce = str(fields.get("nonce"))
        number = int(count, 16) if re.fullmatch("[0-9a-fA-F]{1,8}", count) else 0
        if nonce not in self._counts or number <= self._counts[nonce]:
            return False
        ha1 = sha256_hex(f"{USER}:{self.realm}:{self.password}")
        expected = digest_response(ha1, nonce, count, str(fields.get("cnonce")), ha2)
        given = str(fields.get("response"))
        if fields.get("username") != USER or not hmac.compare_digest(
            expected.encode(), given.encode()
        ):
            return False
        self._counts[nonce] = number
        return True


# --- frames ------------------------------------------------------------------------------------

DUMMY_HA2 = sha256_hex("dummy_method:dummy_uri")  # what the documentation hashes in RPC frames


def answer_frame(plug: Plug, guard: Guard | None, text: bytes | str) -> dict[str, Any] | None:
    """The response frame to one request frame; None where none is due.

    `guard` checks the frame's own `auth` object, as on a WebSocket.
    """
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        frame = None
    if not isinstance(frame, dict):
        return {"src": plug.device_id, "error": {"code": -103, "message": "Bad frame"}}
    method, params = frame.get("method"), frame.get("params") or {}
    response: dict[str, Any] = {"id": frame.get("id"), "src": plug.device_id}
    if "src" in frame:
        response["dst"] = frame["src"]
    try:
        if guard is not None and method != "Shelly.GetDeviceInfo":
            auth = frame.get("auth")
            if not isinstance(auth, dict) or not guard.accepts(
                auth, str(auth.get("nc")), DUMMY_HA2
            ):
                raise RpcError(401, json.dumps(guard.challenge()))
        if not isinstance(method, str) or not isinstance(params, dict):
            raise RpcError(-103, "Bad request")
        response["result"] = plug.call(method, params)
    except RpcError as refusal:
        response["error"] = {"code": refusal.code, "message": refusal.message}
    return None if frame.get("id") is None else response


# --- the server --------------------------------------------------------------------------------


async def serve(
    plug: Plug,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    task_status: "TaskStatus[int]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started with `nursery.start`, it returns the port it listens on."""
    guard = None if plug.password is None else Guard(plug.device_id, plug.password)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, partial(_serve_stream, plug, guard), port, host=host)
        )
        task_status.started(listeners[0].socket.getsockname()[1])


async def _serve_stream(plug: Plug, guard: Guard | None, stream: trio.SocketStream) -> None:
    """One connection: HTTP requests until it closes or becomes a WebSocket."""
    connection = h11.Connection(h11.SERVER)
    try:
        while True:
            request, body, raw = await _next_request(connection, stream)
            if request is None:
                return
            headers = dict(request.headers)
            if headers.get(b"upgrade", b"").lower() == b"websocket":
                await WebSocketSession(plug, guard, stream).run(raw)
                return
            await stream.send_all(_respond(connection, plug, guard, request, body))
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except (h11.ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the client's fault or its absence: as a plug would, hang up
    finally:
        await trio.aclose_forcefully(stream)


async def _next_request(
    connection: h11.Connection, stream: trio.SocketStream
) -> tuple[h11.Request | None, bytes, bytes]:
    """(request, body, the bytes it came in); request None when the client has gone."""
    request: h11.Request | None = None
    body, raw = bytearray(), bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            chunk = await stream.receive_some(RECEIVE_BYTES)
            raw += chunk
            connection.receive_data(chunk)
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > REQUEST_BYTES_MAX:
                raise h11.RemoteProtocolError("request too long", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            return request, bytes(body), bytes(raw)
        elif isinstance(event, h11.ConnectionClosed):
            return None, b"", b""


def _respond(
    connection: h11.Connection,
    plug: Plug,
    guard: Guard | None,
    request: h11.Request,
    body: bytes,
) -> bytes:
    status, extra, payload = _route(plug, guard, request, body)
    content = json.dumps(payload).encode()
    headers = [
        ("Server", "ShellyHTTP/1.0.0"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(content))),
        *extra,
    ]
    parts = (
        connection.send(h11.Response(status_code=status, headers=headers)),
        connection.send(h11.Data(content)),
        connection.send(h11.EndOfMessage()),
    )
    return b"".join(part for part in parts if part)


def _route(
    plug: Plug, guard: Guard | None, request: h11.Request, body: bytes
) -> tuple[int, list[tuple[str, str]], dict[str, Any]]:
    """(HTTP status, more headers, JSON body)."""
    path, verb = request.target.decode("latin-1"), request.method.decode("latin-1")
    if (verb, path) == ("GET", "/shelly"):
        return 200, [], plug.device_info()
    if (verb, path) != ("POST", "/rpc"):
        return 404, [], {"code": 404, "message": f"No handler for {path}"}
    if guard is not None and not _is_open(body):
        given = dict(request.headers).get(b"authorization", b"").decode("latin-1")
        fields = dict(re.findall(r'(\w+)="?([^",\s]*)"?', given))
        if fields.get("uri") != path or not guard.accepts(
            fields, fields.get("nc", ""), sha256_hex(f"{verb}:{path}")
        ):
            asked = guard.challenge()
            challenge = (
                f'Digest qop="auth", realm="{asked["realm"]}", '
                f'nonce="{asked["nonce"]}", algorithm=SHA-256'
            )
            return 401, [("WWW-Authenticate", challenge)], {"code": 401, "message": "auth"}
    return 200, [], answer_frame(plug, None, body) or {}


def _is_open(body: bytes) -> bool:
    """Shelly.GetDeviceInfo is answered without a password."""
    try:
        frame = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(frame, dict) and frame.get("method") == "Shelly.GetDeviceInfo"


class WebSocketSession:
    """RPC frames both ways; the plug's notices go to a client once it has sent a frame."""

    def __init__(self, plug: Plug, guard: Guard | None, stream: trio.SocketStream) -> None:
        self._plug, self._guard, self._stream = plug, guard, stream
        self._socket = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self._sending = trio.Lock()
        self._text = ""
        self._client: object = None  # the `src` it gave itself
        self._notices, self._incoming = trio.open_memory_channel[dict[str, Any]](NOTICES_MAX)

    async def run(self, opening: bytes) -> None:
        """Until the client closes or breaks the connection; `opening` is its HTTP request."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forward_notices)
            try:
                await self._receive(opening)
            except (wsproto.utilities.ProtocolError, trio.BrokenResourceError):
                pass  # as a plug would, hang up
            finally:
                if self._notices in self._plug.notices:
                    self._plug.notices.remove(self._notices)
                nursery.cancel_scope.cancel()

    async def _receive(self, chunk: bytes) -> None:
        while chunk and self._socket.state is not wsproto.connection.ConnectionState.CLOSED:
            self._socket.receive_data(chunk)
            for event in self._socket.events():
                await self._handle(event)
            chunk = await self._stream.receive_some(RECEIVE_BYTES)

    async def _handle(self, event: wsproto.events.Event) -> None:
        if isinstance(event, wsproto.events.Request):
            await self._send(wsproto.events.AcceptConnection())
        elif isinstance(event, wsproto.events.Ping | wsproto.events.CloseConnection):
            await self._send(event.response())
        elif isinstance(event, wsproto.events.TextMessage):
            self._text += event.data
            if len(self._text) > REQUEST_BYTES_MAX:
                await self._send(wsproto.events.CloseConnection(code=1009))
            elif event.message_finished:
                text, self._text = self._text, ""
                await self._answer(text)

    async def _answer(self, text: str) -> None:
        frame = answer_frame(self._plug, self._guard, text)
        if frame is not None:
            self._client = frame.get("dst")
            await self._send(wsproto.events.Message(data=json.dumps(frame)))
        if self._notices not in self._plug.notices:
            self._plug.notices.append(self._notices)

    async def _forward_notices(self) -> None:
        async for notice in self._incoming:
            text = json.dumps({**notice, "dst": self._client})
            try:
                await self._send(wsproto.events.Message(data=text))
            except (wsproto.utilities.ProtocolError, trio.BrokenResourceError):
                return  # closing: the receiving side ends the session

    async def _send(self, event: wsproto.events.Event) -> None:
        async with self._sending:
            await self._stream.send_all(self._socket.send(event))


# --- alone ---------------------------------------------------------------------------------------


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=8099, show_default=True)
@click.option("--watts", type=click.IntRange(0, 3_680), default=2_000, help="What is plugged in.")
@click.option("--password", help="Ask for this one, as a plug does that has one.")
def main(port: int, watts: int, password: str | None) -> None:
    """Be a Shelly plug on this machine, with a steady load, until Ctrl-C."""
    plug = Plug(
        lambda at_us: (watts * 1000, watts * at_us // MILLI_WH_US), SystemClock(), password=password
    )
    try:
        trio.run(_alone, plug, port)
    except* KeyboardInterrupt:
        click.echo("stopped")


async def _alone(plug: Plug, port: int) -> None:
    async with trio.open_nursery() as nursery:
        taken = await nursery.start(partial(serve, plug, port=port))
        click.echo(f"a Shelly plug at http://127.0.0.1:{taken}")


if __name__ == "__main__":
    main()
