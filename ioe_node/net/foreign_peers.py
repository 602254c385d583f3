"""Who takes part in a network's peer routing without being a member, and who is closest to a key.

Pure.  Any libp2p peer may speak kad-dht to us; it is then found by others through us.  It is no
member: it has shown no membrane proof, gets no record and holds none.  It is passed on for an
hour after it last spoke, and never on another's word, so nobody can have us name invented peers.

kad-dht measures by XOR of SHA-256 over a peer id's bytes, 256 bits; our members' own protocol by
the 32-bit location.  The two never meet: this is the only module that knows the former.
Source: libp2p specification "Kademlia DHT", distance.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from heapq import nsmallest

from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.peer_id import peer_id_bytes
from ioe_node.net.transport import Located

FOREIGN_PEERS_MAX = 256
PASSED_ON_FOR_US = 60 * 60 * 1_000_000
PLACES_REMEMBERED_MAX = 4_096


def closest_to(key: bytes, known: Iterable[Located], count: int) -> list[Located]:
    """The `count` of `known` that kad-dht counts closest to `key`, closest first."""
    target = _place(key)
    return nsmallest(count, known, key=lambda located: place_of(located[0]) ^ target)


@lru_cache(maxsize=PLACES_REMEMBERED_MAX)
def place_of(agent: AgentPubKey) -> int:
    """Where kad-dht sees an agent: 256 bits."""
    return _place(peer_id_bytes(agent))


def _place(key: bytes) -> int:
    return int.from_bytes(sha256(key).digest(), "big")


class ForeignPeers:
    """At most `FOREIGN_PEERS_MAX` foreign peers that spoke to us, the longest silent first."""

    def __init__(self) -> None:
        self._seen: dict[AgentPubKey, tuple[tuple[str, ...], int]] = {}

    def seen(self, peer: AgentPubKey, addresses: tuple[str, ...], now_us: int) -> None:
        """A peer spoke; it can be asked at `addresses`.  The longest silent makes room."""
        self._seen.pop(peer, None)
        if not addresses:
            return
        self._seen[peer] = (addresses, now_us)
        if len(self._seen) > FOREIGN_PEERS_MAX:
            del self._seen[next(iter(self._seen))]

    def known(self, now_us: int) -> list[Located]:
        """Those that spoke within the hour."""
        return [
            (peer, addresses)
            for peer, (addresses, seen_us) in self._seen.items()
            if now_us - seen_us < PASSED_ON_FOR_US
        ]
