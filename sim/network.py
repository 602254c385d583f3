"""A network in memory, on the caller's (virtual) time: the simulator's `Transport`.

Each request waits a drawn latency there and back.  `cut` parts two agents; a cut request
fails after its timeout, as a real one would.
"""

from dataclasses import dataclass, field
from random import Random

import trio

from ioe_node.errors import PeerError, Refused, TransportError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.transport import REQUEST_TIMEOUT_S, Service

LATENCY_MIN_S = 0.002
LATENCY_MAX_S = 0.030


@dataclass
class Network:
    """Who is on the network, and what stands between them."""

    rng: Random
    _hosts: dict[AgentPubKey, "MemoryTransport"] = field(default_factory=dict)
    _cuts: set[frozenset[AgentPubKey]] = field(default_factory=set)
    messages: int = 0

    def join(self, agent: AgentPubKey) -> "MemoryTransport":
        """A transport for `agent`; replaces a former one, as a restart does."""
        self._hosts[agent] = MemoryTransport(agent, self)
        return self._hosts[agent]

    def leave(self, agent: AgentPubKey) -> None:
        """The agent's process is gone."""
        self._hosts.pop(agent, None)

    def cut(self, one: AgentPubKey, other: AgentPubKey) -> None:
        """Nothing passes between these two until `heal`."""
        self._cuts.add(frozenset((one, other)))

    def heal(self) -> None:
        """Every cut is mended."""
        self._cuts.clear()

    async def carry(
        self, sender: AgentPubKey, receiver: AgentPubKey, protocol: str, message: bytes
    ) -> bytes:
        """Deliver one request and bring back its answer."""
        self.messages += 1
        await trio.sleep(self.rng.uniform(LATENCY_MIN_S, LATENCY_MAX_S))
        if frozenset((sender, receiver)) in self._cuts:
            await trio.sleep_forever()
        host = self._hosts.get(receiver)
        if host is None:
            raise TransportError("nobody listens there")
        answer = await host.serve(sender, protocol, message)
        await trio.sleep(self.rng.uniform(LATENCY_MIN_S, LATENCY_MAX_S))
        return answer


class MemoryTransport:
    """One agent's `Transport` on a `Network`."""

    def __init__(self, agent: AgentPubKey, network: Network) -> None:
        self.agent = agent
        self._network = network
        self._services: dict[str, Service] = {}
        self._admitted: set[tuple[str, AgentPubKey]] = set()

    def addresses(self) -> tuple[str, ...]:
        return (f"/memory/{self.agent.hex()}",)

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Agents are found by their keys here."""

    def offer(self, protocol: str, service: Service) -> None:
        self._services[protocol] = service

    def withdraw(self, protocol: str) -> None:
        self._services.pop(protocol, None)
        self._admitted = {each for each in self._admitted if each[0] != protocol}

    async def request(
        self, protocol: str, peer: AgentPubKey, message: bytes, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> bytes:
        with trio.move_on_after(timeout_s):
            return await self._network.carry(self.agent, peer, protocol, message)
        raise TransportError(f"no answer within {timeout_s} s")

    def _service(self, protocol: str) -> Service:
        service = self._services.get(protocol)
        if service is None:
            raise TransportError("the peer does not speak this protocol")
        return service

    async def serve(self, sender: AgentPubKey, protocol: str, message: bytes) -> bytes:
        """Answer a request as a link would: both openings first, then the handler."""
        service = self._service(protocol)
        caller = self._network._hosts.get(sender)
        try:
            if (protocol, sender) not in self._admitted:
                if caller is None:
                    raise TransportError("the caller is gone")
                theirs = caller._service(protocol)
                service.admit(sender, theirs.hello())
                theirs.admit(self.agent, service.hello())
                self._admitted.add((protocol, sender))
            return await service.handle(sender, message)
        except PeerError as error:
            raise Refused(type(error).__name__, str(error)) from None
