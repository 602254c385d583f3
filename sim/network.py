"""A network in memory on virtual time: the simulator's `Transport`.

Each request and each answer waits a drawn latency and may be lost, by lot or by a cut; the
asker then waits until its timeout, as it would on real wires.  A handler belongs to the node
that answers: it goes on when the asker gives up, and ends when its own node is killed.
Requests are answered by the function that real links use, so errors travel alike.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import msgspec
import trio

from ioe_node.clock import Clock
from ioe_node.errors import Busy, PeerError, Refused, TransportError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.framing import Failure, Request, Response
from ioe_node.net.link import opening_code, reply_to
from ioe_node.net.transport import REQUEST_TIMEOUT_S, Service
from sim.trace import Trace

LATENCY_MIN_S = 0.002
LATENCY_MAX_S = 0.030
PER_MILLION = 1_000_000


class _Tagged(msgspec.Struct):
    type: str


_tags = msgspec.msgpack.Decoder(_Tagged)


@dataclass(frozen=True)
class Message:
    """A request or an answer on its way.

    `kind` is its name in `net.messages`, or `Failure <code>`.
    """

    sender: AgentPubKey
    receiver: AgentPubKey
    kind: str
    size: int


def kind_of(data: bytes) -> str:
    """The name of a message's type; `?` for bytes that have none."""
    try:
        return _tags.decode(data).type
    except (msgspec.DecodeError, ValueError):
        return "?"


@dataclass
class Network:
    """Who is on the network, and what stands between them.

    `passes`, if set, is asked about each message that would arrive: False loses it.
    """

    rng: Random
    clock: Clock
    trace: Trace = field(default_factory=Trace)
    loss_per_million: int = 0
    passes: Callable[[Message], bool] | None = None
    _hosts: dict[AgentPubKey, "MemoryTransport"] = field(default_factory=dict)
    _cuts: set[frozenset[AgentPubKey]] = field(default_factory=set)
    _cut_off: set[AgentPubKey] = field(default_factory=set)
    _links: set[tuple[str, AgentPubKey, AgentPubKey]] = field(default_factory=set)

    def join(self, agent: AgentPubKey, nursery: trio.Nursery) -> "MemoryTransport":
        """A transport for `agent`, whose handlers run in `nursery`."""
        assert agent not in self._hosts, "this agent is on the network already"
        self._hosts[agent] = MemoryTransport(agent, self, nursery)
        return self._hosts[agent]

    def leave(self, agent: AgentPubKey) -> None:
        """The agent's process is gone, and its links with it."""
        self._hosts.pop(agent, None)
        self._links = {link for link in self._links if agent not in link[1:]}

    def cut(self, one: AgentPubKey, other: AgentPubKey) -> None:
        """Nothing passes between these two until `heal`."""
        self._cuts.add(frozenset((one, other)))

    def cut_off(self, agent: AgentPubKey) -> None:
        """Nothing reaches or leaves this agent until `heal`."""
        self._cut_off.add(agent)

    def heal(self) -> None:
        """Every cut is mended."""
        self._cuts.clear()
        self._cut_off.clear()

    def host(self, agent: AgentPubKey) -> "MemoryTransport":
        """Who answers for this agent; raises `TransportError` when nobody does."""
        host = self._hosts.get(agent)
        if host is None:
            raise TransportError("nobody listens there")
        return host

    async def travel(self, message: Message) -> bool:
        """Wait a message's latency; whether it arrives."""
        await trio.sleep(self.rng.uniform(LATENCY_MIN_S, LATENCY_MAX_S))
        ends = (message.sender, message.receiver)
        arrives = (
            frozenset(ends) not in self._cuts
            and self._cut_off.isdisjoint(ends)
            and self.rng.randrange(PER_MILLION) >= self.loss_per_million
            and (self.passes is None or self.passes(message))
        )
        self.trace.message(self.clock.now_us(), *ends, message.kind, message.size, arrives)
        return arrives

    def link(self, protocol: str, asker: "MemoryTransport", answerer: "MemoryTransport") -> None:
        """Exchange the openings, once a link; raises `Refused`."""
        link = (protocol, asker.agent, answerer.agent)
        if link in self._links:
            return
        ours, theirs = asker.service(protocol), answerer.service(protocol)
        try:
            theirs.admit(asker.agent, ours.hello())
            ours.admit(answerer.agent, theirs.hello())
        except PeerError as error:
            raise Refused(opening_code(error), str(error)) from error
        self._links.add(link)

    def unlink(self, protocol: str, agent: AgentPubKey) -> None:
        """The links of one protocol end where it is withdrawn."""
        self._links = {link for link in self._links if link[0] != protocol or agent not in link[1:]}


class _Reply:
    """Where an asker waits for its answer; None in the end means that the link broke."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.frame: Response | Failure | None = None


class MemoryTransport:
    """One agent's `Transport` on a `Network`."""

    def __init__(self, agent: AgentPubKey, network: Network, nursery: trio.Nursery) -> None:
        self.agent = agent
        self._network = network
        self._nursery = nursery
        self._services: dict[str, Service] = {}

    def addresses(self) -> tuple[str, ...]:
        return (f"/memory/{self.agent.hex()}",)

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Agents are found by their keys here."""

    def offer(self, protocol: str, service: Service) -> None:
        assert protocol not in self._services, f"{protocol} is already offered"
        self._services[protocol] = service

    def withdraw(self, protocol: str) -> None:
        self._services.pop(protocol, None)
        self._network.unlink(protocol, self.agent)

    def service(self, protocol: str) -> Service:
        """What answers a protocol here; raises `TransportError`."""
        service = self._services.get(protocol)
        if service is None:
            raise TransportError("the peer does not speak this protocol")
        return service

    async def request(
        self, protocol: str, peer: AgentPubKey, message: bytes, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> bytes:
        assert protocol in self._services, f"{protocol} is asked before it is offered"
        with trio.move_on_after(timeout_s):
            return _body_of(await self._ask(protocol, peer, message))
        raise TransportError(f"no answer within {timeout_s} s")

    async def _ask(self, protocol: str, peer: AgentPubKey, data: bytes) -> Response | Failure:
        message = Message(self.agent, peer, kind_of(data), len(data))
        if not await self._network.travel(message):
            await trio.sleep_forever()
        host = self._network.host(peer)
        self._network.link(protocol, self, host)
        reply = _Reply()
        host.serve(host.service(protocol), self.agent, data, reply)
        await reply.arrived.wait()
        if reply.frame is None:
            raise TransportError("the peer closed the link; try again")
        return reply.frame

    def serve(self, service: Service, asker: AgentPubKey, data: bytes, reply: _Reply) -> None:
        """Answer a request in a task of this node's."""
        self._nursery.start_soon(self._answer, service, asker, data, reply)

    async def _answer(
        self, service: Service, asker: AgentPubKey, data: bytes, reply: _Reply
    ) -> None:
        try:
            frame = await reply_to(Request(1, data), asker, service, _uncounted)
            if isinstance(frame, Response):
                message = Message(self.agent, asker, kind_of(frame.body), len(frame.body))
            else:
                message = Message(self.agent, asker, f"Failure {frame.code}", len(frame.text))
            arrives = await self._network.travel(message)
        except trio.Cancelled:
            reply.arrived.set()
            raise
        if arrives:
            reply.frame = frame
            reply.arrived.set()


def _uncounted(peer: AgentPubKey, error: PeerError) -> None:
    """What a link charges its peer with stays on the link; the cell counts its own."""


def _body_of(frame: Response | Failure) -> bytes:
    """What a link makes of an answer; raises `Busy` or `Refused`."""
    if isinstance(frame, Response):
        return frame.body
    if frame.code == "busy":
        raise Busy(frame.text)
    raise Refused(frame.code, frame.text)
