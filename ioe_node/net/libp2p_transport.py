"""The transport over a py-libp2p host: TCP, Noise, Yamux; one long-lived stream per direction.

The only module, with `libp2p_faults`, that imports libp2p.  The host's key is the agent's, so
the handshake that proves a peer id proves an agent key.  libp2p carries streams and answers
identify and ping; whom to dial, when, and at which address is decided here, because its own
`connect` tries one address per transport and then shuns the peer for a minute.

Opening a link dials if no connection is up, in a task of the transport's own: the callers of
`request` share it and may give up without harm.  A request that times out on a link that has
been silent since takes the link, and a connection that was silent with it, down; the next
request dials anew.
"""

import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto import ed25519, x25519
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection import swarm_connection
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.rcmgr import new_resource_manager
from libp2p.security.noise import transport as noise
from libp2p.utils.address_validation import expand_wildcard_address
from multiaddr import Multiaddr

from ioe_node.errors import (
    ConfigError,
    IoeError,
    LocalError,
    Malformed,
    PeerError,
    TransportError,
)
from ioe_node.model.hashes import AgentPubKey, agent_key, to_text
from ioe_node.net.libp2p_faults import mend_host
from ioe_node.net.libp2p_windows import mend_window_updates
from ioe_node.net.link import Answerer, Asker, Wire
from ioe_node.net.peer_id import agent_of_peer_id, peer_id_of
from ioe_node.net.transport import MESSAGE_BYTES_MAX, REQUEST_TIMEOUT_S, Service

CONNECTIONS_MAX = 300
CONNECTIONS_PER_PEER_MAX = 4
ADDRESSES_PER_PEER_MAX = 8
CHARGED_AGENTS_MAX = 4096
DIAL_DEADLINE_S = 3.0
STREAM_DEADLINE_S = 5.0
LINGER_S = 1.0
LINGER_READ_BYTES_MAX = 64 * 1024
CLOSE_DEADLINE_S = 0.5
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
NEVER_S = 1e9

log = logging.getLogger("ioe.net")

LinkKey = tuple[str, AgentPubKey]


def _connection_config() -> ConnectionConfig:
    """No connections of libp2p's own choosing; dead ones found by ping."""
    return ConnectionConfig(
        max_connections=CONNECTIONS_MAX,
        high_watermark=CONNECTIONS_MAX,
        max_connections_per_peer=CONNECTIONS_PER_PEER_MAX,
        min_connections=0,
        low_watermark=0,
        auto_connect_interval=NEVER_S,
        inbound_upgrade_timeout=STREAM_DEADLINE_S,
        outbound_upgrade_timeout=STREAM_DEADLINE_S,
        inbound_stream_protocol_negotiation_timeout=STREAM_DEADLINE_S,
        outbound_stream_protocol_negotiation_timeout=STREAM_DEADLINE_S,
        enable_health_monitoring=True,
        health_initial_delay=10,
        health_warmup_window=5,
        health_check_interval=15,
        # Generous: a device that works through a long import may not answer for seconds.
        ping_timeout=8,
        abort_connection_on_ping_failure=True,
        unhealthy_grace_period=1,
    )


def _quiet_libp2p() -> None:
    """Its expected failures are logged with tracebacks, and some on the root logger."""
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    logging.getLogger("libp2p.network.auto_connector").setLevel(logging.CRITICAL)
    swarm_connection.logging = logging.getLogger(swarm_connection.__name__)


def _build_host(seed32: bytes) -> Any:
    key_pair = ed25519.create_new_key_pair(seed32)
    session_key = x25519.create_new_key_pair().private_key
    host = new_host(
        key_pair=key_pair,
        # Noise only: the default would also accept peers that speak plaintext.
        sec_opt={noise.PROTOCOL_ID: noise.Transport(key_pair, noise_privkey=session_key)},
        muxer_preference="YAMUX",
        connection_config=_connection_config(),
        resource_manager=new_resource_manager(
            enable_circuit_breaker=False, enable_graceful_degradation=False
        ),
    )
    host.get_network().retry_config = RetryConfig(max_retries=0)
    return host


class _Stream:
    """A libp2p stream as a `ByteStream`: its many errors become `TransportError`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self, bytes_max: int) -> bytes:
        try:
            return bytes(await self._stream.read(bytes_max))
        except StreamEOF:
            return b""
        except (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportError("the link broke; try again") from None

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportError("the link broke; try again") from None

    async def finish(self) -> None:
        """Close our side and let the peer read to the end before the stream is reset."""
        with trio.move_on_after(LINGER_S):
            await self._stream.close()
            try:
                while await self.read(LINGER_READ_BYTES_MAX):
                    pass
            except TransportError:
                pass

    async def reset(self) -> None:
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + CLOSE_DEADLINE_S
            await self._stream.reset()


class _Outbound:
    """The link on which we ask one peer in one network, from dialling to its end."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.settled = trio.Event()
        self.asker: Asker | None = None
        self.wire: Wire | None = None
        self.error: IoeError = TransportError("the link was closed; try again")


class _Backoff:
    """How long to leave a peer alone that could not be dialled."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.until = trio.current_time()

    def grow(self) -> None:
        self.delay_s = min(max(2 * self.delay_s, BACKOFF_FIRST_S), BACKOFF_MAX_S)
        self.until = trio.current_time() + self.delay_s


class Libp2pTransport:
    """`ioe_node.net.transport.Transport` over one libp2p host; see `open_transport`."""

    def __init__(self, host: Any, agent: AgentPubKey, nursery: trio.Nursery) -> None:
        self.charges: Counter[AgentPubKey] = Counter()
        self._host = host
        self._swarm = host.get_network()
        self._agent = agent
        self._nursery = nursery
        self._services: dict[str, Service] = {}
        self._known: dict[AgentPubKey, tuple[str, ...]] = {}
        self._backoff: dict[AgentPubKey, _Backoff] = {}
        self._dialling: dict[AgentPubKey, trio.Lock] = {}
        self._outbound: dict[LinkKey, _Outbound] = {}
        self._inbound: dict[LinkKey, tuple[trio.CancelScope, Wire]] = {}

    @property
    def agent(self) -> AgentPubKey:
        """Who we are; the host's key."""
        return self._agent

    def addresses(self) -> tuple[str, ...]:
        """The concrete addresses that we listen on; a wildcard becomes the interfaces'."""
        bound = self._host.get_transport_addrs()
        return tuple(str(one) for each in bound for one in expand_wildcard_address(each))

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Remember where `peer` can be dialled, and forget that it could not be."""
        self._known[peer] = addresses[:ADDRESSES_PER_PEER_MAX]
        self._backoff.pop(peer, None)

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
        stream: _Stream | None = None
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

    async def _open_stream(self, protocol: str, peer: AgentPubKey) -> _Stream:
        """A stream to `peer` that speaks `protocol`; raises `TransportError`."""
        async with self._dialling.setdefault(peer, trio.Lock()):
            if not self._connections(peer):
                await self._dial(peer)
        with trio.move_on_after(STREAM_DEADLINE_S):
            try:
                return _Stream(await self._host.new_stream(_id_of(peer), [protocol]))
            except Exception as error:
                log.debug("no stream: %r", error)
                raise TransportError(
                    f"{to_text(peer)[:12]} does not answer {protocol[:80]}; try again later"
                ) from error
        self._nursery.start_soon(self._hang_up, peer)
        raise TransportError(f"{to_text(peer)[:12]} is silent; try again")

    async def _dial(self, peer: AgentPubKey) -> None:
        """Try the known addresses in turn, the last good one first; raises `TransportError`."""
        name = to_text(peer)[:12]
        backoff = self._backoff.get(peer)
        if backoff is not None and trio.current_time() < backoff.until:
            raise TransportError(f"{name} could not be reached a moment ago; try again later")
        known = self._known.get(peer, ())
        for address in known:
            with trio.move_on_after(DIAL_DEADLINE_S):
                try:
                    await self._swarm.dial_addr(Multiaddr(address), _id_of(peer))
                except Exception as error:
                    log.debug("dialling %s failed: %r", address, error)
                    continue
                if self._known.get(peer) == known:
                    self._known[peer] = (address, *(one for one in known if one != address))
                self._backoff.pop(peer, None)
                return
        if self._known.get(peer, ()) == known:
            self._backoff.setdefault(peer, _Backoff()).grow()
        raise TransportError(f"{name} cannot be reached at {len(known)} addresses; try again later")

    def _connections(self, peer: AgentPubKey) -> list[Any]:
        return [one for one in self._swarm.get_connections(_id_of(peer)) if not one.is_closed]

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
        for connection in self._connections(peer):
            self._nursery.start_soon(_close_connection, connection)

    # -- answering ---------------------------------------------------------------------------

    async def _accept(self, protocol: str, service: Service, net_stream: Any) -> None:
        """libp2p calls this for each stream opened to us; nothing may escape from here."""
        stream = _Stream(net_stream)
        try:
            peer = agent_of_peer_id(str(net_stream.muxed_conn.peer_id))
        except Malformed:
            await stream.reset()
            return
        wire, scope = Wire(stream), trio.CancelScope()
        # One link per peer, network and direction: the newest is the one that the peer uses.
        if (protocol, peer) in self._inbound:
            self._inbound[protocol, peer][0].cancel()
        self._inbound[protocol, peer] = (scope, wire)
        try:
            with scope:
                answerer = Answerer(wire, peer, service, self._charge)
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

    async def close(self) -> None:
        """Stop listening and hang up on everyone at once; for `open_transport`.

        libp2p closes its listeners in a scope that is cancelled by then, and goes on listening.
        """
        for protocol in list(self._services):
            self.withdraw(protocol)
        async with trio.open_nursery() as nursery:
            for listener in list(self._swarm.listeners.values()):
                nursery.start_soon(listener.close)
            for connections in list(self._swarm.connections.values()):
                for connection in list(connections):
                    nursery.start_soon(_close_connection, connection)


def _id_of(peer: AgentPubKey) -> ID:
    return ID.from_base58(peer_id_of(peer))


async def _close_connection(connection: Any) -> None:
    """Say goodbye; if that stalls, take the socket away from under whoever is stuck on it."""
    for close in (connection.close, connection.muxed_conn.secured_conn.close):
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + CLOSE_DEADLINE_S
            try:
                await close()
            except Exception as error:
                log.debug("closing failed: %r", error)


def _parse_listen(listen: str | Sequence[str]) -> list[Multiaddr]:
    texts = [listen] if isinstance(listen, str) else list(listen)
    try:
        return [Multiaddr(text) for text in texts]
    except Exception as error:
        raise ConfigError(f"{texts} are not listening addresses like /ip4/../tcp/..") from error


def _check_free(address: Multiaddr) -> None:
    """Raise `ConfigError` for a port that another process listens on.

    libp2p listens with SO_REUSEPORT and would share it: peers would reach either at random.
    """
    try:
        where = (address.value_for_protocol("ip4"), int(address.value_for_protocol("tcp")))
    except Exception:
        return  # no TCP over IPv4, or not to be known before listening
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise ConfigError(f"cannot listen on {address}: {error.strerror}") from None


@asynccontextmanager
async def open_transport(
    seed32: bytes, listen: str | Sequence[str]
) -> AsyncIterator[Libp2pTransport]:
    """A transport for the agent with this 32-byte Ed25519 seed, listening on multiaddrs.

    Port 0 picks a free one.  Raises `ConfigError` if an address cannot be listened on.
    """
    mend_host()
    mend_window_updates()
    _quiet_libp2p()
    addresses = _parse_listen(listen)
    for address in addresses:
        _check_free(address)
    host = _build_host(seed32)
    agent = agent_key(host.get_public_key().to_bytes())
    closing = False
    failure: Exception | None = None
    try:
        async with host.run(addresses), trio.open_nursery() as nursery:
            # It would dial whomever identify told it of, whenever a connection ends.
            await host.get_network().auto_connector.stop()
            transport = Libp2pTransport(host, agent, nursery)
            try:
                if not transport.addresses():
                    raise ConfigError(f"cannot listen on {listen}; is the port taken?")
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
