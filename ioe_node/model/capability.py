"""Who may call what: capability grants and claims, kept as private entries.

The author of a chain may call everything on it.  Anyone else needs a grant: *unrestricted*,
*transferable* (whoever knows the secret), or *assigned* (a listed agent who knows the secret).
"""

from hmac import compare_digest
from typing import Annotated

from msgspec import Meta, Struct

from ioe_node.model.action import Hash39
from ioe_node.model.codec import Codec
from ioe_node.model.hashes import AgentPubKey

SECRET_BYTES = 64
GRANT_BYTES_MAX = 65_536
Secret = Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]


class CapGrant(Struct, frozen=True, kw_only=True):
    """Permission given.

    `functions` lists `zome.function` names; empty means every function.  Without a `secret`
    the grant is unrestricted; with `agents` it is assigned to them.
    """

    tag: Annotated[str, Meta(max_length=256)]
    functions: Annotated[tuple[str, ...], Meta(max_length=1_000)] = ()
    secret: Secret | None = None
    agents: Annotated[tuple[Hash39, ...], Meta(max_length=1_000)] = ()


class CapClaim(Struct, frozen=True, kw_only=True):
    """Permission held: the secret that `grantor` gave us."""

    tag: Annotated[str, Meta(max_length=256)]
    grantor: Hash39
    secret: Secret


grants: Codec[CapGrant] = Codec(CapGrant, "capability grant", GRANT_BYTES_MAX)
claims: Codec[CapClaim] = Codec(CapClaim, "capability claim", GRANT_BYTES_MAX)


def allows(grant: CapGrant, caller: AgentPubKey, secret: bytes | None, function: str) -> bool:
    """Whether `caller`, who shows `secret`, may call `zome.function` by this grant."""
    if grant.functions and function not in grant.functions:
        return False
    if grant.secret is None:
        return not grant.agents or caller in grant.agents
    if secret is None or not compare_digest(secret, grant.secret):
        return False
    return not grant.agents or caller in grant.agents
