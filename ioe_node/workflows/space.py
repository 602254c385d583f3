"""What the stages of one cell share: rules, store, transport, peers, and the bells they ring.

The five things that differ between a daemon and a simulated node come in here: transport,
discovery (through the peer book), clock, rng, and how store calls run.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from random import Random
from typing import Any, TypeVar

import trio

from ioe_node.clock import Clock
from ioe_node.core.membership import Membership
from ioe_node.core.peer_book import PeerBook
from ioe_node.core.quota import Fault, Limits, Quota
from ioe_node.core.sys_validate import Rules
from ioe_node.errors import AnotherContinuation, Busy, IoeError, Malformed, Refused, TransportError
from ioe_node.hdi import ActionHash, AgentPubKey, DnaHash
from ioe_node.model.agent_info import SignedInfo, open_info, seal_info
from ioe_node.model.capability import CapGrant
from ioe_node.model.finality import WITNESSES, Standing
from ioe_node.model.hashes import key_of, proof_digest, to_text, witness_place
from ioe_node.model.op import all_kinds, ops_of
from ioe_node.model.record import Record
from ioe_node.net.messages import Answer, Knock, Request, answers, encode
from ioe_node.net.transport import REQUEST_TIMEOUT_S, Transport
from ioe_node.store.store import Store
from ioe_node.store.witness import WitnessRows
from ioe_node.workflows.bell import Bell, StoreRunner
from ioe_node.workflows.chains_read import ChainsRead
from ioe_node.workflows.counters import Counters
from ioe_node.workflows.limbo import ADMISSION, CHAIN, FINAL, RECORD, Lack, LimboMemory
from ioe_node.workflows.permits import AllPermitted, Permits

T = TypeVar("T")
Hashes = Iterable[ActionHash]
log = logging.getLogger("ioe")

INFO_RENEW_US = 30 * 60 * 1_000_000
WANTED_MAX = 192
TIMESTAMP_AHEAD_US_MAX = 5 * 60 * 1_000_000
STRANGERS_MAX = 256
STRANGERS_PER_NAMER_MAX = 24
"""More than one answer names."""
ADMITTED_MAX = 65_536
GONE_TOLD_MAX = 16
HEDGE_S = 0.2
REFUSED_BY_MAX = 1_024
LINK_REFUSED = ("membrane", "shunned")
"""The codes of a refusal at the opening of a link (`net.link`)."""


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
    holds: bool = True
    permits: Permits = field(default_factory=AllPermitted)
    peers: PeerBook = field(init=False)
    membership: Membership = field(init=False)
    chain_lock: trio.Lock = field(default_factory=trio.Lock)
    pass_lock: trio.Lock = field(default_factory=trio.Lock)
    """Held from judging what follows a chain until it is written, and to let a chain go."""
    validation_bell: Bell = field(default_factory=Bell)
    publish_bells: dict[AgentPubKey, Bell] = field(default_factory=dict)
    deliveries_bell: Bell = field(default_factory=Bell)
    owed_bell: Bell = field(default_factory=Bell)
    peers_bell: Bell = field(default_factory=Bell)
    exchange_bell: Bell = field(default_factory=Bell)
    gossip_bell: Bell = field(default_factory=Bell)
    warrants_bell: Bell = field(default_factory=Bell)
    integrated: trio.Event = field(default_factory=trio.Event)
    blocked: set[AgentPubKey] = field(default_factory=set)
    ended: dict[AgentPubKey, int] = field(default_factory=dict)
    """The last place that counts on the chain of each agent that is blocked as it was revoked."""
    uninvited: set[AgentPubKey] = field(default_factory=set)  # who is blocked without a warrant
    admitted: dict[AgentPubKey, None] = field(default_factory=dict)
    named: dict[AgentPubKey, AgentPubKey | None] = field(default_factory=dict)
    """Who named each stranger to us, the oldest first."""
    gone: dict[AgentPubKey, int] = field(default_factory=dict)
    doubted: set[AgentPubKey] = field(default_factory=set)
    offered: dict[AgentPubKey, dict[AgentPubKey, int]] = field(default_factory=dict)
    found: dict[int, tuple[int, tuple[AgentPubKey, ...]]] = field(default_factory=dict)
    wanted: set[Lack] = field(default_factory=set)
    limits: Limits = field(default_factory=Limits)
    quota: Quota = field(init=False)
    limbo: LimboMemory = field(default_factory=LimboMemory)
    faults: list[str] = field(default_factory=list)
    convicted: bool = False  # whether a warrant that stands names us
    refused_by: dict[AgentPubKey, str] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    head_confirmed: trio.Event = field(default_factory=trio.Event)
    """Set once enough others have said that they hold no more of our chain than we do: before
    that nothing of it is shown to anyone, and nothing witnessed (`workflows.restore`)."""
    astray: str = ""
    """Why nothing is written any more: others hold another continuation of our chain."""
    joined: bool = False
    """Whether we have looked around once, now or before a restart, and know our neighbours."""
    grants: tuple[CapGrant, ...] | None = None
    """What others may call here, once it was looked up; None when that may have changed."""
    chains_read: ChainsRead = field(default_factory=ChainsRead)
    slow: set[AgentPubKey] = field(default_factory=set)
    """Who left us waiting when last asked to read; asked after the others."""
    standings: dict[AgentPubKey, Standing] = field(default_factory=dict)
    seats: dict[AgentPubKey, Standing] = field(default_factory=dict)
    told: set[AgentPubKey] = field(default_factory=set)
    """Who knows our standing."""
    knocks: dict[tuple[AgentPubKey, Knock], tuple[int, bool | None]] = field(default_factory=dict)
    witness_rows: WitnessRows = field(init=False)
    witness_lock: trio.Lock = field(default_factory=trio.Lock)
    _near_version: int = 0
    _info: SignedInfo | None = None
    _info_until_us: int = 0
    _info_says: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        self.peers = PeerBook(self.agent)
        place = witness_place(self.agent, proof_digest(self.membrane_proof))
        self.membership = Membership(self.agent, place, self.holds)
        self.quota = Quota(self.limits)
        self.witness_rows = WitnessRows(self.store)

    @property
    def dna(self) -> DnaHash:
        """The network's name."""
        return self.rules.hash

    @property
    def protocol(self) -> str:
        """The libp2p protocol id of this DNA."""
        return f"/ioe/{to_text(self.dna)}/1"

    @property
    def kad_protocol(self) -> str:
        """The protocol id under which this DNA's peers are found by kad-dht."""
        return f"/ioe/{to_text(self.dna)}/kad/1.0.0"

    def info(self) -> SignedInfo:
        """Our own signed info, renewed before it ages or when what it says changes."""
        now = self.clock.now_us()
        says = (self.membership.holds, *self.transport.addresses())
        if self._info is None or now >= self._info_until_us or says != self._info_says:
            self._info = seal_info(
                self.agent,
                self.dna,
                proof_digest(self.membrane_proof),
                self.membership.holds,
                self.transport.addresses(),
                now,
                self.sign,
            )
            self._info_until_us = now + INFO_RENEW_US
            self._info_says = says
        return self._info

    def learn(self, signed: SignedInfo, named_by: AgentPubKey | None = None) -> AgentPubKey:
        """Take a peer's info into the book and the transport; raises `Malformed`."""
        taken = self.peers.agent_of(signed)
        if taken is not None:
            return taken
        info = open_info(signed, self.dna, self.clock.now_us())
        agent = AgentPubKey(info.agent)
        newcomer = not self.peers.addresses(agent)
        if agent not in self.blocked and self.peers.merge(info, signed):
            self.transport.learn(agent, info.addresses)
            if newcomer and agent not in self.admitted:
                self._note_stranger(agent, named_by)
            if self.membership.get(agent) is not None:
                self._keep(agent)
            elif newcomer:
                self.exchange_bell.ring()
        return agent

    def _note_stranger(self, agent: AgentPubKey, named_by: AgentPubKey | None) -> None:
        """Remember who named a stranger, and forget one if there are too many: the oldest that the
        same peer named, or whoever named most.  So who invents strangers crowds out its own."""
        self.named.pop(agent, None)
        self.named[agent] = named_by
        counts = Counter(self.named[each] for each in self.strangers())
        if counts[named_by] > STRANGERS_PER_NAMER_MAX:
            crowder = named_by
        elif len(self.named) > STRANGERS_MAX:
            crowder = counts.most_common(1)[0][0]
        else:
            return
        crowded_out = next(each for each, by in self.named.items() if by == crowder)
        self.peers.forget(crowded_out)
        del self.named[crowded_out]

    def welcome(self, agent: AgentPubKey) -> None:
        """The membrane has admitted an agent: from now on it counts as a member."""
        if agent == self.agent or agent in self.blocked:
            return
        if len(self.admitted) >= ADMITTED_MAX and agent not in self.admitted:
            self.admitted.pop(next(iter(self.admitted)))
        self.admitted[agent] = None
        if self.peers.info_of(agent) is not None:
            self._keep(agent)
            self.heard(agent)

    def _keep(self, agent: AgentPubKey) -> None:
        """Have a member whose info we hold in our membership, if there is room."""
        info, signed = self.peers.info_of(agent), self.peers.signed_of(agent)
        if info is None or signed is None:
            return  # the book was full, and it was the oldest
        before = self.membership.version
        place = witness_place(agent, info.proof)
        if self.membership.welcome(agent, place, info.holds, self.clock.now_us()):
            self.store.save_peer(agent, encode(signed))
        if self.membership.version != before:
            self.members_changed()

    def _take_in(self) -> None:
        """Somebody was forgotten: keep those who were admitted when there was no room for them."""
        for agent in self.peers.agents():
            info = self.peers.info_of(agent)
            if info is None or agent not in self.admitted or agent in self.blocked:
                continue
            if self.membership.has_room(agent, witness_place(agent, info.proof), info.holds):
                self._keep(agent)

    def recall_info(self, signed: SignedInfo) -> AgentPubKey:
        """Take up a member's info from our own disk, however old."""
        info = open_info(signed, self.dna, None)
        agent = AgentPubKey(info.agent)
        if self.peers.merge(info, signed):
            self.transport.learn(agent, info.addresses)
        return agent

    def members_changed(self) -> None:
        """Authority sets may be others now; those that we belong to only by who is near us."""
        self.owed_bell.ring()
        if self.membership.near_version != self._near_version:
            self._near_version = self.membership.near_version
            self.peers_bell.ring()
            self.gossip_bell.ring()

    def heard(self, peer: AgentPubKey) -> None:
        """A peer has answered or asked."""
        self.gone.pop(peer, None)
        if self.membership.heard(peer, self.clock.now_us()):
            self.members_changed()

    def failed(self, peer: AgentPubKey) -> None:
        """A peer left a request unanswered."""
        if self.membership.failed(peer):
            if len(self.gone) >= GONE_TOLD_MAX:
                self.gone.pop(next(iter(self.gone)))
            self.gone[peer] = self.clock.now_us()
            log.info("%s does not answer any more", to_text(peer)[:12])
            self.members_changed()

    def forget_silent(self) -> None:
        """Drop who has been dead for long, here and on the disk."""
        silent = self.membership.forget_silent(self.clock.now_us())
        if silent:
            self.store.forget_peers(silent)
            for agent in silent:
                self.peers.forget(agent)
            self._take_in()
            self.members_changed()

    def others(self) -> list[AgentPubKey]:
        """Every member that we know and that lives, but us."""
        return self.membership.alive()

    def members_by_place(self, place: int, count: int = WITNESSES) -> list[Standing]:
        """The members that may witness, us included, closest to a place, closest first."""
        known = self.seats.values()
        return nsmallest(count, known, key=lambda each: (each.place ^ place, each.agent))

    def strangers(self) -> list[AgentPubKey]:
        """Whom we only know by an info: anybody can make one, so they count for nothing yet."""
        self.named = {
            agent: by
            for agent, by in self.named.items()
            if agent not in self.admitted and self.peers.info_of(agent) is not None
        }
        return sorted(self.named)

    def why_blocked(self, agent: AgentPubKey) -> str:
        """What a blocked agent is told."""
        if agent in self.ended:
            return "your key was revoked in this network, by your owner or your key-holders"
        return "you are warranted in this network, or were invited by a key that was revoked"

    def block(self, agent: AgentPubKey) -> None:
        """A warrant convicts an agent: it counts for nothing from now on."""
        self.blocked.add(agent)
        self.admitted.pop(agent, None)
        self.membership.forget(agent)
        self._take_in()
        self.members_changed()

    def authorities(self, basis: bytes) -> tuple[AgentPubKey, ...]:
        """The authorities of a basis among who is known and lives, closest first.

        Exact for what is close to us, so for what we may have to hold; for the rest
        `workflows.locate` asks others.
        """
        return self.membership.authorities(key_of(basis))

    def is_authority(self, basis: bytes) -> bool:
        """Whether a basis is in our share."""
        return self.agent in self.authorities(basis)

    def receipts(self, hash_: ActionHash) -> tuple[int, int] | None:
        """(have, needed): which authorities but us have signed for an action of ours.

        None when no such action is on our chain.
        """
        record = self.store.record(hash_)
        if record is None or record.action.author != self.agent:
            return None
        asked = [peer for peer in self.authorities(self.agent) if peer != self.agent]
        seq = record.action.action_seq
        return sum(self.store.next_for(peer) > seq for peer in asked), len(asked)

    def ops_held(self, record: Record) -> int:
        """The set of a record's op kinds that we are an authority for."""
        by_hash = self.rules.by_hash(record.action)
        if record.action.author == self.agent:
            return all_kinds(record.action, by_hash)
        held = 0
        for kind, basis in ops_of(record.action, record.hash, by_hash):
            if self.is_authority(basis):
                held |= kind.value
        return held

    def by_hash(self, records: Sequence[Record]) -> list[bool]:
        """Which of these have an entry that is found by its hash."""
        return [self.rules.by_hash(record.action) for record in records]

    def next_seq(self, author: AgentPubKey) -> int:
        """The sequence number that follows an author's chain as held here."""
        head = self.store.head(author)
        return 0 if head is None else head.seq + 1

    def want(self, hashes: Hashes, chains: Hashes = (), finals: Hashes = ()) -> None:
        """Have records fetched, chains up to actions, and what shows actions to be final."""
        kinds = ((RECORD, hashes), (CHAIN, chains), (FINAL, finals))
        self._want([(kind, bytes(each)) for kind, wanted in kinds for each in sorted(wanted)])

    def want_admission(self, agent: AgentPubKey) -> None:
        """Have it found out whether an agent is a member."""
        self._want([(ADMISSION, agent)])

    def _want(self, lacks: Sequence[Lack]) -> None:
        self.wanted.update(lacks[: WANTED_MAX - len(self.wanted)])
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

    @property
    def sure(self) -> bool:
        """Whether we know what we have signed: enough have told, and nobody of another branch."""
        return self.head_confirmed.is_set() and not self.astray

    def check_branch(self) -> None:
        """Raise `AnotherContinuation` once others were found to hold one."""
        if self.astray:
            raise AnotherContinuation(self.astray)

    def charge(self, peer: AgentPubKey, why: str, fault: Fault = Fault.REFUSED) -> None:
        """Note that a peer sent what it must not; see `core.quota`."""
        if peer == self.agent:
            return
        self.quota.charge(peer, why, fault, self.clock.now_us())
        self.counters.messages_refused += 1
        log.warning("charged %s: %s", to_text(peer)[:12], why)

    async def ask(
        self, peer: AgentPubKey, request: Request, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> Answer:
        """One request to one peer; raises `TransportError`, `Refused` or `Malformed`."""
        try:
            data = await self.transport.request(self.protocol, peer, encode(request), timeout_s)
        except Refused as error:
            self.heard(peer)
            if error.code in LINK_REFUSED and len(self.refused_by) < REFUSED_BY_MAX:
                self.refused_by[peer] = error.text
                if error.code == "membrane":
                    self._note_refusals(error.text)
            raise
        except Busy:
            self.heard(peer)
            raise
        except TransportError:
            self.failed(peer)
            raise
        self.heard(peer)
        self.refused_by.pop(peer, None)
        return answers.decode(data)

    def _note_refusals(self, text: str) -> None:
        """What most members refuse us by is for our owner to know, though no word of theirs
        proves it."""
        same = sum(each == text for each in self.refused_by.values())
        if 2 * same > len(self.others()):
            self.fault(f"most members refuse us: {text}")

    async def ask_first(
        self,
        peers: Sequence[AgentPubKey],
        request: Request,
        take: Callable[[Answer], T | None],
    ) -> T | None:
        """What the first of these peers to have it answers; see `ask_first_of`."""
        found = await self.ask_first_of(peers, request, take)
        return None if found is None else found[1]

    async def ask_first_of(
        self,
        peers: Sequence[AgentPubKey],
        request: Request,
        take: Callable[[Answer], T | None],
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> tuple[AgentPubKey, T] | None:
        """Ask peers in turn, without waiting for slow ones; the first answer that `take` accepts,
        and whose it is.

        The next is asked when one has nothing, or has not answered for `HEDGE_S`: so a silent
        peer costs a moment, and it is asked last from then on until it answers in time.
        `take` raises `Malformed` for an answer that does not stand; that peer is charged.
        """
        found: list[tuple[AgentPubKey, T]] = []
        ended = Bell()

        async def one(peer: AgentPubKey, scope: trio.CancelScope) -> None:
            try:
                taken = take(await self.ask(peer, request, timeout_s))
                self.slow.discard(peer)
            except IoeError as error:
                if isinstance(error, Malformed):
                    self.charge(peer, str(error))
                log.debug("asking %s: %s", to_text(peer)[:12], error)
                taken = None
            if taken is not None:
                found.append((peer, taken))
                scope.cancel()
            ended.ring()

        others = [peer for peer in peers if peer != self.agent]
        async with trio.open_nursery() as nursery:
            for peer in sorted(others, key=lambda peer: peer in self.slow):
                nursery.start_soon(one, peer, nursery.cancel_scope)
                if not await ended.wait(HEDGE_S):
                    self.slow.add(peer)
        return found[0] if found else None

    def note_integrated(self) -> None:
        """Wake whoever waits for something to become visible here."""
        self.integrated.set()
        self.integrated = trio.Event()

    def ring_publish(self) -> None:
        """Something new is on our chain."""
        self.owed_bell.ring()
        for bell in self.publish_bells.values():
            bell.ring()
