"""A Shelly Gen2 plug that is not there: HTTP and WebSocket on trio, for tests and the demo.

Written after the vendor's public documentation of the Gen2+ RPC (RPC protocol, RPC channels,
Authentication, Shelly, Sys, Switch, Notifications): `GET /shelly`, `POST /rpc`, and `/rpc` as a
WebSocket, with digest authentication where a password is set.  The independent client `aioshelly`
takes it for a plug (tests/interop).

Invariant: time and energy agree.  `unixtime` is simulated time, floored to `quantum_s`, and the
counters are those of that very instant; the load flows only while the plug is on, and a switch
takes effect from the last quantum on.  Simulated seconds by default; a demo that wants exact
intervals sets the quantum to the interval's length.
"""

import hmac
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import trio
import wsproto
import wsproto.connection
import wsproto.events
import wsproto.utilities

from ioe_node.clock import Clock
from ioe_node.drivers.shelly import USER, digest_response, sha256_hex

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings these stubs, and they shadow trio's own

Load = Callable[[int], tuple[int, int]]
"""Simulated microseconds to (power in milli-W, cumulative milli-Wh) of what is plugged in."""

SECOND_US = 1_000_000
MINUTE_S = 60
VOLTAGE_V = 230.0
REQUEST_BYTES_MAX = 64 * 1024
RECEIVE_BYTES = 16 * 1024
NOTICES_MAX = 32
NONCES_MAX = 64
MODEL = "SNPL-00112EU"
FIRMWARE = "20241011-114449/1.4.4-g6d2a586"
FIRMWARE_VERSION = "1.4.4"


class RpcError(Exception):
    """An error frame: code and message as the documentation numbers them."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Plug:
    """The plug's state and its RPC methods; no networking."""

    def __init__(
        self,
        load: Load,
        clock: Clock,
        *,
        mac: str = "A8032AB1C2D3",
        password: str | None = None,
        quantum_s: int = 1,
        on: bool = True,
    ) -> None:
        self.device_id = f"shellyplusplugs-{mac.lower()}"
        self.password = password
        self.notices: list[trio.MemorySendChannel[dict[str, Any]]] = []
        self._load, self._clock, self._mac = load, clock, mac
        self._quantum_s = quantum_s
        self._on = on
        self._source = "init"
        self._booted_s = self._now_s()
        self._switched_s = self._booted_s
        self._counted_milli_wh = 0  # up to _counted_to_s
        self._counted_to_s = self._booted_s
        self._methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "Shelly.GetDeviceInfo": lambda params: self.device_info(),
            "Shelly.GetStatus": lambda params: self._status(),
            "Shelly.GetConfig": lambda params: self._config(),
            "Shelly.GetComponents": lambda params: self._components(params),
            "Shelly.ListMethods": lambda params: {"methods": sorted(self._methods)},
            "Sys.GetStatus": lambda params: self._sys_status(),
            "Sys.GetConfig": lambda params: self._sys_config(),
            "Switch.GetStatus": lambda params: self._switch_status(_switch(params)),
            "Switch.GetConfig": lambda params: self._switch_config(_switch(params)),
            "Switch.Set": lambda params: self._set(_switch(params), _flag(params, "on")),
            "Switch.Toggle": lambda params: self._set(_switch(params), not self._on),
        }

    @property
    def on(self) -> bool:
        return self._on

    @property
    def counted_milli_wh(self) -> int:
        """The energy counter, as the plug would report it now."""
        self._count()
        return self._counted_milli_wh

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One RPC's result, or RpcError."""
        handler = self._methods.get(method)
        if handler is None:
            raise RpcError(404, f"No handler for {method}")
        return handler(params)

    def device_info(self) -> dict[str, Any]:
        return {
            "name": None,
            "id": self.device_id,
            "mac": self._mac,
            "slot": 0,
            "model": MODEL,
            "gen": 2,
            "fw_id": FIRMWARE,
            "ver": FIRMWARE_VERSION,
            "app": "PlusPlugS",
            "auth_en": self.password is not None,
            "auth_domain": None if self.password is None else self.device_id,
        }

    def _now_s(self) -> int:
        seconds = self._clock.now_us() // SECOND_US
        return seconds // self._quantum_s * self._quantum_s

    def _count(self) -> int:
        """Bring the counter up to the quantum that has begun; its time in Unix seconds."""
        now_s = self._now_s()
        if self._on:
            self._counted_milli_wh += self._drawn(self._counted_to_s, now_s)
        self._counted_to_s = now_s
        return now_s

    def _drawn(self, from_s: int, to_s: int) -> int:
        return self._load(to_s * SECOND_US)[1] - self._load(from_s * SECOND_US)[1]

    def _set(self, switch_id: int, on: bool) -> dict[str, Any]:
        now_s = self._count()
        was_on, self._on, self._source = self._on, on, "HTTP_in"
        if was_on != on:
            self._switched_s = now_s
            notice = {
                "src": self.device_id,
                "method": "NotifyStatus",
                "params": {
                    "ts": float(now_s),
                    f"switch:{switch_id}": {
                        "id": switch_id,
                        "output": on,
                        "apower": self._power_w(now_s),
                        "source": self._source,
                    },
                },
            }
            for channel in self.notices:
                try:
                    channel.send_nowait(notice)
                except trio.WouldBlock:
                    continue  # a listener that does not read misses notices, as on the plug
        return {"was_on": was_on}

    def _power_w(self, now_s: int) -> float:
        return round(self._load(now_s * SECOND_US)[0] / 1000, 1) if self._on else 0.0

    def _switch_status(self, switch_id: int) -> dict[str, Any]:
        now_s = self._count()
        power_w = self._power_w(now_s)
        minute_s = now_s // MINUTE_S * MINUTE_S
        # Only whole minutes since the last switch are known apart; the others show as zero.
        minutes = [
            float(self._drawn(end_s - MINUTE_S, end_s))
            if self._on and end_s - MINUTE_S >= self._switched_s
            else 0.0
            for end_s in (minute_s, minute_s - MINUTE_S, minute_s - 2 * MINUTE_S)
        ]
        return {
            "id": switch_id,
            "source": self._source,
            "output": self._on,
            "apower": power_w,
            "voltage": VOLTAGE_V,
            "freq": 50.0,
            "current": round(power_w / VOLTAGE_V, 3),
            "aenergy": {
                "total": self._counted_milli_wh / 1000,
                "by_minute": minutes,
                "minute_ts": minute_s,
            },
            "ret_aenergy": {"total": 0.0, "by_minute": [0.0, 0.0, 0.0], "minute_ts": minute_s},
            "temperature": {"tC": 31.5, "tF": 88.7},
        }

    def _switch_config(self, switch_id: int) -> dict[str, Any]:
        return {
            "id": switch_id,
            "name": None,
            "initial_state": "restore_last",
            "auto_on": False,
            "auto_off": False,
            "power_limit": 2500,
            "voltage_limit": 280,
            "current_limit": 12.0,
            "reverse": False,
        }

    def _sys_status(self) -> dict[str, Any]:
        now_s = self._now_s()
        clock = f"{now_s // 3600 % 24:02}:{now_s // MINUTE_S % 60:02}"
        return {
            "mac": self._mac,
            "restart_required": False,
            "time": clock,
            "unixtime": now_s,
            "uptime": now_s - self._booted_s,
            "ram_size": 260000,
            "ram_free": 120000,
            "fs_size": 458752,
            "fs_free": 143360,
            "cfg_rev": 1,
            "available_updates": {},
        }

    def _sys_config(self) -> dict[str, Any]:
        return {
            "device": {
                "name": None,
                "mac": self._mac,
                "fw_id": FIRMWARE,
                "discoverable": True,
                "eco_mode": False,
                "profile": "switch",
            },
            "location": {"tz": "UTC", "lat": 0.0, "lon": 0.0},
            "ui_data": {},
            "cfg_rev": 1,
        }

    def _status(self) -> dict[str, Any]:
        switch = self._switch_status(0)
        return {
            "ble": {},
            "cloud": {"connected": False},
            "mqtt": {"connected": False},
            "switch:0": switch,
            "sys": self._sys_status(),
            "wifi": {"sta_ip": "127.0.0.1", "status": "got ip", "ssid": "emulated", "rssi": -50},
            "ws": {"connected": False},
        }

    def _config(self) -> dict[str, Any]:
        return {
            "ble": {"enable": False, "rpc": {"enable": False}},
            "cloud": {"enable": False},
            "mqtt": {"enable": False},
            "switch:0": self._switch_config(0),
            "sys": self._sys_config(),
            "wifi": {"ap": {"enable": False}, "sta": {"ssid": "emulated", "enable": True}},
            "ws": {"enable": False},
        }

    def _components(self, params: dict[str, Any]) -> dict[str, Any]:
        offset = params.get("offset", 0)
        if params.get("dynamic_only") or not isinstance(offset, int):
            return {"components": [], "cfg_rev": 1, "offset": 0, "total": 0}
        status, config = self._status(), self._config()
        components = [
            {"key": key, "status": status[key], "config": config[key]} for key in sorted(status)
        ]
        return {
            "components": components[offset:],
            "cfg_rev": 1,
            "offset": offset,
            "total": len(components),
        }


def _switch(params: dict[str, Any]) -> int:
    if "id" not in params:
        raise RpcError(-103, "Missing required argument 'id'!")
    if params["id"] != 0:
        raise RpcError(-105, f"Argument 'id', value {params['id']} not found!")
    return 0


def _flag(params: dict[str, Any], name: str) -> bool:
    value = params.get(name)
    if not isinstance(value, bool):
        raise RpcError(-103, f"Missing or bad argument '{name}'!")
    return value


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
