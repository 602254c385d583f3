"""What whoever is responsible for this node allows, beyond the community's rules.

Capabilities say what this agent has granted; permits can only take away from that.
"""

from typing import Protocol

from ioe_node.hdi import AgentPubKey


class Permits(Protocol):
    """Each raises `AgainstPolicy`, or returns."""

    async def call(self, caller: AgentPubKey, zome: str, function: str) -> None:
        """May this peer call this function here?"""

    async def deal(self, other: AgentPubKey, draft: str, by_us: bool) -> None:
        """May we settle with this peer?  `draft` is "zome.function"; `by_us` if we propose."""


class AllPermitted:
    """No limits: a person's own node."""

    async def call(self, caller: AgentPubKey, zome: str, function: str) -> None:
        """Anything."""

    async def deal(self, other: AgentPubKey, draft: str, by_us: bool) -> None:
        """Anything."""
