"""DHT ops: what an action asks authorities to hold, and where.

Ops are a pure function of a record, so nothing stores or sends copies: a record travels once
to each authority with the set of op kinds meant for it, one bit each.  An action's hash has
its author's location, so CreateRecord and AgentActivity fall in one neighbourhood.
"""

from collections.abc import Iterator
from enum import IntFlag

from ioe_node.model.action import (
    AnyAction,
    Create,
    CreateLink,
    Delete,
    DeleteLink,
    Update,
)
from ioe_node.model.hashes import LOCATION, ActionHash


class OpKind(IntFlag):
    """One bit a kind, so that a set of kinds is one small integer."""

    CREATE_RECORD = 1
    AGENT_ACTIVITY = 2
    CREATE_ENTRY = 4
    UPDATE_RECORD = 8
    UPDATE_ENTRY = 16
    DELETE_RECORD = 32
    DELETE_ENTRY = 64
    CREATE_LINK = 128
    DELETE_LINK = 256


def ops_of(action: AnyAction, hash_: ActionHash, by_hash: bool) -> Iterator[tuple[OpKind, bytes]]:
    """Each (kind, basis) of an action; `by_hash` says its entry is found by its hash too."""
    yield OpKind.CREATE_RECORD, hash_
    yield OpKind.AGENT_ACTIVITY, action.author
    if by_hash and isinstance(action, Create | Update):
        yield OpKind.CREATE_ENTRY, action.entry_hash
    if isinstance(action, Update):
        yield OpKind.UPDATE_RECORD, action.original_action
        yield OpKind.UPDATE_ENTRY, action.original_entry
    elif isinstance(action, Delete):
        yield OpKind.DELETE_RECORD, action.deletes_action
        yield OpKind.DELETE_ENTRY, action.deletes_entry
    elif isinstance(action, CreateLink):
        yield OpKind.CREATE_LINK, action.base
    elif isinstance(action, DeleteLink):
        yield OpKind.DELETE_LINK, action.base


def foreign_bases(action: AnyAction, hash_: ActionHash, by_hash: bool) -> list[bytes]:
    """The bases of an action's ops that lie outside its author's neighbourhood."""
    home = action.author[LOCATION]
    return [basis for _, basis in ops_of(action, hash_, by_hash) if basis[LOCATION] != home]


_ALWAYS = (OpKind.CREATE_RECORD | OpKind.AGENT_ACTIVITY).value
_CREATE_ENTRY = OpKind.CREATE_ENTRY.value
_KINDS_OF: dict[type, int] = {
    Update: (OpKind.UPDATE_RECORD | OpKind.UPDATE_ENTRY).value,
    Delete: (OpKind.DELETE_RECORD | OpKind.DELETE_ENTRY).value,
    CreateLink: OpKind.CREATE_LINK.value,
    DeleteLink: OpKind.DELETE_LINK.value,
}


def all_kinds(action: AnyAction, by_hash: bool) -> int:
    """Every kind of an action's ops, which its author holds; `ops_of` without the bases."""
    kinds = _ALWAYS | _KINDS_OF.get(type(action), 0)
    return kinds | _CREATE_ENTRY if by_hash and isinstance(action, Create | Update) else kinds
