"""Who owns which device, who holds an owner's keys, and what may be done with both.

A device has one owner at a time: the one whom its newest acknowledgement names, or who goes on
for that one.  An owner goes on for another agent by a keyset that names the end of the other:
its closed chain, or its revocation.  What changes hands or ends somebody takes the consents of
the key-holders in force, so that it takes more than a stolen machine.  (I-028, I-032, I-041,
I-051 to I-053, I-107)
"""

from dataclasses import dataclass, replace
from typing import Literal

from ioe_node.hdi import (
    ActionHash,
    AgentPubKey,
    CloseChain,
    Consent,
    CreateOp,
    DnaHash,
    Ended,
    Found,
    IntegrityZome,
    Invalid,
    KeyHolders,
    Known,
    LinkOp,
    OpenOp,
    Party,
    Timestamp,
    Valid,
    ValidationHost,
    Verdict,
    agreed,
    consent_message,
    encode,
    holders_fault,
    place_of,
)

NAME_CHARS_MAX = 64
REASON_CHARS_MAX = 140
SUCCESSIONS_MAX = 8
"""So many keys back an owner is still known by what it owned."""
FEWER = "fewer of the key-holders consent than the keyset in force asks for"
UNASKED = "consents where none are asked for"
USED = "consents that were used before; name the key-holders anew and have them consent again"

zome = IntegrityZome("identity")

AT_WORK = zome.link_type("at_work")
"""From the network's own hash to the acknowledgement of each device that has an owner."""
REVOKED = zome.link_type("revoked")
"""From an agent to the revocation that ends it."""
OFFERED = zome.link_type("offered")
"""From an agent to an offer of a device to it, which it would not see elsewhere."""


@zome.entry_type
@dataclass(frozen=True)
class Enrolment:
    """The author owns `device`, of this kind, under this name."""

    device: AgentPubKey
    kind: Literal["consumer", "generator", "storage", "monitor"]
    name: str
    claimed_at: Timestamp


@zome.entry_type
@dataclass(frozen=True)
class Acknowledgement:
    """The author is a device and knows its owner, by the owner's enrolment of it."""

    owner: AgentPubKey
    enrolment: ActionHash


@zome.entry_type
@dataclass(frozen=True)
class Keyset:
    """From here on `threshold` of `keys` decide what the author's own key must not alone.

    `follows` names the CloseChain, or the Revocation, by which the author goes on for another.
    The consents are those of the keyset before it.
    """

    threshold: int
    keys: tuple[bytes, ...]
    follows: ActionHash | None
    consents: tuple[Consent, ...]

    @property
    def holders(self) -> KeyHolders:
        """The key-holders that it puts in force."""
        return KeyHolders(self.threshold, self.keys)


@zome.entry_type
@dataclass(frozen=True)
class Offer:
    """The author gives up `device`, by its `acknowledgement`, to `buyer`.

    An offer to oneself takes back an earlier one.
    """

    device: AgentPubKey
    acknowledgement: ActionHash
    buyer: AgentPubKey
    consents: tuple[Consent, ...]


@zome.entry_type
@dataclass(frozen=True)
class Acceptance:
    """The author takes what `offer` offers it."""

    offer: ActionHash


@zome.entry_type
@dataclass(frozen=True)
class Release:
    """The author gives up `device`, by its `acknowledgement`, to whoever claims it."""

    device: AgentPubKey
    acknowledgement: ActionHash
    consents: tuple[Consent, ...]


@zome.entry_type
@dataclass(frozen=True)
class Revocation:
    """`agent`'s key is good for nothing after `cut`, its action at `cut_seq`.

    For an owner by its key-holders, who may name the `successor` that goes on for it; for a
    device by its owner.
    """

    agent: AgentPubKey
    cut_seq: int
    cut: ActionHash
    successor: AgentPubKey | None
    reason: str
    consents: tuple[Consent, ...]


Deed = Keyset | Offer | Release | Revocation


def message_of(dna: DnaHash, keyset: ActionHash, deed: Deed) -> bytes:
    """What the key-holders of a keyset sign to consent to a deed."""
    body = encode(replace(deed, consents=()))
    return consent_message(dna, keyset, type(deed).__name__, body)


def _plain(text: str) -> bool:
    """No control characters and none that turn the direction of text.

    By fixed code points: what Python calls printable differs from release to release, and a
    rule must not.
    """
    return not any(
        code < 0x20
        or 0x7F <= code <= 0x9F
        or code in (0x200E, 0x200F)
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        for code in map(ord, text)
    )


def _consented(host: ValidationHost, keyset: Found | None, deed: Deed) -> Verdict:
    """Whether the key-holders of a keyset, which may be none's, consent to a deed."""
    if keyset is None:
        return Invalid(UNASKED) if deed.consents else Valid
    message = message_of(host.dna, keyset.hash, deed)
    fit = agreed(keyset.entry.holders, deed.consents, message)
    return Valid if fit else Invalid(FEWER)


def _decided(host: ValidationHost, op: CreateOp, deed: Deed) -> Verdict:
    """Whether the author may do alone what it does, or has the consents that it takes."""
    keyset = host.must_get_previous(op, Keyset)
    if keyset is None or keyset.entry.threshold == 1:
        return _consented(host, None, deed)
    verdict = _consented(host, keyset, deed)
    return Invalid(USED) if verdict is Valid and _used(host, op, deed, keyset) else verdict


def _used(host: ValidationHost, op: CreateOp, deed: Deed, keyset: Found) -> bool:
    """Whether the author has done this very deed under this keyset.

    What was offered with consents and taken back with consents is not offered again without; to
    take back is always free.
    """
    if isinstance(deed, Offer) and deed.buyer == op.action.author:
        return False
    before = host.must_get_previous(op, type(deed))
    while before is not None and before.action.action_seq > keyset.action.action_seq:
        if replace(before.entry, consents=()) == replace(deed, consents=()):
            return True
        before = host.must_get_previous(place_of(before.action), type(deed))
    return False


def _ended(host: ValidationHost, follows: ActionHash, author: AgentPubKey) -> Party | None:
    """Where the agent for whom `author` goes on by `follows` ended; None if it does not."""
    found = host.must_get_record(follows)
    action, entry = found.action, found.entry
    if isinstance(action, CloseChain) and action.new_target == author:
        return place_of(action)
    if isinstance(entry, Revocation) and entry.successor == author:
        return Party(entry.agent, entry.cut_seq + 1, entry.cut, Timestamp(action.timestamp_us))
    return None


def _goes_on_for(host: ValidationHost, place: Party, older: AgentPubKey) -> bool:
    """Whether the agent at `place` is `older`, or goes on for it by what their keysets follow."""
    for _ in range(SUCCESSIONS_MAX):
        if place.agent == older:
            return True
        keyset = host.must_get_previous(place, Keyset)
        if keyset is None or keyset.entry.follows is None:
            return False
        before = _ended(host, keyset.entry.follows, place.agent)
        assert before is not None, "a valid keyset follows the end of an agent"
        place = before
    return place.agent == older


@zome.validate_create
def another_device_by_name(entry: Enrolment, op: CreateOp, host: ValidationHost) -> Verdict:
    if entry.device == op.action.author:
        return Invalid("an agent cannot own itself")
    if not 1 <= len(entry.name) <= NAME_CHARS_MAX or not _plain(entry.name):
        return Invalid(f"a device's name has 1 to {NAME_CHARS_MAX} printable characters")
    return Valid


@zome.validate_create
def the_owner_enrolled_us(entry: Acknowledgement, op: CreateOp, host: ValidationHost) -> Verdict:
    found = host.must_get_record(entry.enrolment)
    if found.action.author != entry.owner or not isinstance(found.entry, Enrolment):
        return Invalid("an acknowledgement of something that is no enrolment by that owner")
    if found.entry.device != op.action.author:
        return Invalid("an enrolment of another device")
    if host.must_get_previous(op, Keyset) is not None:
        return Invalid("an owner, who has key-holders, is nobody's device")
    before = host.must_get_previous(op, Acknowledgement)
    if before is None:
        return Valid
    if before.entry.owner == entry.owner:
        return Invalid("this device has acknowledged an owner already")
    if not _goes_on_for(host, place_of(found.action), before.entry.owner):
        return Invalid("this device has another owner")
    return Valid


@zome.validate_open
def an_owner_goes_on_by_its_keyset(op: OpenOp, host: ValidationHost) -> Verdict:
    """Whoever had key-holders is gone on for with their consent only."""
    if host.must_get_previous(place_of(op.close), Keyset) is None:
        return Valid
    keyset = host.must_get_previous(place_of(op.action), Keyset)
    if keyset is None or keyset.entry.follows != op.action.close_hash:
        return Invalid("the continuation of an owner by one whose keyset does not follow it")
    return Valid


@zome.validate_open
def a_device_goes_on_with_its_owner(op: OpenOp, host: ValidationHost) -> Verdict:
    """A device's next chain first says whose it is: its owner's still, or its buyer's."""
    before = host.must_get_previous(place_of(op.close), Acknowledgement)
    ours = op.close.new_target == op.action.author
    if before is None and ours:
        return Valid
    said = host.must_get_previous(place_of(op.action), Acknowledgement)
    if said is None or before is None:
        return Invalid("the continuation of a device by one that has said of no owner")
    owner = before.entry.owner if ours else AgentPubKey(op.close.new_target or b"")
    enrolment = host.must_get_record(said.entry.enrolment)
    if not _goes_on_for(host, place_of(enrolment.action), owner):
        return Invalid("the continuation of another owner's device")
    return Valid


@zome.validate_create
def by_those_before(entry: Keyset, op: CreateOp, host: ValidationHost) -> Verdict:
    fault = holders_fault(entry.holders)
    if fault:
        return Invalid(fault)
    if host.must_get_previous(op, Acknowledgement) is not None:
        return Invalid("a device, whose owner decides, has no key-holders")
    before = host.must_get_previous(op, Keyset)
    if before is not None:
        if before.entry.follows != entry.follows:
            return Invalid("whom an agent goes on for does not change")
        return _consented(host, before, entry)
    if entry.follows is None:
        return _consented(host, None, entry)
    end = _ended(host, entry.follows, op.action.author)
    if end is None:
        return Invalid("a keyset that follows what does not name its author")
    if isinstance(host.must_get_record(entry.follows).action, CloseChain):
        return _consented(host, host.must_get_previous(end, Keyset), entry)
    return _consented(host, None, entry)


def _ours_to_give(host: ValidationHost, op: CreateOp, deed: Offer | Release) -> Verdict:
    said = host.must_get_record(deed.acknowledgement)
    if said.action.author != deed.device or not isinstance(said.entry, Acknowledgement):
        return Invalid("a device that is given up without its word on whose it is")
    if not _goes_on_for(host, place_of(op.action), said.entry.owner):
        return Invalid("a device of another owner")
    return _decided(host, op, deed)


@zome.validate_create
def an_offer_of_our_own(entry: Offer, op: CreateOp, host: ValidationHost) -> Verdict:
    if entry.buyer == entry.device:
        return Invalid("a device cannot own itself")
    return _ours_to_give(host, op, entry)


@zome.validate_create
def a_release_of_our_own(entry: Release, op: CreateOp, host: ValidationHost) -> Verdict:
    return _ours_to_give(host, op, entry)


@zome.validate_create
def what_was_offered_to_us(entry: Acceptance, op: CreateOp, host: ValidationHost) -> Verdict:
    found = host.must_get_record(entry.offer)
    if not isinstance(found.entry, Offer) or found.entry.buyer != op.action.author:
        return Invalid("the acceptance of something that was not offered to its author")
    if found.action.author == op.action.author:
        return Invalid("an offer taken back is not accepted")
    return Valid


@zome.validate_create
def by_whom_it_may_be_ended(entry: Revocation, op: CreateOp, host: ValidationHost) -> Verdict:
    if entry.agent in (op.action.author, entry.successor):
        return Invalid("nobody ends itself, or goes on for itself")
    if len(entry.reason) > REASON_CHARS_MAX or not _plain(entry.reason):
        return Invalid(f"a reason has at most {REASON_CHARS_MAX} printable characters")
    cut = host.must_get_record(entry.cut).action
    if cut.author != entry.agent or cut.action_seq != entry.cut_seq:
        return Invalid("a cut that is not at that place of that agent's chain")
    end = Party(entry.agent, entry.cut_seq + 1, entry.cut, Timestamp(cut.timestamp_us))
    keyset = host.must_get_previous(end, Keyset)
    if keyset is not None:
        return _consented(host, keyset, entry)
    said = host.must_get_previous(end, Acknowledgement)
    if said is None:
        return Invalid("neither an owner with key-holders nor a device with an owner")
    if entry.successor is not None:
        return Invalid("nobody goes on for a device that was revoked")
    if not _goes_on_for(host, place_of(op.action), said.entry.owner):
        return Invalid("a device of another owner")
    return _decided(host, op, entry)


def overtaken(revocation: Found, known: Known) -> bool:
    """Whether it rests on key-holders, or on an owner's key, that were replaced since."""
    entry: Revocation = revocation.entry
    keyset = known.newest(entry.agent, Keyset)
    if keyset is not None:
        return keyset.action.action_seq > entry.cut_seq
    said = known.newest(entry.agent, Acknowledgement)
    return said is not None and said.entry.owner not in _line(known, revocation.action.author)


def _line(known: Known, agent: AgentPubKey) -> list[AgentPubKey]:
    """An agent and those for whom it goes on, as far back as nothing newer is known."""
    line = [agent]
    while len(line) <= SUCCESSIONS_MAX:
        keyset = known.newest(line[-1], Keyset)
        follows = None if keyset is None else keyset.entry.follows
        end = None if follows is None else known.record(follows)
        if end is None or (isinstance(end.entry, Revocation) and overtaken(end, known)):
            break
        line.append(end.entry.agent if isinstance(end.entry, Revocation) else end.action.author)
    return line


@zome.revocation(unless=overtaken)
def ends(entry: Revocation) -> Ended:
    return Ended(entry.agent, entry.cut_seq)


@zome.validate_link(AT_WORK)
def a_device_says_so_itself(op: LinkOp, host: ValidationHost) -> Verdict:
    if op.action.author != op.link.author:
        return _removed_by_who_ended_it(op, host)
    said = host.must_get_record(ActionHash(op.link.target))
    if said.action.author != op.link.author or not isinstance(said.entry, Acknowledgement):
        return Invalid("at work without an owner")
    return Valid


def _removed_by_who_ended_it(op: LinkOp, host: ValidationHost) -> Verdict:
    ended = host.must_get_previous(place_of(op.action), Revocation)
    if ended is None or ended.entry.agent != op.link.author:
        return Invalid("only a device says that it is at work, or that it is no more")
    return Valid


@zome.validate_link(OFFERED)
def to_what_is_offered(op: LinkOp, host: ValidationHost) -> Verdict:
    if op.action.author != op.link.author:
        return Invalid("only who offers takes the word of it back")
    found = host.must_get_record(ActionHash(op.link.target))
    ours = isinstance(found.entry, Offer) and found.action.author == op.link.author
    right = ours and found.entry.buyer == op.link.base
    return Valid if right else Invalid("a link to something that does not offer to that agent")


@zome.validate_link(REVOKED)
def to_what_ends_it(op: LinkOp, host: ValidationHost) -> Verdict:
    if op.action != op.link:
        return Invalid("a revocation is not taken back")
    found = host.must_get_record(ActionHash(op.link.target))
    right = isinstance(found.entry, Revocation) and found.entry.agent == op.link.base
    return Valid if right else Invalid("a link to something that does not end that agent")
