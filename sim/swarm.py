"""Ordinary cells in one nursery: real files, a network in memory, virtual time.

    async with open_swarm(directory, seed=7, homes=8) as swarm:
        await swarm.settle()
        await swarm.homes[1].call("currency", "pay", {...})

The first home is the steward, who invited the others; each begins with the steward's address.
A home that is killed keeps its file; `start` brings it back from there.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import trio

from dna.neighbourhood import DNA
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.signals import Signals
from ioe_node.core.authority import authorities
from ioe_node.errors import TransportError
from ioe_node.hdi import AgentPubKey
from ioe_node.hdk import DnaDef
from ioe_node.model.record import Record
from ioe_node.model.signing import SEED_BYTES, Signer
from ioe_node.store.store import Store
from ioe_node.workflows.space import run_inline
from sim.network import Network
from sim.trace import Trace
from sim.virtual_clock import VirtualClock
from zomes.community.integrity import vouch

SETTLE_MAX_S = 600.0
SETTLE_STEP_S = 1.0


class TracedStore(Store):
    """A store that tells the trace what its owner commits."""

    def __init__(self, path: Path, note: Callable[[list[bytes]], None]) -> None:
        super().__init__(path)
        self._note = note

    def commit(
        self, records: Sequence[Record], ops: Sequence[int], by_hash: Sequence[bool]
    ) -> None:
        super().commit(records, ops, by_hash)
        self._note([bytes(record.hash) for record in records])


@dataclass
class Home:
    """One agent: its key, its file, and its cell while it runs."""

    number: int
    signer: Signer
    proof: bytes | None
    path: Path
    starts: int = 0
    _cell: Cell | None = None
    _life: trio.CancelScope | None = None
    _calls: dict[int, trio.CancelScope] = field(default_factory=dict)
    _ended: trio.Event = field(default_factory=trio.Event)

    @property
    def agent(self) -> AgentPubKey:
        """Its key."""
        return self.signer.agent

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._cell is not None

    @property
    def cell(self) -> Cell:
        """Its cell; only while it runs."""
        assert self._cell is not None, f"home {self.number} is not running"
        return self._cell

    @property
    def store(self) -> Store:
        """What it holds; only while it runs."""
        return self.cell.space.store

    async def call(self, zome: str, function: str, payload: Mapping[str, Any]) -> Any:
        """Call a zome function as the home's own client; see `Cell.call`.

        Raises `TransportError` when the home is killed meanwhile.
        """
        with trio.CancelScope() as scope:
            self._calls[id(scope)] = scope
            try:
                return await self.cell.call(zome, function, payload)
            finally:
                del self._calls[id(scope)]
        raise TransportError("the home was killed during the call")

    def end(self) -> None:
        """Cancel all that it does."""
        assert self._life is not None, f"home {self.number} was never started"
        for scope in self._calls.values():
            scope.cancel()
        self._life.cancel()


class Swarm:
    """The homes of one community, and the network between them."""

    def __init__(
        self, nursery: trio.Nursery, directory: Path, seed: int, definition: DnaDef, trace: Trace
    ) -> None:
        self.seed = seed
        self.clock = VirtualClock()
        self.trace = trace
        self.network = Network(self.rng("network"), self.clock, trace)
        self.homes: list[Home] = []
        self._nursery = nursery
        self._directory = directory
        steward = self._signer(0)
        properties = replace(definition.properties, stewards=(steward.agent,))
        self.definition = replace(definition, seed=f"swarm {seed}", properties=properties)

    def rng(self, whose: str) -> Random:
        """A generator of its own for everyone who draws lots."""
        return Random(f"{self.seed} {whose}")

    def _signer(self, number: int) -> Signer:
        name = f"{self.seed} home {number}".encode()
        return Signer(blake2b(name, digest_size=SEED_BYTES).digest())

    def running(self) -> list[Home]:
        """The homes that run now."""
        return [home for home in self.homes if home.running]

    async def add(self) -> Home:
        """Another home, invited and started."""
        number = len(self.homes)
        signer, steward = self._signer(number), self._signer(0)
        proof = None
        if number:
            proof = vouch(
                self.definition, steward.agent, None, signer.agent, "member", steward.sign
            )
        home = Home(number, signer, proof, self._directory / f"{number}.db")
        self.homes.append(home)
        await self.start(home)
        return home

    async def start(self, home: Home) -> None:
        """Start a home on its file, whatever is in it."""
        assert not home.running, f"home {home.number} is running"
        home.starts += 1
        home._ended = trio.Event()
        await self._nursery.start(self._live, home)

    async def _live(self, home: Home, task_status: Any) -> None:
        def note(hashes: list[bytes]) -> None:
            self.trace.commit(self.clock.now_us(), home.agent, hashes)

        store = TracedStore(home.path, note)
        try:
            async with trio.open_nursery() as nursery:
                home._life = nursery.cancel_scope
                cell = Cell(
                    self.definition,
                    home.signer,
                    store,
                    self.network.join(home.agent, nursery),
                    self.clock,
                    self.rng(f"home {home.number} start {home.starts}"),
                    run_inline,
                    home.proof,
                    Signals(),
                    (self._signer(0).agent,) if home.number else (),
                )
                await nursery.start(cell.run)
                home._cell = cell
                task_status.started()
        finally:
            home._cell = None
            self.network.leave(home.agent)
            store.close()
            home._ended.set()

    async def kill(self, home: Home) -> None:
        """End a home where it stands: nothing is said, nothing is tidied up but its file."""
        self.network.leave(home.agent)
        home.end()
        await home._ended.wait()

    async def settle(self, homes: Sequence[Home] | None = None) -> bool:
        """Wait until the chains of these homes (all that run) are where they belong among them.

        False after `SETTLE_MAX_S`.
        """
        chosen = self.running() if homes is None else list(homes)
        deadline = trio.current_time() + SETTLE_MAX_S
        while trio.current_time() < deadline:
            if settled(chosen):
                return True
            await trio.sleep(SETTLE_STEP_S)
        return False


def settled(homes: Sequence[Home]) -> bool:
    """Whether each chain's authorities hold it to its head, and nobody is left in doubt."""
    by_agent = {home.agent: home for home in homes}
    return all(
        home.store.promised() is None
        and all(
            by_agent[agent].store.head(home.agent) == home.store.head(home.agent)
            for agent in authorities(home.agent, by_agent)
        )
        for home in homes
    )


@asynccontextmanager
async def open_swarm(
    directory: Path,
    seed: int,
    homes: int,
    definition: DnaDef = DNA,
    trace: Trace | None = None,
) -> AsyncIterator[Swarm]:
    """A swarm of `homes` running homes with their files in `directory`; ends them all."""
    async with trio.open_nursery() as nursery:
        swarm = Swarm(nursery, directory, seed, definition, trace or Trace())
        for _ in range(homes):
            await swarm.add()
        yield swarm
        nursery.cancel_scope.cancel()
