"""Capability grants on our own chain: given, ended, listed.

A grant is a private entry and its end a delete of it, so both are commits like any other and
hold from the moment that they are on the chain.
"""

from dataclasses import dataclass

from ioe_node.errors import CallError
from ioe_node.hdi import ActionHash
from ioe_node.model import capability
from ioe_node.model.action import CAP_GRANT_ENTRY, Create, Delete
from ioe_node.workflows.call_zome import CallHost, perform
from ioe_node.workflows.settle import Settlements
from ioe_node.workflows.space import Space

GRANTS_SHOWN_MAX = 1_000


@dataclass(frozen=True)
class Granted:
    """A grant, the action that gave it, when, and when it was ended (None: it holds)."""

    grant: capability.CapGrant
    action: ActionHash
    given_us: int
    ended_us: int | None


async def give(space: Space, settlements: Settlements, grant: capability.CapGrant) -> ActionHash:
    """Write a grant; its action.  Raises `CallError` or `Busy`; then nothing was written."""

    async def act(host: CallHost) -> ActionHash:
        return await host.create(grant)

    return (await perform(space, settlements, act))[0]


async def end(space: Space, settlements: Settlements, action: ActionHash) -> None:
    """End a grant; nobody can use it from now on.  Raises `CallError` for no grant of ours."""
    record = space.store.record(action)
    given = record.action if record is not None else None
    ours = isinstance(given, Create) and given.author == space.agent
    if not ours or getattr(given, "entry_type", None) != CAP_GRANT_ENTRY:
        raise CallError("no capability grant of this cell has that action hash; list them")

    async def act(host: CallHost) -> ActionHash:
        return await host.delete(action)

    await perform(space, settlements, act)


def granted(space: Space, ended_too: bool) -> list[Granted]:
    """Our grants, the oldest first: the newest `GRANTS_SHOWN_MAX` of them."""
    found = []
    for record in space.store.of_type(space.agent, CAP_GRANT_ENTRY):
        if record.entry is None:
            continue
        ends = [
            each.action.timestamp_us
            for each in space.store.amendments(record.hash)
            if isinstance(each.action, Delete)
        ]
        if ends and not ended_too:
            continue
        grant = capability.grants.decode(record.entry)
        given_us = record.action.timestamp_us
        found.append(Granted(grant, record.hash, given_us, min(ends, default=None)))
        if len(found) >= GRANTS_SHOWN_MAX:
            break
    return found[::-1]
