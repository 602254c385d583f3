"""libp2p's kad-dht on the wire: what any libp2p peer asks of peer routing, and how it is answered.

Pure.  A message is a protobuf after its length, an unsigned varint.  Of the specification's
fields these are read and written: type, key, closerPeers (id, addrs, connection); the record and
the providers belong to kad-dht's store, in which this node takes no part, and are skipped.

The schema is declared here, in a descriptor pool of its own: importing libp2p's generated code
would start its whole DHT, which registers a bare `Message` for the process.
Source: libp2p specification "Kademlia DHT", RPC messages.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from ioe_node.errors import Malformed
from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.peer_id import agent_of_peer_id_bytes, peer_id_bytes, peer_id_of
from ioe_node.net.transport import Located

KAD_MESSAGE_BYTES_MAX = 64 * 1024
KEY_BYTES_MAX = 256
PEERS_PER_MESSAGE_MAX = 32
"""How many we read: js-libp2p may add the peer asked for, and itself, to the k closest."""
PEER_ID_BYTES_MAX = 64
ADDRESSES_PER_PEER_MAX = 8
"""How many of a peer we send and take."""
ADDRESSES_READ_PER_PEER_MAX = 64
ADDRESS_BYTES_MAX = 256
ADDRESSES_REMEMBERED_MAX = 4_096

VARINT_MORE = 0x80
VARINT_BITS = 7


class Kind(IntEnum):
    """What a message is; its answer is of the same kind."""

    PUT_VALUE = 0
    GET_VALUE = 1
    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


class Connection(IntEnum):
    """Whether the sender is or was connected with a peer that it names."""

    NOT_CONNECTED = 0
    CONNECTED = 1
    CAN_CONNECT = 2
    CANNOT_CONNECT = 3


@dataclass(frozen=True)
class KadPeer:
    """A peer by its id's bytes, with binary multiaddrs."""

    id: bytes
    addresses: tuple[bytes, ...]
    connection: Connection = Connection.NOT_CONNECTED


@dataclass(frozen=True)
class KadMessage:
    """One request or answer."""

    kind: Kind
    key: bytes = b""
    closer: tuple[KadPeer, ...] = ()


def _declared() -> Any:
    """The message class.  An enum is an int32 here: both are the same varint."""
    bytes_, int_ = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_INT32
    one, many = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
    file = FileDescriptorProto(name="ioe/kad.proto", package="ioe.kad", syntax="proto3")
    peer = file.message_type.add(name="Peer")
    peer.field.add(name="id", number=1, type=bytes_, label=one)
    peer.field.add(name="addrs", number=2, type=bytes_, label=many)
    peer.field.add(name="connection", number=3, type=int_, label=one)
    message = file.message_type.add(name="Message")
    message.field.add(name="type", number=1, type=int_, label=one)
    message.field.add(name="key", number=2, type=bytes_, label=one)
    message.field.add(
        name="closer_peers",
        number=8,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=".ioe.kad.Peer",
        label=many,
    )
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("ioe.kad.Message"))


_Message = _declared()


def encode_kad(message: KadMessage) -> bytes:
    """The message after its length."""
    body = _Message(type=message.kind, key=message.key)
    for peer in message.closer:
        body.closer_peers.add(id=peer.id, addrs=peer.addresses, connection=peer.connection)
    data: bytes = body.SerializeToString()
    return _varint(len(data)) + data


def decode_kad(data: bytes) -> KadMessage:
    """The message without its length; raises `Malformed`."""
    if len(data) > KAD_MESSAGE_BYTES_MAX:
        raise Malformed(f"a kad message of {len(data)} bytes")
    body = _Message()
    try:
        body.ParseFromString(data)
        kind = Kind(body.type)
    except (DecodeError, ValueError):
        raise Malformed("not a kad message") from None
    if len(body.key) > KEY_BYTES_MAX or len(body.closer_peers) > PEERS_PER_MESSAGE_MAX:
        raise Malformed("a kad message with too long a key or too many peers")
    return KadMessage(kind, body.key, tuple(map(_peer_of, body.closer_peers)))


def _peer_of(peer: Any) -> KadPeer:
    if not 1 <= len(peer.id) <= PEER_ID_BYTES_MAX:
        raise Malformed(f"a peer id of {len(peer.id)} bytes")
    if len(peer.addrs) > ADDRESSES_READ_PER_PEER_MAX:
        raise Malformed(f"a peer of {len(peer.addrs)} addresses")
    if any(len(address) > ADDRESS_BYTES_MAX for address in peer.addrs):
        raise Malformed("an overlong address")
    try:
        connection = Connection(peer.connection)
    except ValueError:
        raise Malformed("an unknown kind of connection") from None
    return KadPeer(peer.id, tuple(peer.addrs), connection)


def _varint(value: int) -> bytes:
    digits = []
    while value >= VARINT_MORE:
        digits.append(value % VARINT_MORE | VARINT_MORE)
        value >>= VARINT_BITS
    return bytes([*digits, value])


class KadReader:
    """Turns a byte stream, cut anywhere, into messages.

    After `Malformed` the stream has lost its place and is of no more use.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream, as they come."""
        self._buffer += data

    def next_message(self) -> KadMessage | None:
        """The next whole message, or `None` until more is fed; raises `Malformed`."""
        length = 0
        for at, byte in enumerate(self._buffer):
            length += byte % VARINT_MORE << VARINT_BITS * at
            if length > KAD_MESSAGE_BYTES_MAX or (at and not byte):
                raise Malformed(f"not the length of a kad message: {length} bytes")
            if byte < VARINT_MORE:
                return self._cut(at + 1, length)
            if at >= len(_varint(KAD_MESSAGE_BYTES_MAX)) - 1:
                raise Malformed("an overlong length of a kad message")
        return None

    def _cut(self, start: int, length: int) -> KadMessage | None:
        if len(self._buffer) < start + length:
            return None
        data = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        return decode_kad(data)

    def finish(self) -> None:
        """The stream has ended; raises `Malformed` inside a message."""
        if self._buffer:
            raise Malformed("the stream ended inside a kad message")


# -- peers and their addresses ----------------------------------------------------------------


def kad_peer_of(located: Located) -> KadPeer | None:
    """A peer as it is passed on; None if it has no address that can be."""
    agent, addresses = located
    packed = [address_bytes(text) for text in addresses]
    usable = tuple(data for data in packed if data)[:ADDRESSES_PER_PEER_MAX]
    return KadPeer(peer_id_bytes(agent), usable, Connection.CAN_CONNECT) if usable else None


def located_of(peer: KadPeer) -> Located | None:
    """A peer as we use it; None if its key is no agent's or it has no address that we can read."""
    try:
        agent = agent_of_peer_id_bytes(peer.id)
    except Malformed:
        return None
    texts = [address_text(data, agent) for data in peer.addresses]
    usable = tuple(dict.fromkeys(text for text in texts if text))[:ADDRESSES_PER_PEER_MAX]
    return (agent, usable) if usable else None


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def address_bytes(text: str) -> bytes:
    """A multiaddr in binary; empty for what is none or is too long."""
    try:
        data: bytes = Multiaddr(text).to_bytes()
    except (MultiaddrError, ValueError):
        return b""
    return data if len(data) <= ADDRESS_BYTES_MAX else b""


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def address_text(data: bytes, agent: AgentPubKey) -> str:
    """A binary multiaddr of `agent`'s as text, without the peer id; empty for what is none."""
    try:
        text = str(Multiaddr(data))
    except (MultiaddrError, ValueError):
        return ""
    if address_bytes(text) != data:  # the library reads a cut address as another
        return ""
    return text.removesuffix(f"/p2p/{peer_id_of(agent)}")
