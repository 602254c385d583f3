"""Settlement: two agents commit one shared entry, both or neither.

    proposer                          counterparty
      | Propose(terms, my place)  ->     | drafts the entry, with its own place
      |  <- Drafted(entry)               |
      | judges it, writes its promise    |
      | Sign(entry, my signature) ->     | still at that place? signs, commits its half
      |  <- Signed(signature)            |
      | commits its half                 |

The entry names both places, so it fixes both actions to the byte, and one signature of each
over their common root seals both.  Only the counterparty decides, by committing.  The
proposer's promise is on its disk before it is sent: after a crash, or an answer that never
came, it asks for the outcome until it has it.  Whoever has answered "never" has forgotten the
draft, and signs nothing that it has not drafted.  No chain is held between messages.

A half that is committed is made final in the background (`workflows.hastening`).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import trio

from ioe_node.core.chain import Head
from ioe_node.core.sys_validate import party_actions
from ioe_node.errors import (
    AgainstPolicy,
    Busy,
    CallError,
    IoeError,
    Malformed,
    PeerError,
    Refused,
    RuleBroken,
)
from ioe_node.hdi import ActionHash, AgentPubKey, EntryType, Missing, Party, Timestamp
from ioe_node.hdk import Host, arguments
from ioe_node.model.action import Create, decode_action
from ioe_node.model.codec import encode, pack, unpack
from ioe_node.model.hashes import CORE, EntryHash, entry_hash, to_text
from ioe_node.model.record import Parcel, Proof, Record, path_of, seal_message, tree_of
from ioe_node.model.signing import verify
from ioe_node.net.link import code_of
from ioe_node.net.messages import (
    FINALS_PER_DRAFT_MAX,
    Drafted,
    Failed,
    Never,
    Outcome,
    Propose,
    Sign,
    Signed,
)
from ioe_node.workflows.bell import Bell
from ioe_node.workflows.certificates import learn
from ioe_node.workflows.incoming_ops import park
from ioe_node.workflows.overlay import Overlay, judge
from ioe_node.workflows.space import TIMESTAMP_AHEAD_US_MAX, Space, log

CHAIN_WAIT_S = 0.5
OUTCOME_RETRY_S = 1.0
DRAFTS_MAX = 256

Halves = Iterable[tuple[AgentPubKey, ActionHash]]
"""Each party's action of a settlement."""


def half_of(
    place: int,
    actions: Sequence[tuple[ActionHash, bytes]],
    entry: bytes,
    signatures: Sequence[bytes],
) -> Record:
    """The record of the party at `place`, with everybody's signature."""
    levels = tree_of([hash_[CORE] for hash_, _ in actions])
    others = tuple(each for index, each in enumerate(signatures) if index != place)
    proof = Proof(signatures[place], place, len(actions), path_of(levels, place), others)
    hash_, data = actions[place]
    return Record(hash_, decode_action(data), data, proof, entry)


def other_halves(space: Space, records: Sequence[Record]) -> list[Parcel]:
    """What the other parties of countersigned records have committed with them.

    One half proves the whole: its entry and signatures give the others', so whoever holds one
    holds all, and a party that drops its half, or signs two at one place, is found at once.
    """
    halves: list[Parcel] = []
    for record in records:
        action, proof = record.action, record.proof
        if not proof.cosignatures or record.entry is None or not isinstance(action, Create):
            continue
        parties = space.rules.entry_types[action.entry_type].decode(record.entry).parties
        actions = party_actions(parties, action.entry_type, action.entry_hash)
        signatures = list(proof.cosignatures)
        signatures.insert(proof.index, proof.signature)
        halves += [
            half_of(place, actions, record.entry, signatures).wire()
            for place, party in enumerate(parties)
            if party.agent not in (action.author, space.agent)
        ]
    return halves


async def park_other_halves(space: Space, records: Sequence[Record]) -> None:
    """Have the other parties' halves validated like anything that we fetch."""
    try:
        await park(space, space.agent, other_halves(space, records))
    except Busy as error:
        log.info("the other halves of settlements are left to their authors: %s", error)


class Shared:
    """A countersigned entry of two, opened: its type, parties, their actions and the root."""

    def __init__(self, space: Space, zome: str, entry: bytes) -> None:
        self.entry = entry
        self.hash: EntryHash = entry_hash(entry)
        self.declared = _countersigned_type(space, zome)
        decoded = self.declared.decode(entry)
        self.parties: tuple[Party, ...] = decoded.parties
        self.agents = [party.agent for party in self.parties]
        if len(self.agents) != 2 or space.agent not in self.agents:
            raise Malformed("a shared entry of other parties")
        self.actions = party_actions(self.parties, self.declared.name, self.hash)
        root = tree_of([hash_[CORE] for hash_, _ in self.actions])[-1][0]
        self.message = seal_message(space.dna, root)
        self.place = self.agents.index(space.agent)

    @property
    def ours(self) -> Party:
        """Our party."""
        return self.parties[self.place]

    @property
    def theirs(self) -> Party:
        """The other party."""
        return self.parties[1 - self.place]

    def half(self, our_signature: bytes, their_signature: bytes) -> Record:
        """Our record."""
        signatures = [their_signature, their_signature]
        signatures[self.place] = our_signature
        return half_of(self.place, self.actions, self.entry, signatures)


def _countersigned_type(space: Space, zome: str) -> EntryType:
    for declared in space.rules.entry_types.values():
        if declared.countersigned and declared.name.startswith(f"{zome}."):
            return declared
    raise CallError(f"zome '{zome}' has no countersigned entry type")


class DraftHost(Host, Protocol):
    """The host of a draft; the chains of `local` are read as they are held here.

    `finals` are what a draft took for final; a second draft goes by what was `agreed` so.
    """

    local: frozenset[AgentPubKey]
    agreed: frozenset[ActionHash] | None
    finals: set[ActionHash]


async def _draft(
    host: DraftHost,
    space: Space,
    zome: str,
    function: str,
    parties: tuple[Party, Party],
    terms: Mapping[str, Any],
    agreed: frozenset[ActionHash] | None = None,
) -> bytes:
    """Run a zome's draft function; the bytes of the entry that it gives."""
    for each in space.rules.definition.zomes:
        draft = each.coordinator.drafts.get(function)
        if each.coordinator.name == zome and draft is not None:
            host.local, host.agreed = frozenset(party.agent for party in parties), agreed
            try:
                entry = await draft(host, parties, **arguments(draft, terms, skip=2))
            finally:
                host.local, host.agreed = frozenset(), None
            try:
                return encode(entry)
            except (TypeError, ValueError, OverflowError) as error:
                raise CallError(f"terms that make no entry: {error}") from None
    raise CallError(f"zome '{zome}' has no draft '{function}'")


async def _check(space: Space, record: Record, other: AgentPubKey, sealed: bool) -> None:
    """Judge our half; raises `RuleBroken`, or `Busy` when it needs what is not here yet.

    What the other party holds to be final it can show.
    """
    fault = judge(space.rules, Overlay(space.store), [record], sealed)
    if fault is not None and isinstance(fault[1], Missing) and fault[1].finals:
        await learn(space, fault[1].finals, [other])
        fault = judge(space.rules, Overlay(space.store), [record], sealed)
    if fault is None:
        return
    verdict = fault[1]
    if isinstance(verdict, Missing):
        space.want(verdict.hashes, verdict.chains)
        raise Busy("a settlement refers to records that are not here yet; try again")
    raise RuleBroken(verdict.reason)


def _check_time(space: Space, other: Party) -> None:
    """A party dated ahead of us would commit what all others refuse until then."""
    if other.timestamp_us > space.clock.now_us() + TIMESTAMP_AHEAD_US_MAX:
        raise PeerError("the other party's clock is more than five minutes ahead of ours")


def _must_know(space: Space, other: Party) -> None:
    """A draft is made of the other's account: raises `Busy` while its chain is not here."""
    if not space.store.on_chain(other.agent, other.action_seq - 1, other.prev_action):
        space.want((), [other.prev_action])
        raise Busy("the other party's chain is not all here yet; try again")


class Settlements:
    """Both sides of one cell's settlements."""

    def __init__(self, space: Space, note_halves: Callable[[Halves], None]) -> None:
        """`note_halves` is told of the halves of whatever is committed."""
        self._space = space
        self._drafted: OrderedDict[EntryHash, str] = OrderedDict()
        self._signing: set[EntryHash] = set()
        self._promised = Bell()
        self._note_halves = note_halves

    async def _commit(self, shared: Shared, record: Record) -> None:
        space = self._space
        ops = [space.ops_held(record)]

        def write() -> None:
            with space.store.flushed():
                space.store.commit([record], ops, space.by_hash([record]))

        await space.run(write)
        space.counters.bundles_committed += 1
        await park_other_halves(space, [record])
        space.ring_publish()
        halves = (hash_ for hash_, _ in shared.actions)
        self._note_halves(zip(shared.agents, halves, strict=True))
        space.signal({"kind": "settled", "hash": record.hash})

    def hasten(self, actions: Sequence[ActionHash]) -> None:
        """Have others' actions that we depend on made final, as far as they are here."""
        for action in actions:
            record = self._space.store.record(action)
            if record is None:
                self._space.want([action])
            elif not self._space.witness_rows.is_final(action):
                self._note_halves([(record.action.author, action)])

    # -- the proposer -------------------------------------------------------------------------

    async def propose(
        self,
        host: DraftHost,
        head: Head,
        counterparty: AgentPubKey,
        name: str,
        terms: Mapping[str, Any],
    ) -> ActionHash:
        """Settle with `counterparty`; the caller holds our chain, whose head is `head`."""
        space = self._space
        if counterparty in space.blocked:
            raise PeerError("with whoever is shut out of this network nobody settles")
        await space.permits.deal(counterparty, name, True)
        if not space.head_confirmed.is_set():
            raise Busy("nobody has told yet what others hold of our chain; try again")
        zome, _, function = name.partition(".")
        now = max(space.clock.now_us(), head.timestamp_us)
        ours = Party(space.agent, head.seq + 1, head.hash, Timestamp(now))
        try:
            packed = pack(dict(terms))
        except Malformed as error:
            raise CallError(f"terms that cannot be sent: {error}") from None
        proposal = Propose(zome, function, packed, ours.action_seq, head.hash, now)
        answer = await space.ask(counterparty, proposal)
        if isinstance(answer, Failed):
            raise Refused(answer.code, answer.text)
        if not isinstance(answer, Drafted):
            raise Malformed("a proposal answered by something else than a draft")
        shared = Shared(space, zome, answer.entry)
        if shared.ours != ours or shared.theirs.agent != counterparty:
            raise Malformed("a draft with other parties than were proposed")
        _check_time(space, shared.theirs)
        _must_know(space, shared.theirs)
        agreed = frozenset(map(ActionHash, answer.finals))
        parties = (ours, shared.theirs)
        expected = await _draft(host, space, zome, function, parties, terms, agreed)
        if expected != answer.entry:
            raise Busy("the counterparty sees other accounts than we do yet; try again")
        nothing = bytes(64)
        await _check(space, shared.half(nothing, nothing), counterparty, sealed=False)
        promise = pack({"zome": zome, "entry": shared.entry})
        await space.run(space.store.promise, ours.action_seq, promise)
        self._promised.ring()
        try:
            request = Sign(shared.entry, space.sign(shared.message))
            await self._conclude(shared, await space.ask(counterparty, request))
        except IoeError as error:
            log.info("a settlement is in doubt: %s", error)
            await self._ask_outcome()
            if not space.store.has(shared.actions[shared.place][0]):
                raise
        return shared.actions[shared.place][0]

    async def _conclude(self, shared: Shared, answer: object) -> None:
        """Commit our half of what the counterparty has signed."""
        if not isinstance(answer, Signed):
            raise Malformed("a request to sign answered by something else")
        if not verify(shared.theirs.agent[CORE], shared.message, answer.signature):
            raise Malformed("a counterparty's signature that does not fit")
        hash_, _ = shared.actions[shared.place]
        if self._space.store.has(hash_):
            await self._space.run(self._space.store.release, shared.ours.action_seq)
        else:
            half = shared.half(self._space.sign(shared.message), answer.signature)
            await self._commit(shared, half)

    async def resolve(self) -> None:
        """Ask for the outcome of a promise left by a crash or a lost answer; for ever."""
        while True:
            while self._space.store.promised() is not None:
                async with self._space.chain_lock:
                    await self._ask_outcome()
                await trio.sleep(OUTCOME_RETRY_S)
            await self._promised.wait()

    async def _ask_outcome(self) -> None:
        """One question about the promise in doubt, if there is one; the chain is held."""
        space = self._space
        promised = space.store.promised()
        if promised is None or space.astray:
            return
        seq, body = promised
        promise = unpack(body)
        shared = Shared(space, promise["zome"], promise["entry"])
        peer = shared.theirs.agent
        try:
            answer = await space.ask(peer, Outcome(shared.hash))
            if isinstance(answer, Never):
                await space.run(space.store.release, seq)
            else:
                await self._conclude(shared, answer)
        except IoeError as error:
            log.info("asking %s for an outcome: %s", to_text(peer)[:12], error)

    # -- the counterparty ---------------------------------------------------------------------

    async def on_propose(
        self, host: DraftHost, proposer: AgentPubKey, ask: Propose
    ) -> Drafted | Failed:
        """Draft the entry at both places; nothing is held and nothing is signed.

        What our policy declines is an answer: the proposer could not know, and is not charged.
        """
        space = self._space
        try:
            await space.permits.deal(proposer, f"{ask.zome}.{ask.function}", False)
        except AgainstPolicy as error:
            return Failed(code_of(error), f"declined: {error}")
        head = space.store.head(space.agent)
        if head is None or head.closed or space.store.promised() is not None:
            raise Busy("this chain is in the middle of another settlement; try again")
        now = max(space.clock.now_us(), head.timestamp_us)
        theirs = Party(
            proposer, ask.action_seq, ActionHash(ask.prev_action), Timestamp(ask.timestamp_us)
        )
        ours = Party(space.agent, head.seq + 1, head.hash, Timestamp(now))
        _check_time(space, theirs)
        _must_know(space, theirs)
        terms = unpack(ask.terms)
        if not isinstance(terms, dict):
            raise Malformed("terms that are no map")
        try:
            entry = await _draft(host, space, ask.zome, ask.function, (theirs, ours), terms)
        except CallError as error:
            raise PeerError(f"declined: {error}") from None
        shared = Shared(space, ask.zome, entry)
        self._drafted[shared.hash] = ask.zome
        if len(self._drafted) > DRAFTS_MAX:
            self._drafted.popitem(last=False)
        return Drafted(entry, tuple(sorted(host.finals))[:FINALS_PER_DRAFT_MAX])

    async def on_sign(self, proposer: AgentPubKey, ask: Sign) -> Signed:
        """Sign and commit our half, if we drafted it and still stand at its place."""
        entry = entry_hash(ask.entry)
        zome = self._drafted.pop(entry, None)
        if zome is None:
            raise Busy("no draft of that entry is known here (any more); propose it again")
        self._signing.add(entry)
        try:
            return await self._sign(zome, proposer, ask)
        finally:
            self._signing.discard(entry)

    async def _sign(self, zome: str, proposer: AgentPubKey, ask: Sign) -> Signed:
        space = self._space
        shared = Shared(space, zome, ask.entry)
        if shared.theirs.agent != proposer:
            raise PeerError("an entry of other parties")
        if not verify(proposer[CORE], shared.message, ask.signature):
            raise Malformed("a signature that does not fit")
        with trio.move_on_after(CHAIN_WAIT_S):
            await space.chain_lock.acquire()
        if space.chain_lock.statistics().owner is not trio.lowlevel.current_task():
            raise Busy("this chain is being written; try again")
        try:
            space.check_branch()
            head = space.store.head(space.agent)
            place = (shared.ours.action_seq - 1, shared.ours.prev_action)
            if head is None or (head.seq, head.hash) != place:
                raise Busy("our chain has moved on since the draft; try again")
            if space.store.promised() is not None:
                raise Busy("this chain is in the middle of another settlement; try again")
            ours = space.sign(shared.message)
            record = shared.half(ours, ask.signature)
            try:
                await _check(space, record, proposer, sealed=True)
            except RuleBroken as error:
                raise PeerError(f"declined: {error}") from None
            await self._commit(shared, record)
        finally:
            space.chain_lock.release()
        return Signed(ours)

    def on_outcome(self, proposer: AgentPubKey, ask: Outcome) -> Signed | Never:
        """Did we sign?  Whoever hears never may rely on it: the draft is forgotten here."""
        if ask.entry_hash in self._signing:
            raise Busy("it is being signed just now; ask again")
        self._drafted.pop(EntryHash(ask.entry_hash), None)
        space = self._space
        for record in space.store.by_entry(EntryHash(ask.entry_hash)):
            action = record.action
            if action.author == space.agent and isinstance(action, Create):
                return Signed(record.proof.signature)
        return Never()
