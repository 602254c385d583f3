"""Invoices and the word of those who have to pay them."""

from typing import Any

import pytest

from ioe_node.hdi import Invalid, Timestamp, Valid
from ioe_node.model.action import CreateLink, Update
from ioe_node.model.codec import encode
from ioe_node.model.hashes import entry_hash
from zomes.invoice.integrity import SENT, VALID_US_MAX, Invoice, Promise, Refusal


@pytest.fixture
def made(neighbourhood: Any) -> tuple[Any, Any, Invoice, Any]:
    """(payee, payer, the invoice, its record)."""
    payee, payer = neighbourhood.member(2), neighbourhood.member(3)
    entry = Invoice(payer.agent, 5, Timestamp(payee.head.timestamp_us + 1_000_000), "eggs")
    return payee, payer, entry, neighbourhood.create(payee, entry)


def test_what_is_no_invoice(neighbourhood: Any) -> None:
    payee, payer = neighbourhood.member(2), neighbourhood.member(3)
    now_us = payee.head.timestamp_us
    for wrong in (
        Invoice(payee.agent, 5, Timestamp(now_us + 1_000_000), ""),
        Invoice(payer.agent, 0, Timestamp(now_us + 1_000_000), ""),
        Invoice(payer.agent, 5, Timestamp(now_us + 1_000_000), "x" * 141),
        Invoice(payer.agent, 5, Timestamp(now_us), ""),
        Invoice(payer.agent, 5, Timestamp(now_us + 2 * VALID_US_MAX), ""),
    ):
        assert isinstance(neighbourhood.verdict(payee, wrong), Invalid), wrong


def test_only_the_payer_promises_and_declines(neighbourhood: Any, made: Any) -> None:
    payee, payer, entry, record = made
    for word in (Promise(record.hash, entry.valid_until), Refusal(record.hash, "bad eggs")):
        assert neighbourhood.verdict(payer, word) is Valid
        verdict = neighbourhood.verdict(payee, word)
        assert isinstance(verdict, Invalid)
        assert "no invoice for its author" in verdict.reason
    for wrong in (
        Promise(record.hash, Timestamp(entry.valid_until + 1)),
        Promise(record.hash, Timestamp(1)),
        Refusal(record.hash, "x" * 141),
        Refusal(payer.chain[1].hash, ""),
    ):
        assert isinstance(neighbourhood.verdict(payer, wrong), Invalid), wrong


def test_an_invoice_is_never_altered(neighbourhood: Any, made: Any) -> None:
    payee, payer, entry, record = made
    neighbourhood.create(payer, Promise(record.hash, entry.valid_until))
    dearer = encode(Invoice(payer.agent, 500, entry.valid_until, "eggs"))
    payee.draft(
        Update,
        entry=dearer,
        entry_type="invoice.Invoice",
        entry_hash=entry_hash(dearer),
        original_action=record.hash,
        original_entry=record.action.entry_hash,
    )
    (altered,) = payee.seal()
    assert isinstance(neighbourhood.world.judge(altered), Invalid)


def test_an_invoice_is_sent_to_its_payer_by_its_author(neighbourhood: Any, made: Any) -> None:
    payee, payer, _, record = made
    right = {"base": payer.agent, "target": record.hash, "link_type": SENT, "tag": b""}
    assert neighbourhood.verdict_on(payee, CreateLink, **right) is Valid
    for author, changed in (
        (payer, {}),
        (payee, {"base": payee.agent}),
        (payee, {"tag": b"pay!"}),
        (payee, {"target": payee.chain[1].hash}),
    ):
        verdict = neighbourhood.verdict_on(author, CreateLink, **{**right, **changed})
        assert isinstance(verdict, Invalid), changed
