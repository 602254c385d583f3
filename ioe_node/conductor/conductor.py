"""The conductor: one identity on one transport, its cells, its device, its control socket.

A node lives under one key after another: a device waits for an owner under an enrolment key and
lives on under the key that its owner's seed gives; it leaves its owner and waits again; each may
take its next key.  Between two lives everything that hangs on the identity is closed and opened
again; the control socket stays.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import trio
from msgspec.structs import replace

from ioe_node.clock import Clock
from ioe_node.conductor import (
    apps,
    changes,
    clearings,
    devices,
    history,
    keytree,
    leaving,
    obedience,
    owner_calls,
    recovery,
    succession,
    visibility,
)
from ioe_node.conductor.alerts import Alerts
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.check import broker_of
from ioe_node.conductor.control import serve_control
from ioe_node.conductor.home import Home
from ioe_node.conductor.hooks import Hook, command_hook, webhook
from ioe_node.conductor.invitation import Invitation, decode_invitation, known_dnas
from ioe_node.conductor.keystore import Keystore
from ioe_node.conductor.policy import Rules, open_policy, runs_by_itself
from ioe_node.conductor.policy_in_force import DevicePermits, PolicyInForce, spread
from ioe_node.conductor.running import leaves, make_cell
from ioe_node.conductor.signals import Signals
from ioe_node.conductor.unowned import Unowned
from ioe_node.conductor.unowned import now_us as pairing_now_us
from ioe_node.conductor.verify import verify_stored
from ioe_node.config import Config, Schedule
from ioe_node.drivers.poller import Poller
from ioe_node.errors import CallError, IoeError, PairingRefused
from ioe_node.hdi import AgentPubKey
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import split_address
from ioe_node.net.transport import Service, Transport
from ioe_node.plugins import load

if TYPE_CHECKING:
    from ioe_node.conductor.home_assistant import HomeAssistant

log = logging.getLogger("ioe")

REBIRTH_AFTER_S = 0.5
CELL_RETRY_S = 10.0
CELL_LOOK_S = 0.1

OpenTransport = Callable[[bytes, Sequence[str]], AbstractAsyncContextManager[Transport]]


def open_libp2p(
    config: Config, unowned: Callable[[], bool], rules: Callable[[], Rules]
) -> OpenTransport:
    """The real transport as configured; libp2p is imported when it is first opened.

    A device that is `unowned` has relays even where all its peers can dial it: these may be
    neighbours, and the owner far away.  Who relays for others is who says so in the config and
    in the `rules` that it lives by.
    """

    @asynccontextmanager
    async def open_(seed: bytes, listen: Sequence[str]) -> AsyncIterator[Transport]:
        from ioe_node.net.libp2p_transport import open_transport

        limits, network = config.limits, config.network
        in_hand = limits.requests_mb_max * 1_000_000
        reach = "relay" if network.reach == "auto" and unowned() else network.reach
        relays = network.relay and rules().automatic.relay
        async with open_transport(
            seed, listen, limits.connections_max, in_hand, relays, reach
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
        self.apps: list[apps.Running] = []
        self.home_assistant = _home_assistant(self)
        self.unowned: Unowned | None = None
        self.serves: dict[str, str] = {}
        """What runs beside us for programs and browsers, by name: its address."""
        self.predecessors: frozenset[bytes] = frozenset()
        """The keys that our owner has left behind."""
        self.succeeded_by: AgentPubKey | None = None
        """The key that our identity has now, as a device of ours says; None if it is this one."""
        self.holder: Signer | None = None
        """The key-holder's key of our words, while it is needed."""
        self.meeting: Any = None
        self.history: history.Kept
        self.transport: Transport
        self.beside: list[Callable[[Conductor], Awaitable[None]]] = []
        """What the layers above run in each life, beside the communities."""
        self.offered: dict[str, Callable[..., Awaitable[Any]]] = {}
        """What the layers above answer on the control socket, by name."""
        self.open_transport = open_transport or open_libp2p(
            config, lambda: self.role == "unowned", lambda: self.policy.rules
        )
        self._reborn = trio.Event()
        self._lives = trio.Event()
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
        return Signer(keytree.agent_seed(self.keystore.secrets))

    def alert(self, event: dict[str, Any]) -> None:
        """Tell the owner; see `conductor.alerts` for what an event holds."""
        self.alerts.tell(event)

    def policy_received(self, policy: bytes) -> None:
        """Live by the rules that our owner has signed for us; raises `PeerError` for others."""
        self.policy.replace(policy)

    async def alive(self) -> None:
        """Wait out the moment between two lives, in which there is nothing to answer from."""
        await self._lives.wait()

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
                    if self.home_assistant is not None:
                        nursery.start_soon(self.home_assistant.run)
                    await nursery.start(self._live)
                    await nursery.start(serve_control, self)
                    task_status.started()
            finally:
                self.home.control.unlink(missing_ok=True)

    async def _live(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        while True:
            self._reborn = trio.Event()
            if await trio.to_thread.run_sync(leaving.wipe, self.home, self.keystore):
                self.alerts.forget()
                self.policy = PolicyInForce(self)
            await trio.to_thread.run_sync(succession.take_next_key, self.home, self.keystore)
            signer = self.signer()
            async with (
                history.opened(self) as self.history,
                self.open_transport(signer.seed, visibility.listen(self)) as transport,
            ):
                self.transport = transport
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    await self._meet(nursery, signer)
                    for invitation in self.home.invitations() if self.role != "unowned" else ():
                        await self.open(invitation)
                    for deed in (*self._deeds(), *self.beside):
                        self.start(deed)
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    self._lives.set()
                    await self._reborn.wait()
                    await trio.sleep(REBIRTH_AFTER_S)
                    self._lives = trio.Event()
                    nursery.cancel_scope.cancel()

    def start(self, task: Callable[["Conductor"], Awaitable[None]]) -> None:
        """Run a deed beside the communities until it is done or this life ends."""
        assert self._nursery is not None
        self._nursery.start_soon(self._see_to, task)

    async def _see_to(self, task: Callable[["Conductor"], Awaitable[None]]) -> None:
        """What stops a deed, a full disk say, is told and does not end the node."""
        while True:
            try:
                return await task(self)
            except IoeError as error:
                self.alert({"kind": "fault", "text": str(error)})
                log.error("%s", error)
                await trio.sleep(CELL_RETRY_S)

    def _deeds(self) -> list[Callable[["Conductor"], Awaitable[None]]]:
        """What goes on beside the communities: what was begun, and what has to be looked for."""
        state = self.home.state()
        if self.role == "unowned":
            return []
        if state.leaving is not None:
            return [leaving.finish, succession.keep_following]
        turning = [succession.finish] if state.turning is not None else []
        if self.role == "owner":
            looking = [recovery.look_for_communities] if state.recovering else []
            telling = partial(spread, send=self._send_policy)
            seeing_to = (devices.finish_claims, leaving.finish_departures, telling, changes.watch)
            return [*turning, *looking, *seeing_to, clearings.watch, history.keep]
        following = (leaving.look_for_a_sale, succession.keep_following, clearings.watch)
        return [*turning, *following, history.keep]

    async def _send_policy(self, device: AgentPubKey, policy: bytes) -> None:
        await owner_calls.ask(self, device, owner_calls.SetPolicy(policy))

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
        offer(owner_calls.OWNER_PROTOCOL, partial(obedience.answer, self))
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
        if grant.policy:
            open_policy(grant.policy, grant.owner)
        state = self.home.state()
        network = invitation.dna_hash
        # What a sale has left stands until the keys are kept: a crash before that changes nothing.
        self.home.keep(replace(state, cells=(invitation.encoded(),), unbegun=(network,)))
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

    def cells_with(self, zome: str) -> list[Cell]:
        """The open cells whose DNA has a zome of this name."""
        return [cell for cell in self.cells.values() if cell.has(zome)]

    async def cell_when_open(self, network: bytes) -> Cell:
        """The cell of a network that is being opened."""
        while network not in self.cells:  # noqa: ASYNC110  # a cell closes and opens again
            await trio.sleep(CELL_LOOK_S)
        return self.cells[network]

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

    async def open(self, invitation: Invitation) -> trio.CancelScope:
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
                    self._fault(invitation, next(leaves(errors)))
                tried.set()
                await trio.sleep(CELL_RETRY_S)

    async def _run_cell(self, invitation: Invitation, opened: trio.Event) -> None:
        signer = self.signer()
        state, network = self.home.state(), invitation.dna_hash
        begun = invitation.encoded() in state.cells and network not in state.unbegun
        async with make_cell(self, invitation, signer, self.transport, self.signals, begun) as cell:
            if self.role == "device":
                cell.space.permits = DevicePermits(self, cell)
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(cell.run)
                    self._begun(network)
                    nursery.start_soon(succession.settle_in, self, cell)
                    if self.role == "device":
                        await self._start_device(nursery, cell)
                    self.cells[network] = cell
                    self.faults.pop(network, None)
                    nursery.start_soon(self._check_chain, cell, invitation)
                    for schedule in self.config.schedule if state.leaving is None else ():
                        if cell.has(schedule.zome):
                            nursery.start_soon(self._repeat, cell, schedule)
                    opened.set()
            finally:
                self.poller = None
                self.apps = []
                self.cells.pop(network, None)

    async def _check_chain(self, cell: Cell, invitation: Invitation) -> None:
        """Read our own chain once through, as a disk may have rotted while we were away.

        A broken one is said, and the community stays open: what is whole can still be read
        and held for others.
        """
        space = cell.space

        stop = trio.from_thread.check_cancelled
        try:
            await space.run(verify_stored, space.store, space.agent, space.rules, stop)
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
        if self.home.state().leaving is not None:
            return
        self.poller = await devices.make_poller(self, cell, self.config.device)
        nursery.start_soon(self.poller.run)
        self.apps = apps.of_device(self, cell)
        for app in self.apps:
            nursery.start_soon(app.run)

    def _begun(self, network: bytes) -> None:
        state = self.home.state()
        if network in state.unbegun:
            left = tuple(each for each in state.unbegun if each != network)
            self.home.keep(replace(state, unbegun=left))

    async def _repeat(self, cell: Cell, schedule: Schedule) -> None:
        while True:
            await trio.sleep(schedule.every_ms / 1000)
            if not runs_by_itself(self.policy.rules, schedule.zome, schedule.function):
                continue
            try:
                await cell.call(schedule.zome, schedule.function, {})
            except IoeError as error:
                log.info("%s.%s: %s", schedule.zome, schedule.function, error)


def _hooks(config: Config) -> list[Hook]:
    """Where the config has alerts sent."""
    found = [command_hook(config.alerts.command)] if config.alerts.command else []
    return [*found, webhook(config.alerts.webhook)] if config.alerts.webhook else found


def _home_assistant(conductor: Conductor) -> "HomeAssistant | None":
    """What tells Home Assistant of our device, if the config wants it told."""
    broker = broker_of(conductor.config.mqtt) if conductor.config.device else None
    if broker is None:
        return None
    # MQTT takes memory, and is imported only where it is wanted.
    from ioe_node.conductor.home_assistant import HomeAssistant

    return HomeAssistant(conductor, broker)


async def _no_pairing(peer: AgentPubKey, message: bytes) -> bytes:
    raise PairingRefused("this node has an owner")
