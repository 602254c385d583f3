"""Ordinary cells in one nursery: real files, a network in memory, virtual time.

    async with open_swarm(directory, seed=7, homes=8) as swarm:
        await swarm.settle()
        await swarm.homes[1].call("currency", "pay", {...})

The first home is the steward, who invited the others; each begins with the steward's address.
A home that is killed keeps its file; `start` brings it back from there.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import trio

from dna.neighbourhood import DNA
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.signals import Signals
from ioe_node.errors import IoeError
from ioe_node.hdk import DnaDef
from ioe_node.model.agent_info import seal_info
from ioe_node.model.codec import encode
from ioe_node.model.consent import Consent, KeyHolders, holders_digest
from ioe_node.model.hashes import CORE, AgentPubKey, key_of, proof_digest, witness_place
from ioe_node.model.record import Record
from ioe_node.model.signing import SEED_BYTES, Signer
from ioe_node.workflows.bell import run_inline
from sim.closest import Closest, Places, acquaintances
from sim.conditions import Conditions
from sim.disk import LOGS_MAX, SimulatedStore, lose
from sim.home import Home
from sim.memory_transport import memory_addresses
from sim.network import Network
from sim.shared_verification import verified_once
from sim.trace import Trace
from sim.virtual_clock import VirtualClock
from zomes.community.integrity import Invitee, Voucher, succeed, successor_message, vouch

__all__ = ["Home", "Swarm", "open_swarm", "settled"]

SETTLE_MAX_S = 600.0
SETTLE_STEP_S = 1.0
RETRY_S = 10.0
"""A cell that its disk or its rules have ended is opened again after this, as a conductor does."""
HOLDER = Signer(b"the one key-holder".ljust(SEED_BYTES))
HOLDERS = KeyHolders(1, (HOLDER.agent[CORE],))
"""Whom every home names to make its successor."""


class Swarm:
    """The homes of one community, and the network between them."""

    def __init__(
        self,
        nursery: trio.Nursery,
        directory: Path,
        seed: int,
        definition: DnaDef,
        trace: Trace,
        conditions: Conditions | None = None,
        logs: bool = True,
    ) -> None:
        self.seed = seed
        self._logs = logs
        self.clock = VirtualClock()
        self.trace = trace
        self.network = Network(self.rng("network"), self.clock, trace, conditions)
        self.homes: list[Home] = []
        self.offenders: list[Home] = []
        self.disk_lost: Callable[[Home], int] = lambda home: 0
        self._nursery = nursery
        self._directory = directory
        self._lots = self.rng("swarm")
        steward = self._signer(0)
        named = {"stewards": (steward.agent,), "recovery": (holders_digest(HOLDERS),)}
        properties = replace(definition.properties, **named)
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

    def honest(self) -> list[Home]:
        """The homes that run now and are no offenders."""
        return [home for home in self.running() if home not in self.offenders]

    def note(self, what: str, home: Home, *more: Any) -> None:
        """Put into the trace what the simulator did to a home."""
        self.trace.note((what, self.clock.now_us(), home.agent, *more))

    async def add(
        self, signer: Signer | None = None, offender: bool = False, holds: bool = True
    ) -> Home:
        """Another home, invited and started, by default with a key of the seed's.

        Without `holds` it is one that holds nothing for others.
        """
        home = await self.invite(signer or self._signer(len(self.homes)), holds)
        if offender:  # which may come while nobody answers, and tries again
            self.offenders.append(home)
            self.bring_back(home)
        else:
            await self.start(home)
        return home

    async def invite(self, signer: Signer, holds: bool = True) -> Home:
        """Another home, with a file that is not there yet; the steward must run to invite it."""
        proof = await self.voucher(self.homes[0], signer.agent, "member") if self.homes else None
        number = len(self.homes)
        home = Home(number, signer, proof, self._directory / f"{number}.db", holds)
        self.homes.append(home)
        return home

    async def voucher(self, by: Home, agent: AgentPubKey, role: Invitee) -> bytes:
        """A membrane proof for an agent that a home invites, and says so on its chain."""
        written = await by.call("community", "invite", {"agent": agent})
        given = (by.agent, by.proof, agent, role, by.signer.sign, written)
        recovery = holders_digest(HOLDERS) if role == "member" else b""
        return vouch(self.definition, *given, recovery)

    def succeeds(self, old: Home, agent: AgentPubKey) -> bytes:
        """A membrane proof for an agent that goes on for a home, by the key-holder of all."""
        digest = holders_digest(HOLDERS)
        voucher = Voucher(self.definition.hash, agent, old.agent, "successor", digest)
        consent = Consent(0, HOLDER.sign(successor_message(voucher, HOLDERS)))
        return succeed(old.proof, voucher, HOLDERS, (consent,))

    async def found(self, homes: int, joined: Callable[[int], None]) -> None:
        """The first homes, one after another, each led in by the steward."""
        for number in range(homes):
            await self.add()
            joined(number + 1)

    async def wake(self, homes: int) -> None:
        """The first homes, all at once and knowing each other, as after a power cut."""
        await self.add()
        for number in range(1, homes):
            await self.invite(self._signer(number))
        await self.kill(self.homes[0])
        infos = {home.agent: self._info_of(home) for home in self.homes}
        places = {
            home.agent: witness_place(home.agent, proof_digest(home.proof)) for home in self.homes
        }
        by_key = Places((key_of(agent), agent) for agent in infos)
        by_place = Places((at, agent) for agent, at in places.items())
        rng = self.rng("acquaintances")
        async with trio.open_nursery() as nursery:
            for home in self.homes:
                known = acquaintances(home.agent, places[home.agent], by_key, by_place, rng)
                home.knows = [(agent, infos[agent]) for agent in known]
                nursery.start_soon(self.start, home)

    def _info_of(self, home: Home) -> bytes:
        """What a home tells of itself, as others keep it."""
        proof, addresses = proof_digest(home.proof), memory_addresses(home.agent)
        now_us, sign = self.clock.now_us(), home.signer.sign
        network = self.definition.hash
        return encode(seal_info(home.agent, network, proof, True, addresses, now_us, sign))

    async def start(self, home: Home) -> None:
        """Start a home on its file, whatever is in it; raises what keeps it from starting."""
        self._begin(home)
        await self._nursery.start(self._keep_open, home)

    def bring_back(self, home: Home) -> None:
        """Start a home and go on trying, without waiting for it."""
        self._begin(home)
        self._nursery.start_soon(self._keep_open, home)

    def _begin(self, home: Home) -> None:
        assert home.ended.is_set(), f"home {home.number} is running"
        home.ended = trio.Event()
        home.torn = False

    async def _keep_open(self, home: Home, task_status: Any = None) -> None:
        """Run a home's cell; one that ends by an error of its own is opened again."""
        patient = task_status is None
        try:
            with trio.CancelScope() as home.life:
                while True:
                    try:
                        await self._live(home, task_status or trio.TASK_STATUS_IGNORED)
                    except* IoeError as errors:
                        if not patient and not home.opened:
                            raise
                        home.failures.append(str(_first(errors)))
                        self.note("ended", home, home.failures[-1])
                    task_status = None
                    await trio.sleep(RETRY_S)
        finally:
            home.opened = False
            home.ended.set()

    async def _live(self, home: Home, task_status: Any) -> None:
        def committed(records: Sequence[Record]) -> None:
            home.committed.update({each.action.action_seq: each.hash for each in records})
            self.trace.commit(
                self.clock.now_us(), home.agent, [bytes(record.hash) for record in records]
            )

        home.starts += 1
        store = SimulatedStore(home.path, committed, self._logs)
        store.failing = home.disk_failing
        for agent, info in home.knows:
            store.save_peer(agent, info)
        home.knows = []
        try:
            async with trio.open_nursery() as nursery:
                home.transport = self.network.join(home.agent, nursery)
                home.transport.twist = home.twist
                home.transport.hushed = home.hushed
                cell = Cell(
                    self.definition,
                    home.signer,
                    store,
                    home.transport,
                    home.clock,
                    self.rng(f"home {home.number} start {home.starts}"),
                    run_inline,
                    home.proof,
                    Signals(),
                    (self._signer(0).agent,) if home.number else (),
                    bool(home.committed),
                    home.limits,
                    home.holds,
                )
                await nursery.start(cell.run)
                home.took_up(cell)
                self.note("started", home)
                task_status.started()
        finally:
            home.let_go()
            self.network.leave(home.agent)
            if home.torn:
                store.tear(self._lots)
            else:
                store.close()

    async def kill(self, home: Home) -> None:
        """End a home where it stands: nothing is said, nothing is tidied up but its file."""
        self.network.leave(home.agent)
        home.end()
        await home.ended.wait()
        self.note("killed", home)

    async def crash(self, home: Home) -> None:
        """As kill -9 does: its file stays as it is, the log unfolded and its end torn."""
        home.torn = True
        await self.kill(home)

    async def lose_disk(self, home: Home) -> None:
        """Kill a home, and its file is gone."""
        await self.kill(home)
        lose(home.path)
        first_lost = self.disk_lost(home)
        home.committed = {seq: own for seq, own in home.committed.items() if seq < first_lost}
        self.note("disk lost", home, first_lost)

    async def settle(
        self, homes: Sequence[Home] | None = None, most_s: float = SETTLE_MAX_S
    ) -> bool:
        """Wait until the chains of these homes (the honest that run) are where they belong.

        Offenders that run take an authority's place, and nothing is asked of them.  False after
        `most_s`.
        """
        deadline = trio.current_time() + most_s
        closest = Closest([])
        while trio.current_time() < deadline:
            chosen = self.honest() if homes is None else homes
            there = self.running() if homes is None else homes
            agents = [home.agent for home in there if home.holds]
            if agents != closest.agents:
                closest = Closest(agents)
            if settled(chosen, closest):
                return True
            await trio.sleep(SETTLE_STEP_S)
        return False


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    """The first error itself, out of the groups that nurseries wrap it in."""
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def settled(homes: Sequence[Home], closest: Closest | None = None) -> bool:
    """Whether each chain's authorities hold it to its head, and nobody is left in doubt.

    `closest` is of all who take an authority's place, by default of these homes alone.
    """
    by_agent = {home.agent: home for home in homes}
    closest = closest or Closest(home.agent for home in homes if home.holds)
    return all(
        home.store.promised() is None
        and all(
            by_agent[agent].store.head(home.agent) == home.store.head(home.agent)
            for agent in closest.to(home.agent)
            if agent in by_agent
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
    conditions: Conditions | None = None,
    joined: Callable[[int], None] = lambda homes: None,
    acquainted: bool = False,
) -> AsyncIterator[Swarm]:
    """A swarm of `homes` running homes with their files in `directory`; ends them all.

    `joined` is told how many have started; those `acquainted` start all at once.
    """
    with verified_once():
        async with trio.open_nursery() as nursery:
            trace, logs = trace or Trace(), homes <= LOGS_MAX
            swarm = Swarm(nursery, directory, seed, definition, trace, conditions, logs)
            await (swarm.wake(homes) if acquainted else swarm.found(homes, joined))
            yield swarm
            nursery.cancel_scope.cancel()
