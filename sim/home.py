"""One agent of a swarm: its key, its file, its clock, and its cell while it runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ioe_node.conductor.cell import Cell
from ioe_node.core.quota import Limits
from ioe_node.errors import TransportError
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import ACTION, HASH_BYTES, LOCATION
from ioe_node.model.record import Record
from ioe_node.model.signing import Signer
from ioe_node.store.store import Store
from ioe_node.workflows.cascade import retrieve_record
from sim.disk import SimulatedStore
from sim.memory_transport import MemoryTransport, Twist
from sim.virtual_clock import VirtualClock


def actions_in(value: Any, author: AgentPubKey) -> Iterator[ActionHash]:
    """The action hashes of an author (by its location) anywhere in what a call gave back."""
    if isinstance(value, bytes):
        if len(value) == HASH_BYTES and value[:3] == ACTION and value[LOCATION] == author[LOCATION]:
            yield ActionHash(value)
    elif isinstance(value, Mapping):
        yield from actions_in(list(value.values()), author)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from actions_in(each, author)


def _set_event() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


@dataclass(eq=False)
class Home:
    """One agent; `cell` and `store` are there only while it runs.

    `committed` is what it ever wrote of its own chain, by place, `failures` says what ended its
    cell, `unwritten` what it acknowledged and had not written, `life` ends all that it does,
    `knows` is whose infos are on its disk before it first starts;
    `torn`, `hushed`, `twist` and `disk_failing` are what the simulator does to it, over restarts.
    """

    number: int
    signer: Signer
    proof: bytes | None
    path: Path
    holds: bool = True
    limits: Limits = field(default_factory=Limits)
    clock: VirtualClock = field(default_factory=VirtualClock)
    starts: int = 0
    committed: dict[int, ActionHash] = field(default_factory=dict)
    up_since_s: float = 0.0
    mended_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    unwritten: list[str] = field(default_factory=list)
    knows: list[tuple[AgentPubKey, bytes]] = field(default_factory=list)
    torn: bool = False
    opened: bool = False
    twist: Twist | None = None
    hushed: bool = False
    disk_failing: str | None = None
    life: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=_set_event)
    transport: MemoryTransport | None = None
    _cell: Cell | None = None
    _calls: dict[int, trio.CancelScope] = field(default_factory=dict)

    @property
    def agent(self) -> AgentPubKey:
        """Its key."""
        return self.signer.agent

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._cell is not None

    @property
    def sound_since_s(self) -> float:
        """Since when it has run with nothing wrong with it; infinity while something is."""
        if not self.running or self.hushed or self.disk_failing is not None:
            return float("inf")
        return max(self.up_since_s, self.mended_s)

    @property
    def cell(self) -> Cell:
        """Its cell; only while it runs."""
        assert self._cell is not None, f"home {self.number} is not running"
        return self._cell

    @property
    def store(self) -> Store:
        """What it holds; only while it runs."""
        return self.cell.space.store

    @property
    def disk(self) -> SimulatedStore:
        """The same, as the simulator sees it."""
        assert isinstance(self.store, SimulatedStore)
        return self.store

    async def call(self, zome: str, function: str, payload: Mapping[str, Any]) -> Any:
        """Call a zome function as the home's own client; see `Cell.call`.

        Raises `TransportError` when the home is killed meanwhile.
        """
        with trio.CancelScope() as scope:
            self._calls[id(scope)] = scope
            try:
                result = await self.cell.call(zome, function, payload)
                self._acknowledged(f"{zome}.{function}", result)
                return result
            finally:
                del self._calls[id(scope)]
        raise TransportError("the home was killed during the call")

    def _acknowledged(self, what: str, result: Any) -> None:
        """A client was told of these actions of ours: by now they must be on the disk."""
        if not self.running or self.disk_failing is not None:
            return
        for hash_ in actions_in(result, self.agent):
            if not self.store.has(hash_):
                self.unwritten.append(f"said that {what} had written what is not on its disk")

    async def get(self, hash_: ActionHash) -> Record | None:
        """A record as a zome function's `host.get` finds it: here, or at its authorities."""
        return await retrieve_record(self.cell.space, hash_)

    def took_up(self, cell: Cell) -> None:
        """The cell runs."""
        self._cell = cell
        self.opened = True
        self.up_since_s = trio.current_time()

    def let_go(self) -> None:
        """The cell is gone, and the calls to it with it."""
        self._cell = None
        self.transport = None
        for scope in self._calls.values():
            scope.cancel()

    def hush(self, hushed: bool) -> None:
        """Take requests and never answer one, or answer again."""
        self.hushed = hushed
        self.mended_s = trio.current_time()
        if self.transport is not None:
            self.transport.hushed = hushed

    def spoil(self, twist: Twist | None) -> None:
        """Have its answers twisted from now on; None: sent as they are."""
        self.twist = twist
        if self.transport is not None:
            self.transport.twist = twist

    def fail_disk(self, how: str | None) -> None:
        """Have its disk fail (a key of `sim.disk.ERRORS`), or work again (None)."""
        self.disk_failing = how
        self.mended_s = trio.current_time()
        if self._cell is not None:
            self.disk.failing = how

    def end(self) -> None:
        """Cancel all that it does."""
        assert not self.ended.is_set(), f"home {self.number} was never started"
        for scope in self._calls.values():
            scope.cancel()
        self.life.cancel()
