"""An invoice is paid as it asks, in time, and once: what every validator holds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currency.integrity import Settlement
from currency.ledger import INVOICES_MAX, Account, InvoicePaid, invoiced
from ioe_node.hdi import ActionHash, Timestamp
from ioe_node.model.record import Record
from tests.currency.test_integrity import LIMIT_MICRO, Market, refused
from zomes.invoice.integrity import Invoice

DAY_US = 24 * 3_600 * 1_000_000


def invoice(number: int, until_us: int) -> InvoicePaid:
    return InvoicePaid(ActionHash(number.to_bytes(39, "big")), until_us)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=80))
def test_whatever_the_order_no_invoice_is_paid_twice_or_late(
    payments: list[tuple[int, int]],
) -> None:
    """An invoice's end is its own; time on a chain never runs back."""
    account, now_us, paid = Account(), 0, list[int]()
    for number, later_us in payments:
        now_us += later_us
        until_us = 40 * (1 + number)
        after = invoiced(account, invoice(number, until_us), now_us)
        assert (after is None) == (number in paid or until_us <= now_us)
        if after is not None:
            paid.append(number)
            account = after
            assert all(each.valid_until_us > now_us for each in account.invoices)


def test_so_many_are_remembered_and_no_more_are_paid_meanwhile() -> None:
    account = Account()
    for number in range(INVOICES_MAX):
        made = invoiced(account, invoice(number, 10 + number), 0)
        assert made is not None
        account = made
    assert invoiced(account, invoice(99, 100), 9) is None
    assert invoiced(account, invoice(99, 100), 10) is not None


@pytest.fixture
def market(found_neighbourhood: Any, sign_together: Callable[..., list[Record]]) -> Market:
    return Market(found_neighbourhood(credit_limit_micro=LIMIT_MICRO), sign_together)


def asked(market: Market, amount_micro: int, memo: str = "eggs", days: int = 14) -> Record:
    """The seller's invoice for the buyer."""
    until = Timestamp(market.seller.head.timestamp_us + days * DAY_US)
    entry = Invoice(market.buyer.agent, amount_micro, until, memo)
    made: Record = market.neighbourhood.create(market.seller, entry)
    return made


def payment(market: Market, paid: Record, amount_micro: int, **changed: Any) -> Settlement:
    entry = market.neighbourhood.rules.found(paid).entry
    before = market.accounts.get(market.buyer.agent, Account()).invoices
    remembered = (*before, InvoicePaid(paid.hash, entry.valid_until))
    sides = (
        market.side(market.buyer, -amount_micro, invoices=remembered),
        market.side(market.seller, amount_micro),
    )
    whole = market.payment(amount_micro, sides=sides, invoice=paid.hash, memo=entry.memo)
    return replace(whole, **changed)


def test_an_invoice_is_paid_once(market: Market) -> None:
    first, second = asked(market, 10), asked(market, 10)
    market.settle(payment(market, first, 10))
    refused(market, payment(market, first, 10), "paid already")
    market.settle(market.payment(10))
    refused(market, payment(market, first, 10), "paid already")
    forgetful = payment(market, second, 10)
    side = forgetful.sides[0]
    forgot = replace(side, account=replace(side.account, invoices=side.account.invoices[1:]))
    refused(market, replace(forgetful, sides=(forgot, forgetful.sides[1])), "not what it was")
    market.settle(forgetful)


def test_what_is_paid_is_what_the_invoice_asks_for(market: Market) -> None:
    made = asked(market, 10)
    refused(market, payment(market, made, 11), "something else")
    refused(market, payment(market, made, 10, memo="ham"), "something else")
    key = market.seller.chain[1]
    refused(market, replace(payment(market, made, 10), invoice=key.hash), "something else")
    other = market.neighbourhood.member(7)
    until = Timestamp(other.head.timestamp_us + DAY_US)
    theirs = market.neighbourhood.create(other, Invoice(market.buyer.agent, 10, until, "eggs"))
    refused(market, payment(market, theirs, 10), "something else")
    market.turned()
    refused(market, payment(market, made, 10), "something else")


def test_an_invoice_expires(market: Market) -> None:
    made = asked(market, 10, days=1)
    late = payment(market, made, 10)
    until = market.neighbourhood.rules.found(made).entry.valid_until
    for at_us, why in ((until, "past"), (until - 1, "")):
        ours = replace(late.parties[0], timestamp_us=Timestamp(at_us))
        entry = replace(late, parties=(ours, late.parties[1]))
        if why:
            refused(market, entry, why)
        else:
            market.settle(entry)
