"""What the wires of a simulated network are like: how far, how fast, how reliable."""

from dataclasses import dataclass
from math import hypot
from random import Random

from ioe_node.model.hashes import AgentPubKey

PER_MILLION = 1_000_000
REORDER_MAX_S = 0.5
"""How much later than its turn a message may come that was overtaken."""


@dataclass(frozen=True)
class Conditions:
    """The properties of a network; chances in parts per million.

    A message takes the pair's own latency (`far_s` for two agents a unit apart: each has its
    place in a unit square), a part that is drawn each time between the two bounds, and its
    turn on the sender's uplink (`uplink_bytes_per_s`, 0: no limit).
    """

    latency_min_s: float = 0.002
    latency_max_s: float = 0.030
    far_s: float = 0.0
    loss_per_million: int = 0
    duplicate_per_million: int = 0
    reorder_per_million: int = 0
    uplink_bytes_per_s: int = 0


class Wires:
    """Draws what happens to each message; places and uplinks are remembered."""

    def __init__(self, rng: Random, conditions: Conditions) -> None:
        self.conditions = conditions
        self._rng = rng
        self._places: dict[AgentPubKey, tuple[float, float]] = {}
        self._free_at: dict[AgentPubKey, float] = {}
        self._uplinks: dict[AgentPubKey, int] = {}

    def limit_uplink(self, agent: AgentPubKey, bytes_per_s: int) -> None:
        """Give one agent an uplink of its own; 0: the network's again."""
        self._uplinks[agent] = bytes_per_s

    def arrival_s(
        self, now_s: float, sender: AgentPubKey, receiver: AgentPubKey, size: int
    ) -> float:
        """When a message that is handed to the wires now arrives."""
        at_s = now_s
        its = self.conditions
        uplink = self._uplinks.get(sender) or its.uplink_bytes_per_s
        if uplink:
            at_s = max(at_s, self._free_at.get(sender, 0.0)) + size / uplink
            self._free_at[sender] = at_s
        if its.far_s:
            (x, y), (u, v) = self._place(sender), self._place(receiver)
            at_s += its.far_s * hypot(x - u, y - v)
        spread_s = its.latency_max_s - its.latency_min_s
        at_s += its.latency_min_s + spread_s * self._rng.random()
        if self._by_lot(its.reorder_per_million):
            at_s += REORDER_MAX_S * self._rng.random()
        return at_s

    def loses(self) -> bool:
        """Whether this message is lost."""
        return self._by_lot(self.conditions.loss_per_million)

    def doubles(self) -> bool:
        """Whether this message comes twice."""
        return self._by_lot(self.conditions.duplicate_per_million)

    def _by_lot(self, per_million: int) -> bool:
        return per_million > 0 and self._rng.random() * PER_MILLION < per_million

    def _place(self, agent: AgentPubKey) -> tuple[float, float]:
        place = self._places.get(agent)
        if place is None:
            place = self._places[agent] = (self._rng.random(), self._rng.random())
        return place
