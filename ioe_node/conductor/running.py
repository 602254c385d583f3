"""A cell made ready to run: one network as one agent, on the node's own terms.

The communities of the node and the cells of apps are made in the same way; they differ in whose
key they act under, on which transport, and in who hears their signals.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ioe_node.conductor.cell import Cell
from ioe_node.conductor.invitation import Invitation
from ioe_node.conductor.signals import Signals
from ioe_node.core.quota import Limits
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import split_address
from ioe_node.net.transport import Transport
from ioe_node.store.store import Store
from ioe_node.workflows.bell import Workers

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor


@asynccontextmanager
async def make_cell(
    conductor: "Conductor",
    invitation: Invitation,
    signer: Signer,
    transport: Transport,
    signals: Signals,
    begun: bool,
) -> AsyncIterator[Cell]:
    """The cell, not running yet; its store is closed at the end.  Raises `IoeError`.

    `begun` says that this agent has written in this network before.
    """
    definition = invitation.definition(conductor.known)
    config, workers = conductor.config, Workers()
    peers = [split_address(text) for text in (*invitation.bootstrap, *config.network.bootstrap)]
    for peer, address in peers:
        transport.learn(peer, (address,))
    cell = Cell(
        definition,
        signer,
        Store(conductor.home.store_path(invitation, signer.agent), config.synchronous),
        transport,
        conductor.clock,
        conductor.rng,
        workers,
        invitation.proof,
        signals,
        tuple(peer for peer, _ in peers if peer != signer.agent),
        begun,
        Limits(
            config.limits.requests_per_s,
            config.limits.bytes_per_s,
            config.limits.limbo_rows,
            config.limits.disk_mb_max * 1_000_000,
        ),
        config.arc == "full" and conductor.policy.rules.automatic.hold,
    )
    try:
        yield cell
    finally:
        await workers.close()
        cell.space.store.close()


def leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """The errors themselves, out of the groups that nurseries wrap them in."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
