"""The ten action types, the links of a source chain.

An action is one flat msgpack map: `type`, then the header (author, timestamp_us, action_seq,
prev_action), then the fields of its type, always in this order.  Integers only.  The first
three actions of a chain are its genesis: Dna, AgentValidationPkg, Create of the agent key.
Shape after Holochain 0.7's header and data action.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from ioe_node.model.codec import Codec, encode
from ioe_node.model.hashes import (
    ACTION,
    CORE,
    DNA,
    ENTRY,
    HASH_BYTES,
    LOCATION,
    ActionHash,
    AgentPubKey,
    DnaHash,
    EntryHash,
    action_hash,
    check_agent,
    check_hash,
    location_of,
)

LINK_TAG_BYTES_MAX = 1_000
MEMBRANE_PROOF_BYTES_MAX = 16_384
ACTION_BYTES_MAX = MEMBRANE_PROOF_BYTES_MAX + 1_024
AGENT_ENTRY = "agent"
CAP_GRANT_ENTRY = "cap_grant"
CAP_CLAIM_ENTRY = "cap_claim"

Hash39 = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
TimestampUs = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Seq = Annotated[int, Meta(ge=0, le=2**32 - 1)]
TypeName = Annotated[str, Meta(min_length=1, max_length=128)]


class Action(Struct, frozen=True, gc=False, tag_field="type", kw_only=True):
    """What every action says: who, when, which place on which chain."""

    author: Annotated[AgentPubKey, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
    timestamp_us: TimestampUs
    action_seq: Seq
    prev_action: Annotated[ActionHash, Meta(min_length=39, max_length=39)] | None


class Dna(Action, tag="Dna", frozen=True, gc=False, kw_only=True):
    """The first action: which network this chain belongs to."""

    dna_hash: Annotated[DnaHash, Meta(min_length=39, max_length=39)]


class AgentValidationPkg(Action, tag="AgentValidationPkg", frozen=True, gc=False, kw_only=True):
    """The second: the evidence that admits the author."""

    membrane_proof: Annotated[bytes, Meta(max_length=MEMBRANE_PROOF_BYTES_MAX)] | None


class InitZomesComplete(Action, tag="InitZomesComplete", frozen=True, gc=False, kw_only=True):
    """The zomes' init functions have run."""


class Create(Action, tag="Create", frozen=True, gc=False, kw_only=True):
    """A new entry; `entry_type` is `zome.Type`, or `agent`, `cap_grant`, `cap_claim`."""

    entry_type: TypeName
    entry_hash: Annotated[EntryHash, Meta(min_length=39, max_length=39)]


class Update(Action, tag="Update", frozen=True, gc=False, kw_only=True):
    """A new entry that stands for an older one."""

    original_action: Annotated[ActionHash, Meta(min_length=39, max_length=39)]
    original_entry: Annotated[EntryHash, Meta(min_length=39, max_length=39)]
    entry_type: TypeName
    entry_hash: Annotated[EntryHash, Meta(min_length=39, max_length=39)]


class Delete(Action, tag="Delete", frozen=True, gc=False, kw_only=True):
    """An earlier create or update no longer stands."""

    deletes_action: Annotated[ActionHash, Meta(min_length=39, max_length=39)]
    deletes_entry: Annotated[EntryHash, Meta(min_length=39, max_length=39)]


class CreateLink(Action, tag="CreateLink", frozen=True, gc=False, kw_only=True):
    """A typed, directed link from `base` to `target`, found at `base`."""

    base: Hash39
    target: Hash39
    link_type: TypeName
    tag: Annotated[bytes, Meta(max_length=LINK_TAG_BYTES_MAX)]


class DeleteLink(Action, tag="DeleteLink", frozen=True, gc=False, kw_only=True):
    """A link no longer stands."""

    base: Hash39
    create_link: Annotated[ActionHash, Meta(min_length=39, max_length=39)]


class CloseChain(Action, tag="CloseChain", frozen=True, gc=False, kw_only=True):
    """Nothing follows here; the chain goes on under `new_target` (a DNA or an agent)."""

    new_target: Hash39 | None


class OpenChain(Action, tag="OpenChain", frozen=True, gc=False, kw_only=True):
    """This chain continues the one that `close_hash` closed."""

    prev_target: Hash39
    close_hash: Annotated[ActionHash, Meta(min_length=39, max_length=39)]


AnyAction = (
    Dna
    | AgentValidationPkg
    | InitZomesComplete
    | Create
    | Update
    | Delete
    | CreateLink
    | DeleteLink
    | CloseChain
    | OpenChain
)
EntryAction = Create | Update

_HASH_PREFIXES = {
    "prev_action": ACTION,
    "dna_hash": DNA,
    "entry_hash": ENTRY,
    "original_action": ACTION,
    "original_entry": ENTRY,
    "deletes_action": ACTION,
    "deletes_entry": ENTRY,
    "create_link": ACTION,
    "close_hash": ACTION,
}
_HASH_FIELDS = {
    cls: tuple(
        (name, _HASH_PREFIXES[name]) for name in cls.__struct_fields__ if name in _HASH_PREFIXES
    )
    for cls in AnyAction.__args__
}
_codec: Codec[AnyAction] = Codec(AnyAction, "action", ACTION_BYTES_MAX)


def decode_action(data: bytes) -> AnyAction:
    """The action of these canonical bytes; raises `Malformed`."""
    action = _codec.decode(data)
    check_agent(action.author)
    for name, prefix in _HASH_FIELDS[type(action)]:
        value: Any = getattr(action, name)
        # Most are right and this is the busiest loop of all; `check_hash` says what is wrong.
        if value is not None and (
            value[:3] != prefix
            or (prefix is not ACTION and value[LOCATION] != location_of(value[CORE]))
        ):
            check_hash(value, prefix)
    return action


def hash_of(action: AnyAction) -> tuple[ActionHash, bytes]:
    """(hash, canonical bytes) of an action that we make."""
    data = encode(action)
    return action_hash(data, action.author), data
