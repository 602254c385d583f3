"""Peer routing on a libp2p host: whoever opens a kad-dht stream is answered by a `Routing`.

libp2p's identify tells where an asker listens and whether it serves kad-dht itself: only one
that does is worth passing on.  A stream that fails costs its peer a charge if it sent what is no
message, and nobody else anything.
"""

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from libp2p.peer.peerstore import PeerStoreError

from ioe_node.errors import Malformed, PeerError, TransportError
from ioe_node.model.hashes import AgentPubKey, to_text
from ioe_node.net.kad import answer_kad
from ioe_node.net.kad_messages import ADDRESSES_PER_PEER_MAX
from ioe_node.net.libp2p_stream import Libp2pStream
from ioe_node.net.peer_id import PEER_PART, agent_of_peer_id
from ioe_node.net.transport import Routing

KAD_STREAMS_PER_PEER_MAX = 4
IDENTIFY_POLL_S = 0.02
IDENTIFY_POLLS_MAX = 100

log = logging.getLogger("ioe.net")


class Libp2pRouting:
    """The kad-dht side of one host.  `charge` is told of who broke the protocol."""

    def __init__(self, host: Any, charge: Callable[[AgentPubKey, PeerError], None]) -> None:
        self._host = host
        self._charge = charge
        self._offered: dict[str, list[trio.CancelScope]] = {}
        self._streams: Counter[AgentPubKey] = Counter()

    def offer(self, protocol: str, routing: Routing) -> None:
        """Answer `protocol` from now on."""
        assert protocol not in self._offered, f"{protocol} is already offered"
        self._offered[protocol] = []
        self._host.set_stream_handler(protocol, partial(self._accept, protocol, routing))

    def withdraw(self, protocol: str) -> None:
        """Stop answering `protocol` and drop its streams."""
        self._host.remove_stream_handler(protocol)
        for scope in self._offered.pop(protocol, []):
            scope.cancel()

    def withdraw_all(self) -> None:
        """The host closes."""
        for protocol in list(self._offered):
            self.withdraw(protocol)

    async def _accept(self, protocol: str, routing: Routing, net_stream: Any) -> None:
        """libp2p calls this for each stream opened to us; nothing may escape from here."""
        stream, id_ = Libp2pStream(net_stream), net_stream.muxed_conn.peer_id
        scopes = self._offered.get(protocol)
        try:
            peer = agent_of_peer_id(str(id_))
        except Malformed:
            await stream.reset()  # another kind of key: nobody could name it to us
            return
        if scopes is None or self._streams[peer] >= KAD_STREAMS_PER_PEER_MAX:
            await stream.reset()
            return
        self._streams[peer] += 1
        scope = trio.CancelScope()
        scopes.append(scope)
        try:
            with scope:
                await self._identified(id_)
                await answer_kad(stream, peer, routing, lambda: self._serves_at(id_, protocol))
                await stream.finish()
        except PeerError as error:
            self._charge(peer, error)
        except TransportError as error:
            log.debug("a kad stream of %s ended: %s", to_text(peer)[:12], error)
        except Exception:
            log.exception("a kad stream failed")
        finally:
            scopes.remove(scope)
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]
            await stream.reset()

    async def _identified(self, id_: Any) -> None:
        """Wait until identify has told of a peer, for as long as that is worth it."""
        for _ in range(IDENTIFY_POLLS_MAX):  # libp2p rings no bell when it is done
            if self._protocols(id_):
                return
            await trio.sleep(IDENTIFY_POLL_S)

    def _protocols(self, id_: Any) -> list[str]:
        try:
            return list(self._host.get_peerstore().get_protocols(id_))
        except PeerStoreError:
            return []

    def _serves_at(self, id_: Any, protocol: str) -> tuple[str, ...]:
        """Where a peer serves `protocol`, by its own word to identify; nowhere if it does not."""
        if protocol not in self._protocols(id_):
            return ()
        try:
            texts = map(str, self._host.get_peerstore().addrs(id_))
        except PeerStoreError:
            return ()
        bare = dict.fromkeys(text.removesuffix(f"{PEER_PART}{id_}") for text in texts)
        return tuple(bare)[:ADDRESSES_PER_PEER_MAX]
