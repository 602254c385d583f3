"""What happened in one cell since the start, for `ioe status` and whoever looks inside."""

from dataclasses import dataclass, field

from ioe_node.hdi import AgentPubKey

ROUNDS_KNOWN_MAX = 1_024


@dataclass
class Counters:
    """Counts, and the newest texts."""

    ops_validated: int = 0
    records_refused: int = 0
    bundles_committed: int = 0
    messages_refused: int = 0
    last_refusals: list[str] = field(default_factory=list)
    rounds: dict[AgentPubKey, tuple[int, int]] = field(default_factory=dict)
    """How many rounds of gossip each peer has been through with us, and when the last one was."""

    def refuse(self, why: str) -> None:
        """Count and remember a refusal; only the newest 20 texts are kept."""
        self.records_refused += 1
        self.last_refusals = [*self.last_refusals[-19:], why]

    def note_round(self, peer: AgentPubKey, now_us: int) -> None:
        """A round of gossip is done; who has not been through one for longest is forgotten."""
        count, _ = self.rounds.pop(peer, (0, 0))
        if len(self.rounds) >= ROUNDS_KNOWN_MAX:
            del self.rounds[next(iter(self.rounds))]
        self.rounds[peer] = (count + 1, now_us)
