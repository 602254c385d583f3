"""Invoices, promises to pay them and refusals (I-070).

An invoice is named by its hash, so it never changes: nobody can update one, and a settlement
that names it pays exactly what it says (`currency.integrity`).  It ends by itself.
"""

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
)

TEXT_CHARS_MAX = 140
VALID_US_MAX = 92 * 24 * 3_600 * 1_000_000

zome = IntegrityZome("invoice")

SENT = zome.link_type("sent")
"""From a payer's key to each invoice for it."""


@zome.entry_type
@dataclass(frozen=True)
class Invoice:
    """The author asks `payer` for an amount until `valid_until`."""

    payer: AgentPubKey
    amount_micro: int
    valid_until: Timestamp
    memo: str


@zome.entry_type(by_hash=False)
@dataclass(frozen=True)
class Promise:
    """The author, whom the invoice names, will pay it by `pay_by`."""

    invoice: ActionHash
    pay_by: Timestamp


@zome.entry_type(by_hash=False)
@dataclass(frozen=True)
class Refusal:
    """The author, whom the invoice names, will not pay it; its newest word on it counts."""

    invoice: ActionHash
    reason: str


@zome.validate_create
def an_invoice_that_can_be_paid(invoice: Invoice, op: CreateOp, host: ValidationHost) -> Verdict:
    made_us = op.action.timestamp_us
    if invoice.payer == op.action.author:
        return Invalid("an invoice to oneself")
    if invoice.amount_micro <= 0 or len(invoice.memo) > TEXT_CHARS_MAX:
        return Invalid(
            f"an invoice asks for at least one micro-credit, with a memo of at most "
            f"{TEXT_CHARS_MAX} characters"
        )
    if not made_us < invoice.valid_until <= made_us + VALID_US_MAX:
        return Invalid("an invoice that is past when it is made, or stands for over three months")
    return Valid


@zome.validate_create
def promised_by_who_has_to_pay(promise: Promise, op: CreateOp, host: ValidationHost) -> Verdict:
    invoice = _invoice_for(promise.invoice, op, host)
    if isinstance(invoice, Invalid):
        return invoice
    if not op.action.timestamp_us < promise.pay_by <= invoice.valid_until:
        return Invalid("a promise to pay in the past, or once the invoice has expired")
    return Valid


@zome.validate_create
def refused_by_who_has_to_pay(refusal: Refusal, op: CreateOp, host: ValidationHost) -> Verdict:
    if len(refusal.reason) > TEXT_CHARS_MAX:
        return Invalid(f"a reason of over {TEXT_CHARS_MAX} characters")
    invoice = _invoice_for(refusal.invoice, op, host)
    return invoice if isinstance(invoice, Invalid) else Valid


def _invoice_for(named: ActionHash, op: CreateOp, host: ValidationHost) -> Invoice | Invalid:
    invoice = host.must_get_record(named).entry
    if not isinstance(invoice, Invoice) or invoice.payer != op.action.author:
        return Invalid("a word on something that is no invoice for its author")
    return invoice


@zome.validate_link(SENT)
def sent_to_its_payer(op: LinkOp, host: ValidationHost) -> Verdict:
    found = host.must_get_record(ActionHash(op.link.target))
    if not isinstance(found.entry, Invoice) or op.link.base != found.entry.payer or op.link.tag:
        return Invalid("an invoice is sent to its payer, without a word")
    if {op.action.author, op.link.author} != {found.action.author}:
        return Invalid("an invoice is sent by its author")
    return Valid
