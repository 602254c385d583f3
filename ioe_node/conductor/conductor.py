"""The conductor: one identity on one transport, its cells, its device, its control socket.

A device changes identity once in its life: it waits for an owner under an enrolment key, and
lives on under the key that its owner's seed gives.  Then everything that hangs on the
identity is closed and opened again; the control socket stays.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from secrets import token_hex
from typing import Any

import trio
from msgspec.structs import replace

from ioe_node.clock import Clock
from ioe_node.conductor import devices, keytree, visibility
from ioe_node.conductor.alerts import Alerts
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.control import serve_control
from ioe_node.conductor.home import Home, State
from ioe_node.conductor.hooks import Hook, command_hook, webhook
from ioe_node.conductor.invitation import Invitation, decode_invitation, known_dnas
from ioe_node.conductor.keystore import Keystore
from ioe_node.conductor.policy import open_policy, runs_by_itself
from ioe_node.conductor.policy_in_force import DevicePermits, PolicyInForce
from ioe_node.conductor.signals import Signals
from ioe_node.conductor.unowned import Unowned
from ioe_node.conductor.unowned import now_us as pairing_now_us
from ioe_node.conductor.verify import verify_stored
from ioe_node.config import Config, Schedule
from ioe_node.core.quota import Limits
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
from ioe_node.workflows.bell import run_in_thread

log = logging.getLogger("ioe")

REBIRTH_AFTER_S = 0.5
CELL_RETRY_S = 10.0
COMMUNITY_NAME_CHARS_MAX = 48

OpenTransport = Callable[[bytes, Sequence[str]], AbstractAsyncContextManager[Transport]]


def open_libp2p(config: Config, unowned: Callable[[], bool]) -> OpenTransport:
    """The real transport as configured; libp2p is imported when it is first opened.

    A device that is `unowned` has relays even where all its peers can dial it: these may be
    neighbours, and the owner far away.
    """

    @asynccontextmanager
    async def open_(seed: bytes, listen: Sequence[str]) -> AsyncIterator[Transport]:
        from ioe_node.net.libp2p_transport import open_transport

        limits, network = config.limits, config.network
        in_hand = limits.requests_mb_max * 1_000_000
        reach = "relay" if network.reach == "auto" and unowned() else network.reach
        async with open_transport(
            seed, listen, limits.connections_max, in_hand, network.relay, reach
        ) as transport:
            yield transport

    return open_


class Conductor:
    """One running node."""

    def __init__(
        self,
        home: Home,
        config: Config,
        keystore: Keystore,
        clock: Clock,
        rng: Random,
        open_transport: OpenTransport | None = None,
    ) -> None:
        self.home = home
        self.config = config
        self.keystore = keystore
        self.clock = clock
        self.rng = rng
        self.signals = Signals()
        self.cells: dict[bytes, Cell] = {}
        self.faults: dict[bytes, str] = {}
        self.alerts = Alerts(home, clock, self.signals.emit, _hooks(config))
        self.policy = PolicyInForce(self)
        self.poller: Poller | None = None
        self.unowned: Unowned | None = None
        self.meeting: Any = None
        self.transport: Transport
        self._open_transport = open_transport or open_libp2p(config, lambda: self.role == "unowned")
        self._reborn = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.known = known_dnas(config.dnas)

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
        """Tell the owner; see `conductor.alerts` for what an event holds."""
        self.alerts.tell(event)

    def policy_received(self, policy: bytes) -> None:
        """Live by the rules that our owner has signed for us; raises `PeerError` for others."""
        self.policy.replace(policy)

    def rebirth(self) -> None:
        """Live on as who our keys, our state and our policy say that we are now."""
        self._reborn.set()

    # -- running ------------------------------------------------------------------------------

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the directory and run until cancelled; started once it can be used."""
        with self.home.lock():
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.alerts.run)
                    await nursery.start(self._live)
                    await nursery.start(serve_control, self)
                    task_status.started()
            finally:
                self.home.control.unlink(missing_ok=True)

    async def _live(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        while True:
            self._reborn = trio.Event()
            signer = self.signer()
            async with self._open_transport(signer.seed, visibility.listen(self)) as transport:
                self.transport = transport
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    await self._meet(nursery, signer)
                    for invitation in self.home.invitations() if self.role != "unowned" else ():
                        await self._open(invitation)
                    if self.role == "owner":
                        nursery.start_soon(devices.finish_claims, self)
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await self._reborn.wait()
                    await trio.sleep(REBIRTH_AFTER_S)
                    nursery.cancel_scope.cancel()

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
            visibility.hiding_key(self),
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
            AgentPubKey(self.keystore.secrets["owner"]) if self.role == "device" else None,
            lambda peer: any(peer in cell.space.admitted for cell in self.cells.values()),
        )
        visibility.recognise(self)
        await nursery.start(self.meeting.run)
        if self.role == "unowned":
            self._await_owner(nursery)
        else:
            offer("/ioe/pairing/1", _no_pairing)

    def _await_owner(self, nursery: trio.Nursery) -> None:
        assert self.config.device is not None
        self.unowned = Unowned(self, self.config.device)
        self.meeting.await_owner(
            self.unowned.machine, self._take_owner, self.unowned.heard, pairing_now_us
        )
        nursery.start_soon(self.unowned.watch_button)
        nursery.start_soon(self.unowned.watch_guesses)

    async def _take_owner(self, grant: Any) -> None:
        """Store what an owner gave, then live on under the new key."""
        invitation = decode_invitation(grant.invitation)
        invitation.definition(self.known)
        self.home.keep(State((invitation.encoded(),)))
        if grant.policy:
            open_policy(grant.policy, grant.owner)
        self.policy.keep(grant.policy, grant.name)
        secrets = {
            **self.keystore.secrets,
            "device": grant.device_seed,
            "owner": bytes(grant.owner),
        }
        await trio.to_thread.run_sync(self.keystore.replace, secrets)
        self.unowned = None
        self.alert({"kind": "owned", "owner": grant.owner, "name": grant.name})
        self.rebirth()

    # -- cells --------------------------------------------------------------------------------

    def cell_of(self, network: bytes) -> Cell | None:
        """The open cell of a network."""
        return self.cells.get(network)

    def cell(self, text: str | None = None) -> Cell:
        """The cell whose name begins with `text`; the only one if None."""
        found = [
            cell
            for cell in self.cells.values()
            if text is None or cell.space.rules.definition.seed.startswith(text)
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(sorted(cell.space.rules.definition.seed for cell in self.cells.values()))
        if not self.cells and self.faults:
            raise CallError(f"closed: {'; '.join(sorted(self.faults.values()))}")
        if not self.cells:
            raise CallError("this node is in no community; 'ioe community create' or 'join' one")
        if not found:
            raise CallError(f"no community '{text}'; there are: {names}")
        raise CallError(f"say which community with --community: {names}")

    async def _open(self, invitation: Invitation) -> trio.CancelScope:
        """Have a community kept open until the scope is cancelled; returns after the first try."""
        assert self._nursery is not None
        tried, scope = trio.Event(), trio.CancelScope()
        self._nursery.start_soon(self._keep_open, invitation, tried, scope)
        await tried.wait()
        return scope

    async def _keep_open(
        self, invitation: Invitation, tried: trio.Event, scope: trio.CancelScope
    ) -> None:
        """Run a cell; what closes it is said and does not end the node, and it is tried again."""
        with scope:
            while True:
                try:
                    await self._run_cell(invitation, tried)
                except* IoeError as errors:
                    self._fault(invitation, next(_leaves(errors)))
                tried.set()
                await trio.sleep(CELL_RETRY_S)

    async def _run_cell(self, invitation: Invitation, opened: trio.Event) -> None:
        definition = invitation.definition(self.known)
        signer = self.signer()
        # An owner's community is written down once its chain is begun, a device's before that.
        begun = (
            invitation in self.home.invitations()
            if self.role == "owner"
            else self.home.state().begun
        )
        peers = [
            split_address(text) for text in (*invitation.bootstrap, *self.config.network.bootstrap)
        ]
        for peer, address in peers:
            self.transport.learn(peer, (address,))
        path, limits = self.home.store_path(invitation, signer.agent), self.config.limits
        cell = Cell(
            definition,
            signer,
            Store(path, self.config.synchronous),
            self.transport,
            self.clock,
            self.rng,
            run_in_thread,
            invitation.proof,
            self.signals,
            tuple(peer for peer, _ in peers if peer != signer.agent),
            begun,
            Limits(
                limits.requests_per_s,
                limits.bytes_per_s,
                limits.limbo_rows,
                limits.disk_mb_max * 1_000_000,
            ),
            self.config.arc == "full" and self.policy.rules.automatic.hold,
        )
        if self.role == "device":
            cell.space.permits = DevicePermits(self, cell)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(cell.run)
                if self.role == "device":
                    await self._start_device(nursery, cell)
                self.cells[definition.hash] = cell
                self.faults.pop(definition.hash, None)
                nursery.start_soon(self._check_chain, cell, invitation)
                opened.set()
        finally:
            self.poller = None
            self.cells.pop(definition.hash, None)
            cell.space.store.close()

    async def _check_chain(self, cell: Cell, invitation: Invitation) -> None:
        """Read our own chain once through, as a disk may have rotted while we were away.

        A broken one is said, and the community stays open: what is whole can still be read
        and held for others.
        """
        space = cell.space

        stop = trio.from_thread.check_cancelled
        try:
            await run_in_thread(verify_stored, space.store, space.agent, space.rules, stop)
        except IoeError as error:
            self._fault(invitation, error)

    def _fault(self, invitation: Invitation, error: BaseException) -> None:
        text = f"{invitation.seed}: {error}"
        if self.faults.get(invitation.dna_hash) != text:
            self.faults[invitation.dna_hash] = text
            self.alert({"kind": "fault", "text": text})
            log.error("%s", text)

    async def _start_device(self, nursery: trio.Nursery, cell: Cell) -> None:
        assert self.config.device is not None
        state = self.home.state()
        if not state.begun:
            self.home.keep(replace(state, begun=True))
        owner = AgentPubKey(self.keystore.secrets["owner"])
        nursery.start_soon(devices.acknowledge, cell, owner)
        self.poller = await devices.make_poller(self, cell, self.config.device)
        nursery.start_soon(self.poller.run)
        for schedule in self.config.schedule:
            nursery.start_soon(self._repeat, cell, schedule)

    async def _repeat(self, cell: Cell, schedule: Schedule) -> None:
        while True:
            await trio.sleep(schedule.every_ms / 1000)
            if not runs_by_itself(self.policy.rules, schedule.zome, schedule.function):
                continue
            try:
                await cell.call(schedule.zome, schedule.function, {})
            except IoeError as error:
                log.info("%s.%s: %s", schedule.zome, schedule.function, error)

    # -- communities --------------------------------------------------------------------------

    async def create_community(self, name: str, amend: dict[str, Any], dna: str) -> Invitation:
        """Found a community with ourselves as its steward, and open it."""
        if self.role != "owner":
            raise CallError("only an owner's node founds communities")
        if not 1 <= len(name) <= COMMUNITY_NAME_CHARS_MAX or not name.isprintable():
            raise CallError(
                f"a community's name has 1 to {COMMUNITY_NAME_CHARS_MAX} characters that print"
            )
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
        """Join a community and keep it over restarts; on an error it is as if never tried."""
        if self.role != "owner":
            raise CallError("a device joins its owner's community when it is claimed")
        definition = invitation.definition(self.known)
        if definition.hash in [each.dna_hash for each in self.home.invitations()]:
            raise CallError("this node is in that community already")
        for text in invitation.bootstrap:
            split_address(text)
        verdict = definition.admits(self.signer().agent, invitation.proof)
        if isinstance(verdict, Invalid):
            raise CallError(f"this community does not admit us: {verdict.reason}")
        scope = await self._open(invitation)
        try:
            if definition.hash not in self.cells:
                raise LocalError(self.faults.pop(definition.hash, "it could not be opened"))
            state = self.home.state()
            self.home.keep(replace(state, cells=(*state.cells, invitation.encoded())))
        except BaseException:
            scope.cancel()
            raise
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


def _hooks(config: Config) -> list[Hook]:
    """Where the config has alerts sent."""
    found = [command_hook(config.alerts.command)] if config.alerts.command else []
    return [*found, webhook(config.alerts.webhook)] if config.alerts.webhook else found


def _plain(properties: Any) -> dict[str, Any]:
    return {name: getattr(properties, name) for name in properties.__dataclass_fields__}


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """The errors themselves, out of the groups that nurseries wrap them in."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _no_pairing(peer: AgentPubKey, message: bytes) -> bytes:
    raise PairingRefused("this node has an owner")
