"""What integrity zomes may import: entry types, rules, verdicts.

An integrity zome is a Python module that declares its entry types and the rules that every
authority runs on them.  Rules are synchronous and pure: they see the entry, the op, and
through `ValidationHost.must_get_*` other records of the network, nothing else; so every honest
node reaches the same verdict.  What is not declared is refused: a type with no update rule
cannot be updated, one with no delete rule cannot be deleted.

    zome = IntegrityZome("metering")

    @zome.entry_type
    class MeterReading:
        import_wh: int

    @zome.validate_create
    def never_negative(reading: MeterReading, op: CreateOp, host: ValidationHost) -> Verdict:
        return Valid if reading.import_wh >= 0 else Invalid("a negative register")

The zome's source bytes, with those of the pure modules it names, go into the DNA's hash.
"""

import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NewType, Protocol, TypeVar, overload

from msgspec import Struct

from ioe_node.errors import Malformed
from ioe_node.model.action import (
    AnyAction,
    CloseChain,
    Create,
    CreateLink,
    Delete,
    DeleteLink,
    OpenChain,
    Update,
)
from ioe_node.model.codec import Codec, encode
from ioe_node.model.consent import (
    DIGEST_BYTES,
    Consent,
    KeyHolders,
    agreed,
    consent_message,
    holders_digest,
    holders_fault,
)
from ioe_node.model.hashes import (
    ActionHash,
    AgentPubKey,
    DnaHash,
    EntryHash,
    ExternalHash,
    external_hash,
)
from ioe_node.model.hints import check_hashes, names_a_hash
from ioe_node.model.record import ENTRY_BYTES_MAX
from ioe_node.model.signing import verify

__all__ = [
    "DIGEST_BYTES",
    "ActionHash",
    "AgentPubKey",
    "CloseChain",
    "Consent",
    "CreateOp",
    "DeleteOp",
    "DnaHash",
    "Ended",
    "EntryHash",
    "EntryType",
    "ExternalHash",
    "Found",
    "IntegrityZome",
    "Invalid",
    "Invited",
    "KeyHolders",
    "Known",
    "LinkOp",
    "Malformed",
    "Missing",
    "Network",
    "OpenChain",
    "OpenOp",
    "Party",
    "Timestamp",
    "UpdateOp",
    "Valid",
    "ValidationHost",
    "Verdict",
    "agreed",
    "consent_message",
    "decode",
    "encode",
    "external_hash",
    "holders_digest",
    "holders_fault",
    "place_of",
    "verify",
]

HDI_VERSION = 1
Timestamp = NewType("Timestamp", int)
"""Microseconds since 1970-01-01T00:00Z."""


@dataclass(frozen=True)
class _Valid:
    """The record keeps every rule."""


@dataclass(frozen=True)
class Invalid:
    """The record breaks a rule; `reason` is shown to people and goes into the warrant."""

    reason: str


@dataclass(frozen=True)
class Missing:
    """The rule needs these records first; it runs again when they are here.

    `chains` are actions up to which their authors' whole chains are needed.
    """

    hashes: tuple[ActionHash, ...]
    chains: tuple[ActionHash, ...] = ()


Valid = _Valid()
Verdict = _Valid | Invalid | Missing


@dataclass(frozen=True)
class Party:
    """One party's place in a countersigned entry: the action that it commits, in full."""

    agent: AgentPubKey
    action_seq: int
    prev_action: ActionHash
    timestamp_us: Timestamp


class CreateOp(Struct, frozen=True):
    """A Create and its hash."""

    action: Create
    hash: ActionHash


class UpdateOp(Struct, frozen=True):
    """An Update, its hash, and the entry that it replaces."""

    action: Update
    hash: ActionHash
    original: Any


class DeleteOp(Struct, frozen=True):
    """A Delete, its hash, and the author of what it deletes."""

    action: Delete
    hash: ActionHash
    original_author: AgentPubKey


class LinkOp(Struct, frozen=True):
    """A CreateLink, or a DeleteLink with the link that it removes."""

    action: CreateLink | DeleteLink
    hash: ActionHash
    link: CreateLink


class OpenOp(Struct, frozen=True):
    """An OpenChain, its hash, and the action that closed the chain which it continues."""

    action: OpenChain
    hash: ActionHash
    close: CloseChain


class Found(Struct, frozen=True):
    """A record that a rule asked for: its action, hash and decoded entry."""

    hash: ActionHash
    action: AnyAction
    entry: Any


class Invited(Struct, frozen=True):
    """Where the chain of `author` says that it invited somebody."""

    author: AgentPubKey
    seq: int
    action: ActionHash


class Network(Protocol):
    """What a membrane rule knows of the network that it guards."""

    @property
    def hash(self) -> DnaHash:
        """The network's name."""

    @property
    def properties(self) -> Any:
        """The DNA's properties."""


class ValidationHost(Protocol):
    """All that a rule may see besides its entry and op.

    The `must_get_*` functions end the rule with `Missing` when something is not here yet.
    """

    dna: DnaHash
    properties: Any

    def must_get_record(self, action: ActionHash) -> Found:
        """A valid record of this network."""

    def must_get_records(self, actions: Sequence[ActionHash]) -> list[Found]:
        """Several at once, so that all that is missing is fetched in one pass."""

    def must_get_previous(
        self, op: CreateOp | UpdateOp | Party, entry_type: type | str
    ) -> Found | None:
        """The newest record of this type before `op` on its author's chain, or None."""


class Known(Protocol):
    """What is known here by now: another node may know more, so a rule may not ask it."""

    def record(self, action: ActionHash) -> Found | None:
        """A valid record, if it is here."""

    def newest(self, agent: AgentPubKey, entry_type: type) -> Found | None:
        """The newest record of this type on an agent's chain as it is here."""


def place_of(action: AnyAction) -> Party:
    """The place at which `action`, which is no chain's first, stands."""
    assert action.prev_action is not None, "a chain's first action follows nothing"
    timestamp_us = Timestamp(action.timestamp_us)
    return Party(action.author, action.action_seq, action.prev_action, timestamp_us)


def decode(shape: Any, data: bytes) -> Any:
    """The canonical bytes of any shape (proofs, tokens); raises `Malformed`."""
    value = Codec[Any](shape, getattr(shape, "__name__", "value"), ENTRY_BYTES_MAX).decode(data)
    check_hashes(shape, value)
    return value


E_ = TypeVar("E_")
F = TypeVar("F", bound=Callable[..., Verdict])

MembraneRule = Callable[[AgentPubKey, bytes | None, Network], Verdict]
SponsorRule = Callable[[AgentPubKey, bytes | None, Network], AgentPubKey]
AdmissionRule = Callable[[AgentPubKey, bytes | None, ValidationHost], Verdict]
InvitationsRule = Callable[[AgentPubKey, bytes | None, Network], Sequence[Invited]]
OpenRule = Callable[[OpenOp, ValidationHost], Verdict]


def _check_hint(hint: Any, where: str) -> None:
    """Raise TypeError for a field that has no canonical form: floats, sets, maps, anything."""
    if hint is float:
        raise TypeError(f"{where} is a float; use an integer with its unit in the name")
    if {hint, typing.get_origin(hint)} & {set, frozenset, dict, list, Any, object}:
        raise TypeError(f"{where} has no fixed order or shape; use a tuple or a dataclass")
    if isinstance(hint, type) and is_dataclass(hint):
        for name, inner in typing.get_type_hints(hint).items():
            _check_hint(inner, f"{where}.{name}")
    for inner in typing.get_args(hint):
        if not isinstance(inner, str):
            _check_hint(inner, where)


@dataclass(frozen=True)
class Ended:
    """`agent`'s key is good for nothing after place `last_seq` of its chain."""

    agent: AgentPubKey
    last_seq: int


class EntryType:
    """One declared type: its name, where it may be seen, its codec and its rules."""

    def __init__(
        self, zome: str, cls: type, private: bool, by_hash: bool, countersigned: bool
    ) -> None:
        self.cls = cls
        self.name = f"{zome}.{cls.__name__}"
        self.private = private
        self.by_hash = by_hash and not private
        self.countersigned = countersigned
        self.create_rules: list[Callable[..., Verdict]] = []
        self.update_rules: list[Callable[..., Verdict]] = []
        self.delete_rules: list[Callable[..., Verdict]] = []
        self.ends: Callable[[Any], Ended] | None = None
        self.overtaken: Callable[[Found, Known], bool] | None = None
        hints = typing.get_type_hints(cls)
        for field in fields(cls):
            _check_hint(hints[field.name], f"{self.name}.{field.name}")
        self._hashes = [(name, hint) for name, hint in hints.items() if names_a_hash(hint)]
        self._codec: Codec[Any] = Codec(cls, self.name, ENTRY_BYTES_MAX)

    def decode(self, data: bytes) -> Any:
        """The entry of these canonical bytes; raises `Malformed`."""
        entry = self._codec.decode(data)
        for name, hint in self._hashes:
            check_hashes(hint, getattr(entry, name))
        return entry


class IntegrityZome:
    """A zome's data and rules; see the module docstring for how one is written."""

    def __init__(self, name: str, pure_modules: Sequence[types.ModuleType] = ()) -> None:
        self.name = name
        self.entry_types: dict[str, EntryType] = {}
        self.link_types: dict[str, list[Callable[..., Verdict]]] = {}
        self.membrane_rule: MembraneRule | None = None
        self.sponsor_rule: SponsorRule | None = None
        self.invitations_rule: InvitationsRule | None = None
        self.admission_rules: list[AdmissionRule] = []
        self.open_rules: list[OpenRule] = []
        self._sources = [sys._getframe(1).f_globals["__file__"]]
        self._sources += [str(module.__file__) for module in pure_modules]

    def source_digest(self) -> bytes:
        """sha-256 over the bytes of this zome's modules, line ends as LF."""
        digest = sha256()
        for source in self._sources:
            text = Path(source).read_bytes().replace(b"\r\n", b"\n")
            digest.update(sha256(text).digest())
        return digest.digest()

    @overload
    def entry_type(self, cls: type[E_]) -> type[E_]: ...
    @overload
    def entry_type(
        self,
        *,
        visibility: Literal["public", "private"] = ...,
        by_hash: bool = ...,
        countersigned: bool = ...,
    ) -> Callable[[type[E_]], type[E_]]: ...

    def entry_type(
        self,
        cls: type[Any] | None = None,
        *,
        visibility: Literal["public", "private"] = "public",
        by_hash: bool = True,
        countersigned: bool = False,
    ) -> Any:
        """Declare an entry type: a frozen dataclass of integers, text, bytes, hashes, tuples.

        A plain class is made one; write `@dataclass(frozen=True)` below the decorator where a
        type checker should know its constructor.

        `private` content stays on its author's disk.  `by_hash=False` is for streams, such as
        readings, that nobody looks up by content.  A `countersigned` type has a field
        `parties: tuple[Party, ...]` and is committed by all of them or none.
        """

        def declare(plain: type[Any]) -> type[Any]:
            made: type[Any] = plain if is_dataclass(plain) else dataclass(frozen=True)(plain)
            declared = EntryType(self.name, made, visibility == "private", by_hash, countersigned)
            self.entry_types[declared.name] = declared
            return made

        return declare if cls is None else declare(cls)

    def link_type(self, name: str) -> str:
        """Declare a link type; without a rule nobody may remove its links but their author."""
        full = f"{self.name}.{name}"
        self.link_types[full] = []
        return full

    def _type_of(self, rule: Callable[..., Any]) -> EntryType:
        first = next(iter(typing.get_type_hints(rule).values()))
        for declared in self.entry_types.values():
            if declared.cls is first:
                return declared
        raise TypeError(f"{rule.__name__}: its first argument is no entry type of {self.name}")

    def validate_create(self, rule: F) -> F:
        """`rule(entry, op: CreateOp, host) -> Verdict`, run on every Create of the type."""
        self._type_of(rule).create_rules.append(rule)
        return rule

    def validate_update(self, rule: F) -> F:
        """`rule(entry, op: UpdateOp, host) -> Verdict`; without one, updates are refused."""
        self._type_of(rule).update_rules.append(rule)
        return rule

    def validate_delete(self, rule: F) -> F:
        """`rule(entry, op: DeleteOp, host) -> Verdict`; without one, deletes are refused."""
        self._type_of(rule).delete_rules.append(rule)
        return rule

    def validate_link(self, link_type: str) -> Callable[[F], F]:
        """`rule(op: LinkOp, host) -> Verdict` for links of `link_type`."""

        def add(rule: F) -> F:
            self.link_types[link_type].append(rule)
            return rule

        return add

    def validate_open(self, rule: OpenRule) -> OpenRule:
        """`rule(op: OpenOp, host) -> Verdict` for each chain that continues another.

        That the other chain was closed so is certain; where it was closed in favour of an agent
        that is not the author, only a rule can let the author go on for it.
        """
        self.open_rules.append(rule)
        return rule

    def revocation(
        self, unless: Callable[[Found, Known], bool]
    ) -> Callable[[Callable[[Any], Ended]], Callable[..., Ended]]:
        """`rule(entry) -> Ended`: an entry of this type, once valid, ends an agent for all.

        It is as good as a warrant: nobody takes anything from that agent any more.  No rule can
        see that nothing came later, so it is not acted on where `unless(revocation, known)` says
        that something did.
        """

        def declare(rule: Callable[[Any], Ended]) -> Callable[..., Ended]:
            revoking = self._type_of(rule)
            revoking.ends = rule
            revoking.overtaken = unless
            return rule

        return declare

    def membrane(self, rule: MembraneRule) -> MembraneRule:
        """`rule(agent, membrane_proof, network) -> Verdict`: who may be in the network.

        Run before a peer is answered anything, and again on its chain's second action.
        """
        self.membrane_rule = rule
        return rule

    def validate_admission(self, rule: AdmissionRule) -> AdmissionRule:
        """`rule(agent, membrane_proof, host) -> Verdict`, run on a chain's second action.

        It may ask for the records that the proof rests on, as the membrane at the door cannot.
        """
        self.admission_rules.append(rule)
        return rule

    def invitations(self, rule: InvitationsRule) -> InvitationsRule:
        """`rule(agent, membrane_proof, network) -> places`: where an admitted agent was invited.

        What a revoked key wrote after its end invites nobody: who knows that closes the door.
        """
        self.invitations_rule = rule
        return rule

    def sponsor(self, rule: SponsorRule) -> SponsorRule:
        """`rule(agent, membrane_proof, network) -> agent`: on whose word an admitted agent is in.

        Only who is in on its own account witnesses for others: whoever can admit agents by
        itself could make as many as it likes, and choose among them those that stand beside it.
        """
        self.sponsor_rule = rule
        return rule
