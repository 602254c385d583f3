"""A zome call: authorise, run on a scratch, judge, seal once, commit, ring.

What a function creates is staged on top of our chain's head; the first write takes the chain
for this call and others wait, so the hashes that it returns are the ones that are committed.
Nothing is written unless the whole call succeeds and every rule holds.
"""

import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ioe_node.core.chain import Draft, Head, head_after, seal
from ioe_node.errors import (
    Busy,
    CallError,
    Malformed,
    RuleBroken,
    TransportError,
    Unauthorised,
)
from ioe_node.hdi import ActionHash, AgentPubKey, DnaHash, EntryHash, Found, Missing
from ioe_node.hdk import (
    FINAL_TIMEOUT_S,
    AgentInfo,
    Conviction,
    DnaDef,
    LinkFound,
    arguments,
)
from ioe_node.model import capability
from ioe_node.model.action import (
    CAP_CLAIM_ENTRY,
    CAP_GRANT_ENTRY,
    AnyAction,
    CloseChain,
    Create,
    CreateLink,
    Delete,
    DeleteLink,
    OpenChain,
    Update,
    hash_of,
)
from ioe_node.model.codec import check_value, encode
from ioe_node.model.hashes import entry_hash
from ioe_node.model.record import (
    BUNDLE_ACTIONS_MAX,
    BUNDLE_BYTES_MAX,
    ENTRY_BYTES_MAX,
    Proof,
    Record,
)
from ioe_node.net.messages import CALL_DEPTH_MAX, Call
from ioe_node.workflows import cascade
from ioe_node.workflows.activity import read_chain, read_whole_chain
from ioe_node.workflows.certificates import learn
from ioe_node.workflows.evidence import convictions_of, newest_of_chain
from ioe_node.workflows.finality import finalise
from ioe_node.workflows.integration import end_revoked
from ioe_node.workflows.links import retrieve_links
from ioe_node.workflows.locate import authorities_of
from ioe_node.workflows.overlay import Overlay, judge
from ioe_node.workflows.publish import throttle
from ioe_node.workflows.remote_call import Run, call_remote
from ioe_node.workflows.settle import Settlements
from ioe_node.workflows.space import Space

T = TypeVar("T")

PLACEHOLDER = Proof(bytes(64))
_CAPABILITIES: dict[type[Any], str] = {
    capability.CapGrant: CAP_GRANT_ENTRY,
    capability.CapClaim: CAP_CLAIM_ENTRY,
}


NOT_HERE_YET = "this refers to records that are not here yet; they are fetched, try again"


class CallHost:
    """The `hdk.Host` of one call; its scratch, and the chain once it writes."""

    def __init__(self, space: Space, settlements: Settlements, depth: int = 0) -> None:
        self.properties = space.rules.definition.properties
        self.space = space
        self.drafts: list[Draft] = []
        self.signals: list[Any] = []
        self._settlements = settlements
        self._depth = depth
        self._head: Head | None = None
        self._overlay = Overlay(space.store)
        self.local: frozenset[AgentPubKey] = frozenset()
        """Whose chains are read as they are held here: a draft must see what it will rest on."""
        self.agreed: frozenset[ActionHash] | None = None
        self.finals: set[ActionHash] = set()

    def agent_info(self) -> AgentInfo:
        return AgentInfo(self.space.agent, self.space.dna)

    def now_us(self) -> int:
        return self.space.clock.now_us()

    async def _take_chain(self) -> Head:
        if self._head is None:
            await self.space.chain_lock.acquire()
            try:
                self._head = self._writable_head()
            finally:
                if self._head is None:
                    self.space.chain_lock.release()
        return self._head

    def _writable_head(self) -> Head:
        self.space.check_branch()
        head = self.space.store.head(self.space.agent)
        if head is None or head.closed:
            raise CallError("this chain has no genesis or is closed; nothing can be written")
        if self.space.store.promised() is not None:
            raise Busy("a settlement is in doubt; its counterparty will be asked again")
        return head

    def let_go(self) -> None:
        """Give the chain back."""
        if self._head is not None:
            self._head = None
            self.space.chain_lock.release()

    async def _stage(
        self, kind: type[Any], entry: bytes | None = None, **fields: Any
    ) -> ActionHash:
        head = await self._take_chain()
        if len(self.drafts) >= BUNDLE_ACTIONS_MAX:
            raise CallError(f"one call commits at most {BUNDLE_ACTIONS_MAX} actions")
        action: AnyAction = kind(
            author=self.space.agent,
            timestamp_us=max(self.now_us(), head.timestamp_us),
            action_seq=head.seq + 1,
            prev_action=head.hash,
            **fields,
        )
        hash_, data = hash_of(action)
        self.drafts.append(Draft(hash_, action, data, entry))
        self._overlay.add(Record(hash_, action, data, PLACEHOLDER, entry))
        self._head = head_after(action, hash_)
        return hash_

    def _encode(self, entry: Any) -> tuple[str, bytes, EntryHash]:
        try:
            name = _CAPABILITIES.get(type(entry)) or self.space.rules.name_of(type(entry))
            data = encode(entry)
        except KeyError:
            raise CallError(f"{type(entry).__name__} is no entry type of this DNA") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise CallError(f"{type(entry).__name__} cannot be encoded: {error}") from None
        if len(data) > ENTRY_BYTES_MAX:
            raise CallError(f"an entry of {len(data)} bytes, at most {ENTRY_BYTES_MAX}")
        return name, data, entry_hash(data)

    async def create(self, entry: Any) -> ActionHash:
        name, data, hash_ = self._encode(entry)
        return await self._stage(Create, data, entry_type=name, entry_hash=hash_)

    async def update(self, original: ActionHash, entry: Any) -> ActionHash:
        name, data, hash_ = self._encode(entry)
        before = await self._must(original)
        if not isinstance(before.action, Create | Update):
            raise CallError("only an entry can be updated")
        return await self._stage(
            Update,
            data,
            original_action=original,
            original_entry=before.action.entry_hash,
            entry_type=name,
            entry_hash=hash_,
        )

    async def delete(self, original: ActionHash) -> ActionHash:
        before = await self._must(original)
        if not isinstance(before.action, Create | Update):
            raise CallError("only an entry can be deleted")
        return await self._stage(
            Delete, deletes_action=original, deletes_entry=before.action.entry_hash
        )

    async def create_link(
        self, base: bytes, target: bytes, link_type: str, tag: bytes = b""
    ) -> ActionHash:
        return await self._stage(CreateLink, base=base, target=target, link_type=link_type, tag=tag)

    async def delete_link(self, link: ActionHash) -> ActionHash:
        before = await self._must(link)
        if not isinstance(before.action, CreateLink):
            raise CallError("only a link can be removed")
        return await self._stage(DeleteLink, base=before.action.base, create_link=link)

    async def close_chain(self, new_target: AgentPubKey | DnaHash | None = None) -> ActionHash:
        return await self._stage(CloseChain, new_target=new_target)

    async def open_chain(self, prev_target: AgentPubKey, close_hash: ActionHash) -> ActionHash:
        return await self._stage(OpenChain, prev_target=prev_target, close_hash=close_hash)

    async def _must(self, action: ActionHash) -> Found:
        found = await self.get(action)
        if found is None:
            raise CallError("that record is not here and no authority has it; try again")
        return found

    async def get(self, action: ActionHash) -> Found | None:
        record = self._overlay.record(action)
        if record is None:
            record = await cascade.retrieve_record(self.space, action)
        return None if record is None else self.space.rules.found(record)

    async def get_judged(self, action: ActionHash) -> Found:
        record = self._overlay.record(action)
        if record is None:
            self.space.want((action,))
            raise Busy(NOT_HERE_YET)
        return self.space.rules.found(record)

    async def get_links(self, base: bytes, link_type: str) -> list[LinkFound]:
        records = await retrieve_links(self.space, base)
        actions = [(r.hash, r.action) for r in records]
        actions += [(d.hash, d.action) for d in self.drafts]
        gone = {a.create_link for _, a in actions if isinstance(a, DeleteLink)}
        return [
            LinkFound(hash_, action.author, action.target, action.tag)
            for hash_, action in actions
            if isinstance(action, CreateLink)
            and action.base == base
            and action.link_type == link_type
            and hash_ not in gone
        ]

    async def query(
        self,
        entry_type: type,
        author: AgentPubKey | None = None,
        limit: int = 1_000,
        enough: Callable[[Found], bool] | None = None,
    ) -> list[Found]:
        who = self.space.agent if author is None else author
        name = self.space.rules.name_of(entry_type)
        staged = [
            record
            for record in reversed(self._overlay.records.values())
            if getattr(record.action, "entry_type", None) == name and who == self.space.agent
        ]
        found: list[Found] = []
        for record in itertools.chain(staged, await self._of_type(who, name)):
            if len(found) >= limit:
                break
            found.append(self.space.rules.found(record))
            if enough is not None and enough(found[-1]):
                break
        return found

    async def activity(self, agent: AgentPubKey, from_seq: int = 0) -> list[Found]:
        records = await read_chain(self.space, agent, from_seq)
        return [self.space.rules.found(record) for record in records]

    async def newest(self, agent: AgentPubKey, limit: int) -> list[Found]:
        records = await newest_of_chain(self.space, agent, limit)
        return [self.space.rules.found(record) for record in records]

    async def convictions(self, agent: AgentPubKey) -> list[Conviction]:
        return await convictions_of(self.space, agent)

    async def _of_type(self, author: AgentPubKey, name: str) -> Iterable[Record]:
        """Records of a type, newest first: from here if the chain is ours to hold."""
        space = self.space
        if self._is_here(author):
            return space.store.of_type(author, name)
        chain = await read_whole_chain(space, author)
        return (r for r in reversed(chain) if getattr(r.action, "entry_type", None) == name)

    def _is_here(self, author: AgentPubKey) -> bool:
        """Whether a chain is ours to hold, and has come: who is new here still asks the others."""
        if author == self.space.agent or author in self.local:
            return True
        return self.space.is_authority(author) and self.space.store.head(author) is not None

    async def agents(self) -> list[AgentPubKey]:
        return sorted({*self.space.store.authors(), *self.space.others()})

    async def authorities(self, basis: bytes) -> Sequence[AgentPubKey]:
        return await authorities_of(self.space, basis)

    async def call(self, zome: str, function: str, payload: Mapping[str, Any]) -> Any:
        if self._depth >= CALL_DEPTH_MAX:
            raise CallError(f"zome calls nested deeper than {CALL_DEPTH_MAX}")
        self._depth += 1
        try:
            return await invoke(self, zome, function, payload)
        finally:
            self._depth -= 1

    async def call_remote(
        self,
        agent: AgentPubKey,
        zome: str,
        function: str,
        payload: Mapping[str, Any],
        secret: bytes | None = None,
    ) -> Any:
        if self._head is not None:
            raise CallError("a remote call comes before anything is written: no chain waits")
        return await call_remote(
            self.space, agent, zome, function, payload, secret, self._depth + 1
        )

    async def countersign(
        self, counterparty: AgentPubKey, function: str, terms: Mapping[str, Any]
    ) -> ActionHash:
        if self.drafts:
            raise CallError("a settlement is a bundle of its own; commit nothing before it")
        head = await self._take_chain()
        try:
            return await self._settlements.propose(self, head, counterparty, function, terms)
        finally:
            self.let_go()

    async def is_final(self, action: ActionHash) -> bool:
        return self.space.witness_rows.is_final(action)

    async def which_final(
        self, actions: Sequence[ActionHash], ask: bool = True
    ) -> list[ActionHash]:
        others = sorted(self.local - {self.space.agent})
        if ask and others and self.agreed is None:
            await learn(self.space, actions, others)
        known = [each for each in actions if self.space.witness_rows.is_final(each)]
        if self.agreed is None:
            self.finals.update(known)
            return known
        if ask and not self.agreed.issuperset(known):
            raise Busy("the counterparty has yet to learn what is final; try again")
        return [action for action in actions if action in self.agreed]

    def hasten(self, actions: Sequence[ActionHash]) -> None:
        self._settlements.hasten(actions)

    async def final(self, action: ActionHash, timeout_s: float = FINAL_TIMEOUT_S) -> bool:
        if self._head is not None:
            raise CallError("wait for finality before this call writes, or in another call")
        try:
            await finalise(self.space, action, timeout_s)
        except TransportError:
            return False
        return True

    def emit_signal(self, value: Any) -> None:
        try:
            check_value(value)
        except Malformed as error:
            raise CallError(f"a signal that cannot be sent: {error}") from None
        self.signals.append(value)


def functions_of(definition: DnaDef, zome: str) -> Mapping[str, Any]:
    """A zome's functions by name; raises `CallError` for no such zome."""
    for each in definition.zomes:
        if each.coordinator.name == zome:
            return each.coordinator.functions
    raise CallError(f"this DNA has no zome '{zome}'")


async def invoke(host: CallHost, zome: str, name: str, payload: Mapping[str, Any]) -> Any:
    """Find, convert the payload, run."""
    function = functions_of(host.space.rules.definition, zome).get(name)
    if function is None:
        raise CallError(f"zome '{zome}' has no function '{name}'")
    return await function(host, **arguments(function, payload, skip=1))


def authorise(
    space: Space, caller: AgentPubKey, secret: bytes | None, zome: str, name: str
) -> None:
    """Raise `Unauthorised` unless `caller` is the author or holds a grant of ours."""
    if caller == space.agent:
        return
    if space.grants is None:
        space.grants = _standing_grants(space)
    function = f"{zome}.{name}"
    if any(capability.allows(grant, caller, secret, function) for grant in space.grants):
        return
    raise Unauthorised(f"no capability to call {zome}.{name}; ask its owner for one")


def _standing_grants(space: Space) -> tuple[capability.CapGrant, ...]:
    """Our grants that nothing has ended; a walk over our whole chain."""
    return tuple(
        capability.grants.decode(record.entry)
        for record in space.store.of_type(space.agent, CAP_GRANT_ENTRY)
        if record.entry is not None
        and not any(isinstance(r.action, Delete) for r in space.store.amendments(record.hash))
    )


async def call_zome(
    space: Space,
    settlements: Settlements,
    zome: str,
    name: str,
    payload: Mapping[str, Any],
    caller: AgentPubKey | None = None,
    secret: bytes | None = None,
    depth: int = 0,
) -> Any:
    """Run one function for `caller` (ourselves by default) and commit what it staged.

    Raises `CallError` and its kinds, `AnotherContinuation`, or `Busy` (try again); then nothing
    was written.
    """
    authorise(space, caller or space.agent, secret, zome, name)

    async def act(host: CallHost) -> Any:
        return await invoke(host, zome, name, payload)

    try:
        result, signals = await perform(space, settlements, act, depth)
    except (ValueError, TypeError) as error:
        raise CallError(f"{zome}.{name}: {error}") from error
    for value in signals:
        space.signal({"kind": "app", "dna": space.dna, "zome": zome, "value": value})
    return result


async def perform(
    space: Space,
    settlements: Settlements,
    act: Callable[[CallHost], Awaitable[T]],
    depth: int = 0,
) -> tuple[T, list[Any]]:
    """Run `act` on a scratch and commit what it staged; what it returned, and its signals."""
    host = CallHost(space, settlements, depth)
    try:
        result = await act(host)
        if host.drafts:
            records = await commit(space, host.drafts)
    finally:
        host.let_go()
    if host.drafts:
        await end_revoked(space, records)
        space.ring_publish()
        await throttle(space)
    return result, host.signals


def runner_for_peers(space: Space, settlements: Settlements) -> Run:
    """How a peer's `Call` is run here: as that caller, with the secret that it shows."""

    async def run(caller: AgentPubKey, call: Call, payload: Mapping[str, Any]) -> Any:
        await space.permits.call(caller, call.zome, call.function)
        return await call_zome(
            space, settlements, call.zome, call.function, payload, caller, call.secret, call.depth
        )

    return run


async def commit(space: Space, drafts: Sequence[Draft]) -> list[Record]:
    """Seal drafts by one signature, run our own rules, write chain and ops in one transaction.

    The caller holds the chain.  Raises `RuleBroken`; then nothing was written.
    """
    size = sum(len(draft.action_bytes) + len(draft.entry or b"") for draft in drafts)
    if size > BUNDLE_BYTES_MAX:
        raise CallError(f"a bundle of {size} bytes, at most {BUNDLE_BYTES_MAX}")
    records = seal(drafts, space.dna, space.sign)
    fault = judge(space.rules, Overlay(space.store), records)
    if fault is not None:
        verdict = fault[1]
        if isinstance(verdict, Missing):
            space.want(verdict.hashes)
            raise Busy(NOT_HERE_YET)
        raise RuleBroken(verdict.reason)
    await keep(space, records)
    return records


async def keep(space: Space, records: Sequence[Record]) -> None:
    """Write judged records of our own; a store call is never abandoned half way."""
    ops = [space.ops_held(record) for record in records]
    await space.run(space.store.commit, records, ops, space.by_hash(records))
    if any(_may_change_grants(record.action) for record in records):
        space.grants = None
    space.counters.bundles_committed += 1


def _may_change_grants(action: AnyAction) -> bool:
    return isinstance(action, Delete) or getattr(action, "entry_type", None) == CAP_GRANT_ENTRY
