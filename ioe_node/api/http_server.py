"""The listener: Hypercorn's connections, on listeners of our own so that they are bounded.

At most `[api] connections_max` at once; who sends no whole request in `IDLE_MAX_S`, or takes no
byte of its answer in `SEND_WAIT_S`, is cut off.
"""

import logging
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import h11
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from ioe_node.api.http_app import Api, make_app
from ioe_node.api.http_calls import SERVED_AS
from ioe_node.api.http_routes import BODY_BYTES_MAX
from ioe_node.conductor.check import http_address
from ioe_node.errors import ConfigError

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.http")

IDLE_MAX_S = 15
READ_MAX_S = 60
PING_EVERY_S = 20.0
SEND_WAIT_S = 20.0
HANDSHAKE_MAX_S = 10
LINGER_MAX_S = 120.0
HEADER_BYTES_MAX = 16 * 1024
WEBSOCKET_BYTES_MAX = 4 * 1024
BACKLOG = 128
FRAMINGS = {b"content-length", b"transfer-encoding"}
FRAMED_TWICE = (
    b'{"error":"BadRequest",'
    b'"text":"send Content-Length or Transfer-Encoding, not both: they may say two things"}'
)

AnyStream = trio.SocketStream | trio.SSLStream


class Bounded:
    """A connection whose peer must go on reading."""

    def __init__(self, stream: AnyStream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def send_all(self, data: bytes) -> None:
        """As a stream does; a peer that reads too slowly has broken it.

        Whoever sends while the stream is being closed is told so too.
        """
        with trio.move_on_after(SEND_WAIT_S) as waiting:
            try:
                await self._stream.send_all(data)
            except trio.BusyResourceError:
                raise trio.BrokenResourceError("the stream is being closed") from None
        if waiting.cancelled_caught:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("the peer does not read")


class Context(WorkerContext):
    """What a connection's tasks wait by; over as soon as its peer has gone."""

    def __init__(self) -> None:
        super().__init__(None)

    async def sleep(self, wait: float) -> None:  # type: ignore[override]  # static there
        """Sleep, or until the connection is over."""
        with trio.move_on_after(wait):
            await self.terminated.wait()


class Http1(H11Protocol):
    """HTTP/1.1, whatever the client would upgrade to: it serves WebSockets and needs no more.

    Hypercorn's HTTP/2 waits for ever to send to some peers that have gone.
    """

    async def _check_protocol(self, event: Any) -> None:
        return None

    async def _create_stream(self, request: h11.Request) -> None:
        """Begin to answer; a request of two lengths is refused here.

        What follows it would be read, and the connection closed, before an app has said why.
        """
        if not {name for name, _ in request.headers} >= FRAMINGS:
            await super()._create_stream(request)
            return
        length = (b"content-length", b"%d" % len(FRAMED_TWICE))
        headers = [(b"content-type", b"application/json"), length, (b"connection", b"close")]
        await self._send_h11_event(h11.Response(status_code=400, headers=headers))
        await self._send_h11_event(h11.Data(data=FRAMED_TWICE))
        await self._send_h11_event(h11.EndOfMessage())
        await self.send(Closed())


class Connection(TCPServer):
    """A connection whose tasks end with it, and not when each next looks at its clock.

    A request that was taken is finished though its client has gone, in `LINGER_MAX_S` at most:
    then `scope` ends.
    """

    scope: trio.CancelScope

    async def _read_data(self) -> None:
        made: Any = self.protocol.protocol
        first = Http1(
            made.app,
            made.config,
            made.context,
            made.task_group,
            made.connection_state,
            made.ssl,
            made.client,
            made.server,
            made.send,
        )
        self.protocol = first  # type: ignore[assignment]  # as good as the one that chooses
        try:
            await super()._read_data()
        finally:
            self.scope.deadline = trio.current_time() + LINGER_MAX_S
            await self.context.terminated.set()


def hypercorn_config() -> HypercornConfig:
    """How Hypercorn treats each connection."""
    config = HypercornConfig()
    config.keep_alive_timeout = IDLE_MAX_S
    config.read_timeout = READ_MAX_S
    config.websocket_ping_interval = PING_EVERY_S
    config.websocket_max_message_size = WEBSOCKET_BYTES_MAX
    config.ssl_handshake_timeout = HANDSHAKE_MAX_S
    config.h11_max_incomplete_size = HEADER_BYTES_MAX
    config.include_server_header = False
    config.accesslog = None
    # What handlers stumble over is logged where they are called; the rest is the peers' doing.
    config.errorlog = None
    return config


async def serve_http(conductor: "Conductor", task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until cancelled what `[api]` asks for; `conductor.serves` says where."""
    wanted = conductor.config.api
    host, port = http_address(wanted.http)
    api = Api(conductor)
    app = wrap_app(make_app(api), BODY_BYTES_MAX, "asgi")  # type: ignore[arg-type]  # plain ASGI
    config = hypercorn_config()
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"api.http {wanted.http}: {error}; choose another port") from None
    tls = _tls(wanted.tls_cert, wanted.tls_key) if wanted.tls_cert else None
    slots = trio.CapacityLimiter(wanted.connections_max)
    streams: set[AnyStream] = set()

    async def connection(plain: trio.SocketStream) -> None:
        try:
            slots.acquire_on_behalf_of_nowait(plain)
        except trio.WouldBlock:
            await trio.aclose_forcefully(plain)
            return
        stream: AnyStream = plain
        if tls is not None:
            stream = trio.SSLStream(plain, tls, server_side=True, https_compatible=True)
        streams.add(stream)
        try:
            bounded: Any = Bounded(stream)
            made = Connection(app, config, Context(), ConnectionState({}), bounded)
            with trio.CancelScope() as made.scope:
                await made
        except Exception as error:
            # Bytes that Hypercorn stumbles over must not end the node that it runs in.
            log.info("a connection ended: %r", error)
            log.debug("where it did", exc_info=True)
        finally:
            await trio.aclose_forcefully(stream)
            streams.discard(stream)
            slots.release_on_behalf_of(plain)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(api.hub.run)
        await nursery.start(trio.serve_listeners, connection, listeners)
        url = _url(host, listeners[0].socket.getsockname()[1], tls is not None)
        conductor.serves[SERVED_AS] = url
        task_status.started(url)
        try:
            await trio.sleep_forever()
        finally:
            conductor.serves.pop(SERVED_AS, None)
            # Hypercorn shields what it sends from cancellation; a closed stream ends it.
            with trio.CancelScope(shield=True):
                for stream in list(streams):
                    await trio.aclose_forcefully(stream)


def _tls(cert: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(cert, key)
    return context


def _url(host: str, port: int, tls: bool) -> str:
    shown = f"[{host}]" if ip_address(host).version == 6 else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"
