"""The conductor: one identity on one transport, its cells, its device, its control socket.

A device changes identity once in its life: it waits for an owner under an enrolment key, and
lives on under the key that its owner's seed gives.  Then everything that hangs on the
identity is closed and opened again; the control socket stays.
"""

import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from secrets import token_hex
from typing import Any

import trio

from ioe_node.clock import Clock
from ioe_node.conductor import devices, keytree
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.control import serve_control
from ioe_node.conductor.home import Home, State
from ioe_node.conductor.invitation import Invitation, decode_invitation
from ioe_node.conductor.keystore import Keystore
from ioe_node.conductor.signals import Signals
from ioe_node.config import Config, Schedule
from ioe_node.drivers.poller import Poller
from ioe_node.errors import CallError, IoeError, LocalError, PairingRefused
from ioe_node.hdi import AgentPubKey, Invalid
from ioe_node.hdk import DnaDef, Modifiers
from ioe_node.model.codec import encode
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import join_address, split_address
from ioe_node.net.transport import Service, Transport
from ioe_node.plugins import load
from ioe_node.store.store import Store
from ioe_node.workflows.space import run_in_thread

log = logging.getLogger("ioe")

ALERTS_MAX = 100
REBIRTH_AFTER_S = 0.5
CELL_RETRY_S = 10.0

OpenTransport = Callable[[bytes, Sequence[str]], AbstractAsyncContextManager[Transport]]


@asynccontextmanager
async def open_libp2p(seed: bytes, listen: Sequence[str]) -> AsyncIterator[Transport]:
    """The real transport; libp2p is imported when it is first opened."""
    from ioe_node.net.libp2p_transport import open_transport

    async with open_transport(seed, listen) as transport:
        yield transport


class Conductor:
    """One running node."""

    def __init__(
        self,
        home: Home,
        config: Config,
        keystore: Keystore,
        clock: Clock,
        rng: Random,
        open_transport: OpenTransport = open_libp2p,
    ) -> None:
        self.home = home
        self.config = config
        self.keystore = keystore
        self.clock = clock
        self.rng = rng
        self.signals = Signals()
        self.cells: dict[bytes, Cell] = {}
        self.faults: dict[bytes, str] = {}
        self.alerts: list[dict[str, Any]] = []
        self.poller: Poller | None = None
        self.code: str | None = None
        self.meeting: Any = None
        self.transport: Transport
        self._open_transport = open_transport
        self._reborn = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.known: dict[str, DnaDef] = {dna.name: dna for dna in map(load, config.dnas)}

    # -- who we are ---------------------------------------------------------------------------

    @property
    def role(self) -> str:
        """ "owner", "device", or "unowned" for a device that waits for one."""
        if self.config.role == "owner":
            return "owner"
        return "device" if "device" in self.keystore.secrets else "unowned"

    def signer(self) -> Signer:
        """The key that we act under now."""
        secrets = self.keystore.secrets
        if self.role == "owner":
            return Signer(keytree.owner_agent_seed(secrets["root"]))
        if self.role == "device":
            return Signer(keytree.device_agent_seed(secrets["device"]))
        return Signer(secrets["enrolment"])

    def alert(self, event: dict[str, Any]) -> None:
        """Remember an event for the owner and signal it."""
        self.alerts = [*self.alerts[1 - ALERTS_MAX :], {"at_us": self.clock.now_us(), **event}]
        self.signals.emit(event)

    # -- running ------------------------------------------------------------------------------

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the directory and run until cancelled; started once it can be used."""
        with self.home.lock():
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(serve_control, self)
                    await nursery.start(self._live)
                    task_status.started()
            finally:
                self.home.control.unlink(missing_ok=True)

    async def _live(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        while True:
            self._reborn = trio.Event()
            signer = self.signer()
            async with self._open_transport(signer.seed, self.config.network.listen) as transport:
                self.transport = transport
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    await self._meet(nursery, signer)
                    for invitation in self.home.invitations() if self.role != "unowned" else ():
                        await self._open_cell(invitation)
                    if self.role == "owner":
                        nursery.start_soon(devices.finish_claims, self)
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await self._reborn.wait()
                    await trio.sleep(REBIRTH_AFTER_S)
                    nursery.cancel_scope.cancel()
            self.cells.clear()

    async def _meet(self, nursery: trio.Nursery, signer: Signer) -> None:
        config, device = self.config, self.config.device
        bootstrap = [split_address(text) for text in config.network.bootstrap]
        for peer, address in bootstrap:
            self.transport.learn(peer, (address,))

        def offer(protocol: str, handler: Any) -> None:
            self.transport.offer(protocol, Service(lambda: b"", lambda peer, hello: None, handler))

        me = load("discovery.meeting:Me")(
            signer,
            device.kind if device else "owner",
            "unowned" if self.role == "unowned" else "owned",
            device.name if device else "owner",
        )
        self.meeting = load(config.discovery)(
            me,
            self.transport,
            offer,
            self.clock,
            self.rng,
            self.alert,
            config.network.mdns,
            [peer for peer, _ in bootstrap],
        )
        await nursery.start(self.meeting.run)
        offer("/ioe/pairing/1", _no_pairing) if self.role != "unowned" else self._await_owner()

    def _await_owner(self) -> None:
        assert self.config.device is not None
        pairing = load("discovery.pairing:PairingDevice")
        self.code = self.config.device.code or load("discovery.pairing:new_code")(os.urandom)
        machine = pairing(
            self.code,
            self.signer().agent,
            self.config.device.kind,
            keytree.device_agent,
            os.urandom,
        )
        self.meeting.await_owner(machine, self._take_owner)
        log.info("waiting for an owner; pairing code %s", self.code)

    async def _take_owner(self, grant: Any) -> None:
        """Store what an owner gave, then live on under the new key."""
        invitation = decode_invitation(grant.invitation)
        invitation.definition(self.known)
        self.home.keep(State((invitation.encoded(),)))
        secrets = {
            **self.keystore.secrets,
            "device": grant.device_seed,
            "owner": bytes(grant.owner),
        }
        await trio.to_thread.run_sync(self.keystore.replace, secrets)
        self.code = None
        self.alert({"kind": "owned", "owner": grant.owner, "name": grant.name})
        self._reborn.set()

    # -- cells --------------------------------------------------------------------------------

    def cell_of(self, network: bytes) -> Cell | None:
        """The open cell of a network."""
        return self.cells.get(network)

    def cell(self, text: str | None = None) -> Cell:
        """The cell whose DNA hash or seed begins with `text`; the only one if None."""
        found = [
            cell
            for cell in self.cells.values()
            if text is None or cell.space.rules.definition.seed.startswith(text)
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(sorted(cell.space.rules.definition.seed for cell in self.cells.values()))
        if not self.cells:
            raise CallError("this node is in no community; 'ioe community create' or 'join' one")
        raise CallError(f"say which community with --community: {names}")

    async def _open_cell(self, invitation: Invitation) -> None:
        """Open a cell and keep it running; a broken store is said and does not end the node."""
        assert self._nursery is not None
        definition = invitation.definition(self.known)
        signer = self.signer()
        peers = [split_address(text) for text in invitation.bootstrap]
        for peer, address in peers:
            self.transport.learn(peer, (address,))
        network = definition.hash
        try:
            path = self.home.store_path(invitation, signer.agent)
            store = Store(path, self.config.synchronous)
        except IoeError as error:
            self._fault(network, error)
            return
        cell = Cell(
            definition,
            signer,
            store,
            self.transport,
            self.clock,
            self.rng,
            run_in_thread,
            invitation.proof,
            self.signals,
            tuple(peer for peer, _ in peers),
        )
        await self._nursery.start(self._run_cell, cell)

    def _fault(self, network: bytes, error: BaseException) -> None:
        self.faults[network] = str(error)
        self.alert({"kind": "fault", "text": str(error)})
        log.error("a community is closed: %s", error)

    async def _run_cell(self, cell: Cell, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        network = cell.space.dna
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(cell.run)
                self.cells[network] = cell
                if self.role == "device":
                    await self._start_device(nursery, cell)
                task_status.started()
        except* IoeError as errors:
            for error in errors.exceptions:
                self._fault(network, error)
            if network not in self.cells:
                task_status.started()
        finally:
            self.cells.pop(network, None)
            cell.space.store.close()

    async def _start_device(self, nursery: trio.Nursery, cell: Cell) -> None:
        assert self.config.device is not None
        owner = AgentPubKey(self.keystore.secrets["owner"])
        nursery.start_soon(devices.acknowledge, cell, owner)
        self.poller = await devices.make_poller(self, cell, self.config.device)
        nursery.start_soon(self.poller.run)
        for schedule in self.config.schedule:
            nursery.start_soon(self._repeat, cell, schedule)

    async def _repeat(self, cell: Cell, schedule: Schedule) -> None:
        while True:
            await trio.sleep(schedule.every_ms / 1000)
            try:
                await cell.call(schedule.zome, schedule.function, {})
            except IoeError as error:
                log.info("%s.%s: %s", schedule.zome, schedule.function, error)

    # -- communities --------------------------------------------------------------------------

    async def create_community(self, name: str, amend: dict[str, Any], dna: str) -> Invitation:
        """Found a community with ourselves as its steward, and open it."""
        if self.role != "owner":
            raise CallError("only an owner's node founds communities")
        base = self.known.get(dna)
        if base is None:
            raise CallError(f"DNA '{dna}' is not in the config")
        properties = {**_plain(base.properties), **amend, "stewards": [self.signer().agent]}
        unknown = set(properties) - set(_plain(base.properties))
        if unknown:
            raise CallError(f"DNA '{dna}' has no property '{sorted(unknown)[0]}'")
        seed = f"{name}-{token_hex(4)}"
        definition = base.clone(Modifiers(seed, encode(properties)))
        return await self.join(self._invitation(definition, None, ()))

    def _invitation(
        self, definition: DnaDef, proof: bytes | None, bootstrap: tuple[str, ...]
    ) -> Invitation:
        modifiers = definition.modifiers
        return Invitation(
            definition.name, definition.hash, modifiers.seed, modifiers.properties, proof, bootstrap
        )

    async def join(self, invitation: Invitation) -> Invitation:
        """Join a community and keep it over restarts."""
        definition = invitation.definition(self.known)
        if definition.hash in self.cells:
            raise CallError("this node is in that community already")
        await self._open_cell(invitation)
        if definition.hash not in self.cells:
            raise LocalError(self.faults.get(definition.hash, "the community could not be opened"))
        state = self.home.state()
        self.home.keep(
            State((*state.cells, invitation.encoded()), state.pending, state.next_device)
        )
        return invitation

    def invite(self, cell: Cell, agent: AgentPubKey, role: str) -> Invitation:
        """An invitation for one agent, vouched for by us."""
        space = cell.space
        vouch = load("zomes.community.integrity:vouch")
        definition = space.rules.definition
        proof = vouch(definition, space.agent, space.membrane_proof, agent, role, space.sign)
        verdict = definition.admits(agent, proof)
        if isinstance(verdict, Invalid):
            raise CallError(f"we may not invite here: {verdict.reason}")
        bootstrap = tuple(
            join_address(space.agent, address) for address in self.transport.addresses()
        )
        return self._invitation(definition, proof, bootstrap)


def _plain(properties: Any) -> dict[str, Any]:
    return {name: getattr(properties, name) for name in properties.__dataclass_fields__}


async def _no_pairing(peer: AgentPubKey, message: bytes) -> bytes:
    raise PairingRefused("this node has an owner")
