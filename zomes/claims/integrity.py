"""Claims and who may make them (I-054 to I-057, M-003 to M-006).

Every entry here names its subject and is found by a link at the subject's key; the link's tag
says what it is and whose word, so that a reader fetches only what it would believe.  What can
be taken back is linked at its own hash too, where only its author can link anything: there a
reader sees whether it was, whatever others heap up at the subject's key.
"""

import re
from dataclasses import dataclass

from ioe_node.hdi import (
    ActionHash,
    AgentPubKey,
    CreateOp,
    IntegrityZome,
    Invalid,
    LinkOp,
    Timestamp,
    Valid,
    ValidationHost,
    Verdict,
    verify,
)
from zomes.claims import disclosure
from zomes.claims.disclosure import DIGEST_BYTES, FIELDS_MAX, Field, Opening

BODY_BYTES_MAX = 16_384
TEXT_CHARS_MAX = 200
URL_CHARS_MAX = 500
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
URL = re.compile(r"https?://[!-~]+")
OUR_DOMAINS = (b"ioe/", b"ioe ")

zome = IntegrityZome("claims", pure_modules=[disclosure])

ABOUT = zome.link_type("about")
"""From the subject's key, or its own hash, to an entry, and from there to its withdrawal."""


@zome.entry_type
@dataclass(frozen=True)
class Claim:
    """The author's word about `subject`, good from `valid_from` until before `valid_until`.

    `kind` says in which capacity, such as maker, installer or grid_operator: what that is worth
    depends on who says it.
    """

    subject: AgentPubKey
    kind: str
    fields: tuple[Field, ...]
    valid_from: Timestamp
    valid_until: Timestamp


@zome.entry_type
@dataclass(frozen=True)
class SignedElsewhere:
    """`body`, in whatever form, as the holder of an Ed25519 key signed it, about `subject`.

    `signer` is that key, wrapped as an agent's though it need be none here.  That the body is
    about the subject is the author's word, unless it names the subject's key.
    """

    subject: AgentPubKey
    signer: AgentPubKey
    body: bytes
    signature: bytes


@dataclass(frozen=True)
class Attribute:
    """One property of a device, for everyone to read."""

    name: str
    value: str


@zome.entry_type
@dataclass(frozen=True)
class Application:
    """An owner asks the approvers for a credential of its device, the subject.

    With enough `Approval`s it is one.  It names the device's own acknowledgement of its owner
    and is bound to that key: there is no entry that would move it to another.
    """

    subject: AgentPubKey
    acknowledgement: ActionHash
    attributes: tuple[Attribute, ...]


@zome.entry_type
@dataclass(frozen=True)
class Approval:
    """An approver's yes to an application; the credential stands while enough of them do."""

    subject: AgentPubKey
    application: ActionHash


@zome.entry_type
@dataclass(frozen=True)
class Status:
    """The state of a device that applied, by its owner: the hardware and the pool it is in."""

    subject: AgentPubKey
    application: ActionHash
    hardware: str
    pool: str


@zome.entry_type
@dataclass(frozen=True)
class Withdrawal:
    """The author takes back a claim, application or approval of its own, for good."""

    entry: ActionHash
    reason: str


@zome.entry_type
@dataclass(frozen=True)
class Delegation:
    """Who answers for the author's public profile: an agent here, or whoever is at a URL."""

    subject: AgentPubKey
    agent: AgentPubKey | None
    url: str


@zome.entry_type
@dataclass(frozen=True)
class Profile:
    """What the public may know of the subject, by itself or under its `delegation`."""

    subject: AgentPubKey
    delegation: ActionHash | None
    name: str
    about: str


@zome.entry_type(visibility="private")
@dataclass(frozen=True)
class Kept:
    """What opens all fields of a claim about the author."""

    claim: ActionHash
    openings: tuple[Opening, ...]


Withdrawable = Claim | SignedElsewhere | Application | Approval
Said = Withdrawable | Status | Delegation | Profile


def issuer_of(entry: Said | Withdrawal, author: AgentPubKey) -> AgentPubKey:
    """Whose word an entry is."""
    return entry.signer if isinstance(entry, SignedElsewhere) else author


def tag_of(entry: Said | Withdrawal, author: AgentPubKey) -> bytes:
    """The tag of the link to an entry: its type and its issuer."""
    return type(entry).__name__.encode() + b":" + issuer_of(entry, author)


@zome.validate_create
def committed_by_another(entry: Claim, op: CreateOp, host: ValidationHost) -> Verdict:
    if entry.subject == op.action.author:
        return Invalid("nobody claims anything of itself; ask another to")
    if entry.valid_from >= entry.valid_until:
        return Invalid("a claim that ends before it begins")
    names = [field.name for field in entry.fields]
    if not 1 <= len(names) <= FIELDS_MAX or names != sorted(set(names)):
        return Invalid(f"a claim has 1 to {FIELDS_MAX} fields, in the order of their names")
    if not all(map(NAME.fullmatch, [entry.kind, *names])):
        return Invalid("kinds and names are of up to 32 of a-z, 0-9 and _, a letter first")
    if any(len(field.digest) != DIGEST_BYTES for field in entry.fields):
        return Invalid(f"a commitment has {DIGEST_BYTES} bytes")
    return Valid


@zome.validate_create
def signed_by_that_key(entry: SignedElsewhere, op: CreateOp, host: ValidationHost) -> Verdict:
    if not 1 <= len(entry.body) <= BODY_BYTES_MAX:
        return Invalid(f"what was signed elsewhere has 1 to {BODY_BYTES_MAX} bytes")
    if entry.subject == entry.signer:
        return Invalid("nobody claims anything of itself; ask another to")
    if entry.body.startswith(OUR_DOMAINS):
        return Invalid("what a node signs in its own course is no claim")
    if not verify(entry.signer[3:35], entry.body, entry.signature):
        return Invalid("a signature that is not that key's over these bytes")
    return Valid


@zome.validate_create
def for_a_device_of_ours(entry: Application, op: CreateOp, host: ValidationHost) -> Verdict:
    names = [attribute.name for attribute in entry.attributes]
    if len(names) > FIELDS_MAX or names != sorted(set(names)):
        return Invalid(f"a device has at most {FIELDS_MAX} attributes, in the order of their names")
    if not all(map(NAME.fullmatch, names)):
        return Invalid("names are of up to 32 of a-z, 0-9 and _, a letter first")
    if any(len(attribute.value) > TEXT_CHARS_MAX for attribute in entry.attributes):
        return Invalid(f"an attribute has at most {TEXT_CHARS_MAX} characters")
    found = host.must_get_record(entry.acknowledgement)
    if getattr(found.action, "entry_type", "") != "identity.Acknowledgement":
        return Invalid("an application without the device's word for its owner")
    if found.action.author != entry.subject:
        return Invalid("the word of another device: a credential is bound to one key for good")
    if found.entry.owner != op.action.author:
        return Invalid("only its owner applies for a device")
    return Valid


@zome.validate_create
def by_an_approver(entry: Approval, op: CreateOp, host: ValidationHost) -> Verdict:
    approvers = host.properties.approvers or host.properties.stewards
    if op.action.author not in approvers:
        return Invalid("an approval by someone who is no approver here")
    return _of_that_device(entry, host)


@zome.validate_create
def told_by_its_owner(entry: Status, op: CreateOp, host: ValidationHost) -> Verdict:
    if max(len(entry.hardware), len(entry.pool)) > TEXT_CHARS_MAX:
        return Invalid(f"a status has at most {TEXT_CHARS_MAX} characters")
    if host.must_get_record(entry.application).action.author != op.action.author:
        return Invalid("only the owner who applied tells a device's status")
    return _of_that_device(entry, host)


def _of_that_device(entry: Approval | Status, host: ValidationHost) -> Verdict:
    applied = host.must_get_record(entry.application).entry
    if not isinstance(applied, Application) or applied.subject != entry.subject:
        return Invalid("no application for that device: a credential is bound to one key for good")
    return Valid


@zome.validate_create
def taken_back_by_its_author(entry: Withdrawal, op: CreateOp, host: ValidationHost) -> Verdict:
    if len(entry.reason) > TEXT_CHARS_MAX:
        return Invalid(f"a reason has at most {TEXT_CHARS_MAX} characters")
    found = host.must_get_record(entry.entry)
    if not isinstance(found.entry, Withdrawable):
        return Invalid("a withdrawal of something that is no claim")
    own = found.action.author == op.action.author
    return Valid if own else Invalid("only its author withdraws a claim")


@zome.validate_create
def one_provider_of_our_own(entry: Delegation, op: CreateOp, host: ValidationHost) -> Verdict:
    if entry.subject != op.action.author or entry.agent == entry.subject:
        return Invalid("an agent names who else answers for itself, and for nobody else")
    if (entry.agent is None) != bool(entry.url):
        return Invalid("a provider is an agent or a URL, one of them")
    if entry.url and not (len(entry.url) <= URL_CHARS_MAX and URL.fullmatch(entry.url)):
        return Invalid(f"a provider's URL is http or https, of at most {URL_CHARS_MAX} characters")
    return Valid


@zome.validate_create
def by_itself_or_its_provider(entry: Profile, op: CreateOp, host: ValidationHost) -> Verdict:
    if not 1 <= len(entry.name) <= TEXT_CHARS_MAX or len(entry.about) > TEXT_CHARS_MAX:
        return Invalid(f"a profile has a name, and at most {TEXT_CHARS_MAX} characters of each")
    if entry.delegation is None:
        own = entry.subject == op.action.author
        return Valid if own else Invalid("a profile of another agent, without its delegation")
    found = host.must_get_record(entry.delegation)
    if not isinstance(found.entry, Delegation) or found.entry.subject != entry.subject:
        return Invalid("a profile under something that is no delegation by its subject")
    mine = found.entry.agent == op.action.author
    return Valid if mine else Invalid("a profile by someone to whom it was not delegated")


@zome.validate_link(ABOUT)
def found_at_its_subject(op: LinkOp, host: ValidationHost) -> Verdict:
    if op.action.author != op.link.author:
        return Invalid("only its author removes the link to a claim")
    found = host.must_get_record(ActionHash(op.link.target))
    if found.action.author != op.link.author or not isinstance(found.entry, Said | Withdrawal):
        return Invalid("a link to something that is no claim of its author's")
    if isinstance(found.entry, Withdrawal):
        subject, stands_at = None, found.entry.entry
    else:
        subject, stands_at = found.entry.subject, found.hash
    if op.link.base not in (subject, stands_at):
        return Invalid("a claim is found at its subject and itself, a withdrawal at its claim")
    if op.action != op.link and op.link.base == stands_at:
        return Invalid("what stands is withdrawn by a withdrawal, and that is for good")
    fits = op.link.tag == tag_of(found.entry, found.action.author)
    return Valid if fits else Invalid("a link whose tag says something else than its claim")
