"""What a relay gives others, and to how many: reservations and circuits counted.

Pure.  A peer that cannot be reached from outside reserves a place at a relay, over a connection of
its own that it keeps; whoever wants to reach it asks the relay for a circuit to it.  Both cost the
relay memory and bandwidth that it gives away, so both are few, end by themselves and are counted
by the keys that the transport has proved.  A full relay refuses; it never drops one for another.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ioe_node.model.hashes import AgentPubKey

RESERVATIONS_MAX = 128
RESERVED_FOR_US = 600 * 1_000_000
CIRCUITS_MAX = 256
CIRCUITS_PER_PEER_MAX = 64
CIRCUIT_BYTES_MAX = 256 * 1024 * 1024
CIRCUIT_BYTES_PER_S = 4_000_000
CIRCUIT_DURATION_S = 3_600


class Ledger:
    """The reservations and circuits of one relay."""

    def __init__(self) -> None:
        self._reserved: dict[AgentPubKey, int] = {}
        self._circuits: Counter[AgentPubKey] = Counter()
        self.circuits = 0

    def reserve(self, peer: AgentPubKey, now_us: int) -> bool:
        """Keep a place for `peer` for `RESERVED_FOR_US` from now; False when all are taken."""
        ended = [one for one, until_us in self._reserved.items() if until_us <= now_us]
        for one in ended:
            del self._reserved[one]
        if peer not in self._reserved and len(self._reserved) >= RESERVATIONS_MAX:
            return False
        self._reserved[peer] = now_us + RESERVED_FOR_US
        return True

    def holds(self, peer: AgentPubKey, now_us: int) -> bool:
        """Whether `peer` has a place now."""
        return self._reserved.get(peer, now_us) > now_us

    def has_room(self, asker: AgentPubKey, target: AgentPubKey) -> bool:
        """Whether a circuit more between these two is within the limits."""
        busiest = max(self._circuits[asker], self._circuits[target])
        return self.circuits < CIRCUITS_MAX and busiest < CIRCUITS_PER_PEER_MAX

    @contextmanager
    def circuit(self, asker: AgentPubKey, target: AgentPubKey) -> Iterator[None]:
        """Count a circuit while it lasts."""
        self.circuits += 1
        for peer in (asker, target):
            self._circuits[peer] += 1
        try:
            yield
        finally:
            self.circuits -= 1
            for peer in (asker, target):
                self._circuits[peer] -= 1
                if not self._circuits[peer]:
                    del self._circuits[peer]
