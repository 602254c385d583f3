"""OCPP 1.6J charge points: we are the central system that one of them connects to.

It is told `ws://this-machine:port/`, to which it adds its own name, and with `password_file` a
password for HTTP basic authentication; with `tls_cert` and `tls_key` it is `wss://`.  Off this
machine nobody is listened to without a password: who connects says what was metered.

The listener runs for as long as the device is watched; of several connections under the right
name the newest counts, since a charge point that lost its link comes back before the old one is
known to be dead.
"""

import base64
import hmac
import ssl
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    WebSocketRequest,
    wrap_server_stream,
)

from ioe_node.clock import Clock, SystemClock
from ioe_node.drivers.driver import Reading, parse_options
from ioe_node.drivers.ocpp_messages import (
    MESSAGE_BYTES_MAX,
    PROFILE_ID,
    Call,
    Error,
    Payload,
    Result,
    Status,
    Violation,
    call_frame,
    decode_frame,
    decode_payload,
    error_frame,
    limit_of,
    limit_profile,
    result_frame,
)
from ioe_node.drivers.ocpp_station import HEARTBEAT_S, REMOTE_ID_TAG, Station
from ioe_node.errors import ConfigError, LocalError, TransportError

SUBPROTOCOL = "ocpp1.6"
UNAUTHORISED = 401
CODES_TO_RETRY = ("InternalError", "GenericError")
CONNECTIONS_MAX = 16
HANDSHAKE_DEADLINE_S = 10.0
CALL_DEADLINE_S = 30.0
SILENCE_S = 4.0 * HEARTBEAT_S
READ_DEADLINE_S = 15.0
"""How long a reading waits for a charge point to connect, and then to say what it was asked."""


class OcppOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name` is what the charge point calls itself.  `id_tags` may charge; everybody if not given.

    `listen` is an address of this machine ("0.0.0.0": all of them).  `limit_unit` is the one that
    its charging profiles take; for A, `volts` and `phases` say what an ampere is.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=48)]
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8887
    listen: str = "127.0.0.1"
    password_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    connector: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    id_tags: list[str] | None = None
    limit_unit: Literal["W", "A"] = "A"
    volts: Annotated[int, msgspec.Meta(ge=100, le=1000)] = 230
    phases: Annotated[int, msgspec.Meta(ge=1, le=3)] = 3


class ChargePoint:
    """A `Meter`, a `Watch`, a `Switch` (it charges or not) and a `PowerLimit`."""

    def __init__(
        self,
        options: OcppOptions,
        password: bytes | None,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._options, self._password, self._clock = options, password, clock
        self._tls = tls
        tags = None if options.id_tags is None else frozenset(options.id_tags)
        self._station = Station(options.connector, tags, self._take)
        self._tell: Callable[[Reading], None] = _nothing
        self._changed = trio.Event()
        self._link: Link | None = None
        self._refusal: str | None = None
        self._connections = trio.CapacityLimiter(CONNECTIONS_MAX)
        self.port = options.port
        """What is listened on, also where any free one was asked for."""

    @classmethod
    def from_options(
        cls, options: Mapping[str, object], clock: Clock | None = None
    ) -> "ChargePoint":
        """ConfigError names the key."""
        parsed = parse_options(options, OcppOptions, "ocpp")
        password = None
        if parsed.password_file is not None:
            try:
                password = Path(parsed.password_file).expanduser().read_bytes().rstrip(b"\r\n")
            except OSError as refusal:
                raise ConfigError(f"driver ocpp: password_file: {refusal}") from None
        if not password and not _is_here(parsed.listen):
            raise ConfigError(
                f"driver ocpp: listen: on '{parsed.listen}' anybody near could say what was "
                'charged: write password_file = "FILE" beside it, a file with the charge point\'s '
                'password, or listen = "127.0.0.1"'
            )
        return cls(parsed, password, clock or SystemClock(), _tls(parsed))

    async def watch(self, tell: Callable[[Reading], None]) -> None:
        """Listen, and tell each meter value."""
        try:
            listeners = await trio.open_tcp_listeners(self._options.port, host=self._options.listen)
        except OSError as failure:
            self._refusal = f"ocpp: cannot listen on port {self._options.port}: {failure}"
            raise LocalError(self._refusal) from None
        self._tell, self._refusal = tell, None
        self.port = listeners[0].socket.getsockname()[1]
        self._show()
        try:
            await trio.serve_listeners(self._serve, listeners)
        finally:
            self._tell = _nothing

    async def read(self) -> Reading:
        """What its meter says when asked, or said last where it does not like to be asked."""
        link, before = await self._linked(), self._station.latest
        asked = {"requestedMessage": "MeterValues", "connectorId": self._options.connector}
        try:
            status = await link.call("TriggerMessage", asked)
        except LocalError:  # not every charge point knows this command
            status = "NotSupported"
        if status == "Accepted" or before is None:
            with trio.move_on_after(READ_DEADLINE_S):
                while self._station.latest is before:
                    await self._changed.wait()
        if self._station.latest is None:
            raise TransportError(f"{self._name}: it has not told its meter yet")
        return self._station.latest

    async def set_on(self, on: bool) -> None:
        """Let it charge, or stop it; done when it has agreed."""
        link, running = await self._linked(), self._station.transaction_id
        if on == (running is not None):
            return
        if on:
            start = {"connectorId": self._options.connector, "idTag": REMOTE_ID_TAG}
            status = await link.call("RemoteStartTransaction", start)
        else:
            status = await link.call("RemoteStopTransaction", {"transactionId": running})
        if status != "Accepted":
            raise TransportError(f"{self._name}: it said {status}: is a car plugged in?")

    async def limit_power(self, milli_w: int | None) -> None:
        """Bound what it draws, by a charging profile; done when it has agreed."""
        options, link = self._options, await self._linked()
        if milli_w is None:
            status = await link.call("ClearChargingProfile", {"id": PROFILE_ID})
            agreed = status in ("Accepted", "Unknown")  # unknown: there was none
        else:
            limit = limit_of(milli_w, options.limit_unit, options.volts, options.phases)
            profile = limit_profile(options.connector, options.limit_unit, limit, options.phases)
            status = await link.call("SetChargingProfile", profile)
            agreed = status == "Accepted"
        if not agreed:
            raise LocalError(f"{self._name}: it said {status}: try the other `limit_unit`")

    # -- its connections ----------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return f"ocpp {self._options.name}"

    async def _linked(self) -> "Link":
        """Its connection; TransportError where it has none, and soon gets none."""
        with trio.move_on_after(READ_DEADLINE_S):
            while self._link is None and self._refusal is None:
                await self._changed.wait()
        if self._refusal is not None:
            raise LocalError(self._refusal)
        if self._link is None:
            raise TransportError(
                f"{self._name}: it is not connected: its central system is "
                f"{'ws' if self._tls is None else 'wss'}://THIS-MACHINE:{self.port}/"
            )
        return self._link

    def _take(self, reading: Reading) -> None:
        self._show()
        self._tell(reading)

    def _show(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _serve(self, plain: trio.SocketStream) -> None:
        """One connection, from its handshake to its end; whatever comes ends no other."""
        try:
            self._connections.acquire_nowait()
        except trio.WouldBlock:
            return await plain.aclose()
        stream: trio.abc.Stream = plain
        if self._tls is not None:
            stream = trio.SSLStream(plain, self._tls, server_side=True, https_compatible=True)
        try:
            async with stream, trio.open_nursery() as nursery:
                await self._greet(nursery, stream)
                nursery.cancel_scope.cancel()
        except* (ConnectionClosed, HandshakeError, trio.BrokenResourceError, OSError):
            pass
        finally:
            self._connections.release()

    async def _greet(self, nursery: trio.Nursery, stream: trio.abc.Stream) -> None:
        with trio.move_on_after(HANDSHAKE_DEADLINE_S) as patience:
            request = await wrap_server_stream(
                nursery, stream, message_queue_size=1, max_message_size=MESSAGE_BYTES_MAX
            )
            status = self._refused(request)
            if status is not None:
                challenge = _CHALLENGE if status == UNAUTHORISED else []
                return await request.reject(status, extra_headers=challenge)
            socket = await request.accept(subprotocol=SUBPROTOCOL)
        if patience.cancelled_caught:
            return None
        if self._link is not None:
            self._link.scope.cancel()
        link = self._link = Link(socket, self._station, self._clock, self._name)
        self._show()
        try:
            with link.scope:
                await link.run()
        finally:
            link.close()
            if self._link is link:
                self._link = None

    def _refused(self, request: WebSocketRequest) -> int | None:
        """The HTTP status that refuses a request, or None."""
        if unquote(request.path.rpartition("/")[2]) != self._options.name:
            return 404
        if SUBPROTOCOL not in request.proposed_subprotocols:
            return 400
        if self._password is not None:
            expected = base64.b64encode(f"{self._options.name}:".encode() + self._password)
            told = dict(request.headers).get(b"authorization", b"")
            if not hmac.compare_digest(told, b"Basic " + expected):
                return UNAUTHORISED
        return None


def _is_here(listen: str) -> bool:
    """Whether only programs of this machine reach an address; ConfigError if it is none."""
    try:
        return ip_address(listen).is_loopback
    except ValueError:
        raise ConfigError(
            f"driver ocpp: listen: '{listen}' is no address like 127.0.0.1 or 0.0.0.0"
        ) from None


def _tls(options: OcppOptions) -> ssl.SSLContext | None:
    """What `wss://` is spoken with, or None; ConfigError names the keys."""
    if options.tls_cert is None and options.tls_key is None:
        return None
    if options.tls_cert is None or options.tls_key is None:
        raise ConfigError("driver ocpp: tls_cert and tls_key go together: a certificate, its key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert, key = Path(options.tls_cert).expanduser(), Path(options.tls_key).expanduser()
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ValueError) as refusal:
        raise ConfigError(f"driver ocpp: tls_cert, tls_key: {refusal}") from None
    return context


_CHALLENGE = [(b"WWW-Authenticate", b'Basic realm="charge points"')]


def _nothing(_reading: Reading) -> None:
    """Nobody watches."""


class Link:
    """One connection: its calls answered, and ours made, one at a time."""

    def __init__(
        self, socket: WebSocketConnection, station: Station, clock: Clock, name: str
    ) -> None:
        self._socket, self._station, self._clock = socket, station, clock
        self._name = name
        self.scope = trio.CancelScope()
        self._turn = trio.Lock()
        self._calls = 0
        self._answer: Result | Error | None = None
        self._answered = trio.Event()

    async def run(self) -> None:
        """Until it hangs up, or falls silent."""
        while True:
            with trio.move_on_after(SILENCE_S) as patience:
                message = await self._socket.get_message()
            if patience.cancelled_caught:
                return
            await self._receive(message if isinstance(message, str) else "")

    def close(self) -> None:
        """Nothing comes any more: who waits for an answer need not."""
        self._answer = None
        self._answered.set()

    async def _receive(self, text: str) -> None:
        try:
            frame = decode_frame(text)
        except Violation:
            return None  # there is no call to answer
        if not isinstance(frame, Call):
            if frame.id == str(self._calls) and not self._answered.is_set():
                self._answer = frame
                self._answered.set()
            return None
        try:
            payload = self._station.answer(frame.action, frame.payload, self._clock.now_us())
            answer = result_frame(frame.id, payload)
        except Violation as refusal:
            answer = error_frame(frame.id, refusal.code, str(refusal))
        with trio.move_on_after(CALL_DEADLINE_S):
            return await self._socket.send_message(answer)
        raise trio.BrokenResourceError  # it takes nothing more

    async def call(self, action: str, payload: Payload) -> str:
        """The status that it answers a command with.

        TransportError when it does not answer, LocalError when it does not know the command.
        """
        async with self._turn:
            self._calls += 1
            self._answered = trio.Event()
            try:
                with trio.fail_after(CALL_DEADLINE_S):
                    await self._socket.send_message(call_frame(str(self._calls), action, payload))
                    await self._answered.wait()
            except trio.TooSlowError:
                raise TransportError(f"{self._name}: no answer to {action}") from None
            except ConnectionClosed:
                self.close()
            answer = self._answer
        if answer is None:
            raise TransportError(f"{self._name}: the connection closed")
        if isinstance(answer, Error):
            family = TransportError if answer.code in CODES_TO_RETRY else LocalError
            raise family(f"{self._name}: it refused {action}: {answer.code} {answer.text!r}")
        try:
            return decode_payload(answer.payload, Status).status
        except Violation as refusal:
            raise TransportError(f"{self._name}: its answer to {action}: {refusal}") from None
