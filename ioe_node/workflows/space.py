"""What the stages of one cell share: rules, store, transport, peers, and the bells they ring.

The five things that differ between a daemon and a simulated node come in here: transport,
discovery (through the peer book), clock, rng, and how store calls run.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from random import Random
from typing import Any, Protocol, TypeVar

import trio

from ioe_node.clock import Clock
from ioe_node.core.authority import authorities
from ioe_node.core.peer_book import PeerBook
from ioe_node.core.sys_validate import Rules
from ioe_node.errors import IoeError, Refused
from ioe_node.hdi import ActionHash, AgentPubKey, DnaHash
from ioe_node.model.agent_info import SignedInfo, open_info, seal_info
from ioe_node.model.finality import WITNESSES, Standing
from ioe_node.model.hashes import to_text
from ioe_node.model.op import all_kinds, ops_of
from ioe_node.model.record import Record
from ioe_node.net.messages import Answer, Request, answers, encode
from ioe_node.net.transport import REQUEST_TIMEOUT_S, Transport
from ioe_node.store.store import Store
from ioe_node.store.witness import WitnessRows

T = TypeVar("T")
log = logging.getLogger("ioe")

INFO_RENEW_US = 5 * 60 * 1_000_000
WANTED_MAX = 64
TIMESTAMP_AHEAD_US_MAX = 5 * 60 * 1_000_000
STRANGERS_MAX = 256
REFUSED_BY_MAX = 1_024
MEMBRANE = "membrane"
"""The code of a refusal at the opening of a link (`net.link`)."""


class StoreRunner(Protocol):
    """How a store call runs: in a worker thread (daemon) or inline (simulator)."""

    async def __call__(self, function: Callable[..., T], *args: Any) -> T: ...


async def run_inline(function: Callable[..., T], *args: Any) -> T:
    """Run a store call here and now."""
    return function(*args)


async def run_in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run a store call in a worker thread; it is never abandoned half way."""
    return await trio.to_thread.run_sync(function, *args)


class Bell:
    """Rung by one stage, heard by the next; a ring while nobody listens is kept."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Wake whoever listens."""
        self._event.set()

    async def wait(self, timeout_s: float = float("inf")) -> bool:
        """Return at the next ring, or the one missed (True), or after the time (False)."""
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        rung = self._event.is_set()
        self._event = trio.Event()
        return rung


@dataclass
class Counters:
    """What happened here since the start, for `ioe status` and the demo."""

    ops_validated: int = 0
    records_refused: int = 0
    bundles_committed: int = 0
    messages_refused: int = 0
    last_refusals: list[str] = field(default_factory=list)

    def refuse(self, why: str) -> None:
        """Count and remember a refusal; only the newest 20 texts are kept."""
        self.records_refused += 1
        self.last_refusals = [*self.last_refusals[-19:], why]


@dataclass
class Space:
    """One cell's shared state."""

    rules: Rules
    agent: AgentPubKey
    sign: Callable[[bytes], bytes]
    store: Store
    transport: Transport
    clock: Clock
    rng: Random
    run: StoreRunner
    membrane_proof: bytes | None
    signal: Callable[[dict[str, Any]], None]
    peers: PeerBook = field(init=False)
    chain_lock: trio.Lock = field(default_factory=trio.Lock)
    validation_bell: Bell = field(default_factory=Bell)
    publish_bells: dict[AgentPubKey, Bell] = field(default_factory=dict)
    peers_bell: Bell = field(default_factory=Bell)
    exchange_bell: Bell = field(default_factory=Bell)
    blocked: set[AgentPubKey] = field(default_factory=set)
    members: set[AgentPubKey] = field(default_factory=set)
    wanted: set[ActionHash] = field(default_factory=set)
    charges: dict[AgentPubKey, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    refused_by: dict[AgentPubKey, str] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    standings: dict[AgentPubKey, Standing] = field(default_factory=dict)
    seats: dict[AgentPubKey, Standing] = field(default_factory=dict)
    knocks: dict[AgentPubKey, tuple[int, bool]] = field(default_factory=dict)
    witness_rows: WitnessRows = field(init=False)
    witness_lock: trio.Lock = field(default_factory=trio.Lock)
    _info: SignedInfo | None = None
    _info_until_us: int = 0
    _info_addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.peers = PeerBook(self.agent)
        self.witness_rows = WitnessRows(self.store)

    @property
    def dna(self) -> DnaHash:
        """The network's name."""
        return self.rules.hash

    @property
    def protocol(self) -> str:
        """The libp2p protocol id of this DNA."""
        return f"/ioe/{to_text(self.dna)}/1"

    def info(self) -> SignedInfo:
        """Our own signed info, renewed before it ages or when our addresses change."""
        now = self.clock.now_us()
        addresses = self.transport.addresses()
        if self._info is None or now >= self._info_until_us or addresses != self._info_addresses:
            self._info = seal_info(self.agent, self.dna, addresses, now, self.sign)
            self._info_until_us = now + INFO_RENEW_US
            self._info_addresses = addresses
        return self._info

    def learn(self, signed: SignedInfo) -> AgentPubKey:
        """Take a peer's info into the book and the transport; raises `Malformed`."""
        taken = self.peers.agent_of(signed)
        if taken is not None:
            return taken
        info = open_info(signed, self.dna, self.clock.now_us())
        agent = AgentPubKey(info.agent)
        newcomer = not self.peers.addresses(agent)
        if newcomer and agent not in self.members and len(self.strangers()) >= STRANGERS_MAX:
            return agent
        if agent not in self.blocked and self.peers.merge(info, signed):
            self.transport.learn(agent, info.addresses)
            if agent in self.members:
                self.store.save_peer(agent, encode(signed))
            if newcomer:
                self.exchange_bell.ring()
        return agent

    def welcome(self, agent: AgentPubKey) -> None:
        """The membrane has admitted an agent: from now on it counts as a member."""
        if agent not in self.members and agent != self.agent:
            self.members.add(agent)
            signed = self.peers.signed_of(agent)
            if signed is not None:
                self.store.save_peer(agent, encode(signed))
            self.peers_bell.ring()

    def recall_info(self, signed: SignedInfo) -> AgentPubKey:
        """Take up a member's info from our own disk, however old."""
        info = open_info(signed, self.dna, None)
        agent = AgentPubKey(info.agent)
        if self.peers.merge(info, signed):
            self.transport.learn(agent, info.addresses)
        return agent

    def others(self) -> list[AgentPubKey]:
        """Every member that we know where to reach and have not blocked, but us."""
        return [
            agent
            for agent in self.peers.agents()
            if agent in self.members and agent not in self.blocked
        ]

    def members_by_place(self, place: int, count: int = WITNESSES) -> list[Standing]:
        """The members that may witness, us included, closest to a place, closest first."""
        known = self.seats.values()
        return nsmallest(count, known, key=lambda each: (each.place ^ place, each.agent))

    def strangers(self) -> list[AgentPubKey]:
        """Whom we only know by an info: anybody can make one, so they count for nothing yet."""
        return [agent for agent in self.peers.agents() if agent not in self.members]

    def authorities(self, basis: bytes) -> list[AgentPubKey]:
        """The authorities of a basis among everyone known, us included, closest first."""
        return authorities(basis, [*self.others(), self.agent])

    def ops_held(self, record: Record) -> int:
        """The set of a record's op kinds that we are an authority for."""
        by_hash = self.rules.by_hash(record.action)
        if record.action.author == self.agent:
            return all_kinds(record.action, by_hash)
        held = 0
        for kind, basis in ops_of(record.action, record.hash, by_hash):
            if self.agent in self.authorities(basis):
                held |= kind.value
        return held

    def by_hash(self, records: Sequence[Record]) -> list[bool]:
        """Which of these have an entry that is found by its hash."""
        return [self.rules.by_hash(record.action) for record in records]

    def next_seq(self, author: AgentPubKey) -> int:
        """The sequence number that follows an author's chain as held here."""
        head = self.store.head(author)
        return 0 if head is None else head.seq + 1

    def want(self, hashes: Iterable[ActionHash]) -> None:
        """Have these fetched, with the chains up to them."""
        self.wanted.update(sorted(hashes)[: WANTED_MAX - len(self.wanted)])
        self.validation_bell.ring()

    def withhold(self, record: Record) -> bool:
        """Whether a record's entry is private and stays on this disk."""
        entry_type = getattr(record.action, "entry_type", None)
        return entry_type is not None and self.rules.private(entry_type)

    def fault(self, text: str) -> None:
        """Say, once, what the owner must know of."""
        if text not in self.faults:
            self.faults.append(text)
            log.error("%s: %s", self.rules.definition.seed, text)
            self.signal({"kind": "fault", "text": text})

    def charge(self, peer: AgentPubKey, why: str) -> None:
        """Note that a peer sent what it must not."""
        self.charges[peer] = self.charges.get(peer, 0) + 1
        self.counters.messages_refused += 1
        log.warning("charged %s: %s", to_text(peer)[:12], why)

    async def ask(
        self, peer: AgentPubKey, request: Request, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> Answer:
        """One request to one peer; raises `TransportError`, `Refused` or `Malformed`."""
        try:
            data = await self.transport.request(self.protocol, peer, encode(request), timeout_s)
        except Refused as error:
            if error.code == MEMBRANE and len(self.refused_by) < REFUSED_BY_MAX:
                self.refused_by[peer] = error.text
            raise
        self.refused_by.pop(peer, None)
        return answers.decode(data)

    async def ask_first(
        self,
        peers: Sequence[AgentPubKey],
        request: Request,
        take: Callable[[Answer], T | None],
    ) -> T | None:
        """Ask several peers at once; the first answer that `take` accepts, or None.

        `take` raises `Malformed` for an answer that does not stand; that peer is charged.
        """
        found: list[T] = []

        async def one(peer: AgentPubKey, scope: trio.CancelScope) -> None:
            try:
                taken = take(await self.ask(peer, request))
            except IoeError as error:
                log.debug("asking %s: %s", to_text(peer)[:12], error)
                return
            if taken is not None:
                found.append(taken)
                scope.cancel()

        async with trio.open_nursery() as nursery:
            for peer in peers:
                if peer != self.agent:
                    nursery.start_soon(one, peer, nursery.cancel_scope)
        return found[0] if found else None

    def ring_publish(self) -> None:
        """Something new is on our chain."""
        for bell in self.publish_bells.values():
            bell.ring()
