"""Certificates of origin: issued from readings, given, used up, stored and discharged.

Every action of a ledger names its author's last one and states what the author holds after it
(`holdings`), so a validator takes one step and not the history.  What was given may have been
given twice by a giver that forked: so it is passed on or used up only where the giver's half is
known to be final, as with credits.

A certificate is of one interval, and so is its use: what was made in an interval is drawn in that
interval, by a meter that says so.  Storing draws it too, and discharging makes a new certificate
of the old origin.  (E-013 to E-021, E-028, I-086, I-095, I-099, M-001)
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from currency import value
from currency.value import Source, Trust
from ioe_node.hdi import (
    ActionHash,
    AgentPubKey,
    Create,
    CreateOp,
    Found,
    IntegrityZome,
    Invalid,
    LinkOp,
    Malformed,
    Party,
    Timestamp,
    Valid,
    ValidationHost,
    Verdict,
    half_of,
    place_of,
)
from zomes.origin import holdings
from zomes.origin.holdings import BASIS_POINTS, Holdings

ZONE_CHARS_MAX = 200
REASON_CHARS_MAX = 140

zome = IntegrityZome("origin", pure_modules=[value, holdings])

VERIFIED = zome.link_type("verified")
"""From a certificate's action to what a verifier has said of it."""


@zome.entry_type
@dataclass(frozen=True)
class Plant:
    """What the author's machine is, by its own word; a later one goes before it.

    `source` is what it makes energy of: a source, "storage" for a battery, None for what only
    draws.  `zone` is where it stands.  A battery keeps `efficiency_bp` of what it takes up, and
    loses `decay_bp` of what it holds each day.
    """

    source: Source | Literal["storage"] | None
    zone: str
    capacity_milli_w: int
    efficiency_bp: int = BASIS_POINTS
    decay_bp: int = 0


@zome.entry_type
@dataclass(frozen=True)
class Issue:
    """A certificate of energy that the author's meter saw going out from `start` to `end`.

    `reading` says so.  `store` is None for energy that was made; for what comes out of a battery it
    is the action that stored it, and source, weight and zone are those of where it came from.
    """

    previous: ActionHash | None
    after: Holdings
    reading: ActionHash
    start: Timestamp
    end: Timestamp
    energy_milli_wh: int
    source: Source
    g_co2_per_kwh: int | None
    zone: str
    trust: Trust
    store: ActionHash | None = None


@dataclass(frozen=True)
class Side:
    """One party's last action of its ledger (None before the first), and its holdings after."""

    previous: ActionHash | None
    after: Holdings


@zome.entry_type(countersigned=True)
@dataclass(frozen=True)
class Give:
    """`parties[0]` gives energy of a certificate to `parties[1]`; `sides` are theirs.

    `came` is the giver's own action that brought it: its issue, or another's gift.  `sale` is the
    giver's half of the settlement that it is given for, if any.
    """

    parties: tuple[Party, ...]
    sides: tuple[Side, ...]
    certificate: ActionHash
    came: ActionHash
    energy_milli_wh: int
    sale: ActionHash | None


@zome.entry_type
@dataclass(frozen=True)
class Retire:
    """Energy of a certificate leaves the ledger for good.

    "consumed": the author's meter drew it, as `reading` says.  "set aside": nobody shall count on
    it, as what a battery seems to have lost; "burned": it is lost, or nobody shall use its origin;
    both with a `reason`.  `came` brought it, or stored it.  `issuer`, `start`, `source` and weight
    are the certificate's, so that whoever reads a chain knows what its author has used.
    """

    previous: ActionHash | None
    after: Holdings
    certificate: ActionHash
    issuer: AgentPubKey
    start: Timestamp
    source: Source
    g_co2_per_kwh: int | None
    came: ActionHash
    energy_milli_wh: int
    purpose: Literal["consumed", "set aside", "burned"]
    reading: ActionHash | None
    reason: str


@zome.entry_type
@dataclass(frozen=True)
class Store:
    """The author's battery took up energy of a certificate, as `reading` says, and keeps part."""

    previous: ActionHash | None
    after: Holdings
    certificate: ActionHash
    came: ActionHash
    energy_milli_wh: int
    stored_milli_wh: int
    reading: ActionHash


@zome.entry_type
@dataclass(frozen=True)
class Verification:
    """The author, a verifier of the community, vouches for a certificate's origin and energy."""

    certificate: ActionHash


STEPS: tuple[type, ...] = (Issue, Give, Retire, Store)
"""What makes up an agent's ledger."""


def standing(place: Party, host: ValidationHost) -> Found | None:
    """The last action of an agent's ledger before a place."""
    found = [host.must_get_previous(place, step) for step in STEPS]
    known = [each for each in found if each is not None]
    return max(known, key=lambda each: each.action.action_seq, default=None)


def holdings_of(found: Found | None) -> Holdings:
    """What the author of an action of its ledger holds after it."""
    if found is None:
        return Holdings()
    if isinstance(found.entry, Give):
        return found.entry.sides[_place(found)].after
    after: Holdings = found.entry.after
    return after


def number_of(came: Found) -> int:
    """The number of the part or lot that an action brought its author."""
    return holdings_of(came).brought


def _place(given: Found) -> int:
    return [party.agent for party in given.entry.parties].index(given.action.author)


def certificate_of(came: Found) -> ActionHash:
    """The certificate of what an action brought its author or stored; raises `Malformed`."""
    if isinstance(came.entry, Issue):
        return came.hash
    took = isinstance(came.entry, Give) and _place(came) == 1
    if not took and not isinstance(came.entry, Store):
        raise Malformed("energy of an action that brought none")
    certificate: ActionHash = came.entry.certificate
    return certificate


def halves_of(gift: Found) -> tuple[ActionHash, ActionHash]:
    """The giver's and the taker's action of a gift."""
    assert isinstance(gift.action, Create), "what is given is created"
    kind, entry = gift.action.entry_type, gift.action.entry_hash
    giver, taker = gift.entry.parties
    return half_of(giver, kind, entry)[0], half_of(taker, kind, entry)[0]


def source_of(came: Found) -> ActionHash | None:
    """The action that has to be final before what it brought may be used: the giver's half."""
    return halves_of(came)[0] if isinstance(came.entry, Give) else None


def _before(previous: ActionHash | None, place: Party, host: ValidationHost) -> Holdings:
    """What a ledger's author holds before a step; raises `Malformed` for another last one."""
    last = standing(place, host)
    if (None if last is None else last.hash) != previous:
        raise Malformed("a step that does not name its author's last one")
    return holdings_of(last)


def _came(entry: Give | Retire | Store, place: Party, host: ValidationHost) -> Found:
    """What brought the energy of a step; raises `Malformed` where it is not the author's."""
    came = host.must_get_record(entry.came)
    if came.action.author != place.agent or came.action.action_seq >= place.action_seq:
        raise Malformed("energy that came by an action of another's")
    if certificate_of(came) != entry.certificate:
        raise Malformed("energy of another certificate than it came by")
    return came


def _own_reading(reading: ActionHash, place: Party, host: ValidationHost) -> Found:
    """A measured interval of the author's own meter; raises `Malformed` for anything else."""
    found = host.must_get_record(reading)
    if found.action.author != place.agent or not hasattr(found.entry, "export_milli_wh"):
        raise Malformed("something that is no reading of the author's")
    if found.entry.quality != "measured":
        raise Malformed("a reading that is estimated proves nothing")
    return found


def _rest_on(came: Found, host: ValidationHost) -> Verdict:
    """The last word of a rule that has found no fault: what was given must be final."""
    source = source_of(came)
    host.must_be_final(() if source is None else (source,))
    return Valid


@zome.validate_create
def a_machine_that_can_be(entry: Plant, op: CreateOp, host: ValidationHost) -> Verdict:
    if len(entry.zone) > ZONE_CHARS_MAX or entry.capacity_milli_w < 0:
        return Invalid(f"a zone of over {ZONE_CHARS_MAX} characters, or less power than none")
    if not 0 < entry.efficiency_bp <= BASIS_POINTS or not 0 <= entry.decay_bp <= BASIS_POINTS:
        return Invalid("a battery keeps something of what it takes up, and never more than all")
    said = host.must_get_previous(op, "identity.Acknowledgement")
    if said is not None:
        kind = host.must_get_record(said.entry.enrolment).entry.kind
        if (kind == "storage") != (entry.source == "storage"):
            return Invalid(f"another machine than its owner enrolled, a {kind}")
    return Valid


@zome.validate_create
def out_of_the_authors_export(entry: Issue, op: CreateOp, host: ValidationHost) -> Verdict:
    place = place_of(op.action)
    before = _before(entry.previous, place, host)
    reading = _own_reading(entry.reading, place, host)
    if (entry.start, entry.end) != (reading.entry.start, reading.entry.end):
        return Invalid("a certificate of another interval than its reading's")
    plant = host.must_get_previous(op, Plant)
    if plant is None:
        return Invalid("a certificate from a machine that has not said what it is")
    stored = entry.store is not None
    if stored != (plant.entry.source == "storage"):
        return Invalid("what a battery gives comes out of its lots, and nothing else does")
    after = holdings.issued(
        before,
        reading.action.action_seq,
        entry.energy_milli_wh,
        reading.entry.export_milli_wh,
        again=stored,
    )
    if after is None:
        return Invalid("energy that was certified already or never went out")
    right: Invalid | Holdings = after
    if entry.store is None:
        right = _made(entry, after, plant.entry, reading.entry.method, host)
    else:
        right = _discharged(entry, entry.store, after, plant.entry, reading.entry, host, place)
    if isinstance(right, Invalid):
        return right
    if entry.after != holdings.gained(right, entry.energy_milli_wh):
        return Invalid("holdings that are not what they were with the certificate")
    return Valid


def _made(
    entry: Issue, after: Holdings, plant: Plant, method: Trust, host: ValidationHost
) -> Invalid | Holdings:
    if (entry.source, entry.zone) != (plant.source, plant.zone):
        return Invalid("another source or zone than the author's machine has")
    if entry.g_co2_per_kwh != value.g_co2_of(entry.source, host.properties.values):
        return Invalid("another weight in CO2 than the community's for that source")
    if entry.trust != method:
        return Invalid("vouched for by another than the reading says")
    return after


def _discharged(
    entry: Issue,
    store: ActionHash,
    after: Holdings,
    plant: Plant,
    reading: Any,
    host: ValidationHost,
    place: Party,
) -> Invalid | Holdings:
    lot = host.must_get_record(store)
    if lot.action.author != place.agent or not isinstance(lot.entry, Store):
        return Invalid("a discharge of something that the author has not stored")
    origin: Issue = host.must_get_record(lot.entry.certificate).entry
    if (entry.source, entry.g_co2_per_kwh, entry.zone) != (
        origin.source,
        origin.g_co2_per_kwh,
        origin.zone,
    ):
        return Invalid("another origin than that of what was stored")
    if entry.trust != weaker(origin.trust, reading.method):
        return Invalid("vouched for by better than its origin or its reading")
    if reading.start < host.must_get_record(lot.entry.reading).entry.end:
        return Invalid("a discharge of what was not stored yet")
    number, energy = number_of(lot), entry.energy_milli_wh
    left = holdings.discharged(after, number, energy, reading.start, plant.decay_bp)
    return Invalid("more than is left in the battery of that") if left is None else left


def weaker(first: Trust, second: Trust) -> Trust:
    """Whichever of the two is less to be trusted."""
    return min(first, second, key=get_args(Trust).index)


@zome.validate_create
def from_hand_to_hand(entry: Give, op: CreateOp, host: ValidationHost) -> Verdict:
    if len(entry.parties) != 2 or len(entry.sides) != 2:
        return Invalid("one gives, and one takes")
    giver, taker = entry.parties
    giving, taking = (
        _before(side.previous, party, host)
        for side, party in zip(entry.sides, entry.parties, strict=True)
    )
    came = _came(entry, giver, host)
    energy = entry.energy_milli_wh
    left = holdings.spent(giving, number_of(came), energy)
    if left is None:
        return Invalid("more than the giver holds of that certificate")
    gained = holdings.gained(taking, energy)
    if (entry.sides[0].after, entry.sides[1].after) != (left, gained):
        return Invalid("holdings that are not what they were with the gift")
    if entry.sale is not None:
        sale = host.must_get_record(entry.sale)
        agents = [party.agent for party in getattr(sale.entry, "parties", ())]
        if sale.action.author != giver.agent or taker.agent not in agents:
            return Invalid("given for a settlement of others")
    return _rest_on(came, host)


@zome.validate_create
def used_once(entry: Retire, op: CreateOp, host: ValidationHost) -> Verdict:
    place = place_of(op.action)
    before = _before(entry.previous, place, host)
    came = _came(entry, place, host)
    if not _as_issued(entry, host.must_get_record(entry.certificate)):
        return Invalid("another issuer, time, source or weight than the certificate's")
    number, energy = number_of(came), entry.energy_milli_wh
    if entry.purpose != "consumed":
        if entry.reading is not None or not 0 < len(entry.reason) <= REASON_CHARS_MAX:
            return Invalid(f"no reading, and a reason of at most {REASON_CHARS_MAX} characters")
        stored = isinstance(came.entry, Store)
        less = holdings.written_off if stored else holdings.spent
        return _retired(entry, less(before, number, energy), came, host)
    if entry.reading is None or entry.reason or isinstance(came.entry, Store):
        return Invalid("what is consumed came out of no battery, and a reading says so")
    drawn = _drawn(before, entry, entry.reading, place, host)
    if isinstance(drawn, Invalid):
        return drawn
    return _retired(entry, holdings.spent(drawn, number, energy), came, host)


def _as_issued(entry: Retire, issued: Found) -> bool:
    certificate: Issue = issued.entry
    said = (entry.issuer, entry.start, entry.source, entry.g_co2_per_kwh)
    known = (certificate.start, certificate.source, certificate.g_co2_per_kwh)
    return said == (issued.action.author, *known)


def _retired(entry: Retire, left: Holdings | None, came: Found, host: ValidationHost) -> Verdict:
    if left is None:
        return Invalid("more than the author holds of that certificate")
    if entry.after != left:
        return Invalid("holdings that are not what they were without it")
    return _rest_on(came, host)


def _drawn(
    before: Holdings,
    entry: Retire | Store,
    reading: ActionHash,
    place: Party,
    host: ValidationHost,
) -> Invalid | Holdings:
    """The holdings once a step's energy is accounted for as what the author's meter drew."""
    meter = _own_reading(reading, place, host)
    certificate: Issue = host.must_get_record(entry.certificate).entry
    if certificate.start != meter.entry.start:
        return Invalid("energy of another interval than that in which it was drawn")
    seq, drew = meter.action.action_seq, meter.entry.import_milli_wh
    after = holdings.drawn(before, seq, entry.energy_milli_wh, drew)
    return Invalid("more than the author's meter drew in that interval") if after is None else after


@zome.validate_create
def taken_up_by_a_battery(entry: Store, op: CreateOp, host: ValidationHost) -> Verdict:
    place = place_of(op.action)
    before = _before(entry.previous, place, host)
    came = _came(entry, place, host)
    if isinstance(came.entry, Store):
        return Invalid("what is stored is stored already")
    plant = host.must_get_previous(op, Plant)
    if plant is None or plant.entry.source != "storage":
        return Invalid("only a battery stores")
    drawn = _drawn(before, entry, entry.reading, place, host)
    if isinstance(drawn, Invalid):
        return drawn
    if entry.stored_milli_wh != holdings.kept_of(entry.energy_milli_wh, plant.entry.efficiency_bp):
        return Invalid("a lot that is not what was taken up, at the battery's efficiency")
    left = holdings.spent(drawn, number_of(came), entry.energy_milli_wh)
    if left is None:
        return Invalid("more than the author holds of that certificate")
    end = host.must_get_record(entry.reading).entry.end
    if entry.after != holdings.stored(left, entry.stored_milli_wh, end):
        return Invalid("holdings that are not what they were with the lot")
    return _rest_on(came, host)


@zome.validate_create
def by_a_verifier(entry: Verification, op: CreateOp, host: ValidationHost) -> Verdict:
    if op.action.author not in host.properties.verifiers:
        return Invalid("only a verifier of the community vouches for certificates")
    found = host.must_get_record(entry.certificate)
    if not isinstance(found.entry, Issue) or found.action.author == op.action.author:
        return Invalid("a verifier vouches for a certificate of another's")
    return Valid


@zome.validate_link(VERIFIED)
def to_a_verification(op: LinkOp, host: ValidationHost) -> Verdict:
    found = host.must_get_record(ActionHash(op.link.target))
    if {op.action.author, op.link.author} != {found.action.author}:
        return Invalid("what a verifier said is listed and unlisted by itself")
    if not isinstance(found.entry, Verification) or found.entry.certificate != op.link.base:
        return Invalid("a link to something that verifies no such certificate")
    return Valid
