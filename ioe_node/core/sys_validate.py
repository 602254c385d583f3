"""The rules that every DNA shares, and how a DNA's own rules are run on one record.

`validate` is what an authority, an author at commit, and a reader all run.  Its outcome is a
value: Valid, Invalid(reason) or Missing(hashes).  It reads other records only through
`Held`, which answers from what is validated here.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ioe_node.core.chain import Head, follows
from ioe_node.errors import IoeError, Malformed
from ioe_node.hdi import (
    ActionHash,
    AgentPubKey,
    CreateOp,
    DeleteOp,
    DnaHash,
    Ended,
    EntryType,
    Found,
    Invalid,
    LinkOp,
    Missing,
    OpenOp,
    Party,
    UpdateOp,
    Valid,
    Verdict,
    half_of,
    place_of,
)
from ioe_node.hdk import DnaDef
from ioe_node.model import capability
from ioe_node.model.action import (
    AGENT_ENTRY,
    CAP_CLAIM_ENTRY,
    CAP_GRANT_ENTRY,
    AgentValidationPkg,
    AnyAction,
    CloseChain,
    Create,
    CreateLink,
    Delete,
    DeleteLink,
    EntryAction,
    OpenChain,
)
from ioe_node.model.hashes import ACTION, AGENT, CORE, DNA, check_hash
from ioe_node.model.record import PARTIES_MAX, Record, root_of, seal_message, tree_of
from ioe_node.model.signing import verify

OPENED_WITHIN_ACTIONS = 16
"""A chain says near its beginning what it continues, so that whoever asks need not read it all."""
FOREIGN_SEAL = "a countersigned proof where none belongs"


class Held(Protocol):
    """Validated records, and those staged before the one in question."""

    def record(self, hash_: ActionHash) -> Record | None:
        """By its hash."""

    def record_at(self, author: AgentPubKey, seq: int) -> Record | None:
        """By its place."""

    def newest_of_type(
        self, author: AgentPubKey, entry_type: str, before_seq: int = ...
    ) -> Record | None:
        """The newest of a type before a place."""

    def is_final(self, hash_: ActionHash) -> bool:
        """Whether an action is known to be final."""


class _Unmet(Exception):
    """A rule asked for what is not here; `missing` says for what."""

    def __init__(self, missing: Missing) -> None:
        self.missing = missing


class RuleHost:
    """The `ValidationHost` of one run of one rule."""

    __slots__ = ("_dna", "_held", "dna", "properties")

    def __init__(self, dna: "Rules", held: Held) -> None:
        self.dna = dna.hash
        self.properties = dna.definition.properties
        self._dna = dna
        self._held = held

    def must_get_record(self, action: ActionHash) -> Found:
        """One validated record; where it is not here, the verdict is Missing."""
        return self.must_get_records([action])[0]

    def must_get_records(self, actions: Sequence[ActionHash]) -> list[Found]:
        """In the order asked; where some are not here, the verdict names all of those."""
        for action in actions:
            check_hash(action, ACTION)
        records = [self._held.record(action) for action in actions]
        missing = tuple(a for a, r in zip(actions, records, strict=True) if r is None)
        if missing:
            raise _Unmet(Missing(missing))
        return [self._dna.found(record) for record in records if record is not None]

    def must_get_previous(
        self, op: CreateOp | UpdateOp | Party, entry_type: type | str
    ) -> Found | None:
        """The author's newest entry of the type before `op`, or None if there is none.

        Missing unless the author's chain is here up to the action that `op` follows.
        """
        place = op if isinstance(op, Party) else place_of(op.action)
        author, seq = place.agent, place.action_seq
        before = self._held.record_at(author, seq - 1)
        if before is None or before.hash != place.prev_action:
            raise _Unmet(Missing((), (place.prev_action,)))
        found = self._held.newest_of_type(author, self._dna.name_of(entry_type), seq)
        return None if found is None else self._dna.found(found)

    def must_be_final(self, actions: Sequence[ActionHash]) -> None:
        """Where some are not known to be, the verdict names all of those."""
        missing = tuple(action for action in actions if not self._held.is_final(action))
        if missing:
            raise _Unmet(Missing((), (), missing))


class KnownHost:
    """The `Known` of what is held."""

    __slots__ = ("_dna", "_held")

    def __init__(self, dna: "Rules", held: Held) -> None:
        self._dna = dna
        self._held = held

    def record(self, action: ActionHash) -> Found | None:
        """A valid record, if it is here."""
        found = self._held.record(action)
        return None if found is None else self._dna.found(found)

    def newest(self, agent: AgentPubKey, entry_type: type) -> Found | None:
        """The newest record of this type on an agent's chain as it is here."""
        found = self._held.newest_of_type(agent, self._dna.name_of(entry_type))
        return None if found is None else self._dna.found(found)


class Rules:
    """One DNA's types and rules, ready to run."""

    def __init__(self, definition: DnaDef) -> None:
        self.definition = definition
        self.hash: DnaHash = definition.hash
        self.entry_types: dict[str, EntryType] = definition.entry_types
        self._by_class = {declared.cls: name for name, declared in self.entry_types.items()}
        self._link_types = definition.link_types
        self._admission_rules = [
            r for zome in definition.zomes for r in zome.integrity.admission_rules
        ]
        self._open_rules = [r for zome in definition.zomes for r in zome.integrity.open_rules]

    def name_of(self, entry_type: type | str) -> str:
        """The full name of a declared type."""
        return entry_type if isinstance(entry_type, str) else self._by_class[entry_type]

    def found(self, record: Record) -> Found:
        """A record with its entry decoded (None where it has none or it is not here)."""
        action, entry = record.action, record.entry
        if entry is None or not isinstance(action, EntryAction):
            return Found(record.hash, action, None)
        declared = self.entry_types.get(action.entry_type)
        return Found(record.hash, action, declared.decode(entry) if declared else entry)

    def by_hash(self, action: AnyAction) -> bool:
        """Whether this action's entry is found by its hash."""
        declared = (
            self.entry_types.get(action.entry_type) if isinstance(action, EntryAction) else None
        )
        return declared is not None and declared.by_hash

    def private(self, entry_type: str) -> bool:
        """Whether entries of this type stay on their author's disk."""
        declared = self.entry_types.get(entry_type)
        return entry_type in (CAP_GRANT_ENTRY, CAP_CLAIM_ENTRY) or (
            declared is not None and declared.private
        )

    def validate(
        self, record: Record, head: Head | None, held: Held, sealed: bool = True
    ) -> Verdict:
        """Every rule on one record whose chain stands at `head`; no clock, so all agree.

        The caller has checked the author's own seal (`model.record.open_*`); the other
        parties' seals are checked here, unless a draft is judged before it is `sealed`.
        """
        action = record.action
        wrong = follows(head, action, self.hash)
        if wrong:
            return Invalid(wrong)
        return self.validate_alone(record, held, sealed)

    def validate_alone(self, record: Record, held: Held, sealed: bool = True) -> Verdict:
        """`validate` but for the place on the chain, which the author's neighbourhood checks."""
        try:
            return self._run(record, held, sealed)
        except _Unmet as unmet:
            return unmet.missing
        except Malformed as error:
            return Invalid(str(error))

    def seal_fault(self, record: Record) -> str | None:
        """What a stored record lacks that takes the DNA's types to see, or None.

        That is a public entry that is not there, and other parties' signatures.
        """
        action = record.action
        if not isinstance(action, EntryAction):
            return FOREIGN_SEAL if record.proof.cosignatures else None
        if record.entry is None:
            return None if self.private(action.entry_type) else "a public entry is not there"
        declared = self.entry_types.get(action.entry_type)
        if declared is None or not declared.countersigned:
            return FOREIGN_SEAL if record.proof.cosignatures else None
        return countersign_fault(record, self.hash, declared.decode(record.entry).parties)

    def ended_by(self, record: Record) -> Ended | None:
        """Whom a valid record ends, if it is a revocation."""
        declared = self._revoking(record)
        if declared is None or declared.ends is None or record.entry is None:
            return None
        return declared.ends(declared.decode(record.entry))

    def overtaken(self, record: Record, held: Held) -> bool:
        """Whether what is known to have come after it keeps a revocation from being acted on."""
        declared = self._revoking(record)
        if declared is None or declared.overtaken is None:
            return False
        return declared.overtaken(self.found(record), KnownHost(self, held))

    def _revoking(self, record: Record) -> EntryType | None:
        action = record.action
        return self.entry_types.get(action.entry_type) if isinstance(action, Create) else None

    def _run(self, record: Record, held: Held, sealed: bool) -> Verdict:
        action = record.action
        if record.proof.cosignatures and not isinstance(action, Create):
            return Invalid(FOREIGN_SEAL)
        if isinstance(action, EntryAction):
            return self._entry(record, action, held, sealed)
        if isinstance(action, AgentValidationPkg):
            return self._admission(action, held)
        if isinstance(action, Delete):
            return self._delete(record, action, held)
        if isinstance(action, CreateLink | DeleteLink):
            return self._link(record, action, held)
        if isinstance(action, OpenChain):
            return self._open(record, action, held)
        if isinstance(action, CloseChain):
            return _close(action)
        return Valid

    def _admission(self, action: AgentValidationPkg, held: Held) -> Verdict:
        author, proof = action.author, action.membrane_proof
        verdict = self.definition.admits(author, proof)
        if isinstance(verdict, Invalid):
            return verdict
        return _first_fault(self._admission_rules, author, proof, RuleHost(self, held))

    def _entry(self, record: Record, action: EntryAction, held: Held, sealed: bool) -> Verdict:
        if action.entry_type == AGENT_ENTRY:
            right = isinstance(action, Create) and record.entry == action.author
            return Valid if right else Invalid("an agent entry that is not its author's key")
        declared = self.entry_types.get(action.entry_type)
        if declared is None:
            if self.private(action.entry_type):
                return self._private(record, action)
            return Invalid(f"this DNA has no entry type '{action.entry_type}'")
        if declared.private:
            return self._private(record, action)
        if record.entry is None:
            return Invalid("a public entry that was not sent")
        entry = declared.decode(record.entry)
        if declared.countersigned:
            wrong = countersign_fault(record, self.hash, entry.parties) if sealed else None
            wrong = wrong or _parties_fault(entry.parties, held)
        else:
            foreign = bool(record.proof.cosignatures)
            wrong = FOREIGN_SEAL if foreign else None
        if wrong:
            return Invalid(wrong)
        host = RuleHost(self, held)
        if isinstance(action, Create):
            create = CreateOp(action, record.hash)
            return _first_fault(declared.create_rules, entry, create, host)
        return self._update(declared, entry, UpdateOp(action, record.hash, None), host)

    def _update(self, declared: EntryType, entry: Any, op: UpdateOp, host: RuleHost) -> Verdict:
        action = op.action
        original = host.must_get_record(action.original_action)
        if not declared.update_rules:
            return Invalid(f"{declared.name} cannot be updated")
        same = isinstance(original.action, EntryAction) and (
            original.action.entry_type == action.entry_type
            and original.action.entry_hash == action.original_entry
        )
        if not same:
            return Invalid("an update of another type or entry than it says")
        update = UpdateOp(action, op.hash, original.entry)
        return _first_fault(declared.update_rules, entry, update, host)

    def _private(self, record: Record, action: EntryAction) -> Verdict:
        """Private content is judged only where it is: on its author's disk."""
        if record.entry is None:
            return Valid
        if action.entry_type == CAP_GRANT_ENTRY:
            capability.grants.decode(record.entry)
        elif action.entry_type == CAP_CLAIM_ENTRY:
            capability.claims.decode(record.entry)
        else:
            self.entry_types[action.entry_type].decode(record.entry)
        return Valid

    def _delete(self, record: Record, action: Delete, held: Held) -> Verdict:
        host = RuleHost(self, held)
        target = host.must_get_record(action.deletes_action)
        if not isinstance(target.action, EntryAction):
            return Invalid("a delete of something that is no entry")
        if target.action.entry_hash != action.deletes_entry:
            return Invalid("a delete of another entry than it says")
        if target.action.entry_type in (CAP_GRANT_ENTRY, CAP_CLAIM_ENTRY):
            own = target.action.author == action.author
            return Valid if own else Invalid("only its author ends a capability")
        declared = self.entry_types.get(target.action.entry_type)
        if declared is None or not declared.delete_rules:
            return Invalid(f"{target.action.entry_type} cannot be deleted")
        op = DeleteOp(action, record.hash, target.action.author)
        return _first_fault(declared.delete_rules, target.entry, op, host)

    def _open(self, record: Record, action: OpenChain, held: Held) -> Verdict:
        host = RuleHost(self, held)
        if action.action_seq >= OPENED_WITHIN_ACTIONS:
            return Invalid("a chain says near its beginning what it continues")
        close = host.must_get_record(action.close_hash).action
        if not isinstance(close, CloseChain) or close.author != action.prev_target:
            return Invalid("the continuation of a chain that was not closed so")
        target = close.new_target
        for_an_agent = target is not None and target[:3] == AGENT
        if target != action.author and not (for_an_agent and self._open_rules):
            return Invalid("the continuation of a chain that was closed for another")
        return _first_fault(self._open_rules, OpenOp(action, record.hash, close), host)

    def _link(self, record: Record, action: CreateLink | DeleteLink, held: Held) -> Verdict:
        host = RuleHost(self, held)
        link: AnyAction = action
        if isinstance(action, DeleteLink):
            link = host.must_get_record(action.create_link).action
            if not isinstance(link, CreateLink) or link.base != action.base:
                return Invalid("a removal of something that is no link at this base")
        assert isinstance(link, CreateLink)
        rules = self._link_types.get(link.link_type)
        if rules is None:
            return Invalid(f"this DNA has no link type '{link.link_type}'")
        if not rules and link.author != action.author:
            return Invalid("only its author may remove this link")
        op = LinkOp(action, record.hash, link)
        return _first_fault(rules, op, host)


def _close(action: CloseChain) -> Verdict:
    target = action.new_target
    if target is not None:
        check_hash(target, DNA if target[:3] == DNA else AGENT)
    return Valid


def _first_fault(rules: Sequence[Callable[..., Verdict]], *arguments: Any) -> Verdict:
    """The first verdict that is not Valid.

    A rule that fails on what it is given refuses it: rules are pure, so on every node alike, and
    nobody's entry stops a node.  Our own trouble (a disk that cannot be read) is no verdict.
    """
    for rule in rules:
        try:
            verdict = rule(*arguments)
        except (_Unmet, IoeError, MemoryError):
            raise
        except Exception as error:
            return Invalid(f"the rule {rule.__name__} fails on it: {type(error).__name__}")
        if not isinstance(verdict, type(Valid)):
            return verdict
    return Valid


def party_actions(
    parties: Sequence[Party], entry_type: str, entry_hash: Any
) -> list[tuple[ActionHash, bytes]]:
    """(hash, bytes) of the action that each party of a countersigned entry commits."""
    return [half_of(party, entry_type, entry_hash) for party in parties]


def countersign_fault(record: Record, network: DnaHash, parties: Sequence[Party]) -> str | None:
    """Why a countersigned record is not what every party signed, or None.

    The entry fixes each party's action to the byte, so the root that all must have signed is
    computed from the entry alone.
    """
    action, proof = record.action, record.proof
    if not isinstance(action, Create):
        return "a countersigned entry in an update"
    agents = [party.agent for party in parties]
    if not 2 <= len(agents) <= PARTIES_MAX or len(set(agents)) != len(agents):
        return "a countersigned entry needs two to eight distinct parties"
    hashes = party_actions(parties, action.entry_type, action.entry_hash)
    if action.author not in agents or hashes[agents.index(action.author)][0] != record.hash:
        return "a countersigned record that is not its author's part of the entry"
    root = tree_of([hash_[CORE] for hash_, _ in hashes])[-1][0]
    if root_of(record.hash[CORE], proof) != root or proof.index != agents.index(action.author):
        return "a countersigned record under another root"
    others = [agent for agent in agents if agent != action.author]
    if len(proof.cosignatures) != len(others):
        return "a countersigned record that lacks a party's signature"
    message = seal_message(network, root)
    for agent, signature in zip(others, proof.cosignatures, strict=True):
        if not verify(agent[CORE], message, signature):
            return "a countersigned record with a party's signature that does not fit"
    return None


def _parties_fault(parties: Sequence[Party], held: Held) -> str | None:
    """Why a party could not have committed at the place it names; raises `_Unmet`."""
    before = [held.record(party.prev_action) for party in parties]
    missing = tuple(
        p.prev_action for p, record in zip(parties, before, strict=True) if record is None
    )
    if missing:
        raise _Unmet(Missing(missing))
    for party, record in zip(parties, before, strict=True):
        if record is None or record.action.author != party.agent:
            return "a party that names another's chain"
        if record.action.action_seq + 1 != party.action_seq:
            return "a party's place that does not follow its chain"
        if record.action.timestamp_us > party.timestamp_us:
            return "a party's action earlier than the one before it"
    return None
