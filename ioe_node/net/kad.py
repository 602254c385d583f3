"""kad-dht's conversation on one stream: requests, each with its answer, until the asker closes.

Only peers are routed: FIND_NODE and PING are answered, and a request of kad-dht's store closes
the stream, which is no offence: whoever sends it speaks the protocol, and we promised no store.
Nothing is asked of the asker's membership; see `net.foreign_peers`.
"""

from collections.abc import Callable

import trio

from ioe_node.errors import Malformed, TransportError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.kad_messages import (
    KEY_BYTES_MAX,
    KadMessage,
    KadReader,
    Kind,
    encode_kad,
    kad_peer_of,
    located_of,
)
from ioe_node.net.link import ByteStream
from ioe_node.net.transport import CLOSEST_PEERS_MAX, Located, Routing

REQUEST_DEADLINE_S = 10.0
"""From one request to the end of the next one's answer; js-libp2p gives as much."""
READ_BYTES_MAX = 16 * 1024


class KadStream:
    """Messages over a byte stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._reader = KadReader()

    async def receive(self) -> KadMessage | None:
        """The next message, `None` at the end; raises `Malformed` or `TransportError`."""
        while (message := self._reader.next_message()) is None:
            data = await self._stream.read(READ_BYTES_MAX)
            if not data:
                self._reader.finish()
                return None
            self._reader.feed(data)
        return message

    async def send(self, message: KadMessage) -> None:
        """Raises `TransportError`."""
        await self._stream.write(encode_kad(message))


async def answer_kad(
    byte_stream: ByteStream,
    peer: AgentPubKey,
    routing: Routing,
    addresses: Callable[[], tuple[str, ...]],
) -> None:
    """Answer `peer`, which serves kad-dht at `addresses()`, until it closes the stream.

    Raises `Malformed`, the `PeerError` by which `routing` refuses the peer, or `TransportError`
    when the peer is slow, idle, or wants what we do not route.
    """
    stream = KadStream(byte_stream)
    while True:
        with trio.move_on_after(REQUEST_DEADLINE_S):
            request = await stream.receive()
            if request is None:
                return
            routing.seen(peer, addresses())
            await stream.send(answer_to(request, peer, routing))
            continue
        raise TransportError("the peer asked nothing for a while, or does not read")


def answer_to(request: KadMessage, peer: AgentPubKey, routing: Routing) -> KadMessage:
    """The answer to one request; raises `TransportError` for what we do not answer."""
    match request.kind:
        case Kind.PING:
            return KadMessage(Kind.PING)
        case Kind.FIND_NODE:
            packed = [kad_peer_of(one) for one in routing.closest(request.key, peer)]
            named = [one for one in packed if one is not None]
            return KadMessage(Kind.FIND_NODE, closer=tuple(named[:CLOSEST_PEERS_MAX]))
    raise TransportError(f"{request.kind.name} is of kad-dht's store, which is not kept here")


async def ask_kad(byte_stream: ByteStream, key: bytes) -> list[Located]:
    """Ask whom the peer knows closest to `key`; raises `Malformed` or `TransportError`.

    Left out: peers that are named twice, whose key is no agent's or that have no address.
    """
    assert len(key) <= KEY_BYTES_MAX
    stream = KadStream(byte_stream)
    with trio.move_on_after(REQUEST_DEADLINE_S):
        await stream.send(KadMessage(Kind.FIND_NODE, key))
        answer = await stream.receive()
        if answer is None:
            raise TransportError("the peer closed the stream; try another")
        if answer.kind is not Kind.FIND_NODE:
            raise Malformed("FIND_NODE answered by something else")
        found = [located for located in map(located_of, answer.closer) if located is not None]
        return list(dict(reversed(found)).items())[::-1]
    raise TransportError("the peer gave no answer in time; try another")
