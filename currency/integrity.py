"""Settlements: one entry, two parties, both accounts after it (I-063, I-070, I-105).

A credit rests on an action of another chain: the payer's half of the settlement.  A payer that
forks has two, and who holds a stolen key writes some that honest members never see: so a credit is
spent only once it is claimed, and claimed only where that action is known to be final.  Whoever
does not know it waits, and calls nobody a liar.

An account goes over to an agent's next key once: when the old chain has been closed for it.  Its
credit rests on that close.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from currency import ledger, limit
from currency.ledger import RUN_MAX, Account, InvoicePaid, Receipt
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

zome = IntegrityZome("currency", pure_modules=[ledger, limit])


@dataclass(frozen=True)
class Side:
    """One party's previous settlement (None before its first) and its account after this one.

    `claims` are settlements of its own that gave it credits, which are final by now.
    """

    previous: ActionHash | None
    account: Account
    claims: tuple[ActionHash, ...] = ()


@zome.entry_type(countersigned=True)
@dataclass(frozen=True)
class Settlement:
    """`parties[0]` pays `parties[1]`; `sides` are theirs in the same order.

    For a sale of metered energy, `reading` is the payee's interval reading and
    `energy_milli_wh` what is sold of its export; otherwise None and 0.  Who pays an `invoice`
    pays what it asks for, with its memo, once.
    """

    parties: tuple[Party, ...]
    sides: tuple[Side, ...]
    amount_micro: int
    energy_milli_wh: int
    reading: ActionHash | None
    memo: str
    invoice: ActionHash | None = None

    @property
    def seller(self) -> AgentPubKey | None:
        """Who sold energy; None for a payment."""
        return None if self.reading is None else self.parties[1].agent


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
    if entry.amount_micro <= 0 or len(entry.memo) > MEMO_CHARS_MAX:
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
    payer, payee = accounts
    verdict = _payer(entry, payer, host)
    if verdict is not Valid:
        return verdict
    verdict = _payee(entry, payee, host)
    if verdict is Valid:
        host.must_be_final(rests_on)
    return verdict


def _payer(entry: Settlement, payer: Account, host: ValidationHost) -> Verdict:
    after = ledger.paid(payer, entry.amount_micro)
    if entry.invoice is not None:
        invoice = host.must_get_record(entry.invoice)
        if not is_invoice(invoice) or not _is_asked(entry, invoice):
            return Invalid("an invoice that asks for something else")
        paid = invoiced(after, entry.parties, invoice)
        if paid is None:
            return Invalid("an invoice that is past or paid already")
        after = paid
    if entry.sides[0].account != after:
        return Invalid("the payer's account is not what it was less the amount")
    if after.free_micro < -limit_of(after, entry.parties[0], entry.parties, host.properties):
        return Invalid("past the payer's credit limit")
    return Valid


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
    return asked == (payer, payee, entry.amount_micro) and (
        entry.memo == invoice.entry.memo and entry.reading is None
    )


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


def _payee(entry: Settlement, payee: Account, host: ValidationHost) -> Verdict:
    credited = ledger.received(payee, entry.amount_micro)
    after: Account | None = credited
    if entry.reading is not None:
        found = host.must_get_record(entry.reading)
        reading = found.entry
        if found.action.author != entry.parties[1].agent or not hasattr(reading, "export_milli_wh"):
            return Invalid("a sale of something that is no reading of the seller's")
        if entry.energy_milli_wh <= 0:
            return Invalid("a sale of no energy")
        if entry.amount_micro != ledger.price_of(entry.energy_milli_wh, host.properties.price_bp):
            return Invalid("a sale at another price than the community's")
        after = ledger.sold(credited, found.action.action_seq, entry.energy_milli_wh)
        if after is None or after.sold_milli_wh > reading.export_milli_wh:
            return Invalid("energy that was sold already or never exported")
    elif entry.energy_milli_wh:
        return Invalid("energy sold without a reading")
    if entry.sides[1].account != after:
        return Invalid("the payee's account is not what it was with the amount")
    return Valid


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
