"""Cells of apps, kept open beside the communities: opened, tried again, closed.

An app acts under the owner's key, on the node's own transport, or under a key that the node made
for apps, which then has a transport of its own: in this network a transport *is* its agent.  All
of it ends and begins again with each life of the conductor.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from ioe_node.conductor.cell import Cell
from ioe_node.conductor.conductor import CELL_RETRY_S, Conductor
from ioe_node.conductor.invitation import Invitation
from ioe_node.conductor.keytree import APP_AGENT
from ioe_node.conductor.running import leaves, make_cell
from ioe_node.conductor.signals import Signals
from ioe_node.conductor.visibility import any_port
from ioe_node.errors import CallError, IoeError, Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import to_text
from ioe_node.model.signing import SEED_BYTES, Signer
from ioe_node.net.transport import Transport

log = logging.getLogger("ioe.api")

AGENTS_MAX = 256
Key = tuple[bytes, bytes]
"""A cell's DNA and agent."""


class Hosting:
    """The open cells of apps, by DNA and agent, and the transports of their agents."""

    def __init__(
        self,
        conductor: Conductor,
        has_begun: Callable[[Key], bool],
        note_begun: Callable[[Key], None],
    ) -> None:
        """`has_begun(key)` says whether that agent has written there before."""
        self._conductor = conductor
        self._has_begun = has_begun
        self._note_begun = note_begun
        self.cells: dict[Key, Cell] = {}
        self.faults: dict[Key, str] = {}
        self._scopes: dict[Key, trio.CancelScope] = {}
        self._closed: dict[Key, trio.Event] = {}
        self._transports: dict[bytes, tuple[Transport, trio.CancelScope]] = {}
        self._opening = trio.Lock()
        self._nursery: trio.Nursery | None = None

    # -- keys ---------------------------------------------------------------------------------

    async def make_agent(self, draw: Any) -> AgentPubKey:
        """A new key for apps, kept in the key store."""
        keystore = self._conductor.keystore
        if sum(name.startswith(APP_AGENT) for name in keystore.secrets) >= AGENTS_MAX:
            raise CallError(f"this node makes at most {AGENTS_MAX} keys for apps; use one again")
        signer = Signer(draw(SEED_BYTES))
        secrets = {**keystore.secrets, APP_AGENT + to_text(signer.agent): signer.seed}
        await trio.to_thread.run_sync(keystore.replace, secrets)
        return signer.agent

    def signer(self, agent: bytes) -> Signer:
        """Who can sign for an agent of ours; raises `CallError` for somebody else's."""
        ours = self._conductor.signer()
        if agent == ours.agent:
            return ours
        seed = self._conductor.keystore.secrets.get(APP_AGENT + to_text(agent))
        if seed is None:
            raise CallError("this node has no such agent's key; make one: generate_agent_pub_key")
        return Signer(seed)

    # -- lives --------------------------------------------------------------------------------

    def begin(self, nursery: trio.Nursery) -> None:
        """Take up a life of the conductor: `nursery` is where its cells run."""
        self._nursery = nursery

    def end(self) -> None:
        """A life is over; what ran in it has been cancelled."""
        self._nursery = None
        self._transports.clear()

    async def open(self, cell: Invitation, agent: bytes, signals: Signals) -> None:
        """Have a cell kept open; returns after the first try, `faults` says how that ended."""
        key = (cell.dna_hash, agent)
        if key in self._scopes:
            return
        if self._nursery is None:
            raise CallError("this node is between two lives; try again")
        scope, tried, closed = trio.CancelScope(), trio.Event(), trio.Event()
        self._scopes[key], self._closed[key] = scope, closed

        async def keep() -> None:
            try:
                with scope:
                    await self._keep(key, cell, signals, tried)
            finally:
                self._scopes.pop(key, None)
                self.faults.pop(key, None)
                self._closed.pop(key, None)
                self._let_go(key[1])
                closed.set()
                tried.set()

        self._nursery.start_soon(keep)
        await tried.wait()

    async def close(self, key: Key) -> None:
        """Close a cell that is open, and its agent's transport with the last of its cells."""
        scope, closed = self._scopes.get(key), self._closed.get(key)
        if scope is not None and closed is not None:
            scope.cancel()
            await closed.wait()

    async def _keep(
        self, key: Key, invitation: Invitation, signals: Signals, tried: trio.Event
    ) -> None:
        while True:
            try:
                await self._run(key, invitation, signals, tried)
            except* IoeError as errors:
                first = next(leaves(errors))
                self.faults[key] = f"{invitation.dna_name}: {first}"
                log.error("%s", self.faults[key])
            tried.set()
            await trio.sleep(CELL_RETRY_S)

    async def _run(
        self, key: Key, invitation: Invitation, signals: Signals, tried: trio.Event
    ) -> None:
        signer = self.signer(key[1])
        transport = await self._transport(signer)
        begun = self._has_begun(key)
        async with make_cell(
            self._conductor, invitation, signer, transport, signals, begun
        ) as cell:
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(cell.run)
                    self._note_begun(key)
                    self._introduce(cell)
                    self.cells[key] = cell
                    self.faults.pop(key, None)
                    tried.set()
            finally:
                self.cells.pop(key, None)

    def _introduce(self, cell: Cell) -> None:
        """Two agents of this node in one network know each other at once."""
        for other in self.cells.values():
            if other.space.dna == cell.space.dna and other.space.agent != cell.space.agent:
                with suppress(Malformed):
                    other.space.learn(cell.space.info())
                    cell.space.learn(other.space.info())

    async def _transport(self, signer: Signer) -> Transport:
        """The node's own transport, or the one of an app's agent, which is opened now."""
        conductor = self._conductor
        if signer.agent == conductor.signer().agent:
            return conductor.transport
        async with self._opening:
            if signer.agent not in self._transports:
                assert self._nursery is not None
                found = await self._nursery.start(self._carry, signer)
                self._transports[signer.agent] = found
        return self._transports[signer.agent][0]

    def _let_go(self, agent: bytes) -> None:
        """Close an agent's transport after the last of its cells."""
        if agent in self._transports and not any(key[1] == agent for key in self._scopes):
            self._transports.pop(agent)[1].cancel()

    async def _carry(self, signer: Signer, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        listen = any_port(self._conductor.config.network.listen)
        with trio.CancelScope() as scope:
            async with self._conductor.open_transport(signer.seed, listen) as transport:
                task_status.started((transport, scope))
                await trio.sleep_forever()
