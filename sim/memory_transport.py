"""One agent's `Transport` in the simulator.

A handler belongs to the node that answers: it goes on when the asker gives up, and ends when
its own node is killed.  Requests are answered by the function that real links use, so errors
travel alike.  What only a simulator has: a peer that is *hushed* takes requests and never
answers, and a `twist` answers in place of a dishonest one's node.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio

from ioe_node.errors import Busy, IoeError, LocalError, PeerError, Refused, TransportError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.framing import Failure, Request, Response
from ioe_node.net.link import reply_to
from ioe_node.net.transport import REQUEST_TIMEOUT_S, Located, Routing, Service

if TYPE_CHECKING:
    from sim.network import Network

_TYPE_KEY = b"\xa4type"

Handle = Callable[[AgentPubKey, bytes], Awaitable[bytes]]
Twist = Callable[[Handle, AgentPubKey, bytes], Awaitable[bytes]]
"""(what the node itself would do, asker, request) to the answer that is sent."""


class Message(NamedTuple):
    """A request or an answer on its way.

    `kind` is its name in `net.messages`, or `Failure <code>`; `size` is its bytes.
    """

    sender: AgentPubKey
    receiver: AgentPubKey
    kind: str
    size: int


def kind_of(data: bytes) -> str:
    """The name of a message's type, which its first key says; `?` for bytes that have none."""
    if data[1:6] != _TYPE_KEY or len(data) < 7 or data[6] >> 5 != 0b101:
        return "?"
    return data[7 : 7 + (data[6] & 31)].decode("ascii", "replace")


def memory_addresses(agent: AgentPubKey) -> tuple[str, ...]:
    """Where an agent of a swarm says that it is."""
    return (f"/memory/{agent.hex()}",)


class _Reply:
    """Where an asker waits for its answer; an error in the end says how the link broke."""

    def __init__(self) -> None:
        self._ended = trio.Event()
        self._frame: Response | Failure | None = None
        self._error: IoeError | None = None

    def give(self, frame: Response | Failure) -> None:
        self._frame = frame
        self._ended.set()

    def fail(self, error: IoeError) -> None:
        if self._frame is None:
            self._error = error
        self._ended.set()

    async def wait(self) -> Response | Failure:
        await self._ended.wait()
        if self._frame is None:
            raise self._error or TransportError("the peer closed the link; try again")
        return self._frame


class MemoryTransport:
    """One agent on a `Network`."""

    def __init__(self, agent: AgentPubKey, network: "Network", nursery: trio.Nursery) -> None:
        self.agent = agent
        self.twist: Twist | None = None
        self.hushed = False
        self.asked = 0
        self._network = network
        self._nursery = nursery
        self._services: dict[str, Service] = {}
        self._routing: dict[str, Routing] = {}

    def addresses(self) -> tuple[str, ...]:
        return memory_addresses(self.agent)

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Agents are found by their keys here."""

    def hint(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Nor is a rumour needed."""

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

    @property
    def handlers(self) -> int:
        """How many tasks of this node's process there are at its top: its cell and handlers."""
        return len(self._nursery.child_tasks)

    async def request(
        self, protocol: str, peer: AgentPubKey, message: bytes, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> bytes:
        if protocol not in self._services:
            raise LocalError("ask in a network that this node has joined")
        reply = _Reply()
        self.asked += 1
        linked = self._network.linked(protocol, self.agent, peer)

        def reach(again: bool) -> None:
            self._reach(protocol, peer, message, linked, _Reply() if again else reply)

        self._network.send(Message(self.agent, peer, kind_of(message), len(message)), reach)
        with trio.move_on_after(timeout_s):
            return _body_of(await reply.wait())
        raise TransportError(f"no answer within {timeout_s} s")

    def offer_routing(self, protocol: str, routing: Routing) -> None:
        assert protocol not in self._routing, f"{protocol} is already offered"
        self._routing[protocol] = routing

    def withdraw_routing(self, protocol: str) -> None:
        self._routing.pop(protocol, None)

    async def find_node(self, protocol: str, peer: AgentPubKey, key: bytes) -> list[Located]:
        """Answered at once: kad-dht is for strangers, and a swarm has none."""
        if not self._network.lets_pass(self.agent, peer):
            raise TransportError(f"no answer within {REQUEST_TIMEOUT_S} s")
        routing = self._network.host(peer)._routing.get(protocol)
        if routing is None:
            raise TransportError("the peer does not speak this protocol")
        try:
            routing.seen(self.agent, self.addresses() if protocol in self._routing else ())
            found = routing.closest(key, self.agent)
        except PeerError as error:
            raise TransportError(f"the peer closed the stream: {error}") from error
        return [located for located in found if located[0] != self.agent]

    def _reach(
        self, protocol: str, peer: AgentPubKey, data: bytes, linked: bool, reply: _Reply
    ) -> None:
        """Our request is where it should be; we may be gone, and what was on its way is not."""
        try:
            host = self._network.host(peer)
            if host.hushed:
                return
            if self._network.runs(self):
                self._network.link(protocol, self, host)
            elif not linked:
                return
            host.serve(host.service(protocol), self.agent, data, reply)
        except (TransportError, PeerError) as error:
            reply.fail(error)

    def serve(self, service: Service, asker: AgentPubKey, data: bytes, reply: _Reply) -> None:
        """Answer a request in a task of this node's."""
        try:
            self._nursery.start_soon(self._answer, service, asker, data, reply)
        except RuntimeError:  # the nursery is closed: the process is ending at this very moment
            reply.fail(TransportError("the peer closed the link; try again"))

    async def _answer(
        self, service: Service, asker: AgentPubKey, data: bytes, reply: _Reply
    ) -> None:
        if self.twist is not None:
            handle = partial(self.twist, service.handle)
            service = Service(service.hello, service.admit, handle)
        try:
            frame = await reply_to(Request(1, data), asker, service, _uncounted)
            await trio.lowlevel.checkpoint_if_cancelled()  # the dead say nothing
        except trio.Cancelled:
            reply.fail(TransportError("the peer closed the link; try again"))
            raise
        if isinstance(frame, Response):
            if self._network.answered is not None:
                self._network.answered(self.agent, frame.body)
            message = Message(self.agent, asker, kind_of(frame.body), len(frame.body))
        else:
            message = Message(self.agent, asker, f"Failure {frame.code}", len(frame.text))
        self._network.send(message, lambda again: None if again else reply.give(frame))


def _uncounted(peer: AgentPubKey, error: PeerError) -> None:
    """What a link charges its peer with stays on the link; the cell counts its own."""


def _body_of(frame: Response | Failure) -> bytes:
    """What a link makes of an answer; raises `Busy` or `Refused`."""
    if isinstance(frame, Response):
        return frame.body
    if frame.code == "busy":
        raise Busy(frame.text)
    raise Refused(frame.code, frame.text)
