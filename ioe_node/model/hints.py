"""The kind of every hash in a value, as the hints of its type name it."""

import types
import typing
from dataclasses import is_dataclass
from functools import lru_cache
from typing import Any

from ioe_node.model.hashes import (
    ACTION,
    AGENT,
    DNA,
    ENTRY,
    EXTERNAL,
    ActionHash,
    AgentPubKey,
    DnaHash,
    EntryHash,
    ExternalHash,
    check_hash,
)

_PREFIX_OF = {
    AgentPubKey: AGENT,
    ActionHash: ACTION,
    EntryHash: ENTRY,
    DnaHash: DNA,
    ExternalHash: EXTERNAL,
}


@lru_cache(maxsize=256)
def _fields_of(hint: type) -> tuple[tuple[str, Any], ...]:
    """The fields of a dataclass that can hold a hash, with their hints resolved."""
    hints = typing.get_type_hints(hint).items()
    return tuple((name, inner) for name, inner in hints if names_a_hash(inner))


def check_hashes(hint: Any, value: Any) -> None:
    """Raise Malformed unless every hash in `value` is of the kind that its hint names."""
    prefix = _PREFIX_OF.get(hint)
    if prefix is not None:
        check_hash(value, prefix)
    elif isinstance(value, tuple | list):
        args = typing.get_args(hint)
        inner = args[:1] * len(value) if len(args) == 2 and args[1] is ... else args
        for part, item in zip(inner or (), value, strict=False):
            check_hashes(part, item)
    elif is_dataclass(hint):
        for name, inner_hint in _fields_of(typing.cast(type, hint)):
            check_hashes(inner_hint, getattr(value, name))
    elif value is not None and typing.get_origin(hint) in (types.UnionType, typing.Union):
        for part in typing.get_args(hint):
            if part is not types.NoneType:
                check_hashes(part, value)


def names_a_hash(hint: Any) -> bool:
    """Whether a hint has a hash anywhere in it."""
    if isinstance(hint, type) and is_dataclass(hint):
        return any(map(names_a_hash, typing.get_type_hints(hint).values()))
    return hint in _PREFIX_OF or any(map(names_a_hash, typing.get_args(hint)))
