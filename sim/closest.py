"""Who should hold what and who knows whom, among those whom the simulator knows to be there."""

from bisect import bisect_left
from collections.abc import Iterable
from heapq import nsmallest
from random import Random

from ioe_node.core.authority import REDUNDANCY
from ioe_node.core.membership import BUCKET_PEERS_MAX, NEAREST
from ioe_node.core.share import KEY_BITS
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import CORE, LOCATION, key_of
from ioe_node.workflows.standing import NEAR


class Places:
    """Agents by a number of 32 bits each, and who of them is near another one by XOR.

    All within a distance of so many bits have their first bits in common: they are neighbours in
    the order of the numbers.
    """

    def __init__(self, places: Iterable[tuple[int, AgentPubKey]]) -> None:
        self._agents = sorted((at, agent[CORE], agent) for at, agent in places)
        self._ats = [at for at, _, _ in self._agents]

    def _within(self, at: int, bits: int) -> tuple[int, int]:
        """Where those begin and end that differ from `at` in the last `bits` at most."""
        low = at >> bits << bits
        return bisect_left(self._ats, low), bisect_left(self._ats, low + (1 << bits))

    def nearest(self, at: int, count: int) -> list[AgentPubKey]:
        """The `count` closest, closest first; ties by the agent's core."""
        bits, (begin, end) = 0, self._within(at, 0)
        while bits < KEY_BITS and end - begin < count:
            bits += 1
            begin, end = self._within(at, bits)
        found = nsmallest(count, self._agents[begin:end], key=lambda one: (one[0] ^ at, one[1]))
        return [agent for _, _, agent in found]

    def at_distance(self, at: int, bits: int) -> list[AgentPubKey]:
        """All whose distance has exactly so many bits."""
        begin, end = self._within(at ^ 1 << bits - 1, bits - 1)
        return [agent for _, _, agent in self._agents[begin:end]]


class Closest:
    """The authorities among some agents; each location's answer is worked out once."""

    def __init__(self, agents: Iterable[AgentPubKey]) -> None:
        self.agents = list(agents)
        self._places = Places((key_of(agent), agent) for agent in self.agents)
        self._known: dict[bytes, list[AgentPubKey]] = {}

    def to(self, basis: bytes) -> list[AgentPubKey]:
        """The authorities of a basis, closest first."""
        location = basis[LOCATION]
        if location not in self._known:
            self._known[location] = self._places.nearest(key_of(basis), REDUNDANCY)
        return self._known[location]


def acquaintances(
    agent: AgentPubKey, place: int, by_key: Places, by_place: Places, rng: Random
) -> list[AgentPubKey]:
    """Whom an agent knows that has been in a network for long: as `core.membership` keeps them."""
    key = key_of(agent)
    known = {*by_key.nearest(key, NEAREST + 1), *by_place.nearest(place, NEAR + 1)}
    for bits in range(KEY_BITS, 0, -1):
        far = by_key.at_distance(key, bits)
        known.update(rng.sample(far, min(BUCKET_PEERS_MAX, len(far))))
    return sorted(known - {agent})
