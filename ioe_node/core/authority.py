"""Who holds a basis: the R agents closest to it by XOR in the 32-bit key space."""

from collections.abc import Iterable
from heapq import nsmallest

from ioe_node.model.hashes import CORE, AgentPubKey, core_of, key_of, location_of

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


def proof_digest(membrane_proof: bytes | None) -> bytes:
    """32 bytes that stand for a membrane proof, or for having none."""
    return core_of(membrane_proof or b"")


def witness_place(agent: AgentPubKey, digest: bytes) -> int:
    """Where an agent stands among the witnesses: 32 bits that follow from its admission.

    `digest` is `proof_digest` of its membrane proof, which others have signed: so nobody can
    grind a key until it stands beside somebody.
    """
    return int.from_bytes(location_of(core_of(agent + digest)), "big")
