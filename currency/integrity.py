"""Settlements: one entry, two parties, both accounts after it (I-063, I-070, I-105).

A credit rests on an action of another chain: the payer's half of the settlement.  A payer that
forks has two, and who holds a stolen key writes some that honest members never see: so a credit is
spent only once it is claimed, and claimed only where that action is known to be final.  Whoever
does not know it waits, and calls nobody a liar.

An account goes over to an agent's next key once: when the old chain has been closed for it.  Its
credit rests on that close.

Energy is sold as a gate has matched it, or shared out afterwards at the community's price.  A
match is settled by its gate and both readings (`delivery`), and never cleared again: that the
gate is right is the gate's own rule.  What a seller earns raises the fees that it owes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from currency import delivery, fees, ledger, limit
from currency.delivery import Grid, Terms
from currency.ledger import RUN_MAX, Account, InvoicePaid, Receipt
from currency.market import match
from ioe_node.hdi import (
    ActionHash,
    AgentPubKey,
    CloseChain,
    Create,
    CreateOp,
    Found,
    IntegrityZome,
    Invalid,
    Malformed,
    Party,
    Timestamp,
    Valid,
    ValidationHost,
    Verdict,
    half_of,
    place_of,
)

MEMO_CHARS_MAX = 140

zome = IntegrityZome("currency", pure_modules=[ledger, limit, delivery, fees, match])


@dataclass(frozen=True)
class Side:
    """One party's previous settlement (None before its first) and its account after this one.

    `claims` are settlements of its own that gave it credits, which are final by now.
    """

    previous: ActionHash | None
    account: Account
    claims: tuple[ActionHash, ...] = ()


@dataclass(frozen=True)
class Matched:
    """The match that is settled: its place in a gate, and what the buyer's meter says of it.

    `taken` is the buyer's reading of the gate's interval, None where it has none.
    `seller_owes` says that the seller pays, as it delivered less than was taken.
    """

    gate: ActionHash
    place: int
    taken: ActionHash | None
    seller_owes: bool


@zome.entry_type(countersigned=True)
@dataclass(frozen=True)
class Settlement:
    """`parties[0]` pays `parties[1]`; `sides` are theirs in the same order.

    For a sale of metered energy, `reading` is the seller's interval reading (None where a match's
    seller has none) and `energy_milli_wh` what is sold of its export; otherwise None and 0.
    `matched` is None where no gate has matched what is sold.  `fee` is the place of the community's
    fee that is paid.  Who pays an `invoice` pays what it asks for, with its memo, once.
    """

    parties: tuple[Party, ...]
    sides: tuple[Side, ...]
    amount_micro: int
    energy_milli_wh: int
    reading: ActionHash | None
    memo: str
    matched: Matched | None = None
    fee: int | None = None
    invoice: ActionHash | None = None

    @property
    def seller(self) -> AgentPubKey | None:
        """Who sold energy, or should have; None for a payment."""
        if self.matched is None:
            return None if self.reading is None else self.parties[1].agent
        return self.parties[not self.matched.seller_owes].agent


@zome.entry_type
@dataclass(frozen=True)
class Carried:
    """The author's account begins where that of its last key ended, whose chain `close` closed.

    `previous` is that account's last settlement (or the one that carried it), `credit_micro` what
    it was free to spend, which is pending until the close is final.  What was sold of a reading
    stays with the chain that holds the readings.
    """

    close: ActionHash
    previous: ActionHash | None
    credit_micro: int
    account: Account


@zome.validate_create
def closed_for_us_and_not_begun(entry: Carried, op: CreateOp, host: ValidationHost) -> Verdict:
    close = host.must_get_record(entry.close).action
    if not isinstance(close, CloseChain) or close.new_target != op.action.author:
        return Invalid("an account carried over from a chain that was not closed for its author")
    if standing(place_of(op.action), host) is not None:
        return Invalid("an account that has begun already")
    before = place_of(close)
    found = standing(before, host)
    if (None if found is None else found.hash) != entry.previous:
        return Invalid("an account carried over from another settlement than the last")
    account = account_after(found, before)
    credit_micro = max(0, account.free_micro)
    if (entry.credit_micro, entry.account) != (credit_micro, ledger.carried(account)):
        return Invalid("an account carried over otherwise than it was")
    return Valid


def standing(place: Party, host: ValidationHost) -> Found | None:
    """What says where an agent's account is before a place: a settlement, or what it began with."""
    found = host.must_get_previous(place, Settlement)
    return host.must_get_previous(place, Carried) if found is None else found


@zome.validate_create
def each_side_follows_its_last(entry: Settlement, op: CreateOp, host: ValidationHost) -> Verdict:
    if len(entry.parties) != 2 or len(entry.sides) != 2:
        return Invalid("a settlement has one payer and one payee")
    least_micro = 1 if entry.matched is None else 0
    if entry.amount_micro < least_micro or len(entry.memo) > MEMO_CHARS_MAX:
        return Invalid(
            f"a settlement pays at least one micro-credit, with a memo of at most "
            f"{MEMO_CHARS_MAX} characters"
        )
    before = [standing(party, host) for party in entry.parties]
    for found, side in zip(before, entry.sides, strict=True):
        if (None if found is None else found.hash) != side.previous:
            return Invalid("a settlement that does not name the party's last one")
    accounts: list[Account] = []
    rests_on: list[ActionHash] = []
    for found, party, side in zip(before, entry.parties, entry.sides, strict=True):
        account = account_after(found, party)
        if side.claims or side.account.through != account.through:
            claim = _claimed(account, party, side, host)
            if isinstance(claim, Invalid):
                return claim
            account, more = claim
            rests_on += more
        accounts.append(account)
    after = [
        ledger.paid(accounts[0], entry.amount_micro),
        ledger.received(accounts[1], entry.amount_micro),
    ]
    fault = _of_invoice(entry, after, host) or _of_energy(entry, after, host)
    if fault is not None:
        return fault
    if entry.sides[0].account != after[0]:
        return Invalid("the payer's account is not what it was less the amount")
    if after[0].free_micro < -limit_of(after[0], entry.parties[0], entry.parties, host.properties):
        return Invalid("past the payer's credit limit")
    if entry.sides[1].account != after[1]:
        return Invalid("the payee's account is not what it was with the amount")
    host.must_be_final(rests_on)
    return Valid


def _of_invoice(entry: Settlement, accounts: list[Account], host: ValidationHost) -> Invalid | None:
    """What is wrong with the invoice paid; otherwise the payer's account is made to know of it."""
    if entry.invoice is None:
        return None
    invoice = host.must_get_record(entry.invoice)
    if not is_invoice(invoice) or not _is_asked(entry, invoice):
        return Invalid("an invoice that asks for something else")
    after = invoiced(accounts[0], entry.parties, invoice)
    if after is None:
        return Invalid("an invoice that is past or paid already")
    accounts[0] = after
    return None


def invoiced(account: Account, parties: tuple[Party, ...], invoice: Found) -> Account | None:
    """The payer's account with an invoice paid, by its own time, which never runs back.

    None where that may not be: see `ledger.invoiced`.
    """
    paid = InvoicePaid(invoice.hash, invoice.entry.valid_until)
    return ledger.invoiced(account, paid, parties[0].timestamp_us)


def is_invoice(found: Found) -> bool:
    """Whether a record is an invoice: zomes know each other's entries by their names."""
    return isinstance(found.action, Create) and found.action.entry_type == "invoice.Invoice"


def _is_asked(entry: Settlement, invoice: Found) -> bool:
    """Whether a settlement is what an invoice asks for."""
    payer, payee = (party.agent for party in entry.parties)
    asked = (invoice.entry.payer, invoice.action.author, invoice.entry.amount_micro)
    same = asked == (payer, payee, entry.amount_micro) and entry.memo == invoice.entry.memo
    return same and entry.seller is None and entry.fee is None


def _claimed(
    account: Account, party: Party, side: Side, host: ValidationHost
) -> tuple[Account, list[ActionHash]] | Invalid:
    """A party's account once its claims are met, and the actions that must be final for them."""
    through = side.account.through
    run: list[Found] = []
    if through != account.through:
        _must_be_theirs(through, party, host)
    while through is not None and through != account.through:
        if len(run) == RUN_MAX:
            return Invalid(f"a claim past more than {RUN_MAX} settlements")
        run.append(host.must_get_record(through))
        through = previous_of(run[-1])
    if through != account.through:
        return Invalid("a claim that goes back")
    receipts = [receipt for found in reversed(run) if (receipt := receipt_of(found)) is not None]
    after = ledger.claimed(account, receipts, side.claims, side.account.through)
    if after is None:
        return Invalid("a claim of credits that are not pending")
    claims = host.must_get_records(side.claims)
    return proven_by(after, claims, host.properties), [source_of(found) for found in claims]


def proven_by(account: Account, claims: Iterable[Found], properties: Any) -> Account:
    """An account whose limit the sales among what it claims have raised, where they raise any."""
    if not properties.limit_share_bp:
        return account
    sales = [
        (found.action.timestamp_us, found.entry.energy_milli_wh)
        for found in claims
        if isinstance(found.entry, Settlement) and found.entry.seller == found.action.author
    ]
    proven = limit.proven_after(account.proven, sales, properties.limit_window_us)
    return replace(account, proven=proven)


def limit_of(account: Account, payer: Party, parties: Iterable[Party], properties: Any) -> int:
    """How far below zero a payer's account may go in a settlement of these parties.

    At the later of their times: a payer that dates itself back would keep what it once proved.
    """
    at_us = max(party.timestamp_us for party in parties)
    return limit_at(account, payer.agent, at_us, properties)


def limit_at(account: Account, agent: AgentPubKey, at_us: int, properties: Any) -> int:
    """How far below zero an agent's account may go at a time; a reserve has a limit of its own.

    Cash comes in where a reserve pays for it in credits, and goes out where it is paid: what a
    reserve owes is what it must hold.
    """
    if agent in properties.reserves:
        reserve_limit_micro: int = properties.reserve_limit_micro
        return reserve_limit_micro
    terms = limit.Terms(
        properties.credit_limit_micro,
        properties.limit_share_bp,
        properties.limit_window_us,
        properties.limit_raise_micro_max,
    )
    return limit.limit_micro(account.proven, at_us, terms)


def _must_be_theirs(through: ActionHash | None, party: Party, host: ValidationHost) -> None:
    """Raise `Malformed` unless `through` is on a party's chain, or that of its key before."""
    if through is None:
        raise Malformed("a claim that goes back")
    found = host.must_get_record(through)
    place, author = found.action.action_seq, found.action.author
    if author == party.agent:
        begun = place < party.action_seq
    else:
        first = host.must_get_previous(party, Carried)
        begun = (
            first is not None and host.must_get_record(first.entry.close).action.author == author
        )
    if not begun:
        raise Malformed("a claim of what another has settled")
    after = Party(author, place + 1, through, Timestamp(found.action.timestamp_us))
    last = standing(after, host)
    if last is None or last.hash != through:
        raise Malformed("a claim through something that is no settlement")


def previous_of(found: Found) -> ActionHash | None:
    """The settlement before this one on its author's account."""
    if isinstance(found.entry, Carried):
        return found.entry.previous
    place = [each.agent for each in found.entry.parties].index(found.action.author)
    previous: ActionHash | None = found.entry.sides[place].previous
    return previous


def receipt_of(found: Found) -> Receipt | None:
    """What its author received by a settlement, or by carrying its account over, if anything."""
    if isinstance(found.entry, Carried):
        amount_micro = found.entry.credit_micro
    else:
        payee = found.entry.parties[1].agent == found.action.author
        amount_micro = found.entry.amount_micro if payee else 0
    return Receipt(found.hash, amount_micro) if amount_micro else None


def source_of(found: Found) -> ActionHash:
    """The action that has to be final before what was received may be spent."""
    if isinstance(found.entry, Carried):
        close: ActionHash = found.entry.close
        return close
    assert isinstance(found.action, Create), "a settlement is created"
    return half_of(found.entry.parties[0], found.action.entry_type, found.action.entry_hash)[0]


def _of_energy(entry: Settlement, accounts: list[Account], host: ValidationHost) -> Invalid | None:
    """What is wrong with the energy sold; otherwise the seller's account is made to know of it."""
    if entry.fee is not None:
        return _of_fee(entry, entry.fee, accounts, host)
    if entry.matched is not None:
        return _of_match(entry, entry.matched, accounts, host)
    if entry.reading is None:
        return Invalid("energy sold without a reading") if entry.energy_milli_wh else None
    found = host.must_get_record(entry.reading)
    if not is_reading_of(found, entry.parties[1].agent):
        return Invalid("a sale of something that is no reading of the seller's")
    if entry.energy_milli_wh <= 0:
        return Invalid("a sale of no energy")
    if entry.amount_micro != ledger.price_of(entry.energy_milli_wh, host.properties.price_bp):
        return Invalid("a sale at another price than the community's")
    accounts[1] = ledger.accrued(accounts[1], fees_of(entry, "", "", host.properties))
    return _sold(accounts, 1, found, entry.energy_milli_wh)


def _of_fee(
    entry: Settlement, fee: int, accounts: list[Account], host: ValidationHost
) -> Invalid | None:
    if (entry.reading, entry.matched, entry.energy_milli_wh) != (None, None, 0):
        return Invalid("a fee that is paid by energy")
    after = ledger.fee_paid(accounts[0], fee, entry.amount_micro)
    if after is None or host.properties.fees[fee].payee != entry.parties[1].agent:
        return Invalid("another fee than its payer owes, or to another payee")
    accounts[0] = after
    return None


def fees_of(entry: Settlement, source: str, destination: str, properties: Any) -> tuple[int, ...]:
    """What its seller owes in fees by a sale between two zones: parts of what it is paid."""
    seller = entry.seller
    assert seller is not None, "there is a sale"
    earned_micro = entry.amount_micro if seller == entry.parties[1].agent else 0
    return fees.parts(properties.fees, seller, earned_micro, source, destination)


def is_reading_of(found: Found, agent: AgentPubKey) -> bool:
    """Whether a record is a meter's reading by an agent."""
    return found.action.author == agent and hasattr(found.entry, "export_milli_wh")


def _sold(accounts: list[Account], seller: int, reading: Found, energy: int) -> Invalid | None:
    after = ledger.sold(accounts[seller], reading.action.action_seq, energy)
    if after is None or after.sold_milli_wh > reading.entry.export_milli_wh:
        return Invalid("energy that was sold already or never exported")
    accounts[seller] = after
    return None


def _of_match(
    entry: Settlement, matched: Matched, accounts: list[Account], host: ValidationHost
) -> Invalid | None:
    found = host.must_get_record(matched.gate)
    matches = matches_of(found)
    if matches is None or not 0 <= matched.place < len(matches):
        return Invalid("a settlement of something that no gate has matched")
    gate, seller = found.entry, int(not matched.seller_owes)
    due = matches[matched.place]
    agents = [party.agent for party in entry.parties]
    if (agents[seller], agents[1 - seller]) != (due.seller, due.buyer):
        return Invalid("a match settled by others than its seller and its buyer")
    readings: list[Found | None] = []
    for hash_, agent in ((entry.reading, due.seller), (matched.taken, due.buyer)):
        if hash_ is None:
            if min(party.timestamp_us for party in entry.parties) < silent_from(gate.start, host):
                return Invalid("a match settled without a reading, while it may still come")
            readings.append(None)
            continue
        reading = host.must_get_record(hash_)
        if not is_reading_of(reading, agent) or reading.entry.start != gate.start:
            return Invalid("a match settled by something else than its party's own reading of it")
        readings.append(reading)
    own, theirs = readings
    owed, sold = terms_of(matches, matched.place, own, theirs, host.properties)
    if (entry.amount_micro, matched.seller_owes) != (abs(owed), owed < 0):
        return Invalid("another amount than the match comes to by both readings")
    if entry.energy_milli_wh != sold or not (owed or sold):
        return Invalid("other energy than the match comes to by both readings, or nothing at all")
    after = ledger.settled(accounts[seller], gate.start, matched.place)
    if after is None:
        return Invalid("a match that its seller has settled already, or passed over")
    zones = _zones_of(due, host)
    accounts[seller] = ledger.accrued(after, fees_of(entry, *zones, host.properties))
    return _sold(accounts, seller, own, sold) if own is not None and sold else None


def _zones_of(due: match.Match, host: ValidationHost) -> tuple[str, str]:
    """From which zone to which a match's energy goes, by its orders; asked where it matters."""
    if not any(fee.zone for fee in host.properties.fees):
        return "", ""
    source, destination = host.must_get_records([due.ask, due.bid])
    return source.entry.zone, destination.entry.zone


def matches_of(gate: Found) -> Sequence[match.Match] | None:
    """A gate's matches; None for what is no gate."""
    matches = getattr(gate.entry, "matches", None)
    if not isinstance(matches, tuple) or not all(isinstance(m, match.Match) for m in matches):
        return None
    return matches


def silent_from(start: int, host: Any) -> int:
    """From when on an interval's reading that has not come counts as missing."""
    length: int = host.properties.interval_us
    return start + (1 + delivery.SILENT_INTERVALS_MAX) * length


def terms_of(
    matches: Sequence[match.Match],
    place: int,
    reading: Found | None,
    taken: Found | None,
    properties: Any,
) -> Terms:
    """What a gate's match comes to by the seller's and the buyer's readings."""
    due, until = matches[place], matches[: place + 1]
    exports: dict[bytes, int] = {}
    imports: dict[bytes, int] = {}
    if reading is not None:
        exports[due.seller] = reading.entry.export_milli_wh
    if taken is not None:
        imports[due.buyer] = taken.entry.import_milli_wh
    return delivery.settled(
        due.price_micro,
        delivery.delivered(until, exports)[-1],
        delivery.taken(until, imports)[-1],
        grid_of(properties),
    )


def grid_of(properties: Any) -> Grid:
    """The grid's prices in a community."""
    return Grid(properties.grid_import_micro, properties.grid_export_micro)


def account_after(found: Found | None, party: Party) -> Account:
    """Where a party's last settlement, or what its account began with, left it."""
    if found is None:
        return Account()
    if isinstance(found.entry, Carried):
        carried: Account = found.entry.account
        return carried
    settlement: Settlement = found.entry
    place = [each.agent for each in settlement.parties].index(party.agent)
    account: Account = settlement.sides[place].account
    return account
