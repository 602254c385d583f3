"""A network in memory on virtual time: who is on it, and what stands between them.

A request and its answer each wait their turn in one heap of deliveries (`sim.deliveries`) and
may be lost, late or doubled (`sim.conditions`), or stopped by a cut; the asker then waits until
its timeout, as it would on real wires.  What an agent does with a request stands in
`sim.memory_transport`.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random

import trio

from ioe_node.clock import Clock
from ioe_node.errors import LocalError, PeerError, Refused, TransportError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.link import opening_code
from sim.conditions import Conditions, Wires
from sim.deliveries import Deliveries
from sim.memory_transport import MemoryTransport, Message
from sim.trace import Trace

__all__ = ["MemoryTransport", "Message", "Network"]


class Barriers:
    """What keeps messages from passing; all of it goes by `heal`."""

    def __init__(self) -> None:
        self._cuts: set[tuple[AgentPubKey, AgentPubKey]] = set()
        self._cut_off: set[AgentPubKey] = set()
        self._groups: dict[AgentPubKey, int] = {}
        self._healed_s = 0.0

    def cut(self, one: AgentPubKey, other: AgentPubKey) -> None:
        """Nothing passes between these two."""
        self._cuts.update(((one, other), (other, one)))

    def cut_one_way(self, sender: AgentPubKey, receiver: AgentPubKey) -> None:
        """Nothing that `sender` sends reaches `receiver`; the other way is open."""
        self._cuts.add((sender, receiver))

    def cut_off(self, agent: AgentPubKey) -> None:
        """Nothing reaches or leaves this agent."""
        self._cut_off.add(agent)

    def partition(self, groups: Sequence[Iterable[AgentPubKey]]) -> None:
        """Nothing passes from group to group; who is in none reaches all."""
        self._groups = {agent: place for place, group in enumerate(groups) for agent in group}

    def heal(self) -> None:
        """Every cut is mended."""
        self._healed_s = trio.current_time()
        self._cuts.clear()
        self._cut_off.clear()
        self._groups.clear()

    @property
    def whole_since_s(self) -> float:
        """Since when everyone reaches everyone; infinity while somebody does not."""
        if self._cuts or self._cut_off or self._groups:
            return float("inf")
        return self._healed_s

    def lets_pass(self, sender: AgentPubKey, receiver: AgentPubKey) -> bool:
        """Whether a message gets through now."""
        if self._cuts and (sender, receiver) in self._cuts:
            return False
        if self._cut_off and not self._cut_off.isdisjoint((sender, receiver)):
            return False
        if self._groups:
            one, other = self._groups.get(sender), self._groups.get(receiver)
            return one is None or other is None or one == other
        return True


class Network(Barriers):
    """The agents, the links between them and their messages.

    `passes`, if set, is asked about each message that would arrive: False loses it.
    `answered`, if set, is told of each answer before it leaves, and who gives it.
    """

    def __init__(
        self,
        rng: Random,
        clock: Clock,
        trace: Trace | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        super().__init__()
        self.clock = clock
        self.trace = trace or Trace()
        self.wires = Wires(rng, conditions or Conditions())
        self.passes: Callable[[Message], bool] | None = None
        self.answered: Callable[[AgentPubKey, bytes], None] | None = None
        self._deliveries = Deliveries()
        self._hosts: dict[AgentPubKey, MemoryTransport] = {}
        self._links: dict[AgentPubKey, set[tuple[str, AgentPubKey, AgentPubKey]]] = {}

    def join(self, agent: AgentPubKey, nursery: trio.Nursery) -> MemoryTransport:
        """A transport for `agent`, whose handlers run in `nursery`."""
        assert agent not in self._hosts, "this agent is on the network already"
        self._hosts[agent] = MemoryTransport(agent, self, nursery)
        return self._hosts[agent]

    def leave(self, agent: AgentPubKey) -> None:
        """The agent's process is gone, and its links with it."""
        self._hosts.pop(agent, None)
        for link in self._links.pop(agent, ()):
            for end in link[1:]:
                self._links.get(end, set()).discard(link)

    def host(self, agent: AgentPubKey) -> MemoryTransport:
        """Who answers for this agent; raises `TransportError` when nobody does."""
        host = self._hosts.get(agent)
        if host is None:
            raise TransportError("nobody listens there")
        return host

    def runs(self, host: MemoryTransport) -> bool:
        """Whether this very process is on the network still."""
        return self._hosts.get(host.agent) is host

    def linked(self, protocol: str, asker: AgentPubKey, answerer: AgentPubKey) -> bool:
        """Whether the openings of this link have been exchanged."""
        return (protocol, asker, answerer) in self._links.get(asker, ())

    def hosts(self) -> list[AgentPubKey]:
        """Everyone who is on the network, in the order of joining."""
        return list(self._hosts)

    def send(self, message: Message, deliver: Callable[[bool], None]) -> None:
        """Have `deliver(again)` called when the message arrives, if it does.

        `again` is True for the second arrival of a message that the wires have doubled.
        """
        now_s, wires = trio.current_time(), self.wires
        sender, receiver, _, size = message
        lost = wires.loses()
        arrival_s = wires.arrival_s(now_s, sender, receiver, size)
        self._deliveries.at(arrival_s, lambda: self._arrive(message, lost, deliver, False))
        if not lost and wires.doubles():
            arrival_s = wires.arrival_s(now_s, sender, receiver, size)
            self._deliveries.at(arrival_s, lambda: self._arrive(message, False, deliver, True))

    def _arrive(
        self, message: Message, lost: bool, deliver: Callable[[bool], None], again: bool
    ) -> None:
        sender, receiver, kind, size = message
        arrives = (
            not lost
            and self.lets_pass(sender, receiver)
            and (self.passes is None or self.passes(message))
        )
        self.trace.message(self.clock.now_us(), sender, receiver, kind, size, arrives)
        if arrives:
            deliver(again)

    def link(self, protocol: str, asker: MemoryTransport, answerer: MemoryTransport) -> None:
        """Exchange the openings, once a link; raises `Refused` or `TransportError`."""
        link = (protocol, asker.agent, answerer.agent)
        links = self._links.setdefault(asker.agent, set())
        if link in links:
            return
        ours, theirs = asker.service(protocol), answerer.service(protocol)
        try:
            theirs.admit(asker.agent, ours.hello())
            ours.admit(answerer.agent, theirs.hello())
        except PeerError as error:
            raise Refused(opening_code(error), str(error)) from error
        except LocalError as error:  # one of the two disks has failed
            raise TransportError(f"the link broke while it was opened: {error}") from error
        links.add(link)
        self._links.setdefault(answerer.agent, set()).add(link)

    def unlink(self, protocol: str, agent: AgentPubKey) -> None:
        """The links of one protocol end where it is withdrawn."""
        for link in [each for each in self._links.get(agent, ()) if each[0] == protocol]:
            for end in link[1:]:
                self._links.get(end, set()).discard(link)
