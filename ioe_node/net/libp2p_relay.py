"""The relay's side of libp2p's circuit relay v2: bytes carried between two who cannot meet.

What is carried is the Noise of the two ends, so that a relay reads nothing and speaks for nobody.
The wire is libp2p's; its py-libp2p 0.8.1 implementation is not used: there a reservation may be
made in anybody's name, the end of one circuit closes the others of its peer, an asker that stays
silent is never given up, and a status of the relay's is written in the midst of what it carries.

Source: libp2p specification "Circuit Relay v2".
"""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import trio
from google.protobuf.message import DecodeError, Message
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb import circuit_pb2 as pb
from multiaddr import Multiaddr

from ioe_node.core.relaying import (
    CIRCUIT_BYTES_MAX,
    CIRCUIT_BYTES_PER_S,
    CIRCUIT_DURATION_S,
    RESERVED_FOR_US,
    Ledger,
)
from ioe_node.errors import IoeError, Malformed, TransportError
from ioe_node.model.hashes import AgentPubKey, to_text
from ioe_node.net.libp2p_stream import Libp2pStream
from ioe_node.net.peer_id import (
    agent_of_peer_id,
    agent_of_peer_id_bytes,
    join_address,
    peer_id_bytes,
    peer_id_of,
)
from ioe_node.net.room import Openings

HOP_PROTOCOL = "/libp2p/circuit/relay/0.2.0/hop"
STOP_PROTOCOL = "/libp2p/circuit/relay/0.2.0/stop"
MESSAGE_BYTES_MAX = 4 * 1024
MESSAGE_DEADLINE_S = 5.0
CARRY_BYTES = 64 * 1024
VARINT_MORE = 0x80
VARINT_BITS = 7

log = logging.getLogger("ioe.net")

AnyMessage = TypeVar("AnyMessage", bound=Message)


async def receive(stream: Libp2pStream, kind: type[AnyMessage]) -> AnyMessage:
    """One message and not a byte more; raises `Malformed` or `TransportError`."""
    with trio.move_on_after(MESSAGE_DEADLINE_S):
        length = shift = 0
        while True:
            byte = (await _exactly(stream, 1))[0]
            length += byte % VARINT_MORE << shift
            shift += VARINT_BITS
            if length > MESSAGE_BYTES_MAX or shift > 3 * VARINT_BITS:
                raise Malformed("an overlong circuit message")
            if byte < VARINT_MORE:
                break
        message = kind()
        try:
            message.ParseFromString(await _exactly(stream, length))
        except DecodeError:
            raise Malformed("not a circuit message") from None
        return message
    raise TransportError("no circuit message came in time; try again")


async def _exactly(stream: Libp2pStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.read(count - len(data))
        if not more:
            raise TransportError("the stream ended inside a circuit message; try again")
        data += more
    return data


async def send(stream: Libp2pStream, message: Message) -> None:
    """One message after its length; raises `TransportError`."""
    body = message.SerializeToString()
    length, prefix = len(body), bytearray()
    while length >= VARINT_MORE:
        prefix.append(length % VARINT_MORE | VARINT_MORE)
        length >>= VARINT_BITS
    await stream.write(bytes([*prefix, length]) + body)


def is_relayed(connection: Any) -> bool:
    """Whether a swarm's connection is itself carried by a relay."""
    return bool(connection.get_connection_type() == ConnectionType.RELAYED)


class Relay:
    """Carries circuits to those who have reserved here.  `addresses()` is where we are dialled."""

    def __init__(self, host: Any, addresses: Callable[[], tuple[str, ...]]) -> None:
        self._host = host
        self._swarm = host.get_network()
        self._addresses = addresses
        self._openings = Openings()
        self.ledger = Ledger()

    async def answer(self, net_stream: Any) -> None:
        """libp2p calls this for each stream opened to us; nothing may escape from here."""
        stream = Libp2pStream(net_stream)
        try:
            asker = agent_of_peer_id(str(net_stream.muxed_conn.peer_id))
            if not self._openings.allow(asker, _now_us()):
                raise TransportError("the peer asks for circuits too fast")
            request = await receive(stream, pb.HopMessage)
            if request.type == pb.HopMessage.CONNECT:
                await self._connect(stream, asker, request.peer.id)
            elif request.type == pb.HopMessage.RESERVE:
                relayed = is_relayed(net_stream.muxed_conn)
                await self._say(stream, self._reserve(asker, relayed))
            else:
                await self._say(stream, _status(pb.UNEXPECTED_MESSAGE))
        except IoeError as error:
            log.debug("no circuit: %s", error)
        except Exception:
            log.exception("a circuit failed")
        finally:
            await stream.reset()

    async def _say(self, stream: Libp2pStream, message: Message) -> None:
        await send(stream, message)
        await stream.finish()

    def _reserve(self, asker: AgentPubKey, relayed: bool) -> Any:
        """A place is kept only for who keeps a connection of its own to us."""
        if relayed:
            return _status(pb.PERMISSION_DENIED)
        if not self.ledger.reserve(asker, _now_us()):
            return _status(pb.RESERVATION_REFUSED)
        reply = _status(pb.OK)
        reply.reservation.expire = int(time.time()) + RESERVED_FOR_US // 1_000_000
        us = agent_of_peer_id(str(self._host.get_id()))
        reply.reservation.addrs.extend(
            Multiaddr(join_address(us, each)).to_bytes() for each in self._addresses()
        )
        return reply

    async def _connect(self, stream: Libp2pStream, asker: AgentPubKey, target_id: bytes) -> None:
        """Carry bytes between the asker and one that has reserved, until either ends."""
        target = agent_of_peer_id_bytes(target_id)
        id_ = ID.from_base58(peer_id_of(target))
        there = [one for one in self._swarm.get_connections(id_) if not one.is_closed]
        if not self.ledger.holds(target, _now_us()) or all(map(is_relayed, there)):
            await self._say(stream, _status(pb.NO_RESERVATION))
            return
        if not self.ledger.has_room(asker, target):
            await self._say(stream, _status(pb.RESOURCE_LIMIT_EXCEEDED))
            return
        with self.ledger.circuit(asker, target):
            onward = await self._call(id_, asker)
            if onward is None:
                await self._say(stream, _status(pb.CONNECTION_FAILED))
                return
            try:
                log.info("a circuit: %s to %s", to_text(asker)[:12], to_text(target)[:12])
                await send(stream, _status(pb.OK))
                await carry(stream, onward)
            finally:
                await onward.reset()

    async def _call(self, target: Any, asker: AgentPubKey) -> Libp2pStream | None:
        """A stream to the target, which has agreed to be connected with the asker."""
        with trio.move_on_after(MESSAGE_DEADLINE_S):
            try:
                onward = Libp2pStream(await self._host.new_stream(target, [STOP_PROTOCOL]))
            except Exception as error:
                log.debug("no stream to the end of a circuit: %r", error)
                return None
            agreed = False
            try:
                request = pb.StopMessage(type=pb.StopMessage.CONNECT)
                request.peer.id = peer_id_bytes(asker)
                request.limit.CopyFrom(_limit())
                await send(onward, request)
                agreed = (await receive(onward, pb.StopMessage)).status == pb.OK
            except IoeError as error:
                log.debug("the end of a circuit does not agree: %s", error)
            finally:
                if not agreed:
                    await onward.reset()
            return onward if agreed else None
        return None


async def carry(left: Libp2pStream, right: Libp2pStream) -> None:
    """Bytes both ways, within the limits of a circuit, until either end closes."""
    bytes_left = CIRCUIT_BYTES_MAX

    async def one_way(source: Libp2pStream, sink: Libp2pStream, both: trio.CancelScope) -> None:
        nonlocal bytes_left
        try:
            while data := await source.read(CARRY_BYTES):
                bytes_left -= len(data)
                if bytes_left < 0:
                    break
                await sink.write(data)
                await trio.sleep(len(data) / CIRCUIT_BYTES_PER_S)
        except TransportError as error:
            log.debug("a circuit ends: %s", error)
        both.cancel()

    with trio.move_on_after(CIRCUIT_DURATION_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one_way, left, right, nursery.cancel_scope)
            nursery.start_soon(one_way, right, left, nursery.cancel_scope)


def _limit() -> Any:
    return pb.Limit(duration=CIRCUIT_DURATION_S, data=CIRCUIT_BYTES_MAX)


def _status(status: Any) -> Any:
    message = pb.HopMessage(type=pb.HopMessage.STATUS, status=status)
    if status == pb.OK:
        message.limit.CopyFrom(_limit())
    return message


def _now_us() -> int:
    return round(trio.current_time() * 1_000_000)
