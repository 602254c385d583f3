"""The seam between the node and whatever carries its bytes.

Three implementations stand behind it: libp2p hosts (`net.libp2p_transport`), memory on
virtual time (`sim.network`), and nothing else in the node knows which.  A network (one DNA,
or the pairing service) is named by its protocol id.  On every new link each side sends one
opening message and judges the other's before anything else is answered: that is where a
DNA's membrane stands.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ioe_node.model.hashes import AgentPubKey

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
REQUEST_TIMEOUT_S = 10.0
CLOSEST_PEERS_MAX = 20
"""k: how many peers an answer of peer routing names."""

Located = tuple[AgentPubKey, tuple[str, ...]]
"""A peer and where it can be dialled, as multiaddr text without the peer id."""


@dataclass(frozen=True)
class Service:
    """What one network answers.

    `hello()` gives our opening message.  `admit(peer, hello)` judges the peer's and raises
    `PeerError` to refuse it: nothing is answered after that.  `handle(peer, message)` answers
    one request; a `PeerError` that it raises goes back to the peer as a typed refusal.
    """

    hello: Callable[[], bytes]
    admit: Callable[[AgentPubKey, bytes], None]
    handle: Callable[[AgentPubKey, bytes], Awaitable[bytes]]


@dataclass(frozen=True)
class Routing:
    """How one network routes whoever speaks libp2p's kad-dht, member or not, to its peers.

    `seen(peer, addresses)` is told before each answer who asks, and where it serves kad-dht
    itself (no address: nowhere); it raises `PeerError` to refuse the asker.
    `closest(key, asker)` gives the peers whose ids are closest to `key` (any bytes; a peer id's
    to look for that peer) by kad-dht's measure, closest first, the asker left out.
    """

    closest: Callable[[bytes, AgentPubKey], Sequence[Located]]
    seen: Callable[[AgentPubKey, tuple[str, ...]], None]


class Transport(Protocol):
    """Request and response between agents, over one long-lived link a peer and network."""

    @property
    def agent(self) -> AgentPubKey:
        """Who we are on this transport; the peer has proof of it."""

    def addresses(self) -> tuple[str, ...]:
        """Where others can dial us, as multiaddr text without the peer id."""

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Remember where `peer` can be dialled; replaces what was known."""

    def hint(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Remember where `peer` may be, on nobody's signature: dialled if nothing else is known."""

    def offer(self, protocol: str, service: Service) -> None:
        """Answer `protocol` from now on."""

    def withdraw(self, protocol: str) -> None:
        """Stop answering `protocol` and drop its links."""

    async def request(
        self, protocol: str, peer: AgentPubKey, message: bytes, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> bytes:
        """Send one message and return its answer.

        Raises `TransportError` (not reachable, or too slow: try again) or `Refused` (the peer
        answered with an error, or its membrane would not have us).
        """

    def offer_routing(self, protocol: str, routing: Routing) -> None:
        """Answer kad-dht's FIND_NODE and PING under `protocol` from now on."""

    def withdraw_routing(self, protocol: str) -> None:
        """Stop answering them."""

    async def find_node(self, protocol: str, peer: AgentPubKey, key: bytes) -> list[Located]:
        """Ask any kad-dht peer whom it knows closest to `key`, ourselves left out.

        Takes seconds at most; raises `TransportError` (not reachable, too slow, or it does not
        speak `protocol`) or `Malformed`.
        """
