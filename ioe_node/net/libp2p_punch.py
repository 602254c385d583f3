"""From a circuit to a direct connection: both ends dial at once, each through its own NAT.

A NAT lets in what answers something that went out.  So the two tell each other, over the circuit,
as whom relays see them, and then dial each other in the same moment from the port on which they
listen: each one's packet opens the door for the other's.  Whom the relay called begins, and takes
the listener's part in the handshake, for on both ends it may be one and the same connection.

The wire is libp2p's DCUtR.  Of py-libp2p 0.8.1's own, nothing is used: it tells its private
addresses as those by which it is seen, tries whatever the peer names, up to twenty, and every
address that it ever heard of the peer besides.  NATs that choose another port for each destination
cannot be passed; then the circuit stays.

Source: libp2p specification "Direct Connection Upgrade through Relay".
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import trio
from libp2p.relay.circuit_v2.pb import dcutr_pb2 as pb
from multiaddr import Multiaddr

from ioe_node.errors import IoeError, Malformed, TransportError
from ioe_node.model.hashes import AgentPubKey, to_text
from ioe_node.net.libp2p_dialling import Dialling, id_of
from ioe_node.net.libp2p_host import STREAM_DEADLINE_S
from ioe_node.net.libp2p_relay import is_relayed, receive, send
from ioe_node.net.libp2p_stream import Libp2pStream
from ioe_node.net.peer_id import agent_of_peer_id

PUNCH_PROTOCOL = "/libp2p/dcutr"
ADDRESSES_MAX = 4
ADDRESS_BYTES_MAX = 64
ROUND_S = 4.0
AT_ONCE_MAX = 8
TRYING_MAX = 256
WAITS_S = (0.0, 2.0, 10.0, 60.0, 300.0)
"""Before each try, after the one before."""

log = logging.getLogger("ioe.net")

Source = tuple[str, int]


class Punch:
    """Direct connections for one host.

    `seen_as()` are the addresses by which relays see us, `source()` is the host and port on which
    we listen, and `met(peer)` is told of each peer that we met directly.
    """

    def __init__(
        self,
        host: Any,
        dialling: Dialling,
        seen_as: Callable[[], Iterable[str]],
        source: Callable[[], Source | None],
        met: Callable[[AgentPubKey], None],
    ) -> None:
        self._host = host
        self._swarm = host.get_network()
        self._dialling = dialling
        self._seen_as = seen_as
        self._source = source
        self._met = met
        self._us = agent_of_peer_id(str(host.get_id()))
        self._trying: dict[AgentPubKey, trio.CancelScope] = {}
        self._asking: set[AgentPubKey] = set()
        self._under_way = 0
        host.set_stream_handler(PUNCH_PROTOCOL, self._answer)

    async def begin(self, peer: AgentPubKey) -> None:
        """A peer called us through a relay: have a direct connection with it, if that can be.

        Tried again ever later as long as there is only the circuit: NATs forget, and hosts keep
        the place of a connection that ended for a minute.
        """
        if peer in self._trying:
            self._trying.pop(peer).cancel()
        if len(self._trying) >= TRYING_MAX:
            return
        with trio.CancelScope() as scope:
            self._trying[peer] = scope
            try:
                await self._keep_trying(peer)
            finally:
                if self._trying.get(peer) is scope:
                    del self._trying[peer]

    async def _keep_trying(self, peer: AgentPubKey) -> None:
        for wait_s in WAITS_S:
            await trio.sleep(wait_s)
            if self._is_direct(peer) or not self._dialling.connections(peer):
                return
            if self._under_way < AT_ONCE_MAX and self._ours():
                await self._try(peer)

    async def _try(self, peer: AgentPubKey) -> None:
        self._under_way += 1
        self._asking.add(peer)
        try:
            await self._round(peer)
        except Exception as error:
            log.debug("no direct way to %s: %r", to_text(peer)[:12], error)
        finally:
            self._asking.discard(peer)
            self._under_way -= 1

    def _is_direct(self, peer: AgentPubKey) -> bool:
        return not all(map(is_relayed, self._dialling.connections(peer)))

    def _ours(self) -> list[bytes]:
        found = [] if self._source() is None else list(self._seen_as())
        return [Multiaddr(text).to_bytes() for text in found[:ADDRESSES_MAX]]

    async def _round(self, peer: AgentPubKey) -> None:
        with trio.fail_after(STREAM_DEADLINE_S):
            try:
                new_stream = self._host.new_stream(id_of(peer), [PUNCH_PROTOCOL])
                stream = Libp2pStream(await new_stream)
            except Exception as error:
                log.debug("no stream: %r", error)
                raise TransportError("the peer does not meet directly") from error
        try:
            asked_at = trio.current_time()
            await send(stream, pb.HolePunch(type=pb.HolePunch.CONNECT, ObsAddrs=self._ours()))
            theirs = _addresses(await receive(stream, pb.HolePunch))
            there_and_back_s = trio.current_time() - asked_at
            await send(stream, pb.HolePunch(type=pb.HolePunch.SYNC))
            await trio.sleep(there_and_back_s / 2)
            await self._dial(peer, theirs, self._swarm.dial_addr_as_responder)
        finally:
            await stream.reset()

    async def _answer(self, net_stream: Any) -> None:
        """libp2p calls this for each stream opened to us; nothing may escape from here."""
        stream = Libp2pStream(net_stream)
        self._under_way += 1
        try:
            peer = agent_of_peer_id(str(net_stream.muxed_conn.peer_id))
            if not is_relayed(net_stream.muxed_conn) or self._under_way > AT_ONCE_MAX:
                raise TransportError("there is nothing to be gained")
            # Each may have called the other: one of the two ways is gone, and both know which.
            if peer in self._asking and self._us < peer:
                raise TransportError("we have begun ourselves")
            theirs = _addresses(await receive(stream, pb.HolePunch))
            await send(stream, pb.HolePunch(type=pb.HolePunch.CONNECT, ObsAddrs=self._ours()))
            if (await receive(stream, pb.HolePunch)).type != pb.HolePunch.SYNC:
                raise Malformed("out of step")
            await self._dial(peer, theirs, self._swarm.dial_addr)
        except IoeError as error:
            log.debug("not met directly: %s", error)
        except Exception:
            log.exception("meeting directly failed")
        finally:
            self._under_way -= 1
            await stream.reset()

    async def _dial(self, peer: AgentPubKey, addresses: list[Multiaddr], dial: Any) -> None:
        """All addresses at once, from where we listen, until one of the connections is up."""
        source = self._source()
        if source is None:
            return

        async def try_one(address: Multiaddr) -> None:
            try:
                await dial(address, id_of(peer), source)
            except Exception as error:
                log.debug("dialling %s in step failed: %r", address, error)

        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(try_one, address)
            with trio.move_on_after(ROUND_S):
                while not self._is_direct(peer):  # noqa: ASYNC110  # the peer's dial counts too
                    await trio.sleep(ROUND_S / 40)
            nursery.cancel_scope.cancel()
        if self._is_direct(peer):
            log.info("%s is met directly", to_text(peer)[:12])
            self._met(peer)


def _addresses(message: Any) -> list[Multiaddr]:
    """The direct TCP addresses that a peer names as its own; raises `Malformed`."""
    if message.type != pb.HolePunch.CONNECT:
        raise Malformed("out of step")
    found = []
    for data in list(message.ObsAddrs)[:ADDRESSES_MAX]:
        try:
            address = Multiaddr(data[:ADDRESS_BYTES_MAX])
            names = [protocol.name for protocol in address.protocols()]
        except Exception as error:
            raise Malformed("an address that is none") from error
        if names in (["ip4", "tcp"], ["ip6", "tcp"]):
            found.append(address)
    return found
