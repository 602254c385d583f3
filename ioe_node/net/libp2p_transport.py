"""The transport over a py-libp2p host: Noise and Yamux over TCP or WebSocket.

One long-lived stream per direction.

Only this module and its `libp2p_` neighbours import libp2p.  The host's key is the agent's, so the
handshake that proves a peer id proves an agent key.  libp2p carries streams and answers identify
and ping; whom to dial, when, and at which address is decided by `libp2p_dialling`, and what is
done to be reached behind a NAT by `libp2p_reach`.

Opening a link dials if no connection is up, in a task of the transport's own: the callers of
`request` share it and may give up without harm.  A request that times out on a link that has
been silent since takes the link, and a connection that was silent with it, down; the next
request dials anew.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from ioe_node.errors import (
    ConfigError,
    IoeError,
    LocalError,
    Malformed,
    PeerError,
    TransportError,
)
from ioe_node.model.hashes import AgentPubKey, agent_key, to_text
from ioe_node.net.kad import ask_kad
from ioe_node.net.libp2p_circuit import Circuits
from ioe_node.net.libp2p_dialling import ADDRESSES_PER_PEER_MAX, Dialling, id_of
from ioe_node.net.libp2p_faults import mend_host
from ioe_node.net.libp2p_host import STREAM_DEADLINE_S, build_host, quiet_libp2p
from ioe_node.net.libp2p_listening import check_free, concrete, parse_listen
from ioe_node.net.libp2p_punch import Punch
from ioe_node.net.libp2p_reach import Mode, Reach
from ioe_node.net.libp2p_relay import HOP_PROTOCOL, STOP_PROTOCOL, Relay, is_relayed
from ioe_node.net.libp2p_routing import Libp2pRouting
from ioe_node.net.libp2p_stream import Libp2pStream
from ioe_node.net.libp2p_windows import mend_window_updates
from ioe_node.net.link import IN_HAND_BYTES_MAX, Answerer, Asker, InHand, Wire
from ioe_node.net.peer_id import agent_of_peer_id, peer_id_of
from ioe_node.net.room import CONNECTIONS_MAX, ROOM_EVERY_S, Openings, Place, to_close
from ioe_node.net.transport import (
    MESSAGE_BYTES_MAX,
    REQUEST_TIMEOUT_S,
    Located,
    Routing,
    Service,
)

CHARGED_AGENTS_MAX = 4096
CLOSE_DEADLINE_S = 0.5
MOVE_DEADLINE_S = 30.0
MOVE_EVERY_S = 0.1

log = logging.getLogger("ioe.net")

LinkKey = tuple[str, AgentPubKey]


class _Outbound:
    """The link on which we ask one peer in one network, from dialling to its end."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.settled = trio.Event()
        self.asker: Asker | None = None
        self.wire: Wire | None = None
        self.error: IoeError = TransportError("the link was closed; try again")


class Libp2pTransport:
    """`ioe_node.net.transport.Transport` over one libp2p host; see `open_transport`."""

    def __init__(
        self,
        host: Any,
        agent: AgentPubKey,
        nursery: trio.Nursery,
        in_hand: InHand,
        relays: bool,
        reach: Mode,
    ) -> None:
        self.charges: Counter[AgentPubKey] = Counter()
        self._in_hand = in_hand
        self._openings = Openings()
        self._opened: dict[int, float] = {}
        self._host = host
        self._swarm = host.get_network()
        self._agent = agent
        self._nursery = nursery
        self._services: dict[str, Service] = {}
        self._circuits = Circuits(host, self._called)
        self._dialling = Dialling(self._swarm, self._circuits)
        self._outbound: dict[LinkKey, _Outbound] = {}
        self._inbound: dict[LinkKey, tuple[trio.CancelScope, Wire]] = {}
        self._routing = Libp2pRouting(host, self._charge)
        self._reach = Reach(self._swarm, self, self._dialling, self._circuits, reach, self._direct)
        self._punch = Punch(
            host, self._dialling, self._reach.seen_as, self._reach.source, self._met_directly
        )
        host.set_stream_handler(STOP_PROTOCOL, self._circuits.answer)
        if relays:
            host.set_stream_handler(HOP_PROTOCOL, Relay(host, self._direct).answer)

    @property
    def agent(self) -> AgentPubKey:
        """Who we are; the host's key."""
        return self._agent

    def addresses(self) -> tuple[str, ...]:
        """The concrete addresses that we listen on, then those through our relays."""
        circuits = self._reach.addresses()
        return (*self._direct()[: ADDRESSES_PER_PEER_MAX - len(circuits)], *circuits)

    def _direct(self) -> tuple[str, ...]:
        """Where we listen; a wildcard becomes the interfaces'."""
        try:
            bound = self._host.get_transport_addrs()
        except OSError:  # libp2p asks sockets that are closed: this node is taking another key
            return ()
        return tuple(one for each in bound for one in concrete(each))

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Remember where `peer` can be dialled, and forget that it could not be."""
        self._dialling.learn(peer, addresses)

    def hint(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Remember where `peer` may be, for when nothing better is known; the oldest makes room."""
        self._dialling.hint(peer, addresses)

    def offer(self, protocol: str, service: Service) -> None:
        """Answer `protocol` from now on."""
        assert protocol not in self._services, f"{protocol} is already offered"
        self._services[protocol] = service
        self._host.set_stream_handler(protocol, partial(self._accept, protocol, service))

    def withdraw(self, protocol: str) -> None:
        """Stop answering `protocol` and drop its links."""
        self._services.pop(protocol, None)
        self._host.remove_stream_handler(protocol)
        for (name, _), link in list(self._outbound.items()):
            if name == protocol:
                link.scope.cancel()
        for (name, _), (scope, _wire) in list(self._inbound.items()):
            if name == protocol:
                scope.cancel()

    async def request(
        self, protocol: str, peer: AgentPubKey, message: bytes, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> bytes:
        """Send one message and return its answer; see `Transport.request`.

        Raises `LocalError` for a message over `MESSAGE_BYTES_MAX`, for ourselves as the peer,
        and for a protocol that we do not offer ourselves (there would be no hello to send).
        """
        if len(message) > MESSAGE_BYTES_MAX:
            raise LocalError(f"{len(message)} bytes are too many for one message; split it")
        if peer == self._agent or protocol not in self._services:
            raise LocalError("ask another agent, in a network that this node has joined")
        asked_at = trio.current_time()
        with trio.move_on_after(timeout_s):
            link = self._link_to(protocol, peer)
            await link.settled.wait()
            if link.asker is None:
                raise link.error
            return await link.asker.ask(message)
        self._suspect(link, peer, asked_at)
        raise TransportError(f"{to_text(peer)[:12]} gave no answer in {timeout_s} s; try again")

    def offer_routing(self, protocol: str, routing: Routing) -> None:
        """Answer kad-dht's FIND_NODE and PING under `protocol` from now on."""
        self._routing.offer(protocol, routing)

    def withdraw_routing(self, protocol: str) -> None:
        """Stop answering them."""
        self._routing.withdraw(protocol)

    async def find_node(self, protocol: str, peer: AgentPubKey, key: bytes) -> list[Located]:
        """Ask any kad-dht peer whom it knows closest to `key`; see `Transport.find_node`."""
        if peer == self._agent:
            raise LocalError("ask another peer")
        send, receive = trio.open_memory_channel[list[Located] | IoeError](1)
        # In a task of our own: a stream that is being opened must not be given up half way.
        self._nursery.start_soon(self._find_node, protocol, peer, key, send)
        try:
            found = await receive.receive()
        except trio.EndOfChannel:
            raise TransportError("the stream ended; try again") from None
        if isinstance(found, IoeError):
            raise found
        return [located for located in found if located[0] != self._agent]

    # -- asking ------------------------------------------------------------------------------

    def _link_to(self, protocol: str, peer: AgentPubKey) -> _Outbound:
        link = self._outbound.get((protocol, peer))
        if link is None:
            link = self._outbound[protocol, peer] = _Outbound()
            service = self._services[protocol]
            self._nursery.start_soon(self._run_outbound, protocol, service, peer, link)
        return link

    async def _run_outbound(
        self, protocol: str, service: Service, peer: AgentPubKey, link: _Outbound
    ) -> None:
        stream: Libp2pStream | None = None
        asker: Asker | None = None
        try:
            with link.scope:
                stream = await self._open_stream(protocol, peer)
                link.wire = Wire(stream)
                asker = Asker(link.wire)
                await asker.open(peer, service)
                link.asker = asker
                link.settled.set()
                await asker.run()
        except Malformed as error:
            self._charge(peer, error)
            link.error = TransportError("the peer broke the protocol; try another")
        except IoeError as error:
            link.error = error
        except Exception:
            log.exception("a link could not be opened or failed")
        finally:
            if self._outbound.get((protocol, peer)) is link:
                del self._outbound[protocol, peer]
            link.settled.set()
            if asker is not None:
                asker.end(link.error)
            if stream is not None:
                await stream.reset()

    async def _find_node(
        self,
        protocol: str,
        peer: AgentPubKey,
        key: bytes,
        send: trio.MemorySendChannel[list[Located] | IoeError],
    ) -> None:
        with send:
            try:
                stream = await self._open_stream(protocol, peer)
                try:
                    send.send_nowait(await ask_kad(stream, key))
                    await stream.finish()
                finally:
                    await stream.reset()
            except IoeError as error:
                if isinstance(error, PeerError):
                    self._charge(peer, error)
                send.send_nowait(error)
            except Exception:
                log.exception("a kad stream failed")

    async def _open_stream(self, protocol: str, peer: AgentPubKey) -> Libp2pStream:
        """A stream to `peer` that speaks `protocol`; raises `TransportError`."""
        await self._dialling.connect(peer)
        with trio.move_on_after(STREAM_DEADLINE_S):
            try:
                return Libp2pStream(await self._host.new_stream(id_of(peer), [protocol]))
            except Exception as error:
                log.debug("no stream: %r", error)
                raise TransportError(
                    f"{to_text(peer)[:12]} does not answer {protocol[:80]}; try again later"
                ) from error
        self._nursery.start_soon(self._hang_up, peer)
        raise TransportError(f"{to_text(peer)[:12]} is silent; try again")

    def _called(self, peer: AgentPubKey) -> None:
        """A peer connected with us through a relay."""
        self._nursery.start_soon(self._punch.begin, peer)

    def _met_directly(self, peer: AgentPubKey) -> None:
        """What we ask a peer goes by the direct connection from now on, as links become idle."""
        self._nursery.start_soon(self._move, peer)

    async def _move(self, peer: AgentPubKey) -> None:
        """The circuit is left open for a while: what the peer asks may still be on it."""
        waiting = {key: link for key, link in self._outbound.items() if key[1] == peer}
        with trio.move_on_after(MOVE_DEADLINE_S):
            while waiting:
                for key, link in list(waiting.items()):
                    if self._outbound.get(key) is not link:
                        del waiting[key]
                    elif link.asker is not None and link.asker.idle:
                        del waiting[key], self._outbound[key]
                        link.scope.cancel()
                await trio.sleep(MOVE_EVERY_S)
        await trio.sleep(MOVE_DEADLINE_S)
        for connection in self._dialling.connections(peer):
            if is_relayed(connection):
                await _close_connection(connection)

    def _suspect(self, link: _Outbound, peer: AgentPubKey, since: float) -> None:
        """A request timed out: drop what has been silent since it was made."""
        if link.wire is None or link.wire.heard_at >= since:
            return
        link.scope.cancel()
        wires = [one.wire for (_, who), one in self._outbound.items() if who == peer and one.wire]
        wires += [wire for (_, who), (_, wire) in self._inbound.items() if who == peer]
        if all(wire.heard_at < since for wire in wires):
            self._nursery.start_soon(self._hang_up, peer)

    async def _hang_up(self, peer: AgentPubKey) -> None:
        for connection in self._dialling.connections(peer):
            self._nursery.start_soon(_close_connection, connection)

    # -- answering ---------------------------------------------------------------------------

    async def _accept(self, protocol: str, service: Service, net_stream: Any) -> None:
        """libp2p calls this for each stream opened to us; nothing may escape from here."""
        stream = Libp2pStream(net_stream)
        try:
            peer = agent_of_peer_id(str(net_stream.muxed_conn.peer_id))
        except Malformed:
            await stream.reset()
            return
        if not self._openings.allow(peer, round(trio.current_time() * 1_000_000)):
            log.debug("%s opens links too fast", to_text(peer)[:12])
            await stream.reset()
            return
        wire, scope = Wire(stream), trio.CancelScope()
        # One link per peer, network and direction: the newest is the one that the peer uses.
        if (protocol, peer) in self._inbound:
            self._inbound[protocol, peer][0].cancel()
        self._inbound[protocol, peer] = (scope, wire)
        try:
            with scope:
                answerer = Answerer(wire, peer, service, self._charge, self._in_hand)
                if await answerer.open():
                    await answerer.run()
                else:
                    await stream.finish()
        except PeerError as error:
            self._charge(peer, error)
        except TransportError as error:
            log.debug("a link from %s ended: %s", to_text(peer)[:12], error)
        except Exception:
            log.exception("a link failed")
        finally:
            if self._inbound.get((protocol, peer)) == (scope, wire):
                del self._inbound[protocol, peer]
            await stream.reset()

    def _charge(self, peer: AgentPubKey, error: PeerError) -> None:
        log.info("%s is charged: %s", to_text(peer)[:12], error)
        self.charges[peer] += 1
        if len(self.charges) > CHARGED_AGENTS_MAX:
            del self.charges[next(iter(self.charges))]

    async def run(self) -> None:
        """What the transport does by itself, for ever: keep room, and be reached."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_room)
            nursery.start_soon(self._reach.run)

    async def _keep_room(self) -> None:
        """Close what nobody needs when nearly all places are taken (`net.room`); for ever."""
        connections_max = self._swarm.connection_config.max_connections
        while True:
            now = trio.current_time()
            open_ = {id(one): one for one in self._swarm.get_connections()}
            self._opened = {key: self._opened.get(key, now) for key in open_}
            heard = self._heard()
            places = [
                Place(
                    key,
                    now - self._opened[key],
                    None if (at := heard.get(str(one.muxed_conn.peer_id))) is None else now - at,
                )
                for key, one in open_.items()
            ]
            for key in to_close(places, connections_max):
                self._nursery.start_soon(_close_connection, open_[key])
            await trio.sleep(ROOM_EVERY_S)

    def _heard(self) -> dict[str, float]:
        """When each peer (by its id) was last heard on a link that was admitted."""
        wires = [(who, one.wire) for (_, who), one in self._outbound.items() if one.wire]
        wires += [(who, wire) for (_, who), (_, wire) in self._inbound.items()]
        heard: dict[str, float] = {}
        for who, wire in wires:
            if wire.open:
                name = peer_id_of(who)
                heard[name] = max(heard.get(name, 0.0), wire.heard_at)
        return heard

    async def close(self) -> None:
        """Stop listening and hang up on everyone at once; for `open_transport`.

        libp2p closes its listeners in a scope that is cancelled by then, and goes on listening.
        """
        for protocol in list(self._services):
            self.withdraw(protocol)
        self._routing.withdraw_all()
        async with trio.open_nursery() as nursery:
            for listener in list(self._swarm.listeners.values()):
                nursery.start_soon(listener.close)
            for connections in list(self._swarm.connections.values()):
                for connection in list(connections):
                    nursery.start_soon(_close_connection, connection)


async def _close_connection(connection: Any) -> None:
    """Say goodbye; if that stalls, take the socket away from under whoever is stuck on it."""
    for close in (connection.close, connection.muxed_conn.secured_conn.close):
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + CLOSE_DEADLINE_S
            try:
                await close()
            except Exception as error:
                log.debug("closing failed: %r", error)


@asynccontextmanager
async def open_transport(
    seed32: bytes,
    listen: str | Sequence[str],
    connections_max: int = CONNECTIONS_MAX,
    in_hand_bytes_max: int = IN_HAND_BYTES_MAX,
    relays: bool = True,
    reach: Mode = "direct",
) -> AsyncIterator[Libp2pTransport]:
    """A transport for the agent with this 32-byte Ed25519 seed, listening on multiaddrs.

    Port 0 picks a free one.  Raises `ConfigError` if an address cannot be listened on.
    `in_hand_bytes_max` bounds the requests that are being answered at once, of all peers.
    `relays` lets others be reached through us; `reach` says what we do to be reached.
    """
    mend_host()
    mend_window_updates()
    quiet_libp2p()
    addresses = parse_listen(listen)
    for address in addresses:
        check_free(address)
    host = build_host(seed32, connections_max)
    agent = agent_key(host.get_public_key().to_bytes())
    closing = False
    failure: Exception | None = None
    try:
        async with host.run(addresses), trio.open_nursery() as nursery:
            # It would dial whomever identify told it of, whenever a connection ends.
            await host.get_network().auto_connector.stop()
            transport = Libp2pTransport(
                host, agent, nursery, InHand(in_hand_bytes_max), relays, reach
            )
            nursery.start_soon(transport.run)
            try:
                if len(host.get_transport_addrs()) < len(addresses):
                    raise ConfigError(f"cannot listen on {listen}; is a port taken?")
                yield transport
            except Exception as error:
                failure = error
            finally:
                closing = True
                with trio.CancelScope(shield=True):
                    await transport.close()
                nursery.cancel_scope.cancel()
    except* Exception as group:
        if not closing:
            raise
        log.debug("libp2p failed while closing: %r", group)
    if failure is not None:
        raise failure
