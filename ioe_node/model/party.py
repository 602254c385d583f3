"""A place on a chain: of an action, or of what a party of a countersigned entry commits."""

from dataclasses import dataclass
from typing import NewType

from ioe_node.model.action import AnyAction, Create, hash_of
from ioe_node.model.hashes import ActionHash, AgentPubKey, EntryHash

Timestamp = NewType("Timestamp", int)
"""Microseconds since 1970-01-01T00:00Z."""


@dataclass(frozen=True)
class Party:
    """One party's place in a countersigned entry: the action that it commits, in full."""

    agent: AgentPubKey
    action_seq: int
    prev_action: ActionHash
    timestamp_us: Timestamp


def place_of(action: AnyAction) -> Party:
    """The place at which `action`, which is no chain's first, stands."""
    assert action.prev_action is not None, "a chain's first action follows nothing"
    timestamp_us = Timestamp(action.timestamp_us)
    return Party(action.author, action.action_seq, action.prev_action, timestamp_us)


def half_of(party: Party, entry_type: str, entry_hash: EntryHash) -> tuple[ActionHash, bytes]:
    """(hash, bytes) of the action that `party` of a countersigned entry commits."""
    return hash_of(
        Create(
            author=party.agent,
            timestamp_us=party.timestamp_us,
            action_seq=party.action_seq,
            prev_action=party.prev_action,
            entry_type=entry_type,
            entry_hash=entry_hash,
        )
    )
