"""A cell: one DNA run by one agent, its stages wired to a store and a transport.

`begun` says that this agent has written in this network before: an empty store is then a loss.
"""

from collections.abc import Mapping
from random import Random
from typing import Any

import trio

from ioe_node.clock import Clock
from ioe_node.conductor.signals import Signals
from ioe_node.core.quota import Limits
from ioe_node.core.sys_validate import Rules
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.hdk import DnaDef
from ioe_node.model.capability import CapGrant
from ioe_node.model.signing import Signer
from ioe_node.net.transport import Service, Transport
from ioe_node.store.store import Store
from ioe_node.workflows import grants, peers
from ioe_node.workflows.answer import answer
from ioe_node.workflows.bell import StoreRunner
from ioe_node.workflows.call_zome import CallHost, call_zome
from ioe_node.workflows.finality import attend
from ioe_node.workflows.genesis import check_membrane
from ioe_node.workflows.gossip import Gossip
from ioe_node.workflows.hastening import Hastening
from ioe_node.workflows.integration import validate_and_integrate
from ioe_node.workflows.places import compare_places
from ioe_node.workflows.publish import keep_deliveries, publish
from ioe_node.workflows.publish_ops import publish_ops
from ioe_node.workflows.release import Release
from ioe_node.workflows.restore import begin, check_head
from ioe_node.workflows.routing import routing_of
from ioe_node.workflows.settle import Settlements
from ioe_node.workflows.space import Space
from ioe_node.workflows.spread import spread_warrants
from ioe_node.workflows.standing import recall_standings
from ioe_node.workflows.validation import Verdicts


class Cell:
    """One network as one agent sees it."""

    def __init__(
        self,
        definition: DnaDef,
        signer: Signer,
        store: Store,
        transport: Transport,
        clock: Clock,
        rng: Random,
        run: StoreRunner,
        membrane_proof: bytes | None,
        signals: Signals,
        bootstrap: tuple[AgentPubKey, ...] = (),
        begun: bool = False,
        limits: Limits | None = None,
        holds: bool = True,
    ) -> None:
        self.space = Space(
            rules=Rules(definition),
            agent=signer.agent,
            sign=signer.sign,
            store=store,
            transport=transport,
            clock=clock,
            rng=rng,
            run=run,
            membrane_proof=membrane_proof,
            signal=signals.emit,
            limits=limits or Limits(),
            holds=holds,
        )
        self.name = definition.name
        self._hastening = Hastening(self.space)
        self._settlements = Settlements(self.space, self._hastening.note)
        self._verdicts = Verdicts()
        self._bootstrap = bootstrap
        self._begun = begun

    def has(self, zome: str) -> bool:
        """Whether the DNA has a zome of this name."""
        zomes = self.space.rules.definition.zomes
        return any(each.coordinator.name == zome for each in zomes)

    async def call(
        self,
        zome: str,
        function: str,
        payload: Mapping[str, Any],
        caller: AgentPubKey | None = None,
        secret: bytes | None = None,
    ) -> Any:
        """Call a zome function; see `workflows.call_zome`."""
        return await call_zome(
            self.space, self._settlements, zome, function, payload, caller, secret
        )

    async def grant(self, grant: CapGrant) -> ActionHash:
        """Give a capability; see `workflows.grants`."""
        return await grants.give(self.space, self._settlements, grant)

    async def end_grant(self, action: ActionHash) -> None:
        """Take a capability back; see `workflows.grants`."""
        await grants.end(self.space, self._settlements, action)

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Begin the chain if need be, answer the network, run every stage; until cancelled."""
        space = self.space
        if space.store.head(space.agent) is None:
            check_membrane(space)
        peers.recall(space)
        recall_standings(space)
        service = Service(
            hello=lambda: peers.hello(space),
            admit=lambda peer, data: peers.admit(space, peer, data),
            handle=self._handle,
        )
        space.transport.offer(space.protocol, service)
        space.transport.offer_routing(space.kad_protocol, routing_of(space))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(validate_and_integrate, space, self._verdicts)
                nursery.start_soon(publish, space)
                nursery.start_soon(publish_ops, space)
                nursery.start_soon(keep_deliveries, space)
                nursery.start_soon(peers.meet, space, self._bootstrap)
                nursery.start_soon(Gossip(space).run)
                nursery.start_soon(Release(space).run)
                nursery.start_soon(compare_places, space)
                nursery.start_soon(spread_warrants, space)
                if space.store.head(space.agent) is None:
                    await begin(space, self._bootstrap, self._begun)
                if not space.head_confirmed.is_set():
                    await nursery.start(check_head, space, self._bootstrap)
                nursery.start_soon(self._settlements.resolve)
                nursery.start_soon(self._hastening.run)
                nursery.start_soon(attend, space)
                task_status.started()
        finally:
            space.transport.withdraw(space.protocol)
            space.transport.withdraw_routing(space.kad_protocol)

    async def _handle(self, peer: AgentPubKey, data: bytes) -> bytes:
        def host() -> CallHost:
            return CallHost(self.space, self._settlements)

        return await answer(self.space, self._verdicts, self._settlements, host, peer, data)
