"""Reaching a peer: its addresses tried, the direct ones first, then those through a relay.

libp2p's own `connect` tries one address per transport and then shuns the peer for a minute, and
refuses circuits.  Here each known address is tried in turn, the last good one first.  Circuits get
a later start, not a later turn: a peer behind a NAT announces its address there too, at which
nobody answers from outside, and to find that out takes seconds.
"""

import logging
from typing import Any

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ioe_node.errors import IoeError, TransportError
from ioe_node.model.hashes import AgentPubKey, to_text
from ioe_node.net.libp2p_circuit import Circuits
from ioe_node.net.libp2p_host import STREAM_DEADLINE_S
from ioe_node.net.peer_id import peer_id_of, relay_of

ADDRESSES_PER_PEER_MAX = 8
HINTS_MAX = 256
DIAL_DEADLINE_S = 3.0
CIRCUIT_DEADLINE_S = DIAL_DEADLINE_S + STREAM_DEADLINE_S
CIRCUITS_AFTER_S = 0.5
RELAYS_IN_A_ROW_MAX = 2
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0

log = logging.getLogger("ioe.net")


class _Backoff:
    """How long to leave a peer alone that could not be dialled."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.until = trio.current_time()

    def grow(self) -> None:
        self.delay_s = min(max(2 * self.delay_s, BACKOFF_FIRST_S), BACKOFF_MAX_S)
        self.until = trio.current_time() + self.delay_s


class Dialling:
    """Whom one host can dial, and where."""

    def __init__(self, swarm: Any, circuits: Circuits) -> None:
        self.known: dict[AgentPubKey, tuple[str, ...]] = {}
        self._hints: dict[AgentPubKey, tuple[str, ...]] = {}
        self._swarm = swarm
        self._circuits = circuits
        self._backoff: dict[AgentPubKey, _Backoff] = {}
        self._under_way: dict[AgentPubKey, trio.Lock] = {}

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Remember where `peer` can be dialled, and forget that it could not be."""
        self.known[peer] = addresses[:ADDRESSES_PER_PEER_MAX]
        self._backoff.pop(peer, None)

    def hint(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Remember where `peer` may be, for when nothing better is known; the oldest makes room."""
        self._hints.pop(peer, None)
        self._hints[peer] = addresses[:ADDRESSES_PER_PEER_MAX]
        if len(self._hints) > HINTS_MAX:
            del self._hints[next(iter(self._hints))]

    def connections(self, peer: AgentPubKey) -> list[Any]:
        """The connections with `peer` that are up."""
        return [one for one in self._swarm.get_connections(id_of(peer)) if not one.is_closed]

    async def connect(
        self, peer: AgentPubKey, relays: int = RELAYS_IN_A_ROW_MAX, hint: str = ""
    ) -> None:
        """Have a connection with `peer`, by at most so many relays in a row.

        `hint` is another's word for where it can be dialled, tried last.  Raises `TransportError`.
        """
        async with self._under_way.setdefault(peer, trio.Lock()):
            if not self.connections(peer):
                await self._dial(peer, relays, hint)

    async def _dial(self, peer: AgentPubKey, relays: int, hint: str) -> None:
        name = to_text(peer)[:12]
        backoff = self._backoff.get(peer)
        if backoff is not None and trio.current_time() < backoff.until:
            raise TransportError(f"{name} could not be reached a moment ago; try again later")
        known = self.known.get(peer, ())
        tried = known or self._hints.get(peer, ())
        tried = (*tried, hint) if hint and hint not in tried else tried
        good = await self._first_good(peer, tried, relays)
        unchanged = self.known.get(peer, ()) == known
        if good is not None:
            if unchanged:
                others = (one for one in known if one != good)
                self.known[peer] = (good, *others)[:ADDRESSES_PER_PEER_MAX]
            self._backoff.pop(peer, None)
            return
        if unchanged:
            self._backoff.setdefault(peer, _Backoff()).grow()
        raise TransportError(f"{name} cannot be reached at {len(tried)} addresses; try again later")

    async def _first_good(
        self, peer: AgentPubKey, known: tuple[str, ...], relays: int
    ) -> str | None:
        """The address at which a connection came up first."""
        direct = [one for one in known if _is_direct(one)]
        circuits = [one for one in known if one not in direct] if relays else []
        found: list[str] = []

        async def in_turn(addresses: list[str], after_s: float, scope: trio.CancelScope) -> None:
            await trio.sleep(after_s)
            for address in addresses:
                if await self._try(peer, address, relays):
                    found.append(address)
                    scope.cancel()
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_turn, direct, 0, nursery.cancel_scope)
            after_s = CIRCUITS_AFTER_S if direct else 0
            nursery.start_soon(in_turn, circuits, after_s, nursery.cancel_scope)
        return found[0] if found else None

    async def _try(self, peer: AgentPubKey, address: str, relays: int) -> bool:
        direct = _is_direct(address)
        with trio.move_on_after(DIAL_DEADLINE_S if direct else CIRCUIT_DEADLINE_S):
            try:
                if direct:
                    await self._swarm.dial_addr(Multiaddr(address), id_of(peer))
                else:
                    await self._dial_circuit(peer, address, relays)
            except Exception as error:
                log.debug("dialling %s failed: %r", address, error)
                return False
            return True
        return False

    async def _dial_circuit(self, peer: AgentPubKey, address: str, relays: int) -> None:
        """Through the relay of a circuit address, wherever we know that the relay can be dialled.

        Raises `TransportError` or `Malformed`.
        """
        found = relay_of(address)
        assert found is not None
        relay, hint = found
        if id_of(relay) in (id_of(peer), self._swarm.get_peer_id()):
            raise TransportError("neither a peer nor we are a relay to it")
        await self.connect(relay, relays - 1, hint)
        await self._circuits.dial(relay, peer)


def _is_direct(address: str) -> bool:
    try:
        return relay_of(address) is None
    except IoeError:
        return False


def id_of(peer: AgentPubKey) -> ID:
    """libp2p's form of an agent's peer id."""
    return ID.from_base58(peer_id_of(peer))
