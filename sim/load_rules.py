"""The data and rules of the load zome, whose functions are `sim.load_dna`'s; pure."""

from dataclasses import dataclass

from ioe_node.hdi import (
    ActionHash,
    CreateOp,
    IntegrityZome,
    Invalid,
    LinkOp,
    Timestamp,
    UpdateOp,
    Valid,
    ValidationHost,
    Verdict,
)

FILLER_BYTES_MAX = 65_536

zome = IntegrityZome("load")
TIMED = zome.link_type("timed")


@zome.entry_type
@dataclass(frozen=True)
class TimedEntry:
    """Found by its hash: when its author's clock made it, and so many bytes of nothing."""

    created_us: Timestamp
    value: int
    filler: bytes


@zome.entry_type(by_hash=False)
@dataclass(frozen=True)
class StreamEntry:
    """The same, on its author's chain only, as a meter's reading is."""

    created_us: Timestamp
    value: int


@zome.entry_type
@dataclass(frozen=True)
class CheckedEntry:
    """One that names another record, by any author, which its rule must have."""

    created_us: Timestamp
    value: int
    about: ActionHash


@zome.validate_create
def not_too_large(entry: TimedEntry, op: CreateOp, host: ValidationHost) -> Verdict:
    fits = len(entry.filler) <= FILLER_BYTES_MAX
    return Valid if fits else Invalid(f"at most {FILLER_BYTES_MAX} bytes of nothing")


@zome.validate_create
def about_something_older(entry: CheckedEntry, op: CreateOp, host: ValidationHost) -> Verdict:
    return _about_something_older(entry, host)


@zome.validate_update
def still_about_the_same(entry: CheckedEntry, op: UpdateOp, host: ValidationHost) -> Verdict:
    if not isinstance(op.original, CheckedEntry) or op.original.about != entry.about:
        return Invalid("an update that is about something else")
    return _about_something_older(entry, host)


def _about_something_older(entry: CheckedEntry, host: ValidationHost) -> Verdict:
    if entry.value < 0:
        return Invalid("a value is not negative")
    found = host.must_get_record(entry.about)
    if not isinstance(found.entry, TimedEntry):
        return Invalid("about a record that is no timed entry")
    older = found.entry.created_us <= entry.created_us
    return Valid if older else Invalid("about an entry of its own future")


@zome.validate_link(TIMED)
def by_its_author(op: LinkOp, host: ValidationHost) -> Verdict:
    own = op.action.author == op.link.author
    return Valid if own else Invalid("only its author takes a link away")
