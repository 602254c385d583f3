"""Real conductors in one process: real files, sockets and threads; a network in memory."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from ioe_node.clock import Clock
from ioe_node.conductor import calls, keytree
from ioe_node.conductor.conductor import Conductor
from ioe_node.conductor.home import Home, State
from ioe_node.conductor.keystore import MINIMAL, Keystore
from ioe_node.config import parse_config
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import join_address
from ioe_node.net.transport import Transport
from sim.network import Network
from sim.virtual_clock import EPOCH_US

PASSPHRASE = b"of the test"
INTERVAL_US = 1_000_000
DRIVERS = Path(__file__).parents[1] / "cli" / "drivers"

DEVICE = """
[device]
kind = "{kind}"
name = "{name}"
driver = "{driver}"
code = "1234-5678"
visibility = "{visibility}"
poll_ms = 200
[device.options]
power_milli_w = -36000000
"""


class Killed(Exception):
    """See the fixture `killed`."""


class Node:
    """One conductor that can be stopped and started again on its directory."""

    def __init__(self, street: "Street", home: Home, config: str) -> None:
        self.street = street
        self.home = home
        self.text = config
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self.conductor: Conductor

    async def start(self) -> "Node":
        keystore = Keystore.open(self.home.keystore, PASSPHRASE)
        config = parse_config(self.text, "config.toml")
        self.conductor = Conductor(
            self.home,
            config,
            keystore,
            self.street.clock,
            Random(self.street.seed),
            self.street.open_transport,
        )
        await self.street.nursery.start(self._run)
        return self

    async def _run(self, task_status: Any) -> None:
        self._ended = trio.Event()
        with trio.CancelScope() as self._scope:
            try:
                await self.conductor.run(task_status)
            except* Killed:
                with suppress(RuntimeError):  # it may have fallen over after its start
                    task_status.started()
        self._ended.set()

    def end(self) -> None:
        """As if killed: nothing is awaited."""
        self._scope.cancel()

    async def ended(self) -> None:
        """Wait until it has fallen over."""
        with trio.fail_after(120):
            await self._ended.wait()

    async def stop(self) -> None:
        self.end()
        await self._ended.wait()

    async def call(self, what: str, /, **arguments: Any) -> Any:
        return await calls.CALLS[what](self.conductor, **arguments)

    @property
    def agent(self) -> bytes:
        return self.conductor.signer().agent

    async def until(
        self, ready: Callable[[Any], bool], what: str = "status", /, **args: Any
    ) -> Any:
        """The first answer of a call that is `ready`; at most a minute of virtual time."""
        with trio.fail_after(60):
            while True:
                found = await self.call(what, **args)
                if ready(found):
                    return found
                await trio.sleep(0.1)


class Street:
    """Nodes on one network in memory; each knows the owner `home` as its bootstrap."""

    def __init__(self, folder: Path, nursery: trio.Nursery, clock: Clock, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.nursery = nursery
        self.clock = clock
        self.network = Network(Random(seed), clock)
        self._bootstrap: list[str] = []

    @asynccontextmanager
    async def open_transport(self, seed: bytes, listen: Sequence[str]) -> AsyncIterator[Transport]:
        agent = Signer(seed).agent
        async with trio.open_nursery() as nursery:
            try:
                yield self.network.join(agent, nursery)
            finally:
                self.network.leave(agent)
                nursery.cancel_scope.cancel()

    def _home(self, name: str, secrets: dict[str, bytes]) -> Home:
        home = Home(self.folder / name)
        home.create()
        Keystore.create(home.keystore, PASSPHRASE, secrets, cost=MINIMAL)
        return home

    def _network_table(self) -> str:
        return f"[network]\nbootstrap = {self._bootstrap}\n".replace("'", '"')

    async def recovered(self, root: bytes, device: Node) -> Node:
        """An owner's new machine, from the words alone; it is told where a device is."""
        home = self._home("again", keytree.owner_secrets(root))
        home.keep(State(recovering=True))
        line = join_address(device.conductor.signer().agent, "/ip4/127.0.0.1/tcp/1")
        return await Node(self, home, f'role = "owner"\n[network]\nbootstrap = ["{line}"]').start()

    async def owner(self, name: str = "owner", root: bytes = b"r" * 32) -> Node:
        home = self._home(name, keytree.owner_secrets(root))
        agent = Signer(keytree.owner_agent_seed(root)).agent
        node = Node(self, home, f'role = "owner"\n{self._network_table()}')
        self._bootstrap.append(join_address(agent, "/ip4/127.0.0.1/tcp/1"))
        return await node.start()

    def boxed(
        self,
        name: str = "roof",
        folder: str = "",
        driver: str = "steady_meter:Steady",
        visibility: str = "public",
    ) -> Node:
        """A device that was never on."""
        folder = folder or name
        home = self._home(folder, {"enrolment": folder.encode().ljust(32, b".")})
        table = DEVICE.format(kind="generator", name=name, driver=driver, visibility=visibility)
        return Node(self, home, f'role = "device"\n{self._network_table()}{table}')

    async def device(self, name: str = "roof", **more: str) -> Node:
        return await self.boxed(name, **more).start()

    async def image(self, node: Node, name: str) -> Node:
        """A machine, not on yet, with the disk of another as it is now."""
        await node.stop()
        home = Home(self.folder / name)
        shutil.copytree(node.home.path, home.path)
        await node.start()
        return Node(self, home, node.text)


@pytest.fixture
def killed() -> type[Exception]:
    """What a test raises where a node's process is to end."""
    return Killed


class JumpingClock:
    """The node's `Clock`, from any thread, on trio's virtual time."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self._clock = clock

    def now_us(self) -> int:
        return EPOCH_US + round(self._clock.current_time() * 1_000_000)


@pytest.fixture
def autojump(monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """Virtual time, for a test that names this among its own arguments.

    It stands still while a worker thread is at work, however slow the disk is.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    run_sync = trio.to_thread.run_sync
    at_work = 0

    async def standing_still(*args: Any, **more: Any) -> Any:
        nonlocal at_work
        at_work += 1
        clock.autojump_threshold = inf
        try:
            return await run_sync(*args, **more)
        finally:
            at_work -= 1
            clock.autojump_threshold = inf if at_work else 0

    monkeypatch.setattr(trio.to_thread, "run_sync", standing_still)
    return clock


@pytest.fixture
def seed() -> int:
    """What the nodes and the wires draw their lots from."""
    return 7


@pytest.fixture
def street(
    seed: int,
    tmp_path: Path,
    nursery: trio.Nursery,
    autojump: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Street:
    clock = JumpingClock(autojump)
    monkeypatch.syspath_prepend(DRIVERS)
    monkeypatch.setattr("steady_meter.SystemClock", lambda: clock)
    return Street(tmp_path, nursery, clock, seed)


Owned = Callable[..., Awaitable[tuple[Node, Node]]]


@pytest.fixture
def founded(street: Street) -> Callable[[], Awaitable[Node]]:
    """An owner with a community of one-second intervals."""

    async def make() -> Node:
        owner = await street.owner()
        await owner.call("community_create", name="street", amend={"interval_us": INTERVAL_US})
        return owner

    return make


@pytest.fixture
def near(street: Street, founded: Callable[[], Awaitable[Node]]) -> Owned:
    """Such an owner, and an unowned device that it has heard of."""

    async def make(**device: Any) -> tuple[Node, Node]:
        owner = await founded()
        roof = await street.device(**device)
        await owner.until(lambda found: found["near"], "device_list")
        return owner, roof

    return make


@pytest.fixture
def claimed(near: Owned) -> Owned:
    """Such an owner, and its device, enrolled."""

    async def make(**device: Any) -> tuple[Node, Node]:
        owner, roof = await near(**device)
        await owner.call("device_claim", device="roof", code="1234-5678")
        await owner.until(
            lambda found: found["owned"] and found["owned"][0]["acknowledged"], "device_list"
        )
        return owner, roof

    return make
