"""Real node processes on loopback in one community, driven through their control sockets.

The first node is the steward, who invites the others; they start a few at a time.  A home is
made as `ioe init` makes it, with the load DNA, a key store that opens at once and no mDNS.
"""

import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import trio

from ioe_node.cli.client import AnswerError
from ioe_node.conductor import keytree
from ioe_node.conductor.frames import LENGTH_BYTES, decode_body, encode_frame, length_of
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import MINIMAL, Keystore
from ioe_node.config import TEMPLATE
from ioe_node.errors import TransportError
from ioe_node.hdi import AgentPubKey
from sim.street import Node, stop_all

STARTING_AT_ONCE_MAX = 4
JOIN_TIMEOUT_S = 120.0
ACQUAINTED_TIMEOUT_S = 180.0
LOOK_EVERY_S = 0.5
PASSPHRASE = b"demo"
"""What `sim.street.Node` starts its processes with."""


@dataclass(frozen=True)
class Options:
    """How long, how fast, how many: what the command line asks of a scenario.

    `function` of the load zome is what a steady writer calls: `stream` (on its chain) or `write`
    (found by its hash, too).
    """

    seconds: float = 60.0
    rate: float = 2.0
    writers: int = 25
    observers: int = 5
    function: str = "stream"


class Control:
    """One connection to a node's control socket, for one task after the other."""

    def __init__(self, stream: trio.SocketStream, token: str) -> None:
        self._stream = stream
        self._token = token
        self._lock = trio.Lock()

    @classmethod
    async def open(cls, home: Path) -> "Control":
        """Connect to the node that runs in `home`."""
        found = json.loads((home / "control.json").read_text())
        stream = await trio.open_tcp_stream("127.0.0.1", found["port"])
        control = cls(stream, found["token"])
        await control.ask("community_list")  # a client that asks for nothing is soon hung up on
        return control

    async def ask(self, name: str, /, **arguments: Any) -> Any:
        """One control call; raises `AnswerError` or `TransportError`."""
        async with self._lock:
            await self._send(name, arguments)
            answer = await self._receive()
        if "error" in answer:
            raise AnswerError(f"{answer['error']}: {answer['text']}", answer["exit_code"])
        return answer["ok"]

    async def zome(self, zome: str, function: str, /, **payload: Any) -> Any:
        """One zome call."""
        return await self.ask("zome_call", zome=zome, function=function, payload=payload)

    async def begin_to_follow(self) -> None:
        """Have the node send its signals; the connection serves nothing else from then on."""
        await self._send("follow", {})
        await self._receive()

    async def next_signal(self) -> dict[str, Any]:
        """The next signal, when there is one."""
        signal: dict[str, Any] = (await self._receive())["signal"]
        return signal

    async def _send(self, name: str, arguments: dict[str, Any]) -> None:
        request = {"token": self._token, "call": name, "args": arguments}
        await self._stream.send_all(encode_frame(request))

    async def _receive(self) -> dict[str, Any]:
        return decode_body(await self._take(length_of(await self._take(LENGTH_BYTES))))

    async def _take(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = await self._stream.receive_some(size - len(data))
            if not part:
                raise TransportError("the node closed its control socket; see its log")
            data += part
        return bytes(data)

    async def aclose(self) -> None:
        """Hang up."""
        await self._stream.aclose()


@dataclass
class Member:
    """One node of the community."""

    node: Node
    control: Control
    agent: AgentPubKey

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.node.process is not None
        return self.node.process.pid

    async def zome(self, zome: str, function: str, /, **payload: Any) -> Any:
        """One zome call."""
        return await self.control.zome(zome, function, **payload)

    async def load(self, function: str, /, **payload: Any) -> Any:
        """One call of the load zome."""
        return await self.control.zome("load", function, **payload)

    async def receipts(self, action: bytes) -> tuple[int, int]:
        """(have, needed) for an action of its own."""
        found = await self.control.ask("receipts", action=action)
        return found["have"], found["needed"]


@dataclass
class Meter:
    """Seconds and CPU seconds of all nodes between `begin` and `stop`."""

    seconds: float = 0.0
    cpu_s: float = 0.0


def make_home(path: Path, arc: str | None) -> None:
    """What `ioe init` makes, without a process of its own; `arc` is the config's key."""
    home = Home(path)
    home.create()
    listen = f"/ip4/127.0.0.1/tcp/{_free_port()}"
    text = TEMPLATE.format(
        role="owner",
        arc=arc or "full",
        listen=listen,
        http_port=_free_port(),
        mdns="",
        bootstrap="",
    )
    text = text.replace('mdns = [""]', "mdns = []")
    text = text.replace('"dna.neighbourhood:DNA"', '"sim.load_dna:DNA"')
    home.write(home.config, text.encode())
    root = keytree.new_root_seed(secrets.token_bytes)
    Keystore.create(home.keystore, PASSPHRASE, keytree.owner_secrets(root), cost=MINIMAL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Cluster:
    """The members, and where their homes are."""

    directory: Path
    members: list[Member] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    async def grow(self, size: int, arc: str | None = None) -> list[Member]:
        """Have at least `size` members, all acquainted; the new ones."""
        known = len(self.members)
        if not self.members:
            await self._found()
        slots = trio.CapacityLimiter(STARTING_AT_ONCE_MAX)
        async with trio.open_nursery() as nursery:
            for _ in range(size - len(self.nodes)):
                nursery.start_soon(self._join, self._new_node(arc), slots)
        await self.acquainted()
        return self.members[known:]

    async def add_one(self) -> Member:
        """One more member, as soon as it has joined."""
        await self._join(self._new_node(None), trio.CapacityLimiter(1))
        return self.members[-1]

    def _new_node(self, arc: str | None) -> Node:
        name = f"node{len(self.nodes)}"
        node = Node(name, "owner", self.directory / name)
        make_home(node.home, arc)
        self.nodes.append(node)
        return node

    async def _found(self) -> None:
        member = await self._start(self._new_node(None))
        await member.control.ask("community_create", name="load", amend={}, dna="load")
        self.members.append(member)

    async def _start(self, node: Node) -> Member:
        node.start()
        status = await node.ready()
        return Member(node, await Control.open(node.home), AgentPubKey(status["agent"]))

    async def _join(self, node: Node, slots: trio.CapacityLimiter) -> None:
        async with slots:
            member = await self._start(node)
            with trio.fail_after(JOIN_TIMEOUT_S):
                steward = self.members[0].control
                theirs = await member.control.ask("key_show")
                asked = {"agent": member.agent, "recovery": theirs["recovery"]}
                invited = await steward.ask("community_invite", **asked)
                await member.control.ask("community_join", invitation=invited["invitation"])
        self.members.append(member)

    async def acquainted(self) -> None:
        """Wait until each member knows every other, and its chain is delivered."""
        waiting = list(self.members)
        with trio.fail_after(ACQUAINTED_TIMEOUT_S):
            while waiting:
                status = await waiting[0].control.ask("status")
                community = status["communities"][0]
                known = len(community["peers"]) >= len(self.members) - 1
                if known and not community["unpublished"]:
                    del waiting[0]
                else:
                    await trio.sleep(LOOK_EVERY_S)

    async def restart(self, member: Member) -> None:
        """Start a member that was killed, and connect to it again."""
        fresh = await self._start(member.node)
        await member.control.aclose()
        member.control = fresh.control

    def freeze(self, member: Member) -> None:
        """It stays connected, its kernel accepts, and it answers nothing."""
        member.node.signal(signal.SIGSTOP)

    def thaw(self, member: Member) -> None:
        """It goes on."""
        member.node.signal(signal.SIGCONT)

    def cpu_s(self) -> float:
        """CPU seconds of all node processes since their start."""
        return sum(_cpu_s(member.pid) for member in self.members)

    @contextmanager
    def meter(self) -> Iterator[Meter]:
        """Measure what happens inside."""
        found = Meter()
        began, cpu = perf_counter(), self.cpu_s()
        try:
            yield found
        finally:
            found.seconds = perf_counter() - began
            found.cpu_s = self.cpu_s() - cpu


def _cpu_s(pid: int) -> float:
    """User and system time of a process, by the kernel."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it was killed meanwhile
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def open_cluster(directory: Path) -> AsyncIterator[Cluster]:
    """A cluster without members yet; every process is ended when it closes."""
    cluster = Cluster(directory)
    print(f"homes in {directory}", file=sys.stderr)
    try:
        yield cluster
    finally:
        with trio.CancelScope(shield=True):
            for node in cluster.nodes:
                node.signal(signal.SIGCONT)
            await stop_all(cluster.nodes)
