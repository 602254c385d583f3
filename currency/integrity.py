"""Settlements: one entry, two parties, both accounts after it (I-063, I-070, I-105)."""

from dataclasses import dataclass

from currency import ledger
from currency.ledger import Account
from ioe_node.hdi import (
    ActionHash,
    CreateOp,
    Found,
    IntegrityZome,
    Invalid,
    Party,
    Valid,
    ValidationHost,
    Verdict,
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


@zome.validate_create
def each_side_follows_its_last(entry: Settlement, op: CreateOp, host: ValidationHost) -> Verdict:
    if len(entry.parties) != 2 or len(entry.sides) != 2:
        return Invalid("a settlement has one payer and one payee")
    if entry.amount_micro <= 0 or len(entry.memo) > MEMO_CHARS_MAX:
        return Invalid(
            f"a settlement pays at least one micro-credit, with a memo of at most "
            f"{MEMO_CHARS_MAX} characters"
        )
    before = [host.must_get_previous(party, Settlement) for party in entry.parties]
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
    """Where a party's last settlement left it."""
    if found is None:
        return Account()
    settlement: Settlement = found.entry
    place = [each.agent for each in settlement.parties].index(party.agent)
    account: Account = settlement.sides[place].account
    return account
