"""Settlements: one entry, two parties, both accounts after it (I-063, I-070, I-105).

An account goes over to an agent's next key once: when the old chain has been closed for it.
"""

from dataclasses import dataclass

from currency import ledger
from currency.ledger import Account
from ioe_node.hdi import (
    ActionHash,
    CloseChain,
    CreateOp,
    Found,
    IntegrityZome,
    Invalid,
    Party,
    Valid,
    ValidationHost,
    Verdict,
    place_of,
)

MEMO_CHARS_MAX = 140

zome = IntegrityZome("currency", pure_modules=[ledger])


@dataclass(frozen=True)
class Side:
    """One party's previous settlement (None before its first) and its account after this one."""

    previous: ActionHash | None
    account: Account


@zome.entry_type(countersigned=True)
@dataclass(frozen=True)
class Settlement:
    """`parties[0]` pays `parties[1]`; `sides` are theirs in the same order.

    For a sale of metered energy, `reading` is the payee's interval reading and
    `energy_milli_wh` what is sold of its export; otherwise None and 0.
    """

    parties: tuple[Party, ...]
    sides: tuple[Side, ...]
    amount_micro: int
    energy_milli_wh: int
    reading: ActionHash | None
    memo: str


@zome.entry_type
@dataclass(frozen=True)
class Carried:
    """The author's account begins where that of its last key ended, whose chain `close` closed.

    `previous` is that account's last settlement (or the one that carried it).  What was sold of
    a reading stays with the chain that holds the readings.
    """

    close: ActionHash
    previous: ActionHash | None
    balance_micro: int


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
    if account_after(found, before).balance_micro != entry.balance_micro:
        return Invalid("an account carried over with another balance than it had")
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
    payer, payee = (
        account_after(found, party) for found, party in zip(before, entry.parties, strict=True)
    )
    after = ledger.paid(payer, -entry.amount_micro)
    if entry.sides[0].account != after:
        return Invalid("the payer's account is not what it was less the amount")
    if after.balance_micro < -host.properties.credit_limit_micro:
        return Invalid("past the payer's credit limit")
    return _payee(entry, payee, host)


def _payee(entry: Settlement, payee: Account, host: ValidationHost) -> Verdict:
    after: Account | None = ledger.paid(payee, entry.amount_micro)
    if entry.reading is not None:
        found = host.must_get_record(entry.reading)
        reading = found.entry
        if found.action.author != entry.parties[1].agent or not hasattr(reading, "export_milli_wh"):
            return Invalid("a sale of something that is no reading of the seller's")
        if entry.energy_milli_wh <= 0:
            return Invalid("a sale of no energy")
        if entry.amount_micro != ledger.price_of(entry.energy_milli_wh, host.properties.price_bp):
            return Invalid("a sale at another price than the community's")
        after = ledger.sold(
            ledger.paid(payee, entry.amount_micro), found.action.action_seq, entry.energy_milli_wh
        )
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
        return Account(found.entry.balance_micro)
    settlement: Settlement = found.entry
    place = [each.agent for each in settlement.parties].index(party.agent)
    account: Account = settlement.sides[place].account
    return account
