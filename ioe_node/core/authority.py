"""Who holds a basis: the R agents closest to it by XOR in the 32-bit key space."""

from collections.abc import Iterable
from heapq import nsmallest

from ioe_node.model.hashes import CORE, AgentPubKey, key_of

REDUNDANCY = 8
"""R: how many authorities hold an op."""


def authorities(
    basis: bytes, agents: Iterable[AgentPubKey], redundancy: int = REDUNDANCY
) -> list[AgentPubKey]:
    """The `redundancy` agents closest to `basis`, closest first; ties by the agent's core.

    With no more agents than that, all of them: small networks are fully replicated.
    """
    key = key_of(basis)
    return nsmallest(redundancy, agents, key=lambda agent: (key_of(agent) ^ key, agent[CORE]))
