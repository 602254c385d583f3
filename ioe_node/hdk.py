"""What coordinator zomes may import: functions that clients call, and what these may do.

A coordinator zome holds the functions of a zome.  Each runs on a *scratch*: what it creates
is checked by the DNA's rules and sealed into one bundle when it returns, or not at all.

    zome = CoordinatorZome(integrity)

    @zome.function
    async def record(host: Host, reading: MeterReading) -> ActionHash:
        return await host.create(reading)

A payload is a map with one key a parameter; parameters that are dataclasses are converted.
Functions of other zomes are reached by name: `await host.call("currency", "pay", {...})`.
"""

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol, TypeVar

import msgspec

from ioe_node.errors import (
    Busy,
    CallError,
    IoeError,
    LocalError,
    Malformed,
    PeerError,
    TransportError,
)
from ioe_node.hdi import (
    HDI_VERSION,
    ActionHash,
    AgentPubKey,
    DnaHash,
    EntryType,
    Found,
    IntegrityZome,
    Invalid,
    Invited,
    Party,
    Timestamp,
    Valid,
    Verdict,
)
from ioe_node.model.capability import CapClaim, CapGrant
from ioe_node.model.codec import encode, pack
from ioe_node.model.hashes import dna_hash
from ioe_node.model.hints import check_hashes

__all__ = [
    "ActionHash",
    "AgentInfo",
    "AgentPubKey",
    "App",
    "AppHost",
    "Busy",
    "CallError",
    "CapClaim",
    "CapGrant",
    "Conviction",
    "CoordinatorZome",
    "DnaDef",
    "DnaHash",
    "Found",
    "Host",
    "IoeError",
    "LinkFound",
    "LocalError",
    "Modifiers",
    "Party",
    "PeerError",
    "Timestamp",
    "TransportError",
    "Zome",
]


FINAL_TIMEOUT_S = 30.0
FUNCTIONS_KNOWN_MAX = 1_024


@dataclass(frozen=True)
class AgentInfo:
    """Who runs this cell, in which network."""

    agent: AgentPubKey
    dna: DnaHash


@dataclass(frozen=True)
class LinkFound:
    """A link that stands: its own hash, author, target and tag."""

    hash: ActionHash
    author: AgentPubKey
    target: bytes
    tag: bytes


@dataclass(frozen=True)
class Conviction:
    """A warrant: its hash, what it proves (`model.warrant`), who accused, and when it came."""

    hash: bytes
    kind: str
    accuser: AgentPubKey
    kept_at_us: int


class Host(Protocol):
    """What a function may do.  Writing takes the chain for this call; others wait."""

    properties: Any

    def agent_info(self) -> AgentInfo:
        """Who we are here."""

    def now_us(self) -> int:
        """The node's clock."""

    async def create(self, entry: Any) -> ActionHash:
        """Stage a new entry: of a declared type, or a `CapGrant` or `CapClaim`."""

    async def update(self, original: ActionHash, entry: Any) -> ActionHash:
        """Stage an entry that replaces `original`."""

    async def delete(self, original: ActionHash) -> ActionHash:
        """Stage the end of `original`."""

    async def create_link(
        self, base: bytes, target: bytes, link_type: str, tag: bytes = b""
    ) -> ActionHash:
        """Stage a link, found at `base`."""

    async def delete_link(self, link: ActionHash) -> ActionHash:
        """Stage the end of a link."""

    async def close_chain(self, new_target: AgentPubKey | DnaHash | None = None) -> ActionHash:
        """Stage the end of our chain, which goes on under `new_target`; nothing follows it."""

    async def open_chain(self, prev_target: AgentPubKey, close_hash: ActionHash) -> ActionHash:
        """Stage that our chain continues the one that `close_hash` closed."""

    async def get(self, action: ActionHash) -> Found | None:
        """A record, from here or from an authority, checked; None if nobody has it."""

    async def get_judged(self, action: ActionHash) -> Found:
        """A record that is valid by the rules as run here; what others show keeps to none of them.

        Raises `Busy` while it is fetched and judged, and so for ever for one that breaks a rule.
        """

    async def get_links(self, base: bytes, link_type: str) -> list[LinkFound]:
        """The links of a type that stand at `base`, oldest first."""

    async def query(
        self,
        entry_type: type,
        author: AgentPubKey | None = None,
        limit: int = 1_000,
        enough: Callable[[Found], bool] | None = None,
    ) -> list[Found]:
        """Records of a type on a chain (ours if no author is named), newest first.

        A chain that others hold is read from them; empty when none of them can be reached.

        Reading stops after the first record that is `enough`.
        """

    async def activity(self, agent: AgentPubKey, from_seq: int = 0) -> list[Found]:
        """The next records of a chain, oldest first, from here or from an authority, checked.

        `from_seq` is 0 or one past the last record read before; empty when there are no more.
        """

    async def newest(self, agent: AgentPubKey, limit: int) -> list[Found]:
        """The newest records of a chain, newest first, without a reading of the rest.

        At most `limit`; empty when nobody who holds the chain can be reached.
        """

    async def convictions(self, agent: AgentPubKey) -> list[Conviction]:
        """The warrants kept here that convict an agent, in the order in which they came."""

    async def agents(self) -> list[AgentPubKey]:
        """Every agent of this network that is known here: all, in one of some dozens."""

    async def authorities(self, basis: bytes) -> Sequence[AgentPubKey]:
        """Who holds what is found at a basis, as far as is known here, closest first."""

    async def call(self, zome: str, function: str, payload: Mapping[str, Any]) -> Any:
        """Call a function of another zome of this cell, on the same scratch."""

    async def call_remote(
        self,
        agent: AgentPubKey,
        zome: str,
        function: str,
        payload: Mapping[str, Any],
        secret: bytes | None = None,
    ) -> Any:
        """What a function of another agent's returns to us, under what it has granted.

        Before anything is written in this call.  Raises `Refused` (no grant, no such function,
        or the function refused; `code` says which), `Busy` or `TransportError` (try again).
        """

    async def countersign(
        self, counterparty: AgentPubKey, function: str, terms: Mapping[str, Any]
    ) -> ActionHash:
        """Commit one shared entry with `counterparty`, both or neither.

        `function` is the `draft` of a countersigned type; both sides run it on the same terms
        and must reach the same entry.  Raises `Busy` (try again), `Refused` or `TransportError`.
        """

    async def is_final(self, action: ActionHash) -> bool:
        """Whether an action is known here to be final; asks nobody."""

    async def which_final(
        self, actions: Sequence[ActionHash], ask: bool = True
    ) -> list[ActionHash]:
        """Which of these are known here to be final.

        In a draft both parties go by what the one that was asked knows, or learns at once where it
        may `ask`; the other raises `Busy` if that is less than it knows itself.
        """

    def hasten(self, actions: Sequence[ActionHash]) -> None:
        """Have these made final in the background, as far as they are here."""

    async def final(self, action: ActionHash, timeout_s: float = FINAL_TIMEOUT_S) -> bool:
        """Have an action made final, ours or another's; whether it is when the time is over.

        Whoever is paid waits for this.  Raises `CallError` in a call that has begun to write
        (its chain would be held meanwhile), or when the action never can be final.
        """

    def emit_signal(self, value: Any) -> None:
        """Tell local clients a plain value, once this call has committed."""


SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


class AppHost(Protocol):
    """What a smart energy app may do on the node of the device that it runs beside."""

    def now_us(self) -> int:
        """The node's clock."""

    def settings(self, shape: type[SettingsT]) -> SettingsT:
        """What the owner's policy sets for this app; raises `LocalError` for what does not fit."""

    def switched_on(self) -> bool | None:
        """How the device's switch stood when it was last read; None where nothing is known."""

    async def set_on(self, on: bool) -> None:
        """Switch the device; raises as its driver does, and `LocalError` against the policy."""

    async def prices(self) -> Sequence[Mapping[str, Any]]:
        """All that the configured feed knows: `start_us`, `end_us`, `micro_per_kwh` (or None) and
        `level` (above 0: an event that asks for less) of each period.  Raises as the feed does.
        """

    async def metered_until(self, at_us: int) -> bool:
        """Whether the device's interval readings of all before that time are on its chain."""

    async def call(self, zome: str, function: str, payload: Mapping[str, Any]) -> Any:
        """Call a zome function as the device."""

    def remember(self, kept: Mapping[str, int]) -> None:
        """Keep this over restarts, in place of what was kept before."""

    def recall(self) -> Mapping[str, int]:
        """What was kept last; nothing at first."""

    def decided(self, decision: Mapping[str, Any]) -> None:
        """Show the owner what was done, and `why`."""

    async def sleep(self, seconds: int) -> None:
        """Wait."""


class App(Protocol):
    """A smart energy app: a zome's own program, beside each device whose config names it."""

    name: str
    settings_type: type[Any]
    """A `msgspec.Struct` of switches, numbers and texts, with a default for each; it forbids
    unknown fields.  Titles and descriptions (`msgspec.Meta`) are shown to the owner.
    """

    async def run(self, host: AppHost) -> None:
        """Do its work until cancelled."""


F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
DraftFunction = Callable[..., Awaitable[Any]]


class CoordinatorZome:
    """A zome's functions, for the integrity zome of the same name."""

    def __init__(self, integrity: IntegrityZome) -> None:
        self.integrity = integrity
        self.name = integrity.name
        self.functions: dict[str, Callable[..., Awaitable[Any]]] = {}
        self.drafts: dict[str, DraftFunction] = {}

    def function(self, function: F) -> F:
        """Let clients and other zomes call `function(host, **payload)`."""
        self.functions[function.__name__] = function
        return function

    def draft(self, function: F) -> F:
        """`function(host, parties, **terms) -> entry` of a countersigned type.

        Run by both parties on the same terms and places; the one who was asked may refuse by
        raising `CallError`.
        """
        self.drafts[function.__name__] = function
        return function


@lru_cache(maxsize=FUNCTIONS_KNOWN_MAX)
def _parameters(
    function: Callable[..., Any], skip: int
) -> tuple[tuple[inspect.Parameter, ...], dict[str, Any]]:
    """A function's parameters after the first `skip`, and its type hints by name."""
    parameters = tuple(inspect.signature(function).parameters.values())[skip:]
    return parameters, typing.get_type_hints(function)


def as_payload(function: Callable[..., Any], value: Any, skip: int) -> Mapping[str, Any]:
    """A payload of what a client sends that knows of no parameter names.

    Nothing stands for no parameters; a map is the payload, unless the function has one parameter
    and the map does not name it; whatever else is that one parameter.
    """
    names = [parameter.name for parameter in _parameters(function, skip)[0]]
    named = isinstance(value, dict) and (len(names) != 1 or names[0] in value)
    if value is None and not names:
        return {}
    if named:
        return typing.cast(Mapping[str, Any], value)
    if len(names) == 1:
        return {names[0]: value}
    if value is None:
        return {}
    raise CallError(f"{function.__name__} takes a map of {', '.join(names) or 'nothing'}")


def arguments(
    function: Callable[..., Any], payload: Mapping[str, Any], skip: int
) -> dict[str, Any]:
    """Convert a payload to `function`'s parameters after the first `skip`.

    Raises `CallError` that names what is missing, unknown or of the wrong type.
    """
    parameters, hints = _parameters(function, skip)
    unknown = set(payload) - {p.name for p in parameters}
    if unknown:
        raise CallError(f"{function.__name__} takes no '{sorted(unknown)[0]}'")
    made: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name in payload:
            try:
                hint = hints[parameter.name]
                made[parameter.name] = msgspec.convert(payload[parameter.name], hint)
                check_hashes(hint, made[parameter.name])
            except (msgspec.ValidationError, Malformed) as error:
                raise CallError(f"{function.__name__}: '{parameter.name}': {error}") from None
        elif parameter.default is inspect.Parameter.empty:
            raise CallError(f"{function.__name__} needs '{parameter.name}'")
    return made


@dataclass(frozen=True)
class Zome:
    """Both halves of a zome."""

    integrity: IntegrityZome
    coordinator: CoordinatorZome


@dataclass(frozen=True)
class Modifiers:
    """What makes a clone: a seed and the properties' canonical bytes."""

    seed: str
    properties: bytes


@dataclass(frozen=True)
class DnaDef:
    """A DNA: zomes and properties; its hash, with a seed, names a network.

    `properties` is an instance of a frozen dataclass that holds the defaults.  `apps` are those
    that devices in such a network may run.
    """

    name: str
    zomes: tuple[Zome, ...]
    properties: Any
    seed: str = ""
    apps: tuple[type[App], ...] = ()

    def clone(self, modifiers: Modifiers) -> "DnaDef":
        """The same rules with another seed and other properties: another network."""
        try:
            properties = msgspec.msgpack.decode(modifiers.properties, type=type(self.properties))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise LocalError(f"properties that do not fit DNA '{self.name}': {error}") from None
        return replace(self, seed=modifiers.seed, properties=properties)

    @property
    def modifiers(self) -> Modifiers:
        """What `clone` takes to make this DNA again."""
        return Modifiers(self.seed, encode(self.properties))

    @cached_property
    def hash(self) -> DnaHash:
        """Over the integrity sources' bytes, the properties and the seed; not coordinators."""
        return dna_hash(
            pack(
                {
                    "hdi": HDI_VERSION,
                    "integrity": [
                        [zome.integrity.name, zome.integrity.source_digest()] for zome in self.zomes
                    ],
                    "properties": encode(self.properties),
                    "seed": self.seed,
                }
            )
        )

    @property
    def entry_types(self) -> dict[str, EntryType]:
        """Every declared entry type, by full name."""
        return {
            name: declared
            for zome in self.zomes
            for name, declared in zome.integrity.entry_types.items()
        }

    @property
    def link_types(self) -> dict[str, Sequence[Callable[..., Verdict]]]:
        """Every declared link type's rules, by full name."""
        return {
            name: rules for zome in self.zomes for name, rules in zome.integrity.link_types.items()
        }

    def admits(self, agent: AgentPubKey, membrane_proof: bytes | None) -> Verdict:
        """Every zome's membrane rule, on one agent's proof."""
        for zome in self.zomes:
            rule = zome.integrity.membrane_rule
            verdict = rule(agent, membrane_proof, self) if rule else Valid
            if isinstance(verdict, Invalid):
                return verdict
        return Valid

    def invitations(self, agent: AgentPubKey, membrane_proof: bytes | None) -> Sequence[Invited]:
        """Where the chains of others say that they invited an agent that is admitted."""
        rules = [zome.integrity.invitations_rule for zome in self.zomes]
        return [place for rule in rules if rule for place in rule(agent, membrane_proof, self)]

    def sponsor(self, agent: AgentPubKey, membrane_proof: bytes | None) -> AgentPubKey:
        """On whose word an agent that is admitted is in: its own, unless a zome says otherwise."""
        for zome in self.zomes:
            if zome.integrity.sponsor_rule is not None:
                return zome.integrity.sponsor_rule(agent, membrane_proof, self)
        return agent
