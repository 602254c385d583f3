"""Who is in a network and where: signed infos merged, newest first, expired ones kept aside.

Pure.  An expired info is no proof that an agent is gone (a device may sleep), so it stays
until `PEERS_MAX` newer ones push it out.
"""

from dataclasses import dataclass, field

from ioe_node.model.agent_info import AgentInfo, SignedInfo
from ioe_node.model.hashes import AgentPubKey

PEERS_MAX = 1_024


@dataclass
class PeerBook:
    """The agents of one network that we have signed word of, ourselves left out."""

    us: AgentPubKey
    _infos: dict[AgentPubKey, tuple[AgentInfo, SignedInfo]] = field(default_factory=dict)
    _agents: dict[SignedInfo, AgentPubKey] = field(default_factory=dict)

    def merge(self, info: AgentInfo, signed: SignedInfo) -> bool:
        """Take a checked info; True if it is news."""
        agent = AgentPubKey(info.agent)
        known = self._infos.get(agent)
        if agent == self.us or (known is not None and known[0].issued_us >= info.issued_us):
            return False
        if known is not None:
            del self._agents[known[1]]
        self._infos[agent] = (info, signed)
        self._agents[signed] = agent
        if len(self._infos) > PEERS_MAX:
            oldest = min(self._infos.values(), key=lambda pair: pair[0].issued_us)
            del self._infos[AgentPubKey(oldest[0].agent)]
            del self._agents[oldest[1]]
        return True

    def forget(self, agent: AgentPubKey) -> None:
        """Drop what is known of an agent, until it is heard of again."""
        known = self._infos.pop(agent, None)
        if known is not None:
            self._agents.pop(known[1], None)

    def agent_of(self, signed: SignedInfo) -> AgentPubKey | None:
        """Whose info this is, if this very one was taken: it need not be checked again."""
        return self._agents.get(signed)

    def agents(self) -> list[AgentPubKey]:
        """Everyone known, in key order."""
        return sorted(self._infos)

    def addresses(self, agent: AgentPubKey) -> tuple[str, ...]:
        """Where an agent was last dialable."""
        known = self._infos.get(agent)
        return known[0].addresses if known else ()

    def info_of(self, agent: AgentPubKey) -> AgentInfo | None:
        """An agent's newest info, opened."""
        known = self._infos.get(agent)
        return known[0] if known else None

    def signed_of(self, agent: AgentPubKey) -> SignedInfo | None:
        """An agent's newest info, to keep or to pass on."""
        known = self._infos.get(agent)
        return known[1] if known else None
