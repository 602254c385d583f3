"""Who should hold what, among those whom the simulator knows to be there."""

from collections.abc import Iterable

from ioe_node.core.authority import authorities
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import LOCATION


class Closest:
    """The authorities among some agents; each location's answer is worked out once."""

    def __init__(self, agents: Iterable[AgentPubKey]) -> None:
        self.agents = list(agents)
        self._known: dict[bytes, list[AgentPubKey]] = {}

    def to(self, basis: bytes) -> list[AgentPubKey]:
        """The authorities of a basis, closest first."""
        location = basis[LOCATION]
        if location not in self._known:
            self._known[location] = authorities(basis, self.agents)
        return self._known[location]
