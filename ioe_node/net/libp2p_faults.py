"""Mends for six faults of the py-libp2p 0.8.1 host, found by running it.

1. *Deaf*: every inbound connection keeps its slot until the host stops, however long ago it
   closed; when as many have come as there are slots, the host accepts no more.
2. *Cancelled writes*: a write that is cancelled after its bytes were encrypted leaves the two
   ends of the connection counting differently, and nothing can be decrypted from then on.
3. *Escaping exceptions*: what a stream handler raises, or the negotiation before it, stops
   the whole host.
4. *Stale identities*: a peer that was identified once is not asked again while its record lasts
   (two hours), so that one that comes back at another address is remembered at the old one.
5. *Open sockets*: a WebSocket that the peer has closed keeps its socket when it is closed here.
6. *Fatal strangers*: what is no WebSocket, sent by who dials us or by whom we dial, ends the
   program.

Each `mend_` function replaces one method of a libp2p class in this process; calling it again
changes nothing.  Pin and mends go together: review this module with every new version.
"""

import logging
from typing import Any

import trio
from libp2p.host.basic_host import BasicHost
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.websocket.connection import P2PWebSocketConnection
from trio_websocket import WebSocketConnection, WebSocketServer

WRITE_DEADLINE_S = 10.0
CLOSE_DEADLINE_S = 1.0

AS_SHIPPED = {
    (Swarm, "_do_handle_inbound_connection"): Swarm._do_handle_inbound_connection,
    (Yamux, "_write_frame"): Yamux._write_frame,
    (BasicHost, "_swarm_stream_handler"): BasicHost._swarm_stream_handler,
    (BasicHost, "_on_notifee_connected"): BasicHost._on_notifee_connected,
    (P2PWebSocketConnection, "close"): P2PWebSocketConnection.close,
    (WebSocketServer, "_handle_connection"): WebSocketServer._handle_connection,
    (WebSocketConnection, "_reader_task"): WebSocketConnection._reader_task,
}

log = logging.getLogger("ioe.net")


def mend_inbound_slots() -> None:
    """An inbound connection holds its slot until it closes, not until the host stops."""

    async def serve_until_closed(
        self: Swarm, pipe: Any, listener_address: Any, _failure_event: Any
    ) -> None:
        raw = RawConnection(pipe, False)
        try:
            remote = self._build_remote_multiaddr(pipe)
            if remote is not None and not await self.connection_gate.is_allowed(remote):
                return
            muxed = await self.upgrade_inbound_raw_conn(raw, listener_address)
            await muxed.event_closed.wait()
        except Exception as error:
            log.debug("an inbound connection failed: %r", error)
        finally:
            await _quietly(raw.close)

    Swarm._do_handle_inbound_connection = serve_until_closed


def mend_cancelled_writes() -> None:
    """A frame, once begun, is written whole; if it stalls, the connection is closed."""
    write_frame = AS_SHIPPED[Yamux, "_write_frame"]

    async def write_whole_frame(self: Yamux, data: bytes) -> None:
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + WRITE_DEADLINE_S
            await write_frame(self, data)
        if scope.cancelled_caught:
            await _quietly(self.secured_conn.close)
            raise trio.BrokenResourceError("a write stalled; the connection was closed")

    Yamux._write_frame = write_whole_frame


def mend_escaping_exceptions() -> None:
    """What a stream's handling raises costs that stream, not the host."""
    handle_stream = AS_SHIPPED[BasicHost, "_swarm_stream_handler"]

    async def handle_stream_safely(self: BasicHost, stream: Any) -> None:
        try:
            await handle_stream(self, stream)
        except Exception as error:
            log.debug("a stream failed: %r", error)
            await _quietly(stream.reset)

    BasicHost._swarm_stream_handler = handle_stream_safely


def mend_stale_identities() -> None:
    """Each new connection is identified, whoever was so before."""
    identify_if_new = AS_SHIPPED[BasicHost, "_on_notifee_connected"]

    async def identify_anew(self: BasicHost, connection: Any) -> None:
        peer = connection.muxed_conn.peer_id
        self._identified_peers.pop(peer, None)
        self.get_peerstore().clear_protocol_data(peer)
        await identify_if_new(self, connection)

    BasicHost._on_notifee_connected = identify_anew


def mend_open_sockets() -> None:
    """Closing a WebSocket closes what carries it, also when the peer was first."""
    say_goodbye = AS_SHIPPED[P2PWebSocketConnection, "close"]

    async def close_all_of_it(self: P2PWebSocketConnection) -> None:
        try:
            await say_goodbye(self)
        finally:
            await trio.aclose_forcefully(self._ws_connection._stream)

    P2PWebSocketConnection.close = close_all_of_it


def mend_fatal_strangers() -> None:
    """Whoever breaks WebSocket's protocol breaks that connection only."""
    serve = AS_SHIPPED[WebSocketServer, "_handle_connection"]
    read = AS_SHIPPED[WebSocketConnection, "_reader_task"]

    async def serve_safely(self: WebSocketServer, stream: Any) -> None:
        try:
            await serve(self, stream)
        except Exception as error:
            log.debug("a WebSocket failed: %r", error)
        finally:
            await trio.aclose_forcefully(stream)

    async def read_safely(self: WebSocketConnection) -> None:
        try:
            await read(self)
        except Exception as error:
            log.debug("a WebSocket broke: %r", error)
            await self._abort_web_socket()

    WebSocketServer._handle_connection = serve_safely  # type: ignore[method-assign]
    WebSocketConnection._reader_task = read_safely  # type: ignore[method-assign]


def mend_host() -> None:
    """Apply all six."""
    mend_fatal_strangers()
    mend_open_sockets()
    mend_inbound_slots()
    mend_cancelled_writes()
    mend_escaping_exceptions()
    mend_stale_identities()


async def _quietly(close: Any) -> None:
    """Close something that may be broken, even while being cancelled, and not for long."""
    with trio.CancelScope(shield=True) as scope:
        scope.deadline = trio.current_time() + CLOSE_DEADLINE_S
        try:
            await close()
        except Exception as error:
            log.debug("closing failed: %r", error)
