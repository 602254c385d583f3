"""Our end of circuits: a place at a relay, a peer dialled through one, being dialled through one.

A circuit is a stream to the relay on which the two ends raise a connection like any other: Noise
proves the peer's key to us and ours to the peer, so the relay is trusted with nothing but bytes.
"""

import logging
from collections.abc import Callable
from typing import Any

import trio
from libp2p.connection_types import ConnectionType
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb import circuit_pb2 as pb
from multiaddr import Multiaddr

from ioe_node.errors import IoeError, Malformed, TransportError
from ioe_node.model.hashes import AgentPubKey, to_text
from ioe_node.net.libp2p_host import STREAM_DEADLINE_S
from ioe_node.net.libp2p_relay import HOP_PROTOCOL, receive, send
from ioe_node.net.libp2p_stream import Libp2pStream
from ioe_node.net.peer_id import agent_of_peer_id, agent_of_peer_id_bytes, peer_id_bytes, peer_id_of

CALLS_AT_ONCE_MAX = 32
"""Circuits to us that are being raised at once; a relay that opens more is refused them."""

log = logging.getLogger("ioe.net")


class _Pipe(ReadWriteCloser):  # type: ignore[misc]
    """A stream as the socket of a connection."""

    def __init__(self, stream: Libp2pStream) -> None:
        self._stream = stream

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await self._stream.read(-1 if n is None else n)
        except TransportError as error:
            raise ConnectionClosedError(str(error)) from error

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except TransportError as error:
            raise ConnectionClosedError(str(error)) from error

    async def close(self) -> None:
        await self._stream.reset()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None


class Circuits:
    """The circuits of one host; `allowed` are the relays whose calls we answer.

    `called(peer)` is told of each peer that has connected with us through a relay.
    """

    def __init__(self, host: Any, called: Callable[[AgentPubKey], None]) -> None:
        self._host = host
        self._swarm = host.get_network()
        self._called = called
        self._calls = 0
        self.allowed: set[AgentPubKey] = set()

    async def reserve(self, relay: AgentPubKey) -> None:
        """Ask a relay to which we are connected for a place, or to keep ours.

        Raises `TransportError` when it gives none.
        """
        stream = await self._hop(relay)
        try:
            await send(stream, pb.HopMessage(type=pb.HopMessage.RESERVE))
            await _agreed(stream, relay)
        finally:
            await stream.reset()

    async def dial(self, relay: AgentPubKey, peer: AgentPubKey) -> None:
        """Raise a connection to `peer` through a relay to which we are connected.

        Raises `TransportError`.
        """
        stream = await self._hop(relay)
        try:
            request = pb.HopMessage(type=pb.HopMessage.CONNECT)
            request.peer.id = peer_id_bytes(peer)
            await send(stream, request)
            await _agreed(stream, relay)
            raw = _raw(stream, relay, initiator=True)
            with trio.fail_after(STREAM_DEADLINE_S):
                await self._swarm.upgrade_outbound_raw_conn(raw, _id_of(peer))
        except BaseException as error:
            await stream.reset()
            if isinstance(error, IoeError) or not isinstance(error, Exception):
                raise
            log.debug("no connection on a circuit: %r", error)
            raise TransportError(f"{to_text(peer)[:12]} did not answer on a circuit") from error

    async def answer(self, net_stream: Any) -> None:
        """A relay connects somebody with us.  libp2p calls this; nothing may escape from here."""
        stream = Libp2pStream(net_stream)
        try:
            relay = agent_of_peer_id(str(net_stream.muxed_conn.peer_id))
            muxed = await self._raise(stream, relay)
            if muxed is not None:
                self._called(agent_of_peer_id(str(muxed.peer_id)))
                await muxed.event_closed.wait()
        except IoeError as error:
            log.debug("no circuit to us: %s", error)
        except Exception as error:
            log.debug("no connection on a circuit to us: %r", error)
        finally:
            await stream.reset()

    async def _raise(self, stream: Libp2pStream, relay: AgentPubKey) -> Any:
        """The connection of whom a relay connects with us; None if we refuse it."""
        refused = relay not in self.allowed or self._calls >= CALLS_AT_ONCE_MAX
        self._calls += 1
        try:
            request = await receive(stream, pb.StopMessage)
            agent_of_peer_id_bytes(request.peer.id)
            status = pb.PERMISSION_DENIED if refused else pb.OK
            await send(stream, pb.StopMessage(type=pb.StopMessage.STATUS, status=status))
            if refused:
                await stream.finish()
                return None
            raw = _raw(stream, relay, initiator=False)
            return await self._swarm.upgrade_inbound_raw_conn(raw, raw.get_transport_addresses()[0])
        finally:
            self._calls -= 1

    async def _hop(self, relay: AgentPubKey) -> Libp2pStream:
        with trio.move_on_after(STREAM_DEADLINE_S):
            try:
                return Libp2pStream(await self._host.new_stream(_id_of(relay), [HOP_PROTOCOL]))
            except Exception as error:
                log.debug("no relay: %r", error)
        raise TransportError(f"{to_text(relay)[:12]} does not relay; try another")


async def _agreed(stream: Libp2pStream, relay: AgentPubKey) -> None:
    try:
        status = (await receive(stream, pb.HopMessage)).status
    except Malformed as error:
        raise TransportError(f"{to_text(relay)[:12]} is no relay: {error}") from error
    if status != pb.OK:
        raise TransportError(f"{to_text(relay)[:12]} refuses a circuit (status {status})")


def _raw(stream: Libp2pStream, relay: AgentPubKey, initiator: bool) -> RawConnection:
    address = Multiaddr(f"/p2p/{peer_id_of(relay)}/p2p-circuit")
    return RawConnection(_Pipe(stream), initiator, ConnectionType.RELAYED, [address])


def _id_of(peer: AgentPubKey) -> ID:
    return ID.from_base58(peer_id_of(peer))
