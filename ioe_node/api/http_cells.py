"""From text to what it names: communities, agents, hashes."""

from typing import TYPE_CHECKING

from ioe_node.api.http_errors import NotFound, Unfit
from ioe_node.conductor.cell import Cell
from ioe_node.errors import CallError, Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import AGENT, from_text

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor


def name_of(cell: Cell) -> str:
    """A community's name."""
    return cell.space.rules.definition.seed


def cells_of(conductor: "Conductor", zome: str) -> list[Cell]:
    """The open cells with this zome, in the order of their networks' names."""
    return sorted(conductor.cells_with(zome), key=lambda cell: cell.space.dna)


def cell_for(conductor: "Conductor", community: str | None, zome: str) -> Cell:
    """The cell that a request means.

    Raises `NotFound` if no community has that name, `CallError` if it is not to be told which,
    or if its rules know nothing of what is asked.
    """
    if community is not None and not any(
        name_of(cell).startswith(community) for cell in conductor.cells.values()
    ):
        raise NotFound(f"no community '{community}' here; see /api/v1/status")
    try:
        cell = conductor.cell(community)
    except CallError as error:
        raise CallError(str(error).replace("--community", "'community'")) from None
    if not cell.has(zome):
        raise CallError(f"the rules of '{name_of(cell)}' have no {zome}; choose another community")
    return cell


def agent_of(text: str) -> AgentPubKey:
    """The key of an agent's text; raises `Unfit`."""
    try:
        return AgentPubKey(from_text(text, AGENT))
    except Malformed as error:
        raise Unfit(str(error)) from None


def hash_of(text: str, prefix: bytes) -> bytes:
    """A hash of its text; raises `Unfit`."""
    try:
        return from_text(text, prefix)
    except Malformed as error:
        raise Unfit(str(error)) from None
