"""Whom we deal with changes: keys follow keys, devices change hands, keys are revoked.

An owner is told of it as an alert, whoever's keys they are.  What happened before our own chain
began is no news: a node that joins takes up a whole past.  (I-042)
"""

from typing import TYPE_CHECKING, Any

from ioe_node.errors import IoeError
from ioe_node.hdi import AgentPubKey
from ioe_node.workflows.space import log

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor


async def tell_changes(conductor: "Conductor") -> None:
    """Tell of each change as the chains here show it; for ever."""
    with conductor.signals.follow() as signals:
        async for signal in signals:
            if signal["kind"] == "follows":
                await _tell_successor(conductor, signal)
            elif signal["kind"] == "warrant" and _is_revoked(conductor, signal["agent"]):
                conductor.alert({"kind": "revoked", "agent": signal["agent"]})


def _is_revoked(conductor: "Conductor", agent: AgentPubKey) -> bool:
    return any(agent in cell.space.ended for cell in conductor.cells.values())


async def _tell_successor(conductor: "Conductor", signal: dict[str, Any]) -> None:
    """What has become of the agent whose chain another goes on from."""
    cell = conductor.cell_of(signal["network"])
    first = None if cell is None else cell.space.store.record_at(cell.space.agent, 0)
    if cell is None or first is None or signal["at_us"] < first.action.timestamp_us:
        return
    before, after = signal["before"], signal["agent"]
    try:
        history = await cell.call("identity", "history", {"agent": after})
    except IoeError as error:
        log.info("the history of a key: %s", error)
        return
    for era in history:
        if era["agent"] == before and era["how"] == "sold":
            conductor.alert({"kind": "new owner", "agent": before, "owner": era["to"]})
        elif era["agent"] == before:
            conductor.alert({"kind": "new keys", "agent": before, "successor": after})
