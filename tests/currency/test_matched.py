"""A settlement of a match is what its gate and both readings make of it, or it is refused."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from currency.delivery import SILENT_INTERVALS_MAX
from currency.fees import Fee
from currency.integrity import Matched, Settlement
from currency.ledger import Account
from currency.market.match import Match
from ioe_node.hdi import Invalid, Missing, Timestamp, Valid
from ioe_node.model.hashes import action_hash
from ioe_node.model.record import Record
from tests.currency.test_integrity import BEGIN_US, LENGTH_US, PRICE_BP, Market
from tests.sim.announced import ANNOUNCED, Gate
from zomes.metering.integrity import IntervalReading

KWH = 1_000_000
PRICE = 900_000


class Gated(Market):
    """The two of a market, and what a gate has matched of theirs."""

    def read(self, author: Any, imported: int, exported: int, number: int = 0) -> Record:
        """A first reading of `author`, of an interval."""
        start = BEGIN_US + number * LENGTH_US
        counts = (imported, exported, imported, exported)
        reading = IntervalReading(
            Timestamp(start), Timestamp(start + LENGTH_US), *counts, "measured", "device"
        )
        made: Record = self.neighbourhood.create(author, reading)
        return made

    def gate(self, *matches: tuple[int, int], number: int = 0) -> Record:
        """Matches of the seller and the buyer, as (energy, price)."""
        order = action_hash(b"an order", self.seller.agent)
        made = [
            Match(order, order, self.buyer.agent, self.seller.agent, energy, price)
            for energy, price in matches
        ]
        gate = Gate(BEGIN_US + number * LENGTH_US, tuple(made))
        written: Record = self.neighbourhood.steward.create(gate, "market.Gate")
        self.world.keep(written)
        return written

    def due(
        self,
        gate: Record,
        reading: Record | None,
        taken: Record | None,
        owed: int,
        sold: int = 0,
        place: int = 0,
        sold_before: int = 0,
    ) -> Settlement:
        """The match at a place of a gate, settled rightly if `owed` and `sold` are right."""
        start = self.neighbourhood.rules.found(gate).entry.start
        changed: dict[str, Any] = {"gate_start": start, "gate_place": place}
        if sold and reading is not None:
            changed |= {
                "reading_seq": reading.action.action_seq,
                "sold_milli_wh": sold_before + sold,
            }
        ours = self.buyer, self.side(self.buyer, -owed)
        theirs = self.seller, self.side(self.seller, owed, **changed)
        both = (ours, theirs) if owed >= 0 else (theirs, ours)
        parties, sides = zip(*((author.party(), side) for author, side in both), strict=True)
        hashes = [None if each is None else each.hash for each in (reading, taken)]
        matched = Matched(gate.hash, place, hashes[1], owed < 0)
        return Settlement(parties, sides, abs(owed), sold, hashes[0], "", matched)

    def keep(self, entry: Settlement) -> None:
        """Both halves are valid and held."""
        authors = {each.agent: each for each in (self.buyer, self.seller)}
        records = self.sign(entry)
        assert [self.world.judge(record) for record in records] == [Valid, Valid]
        for record, party, side in zip(records, entry.parties, entry.sides, strict=True):
            self.world.keep(record)
            authors[party.agent].take(record)
            self.last[party.agent] = record.hash
            self.accounts[party.agent] = side.account

    def later(self, us: int) -> None:
        """Both chains go on so much later."""
        for author in (self.buyer, self.seller):
            author.head = msgspec.structs.replace(
                author.head, timestamp_us=author.head.timestamp_us + us
            )


@pytest.fixture
def market(found_neighbourhood: Any, sign_together: Any) -> Gated:
    network = found_neighbourhood(ANNOUNCED, interval_us=LENGTH_US, price_bp=PRICE_BP)
    return Gated(network, sign_together)


def refused(market: Gated, entry: Settlement, why: str) -> None:
    for verdict in market.verdicts(entry):
        assert isinstance(verdict, Invalid), verdict
        assert why in verdict.reason


@pytest.mark.parametrize(
    ("exported", "imported", "owed", "sold"),
    [
        (KWH, KWH, 900_000, KWH),
        (KWH // 4, KWH, 225_000 - 450_000, KWH // 4),
        (0, KWH, -600_000, 0),
        (KWH, 0, 400_000, 0),
        (1, 0, 0, None),
        (1, 1, 0, 1),
    ],
)
def test_the_amount_and_who_pays_it_follow_from_both_readings(
    market: Gated, exported: int, imported: int, owed: int, sold: int | None
) -> None:
    gate = market.gate((KWH, PRICE))
    reading, taken = market.read(market.seller, 0, exported), market.read(market.buyer, imported, 0)
    entry = market.due(gate, reading, taken, owed, sold or 0)
    if sold is None:
        refused(market, entry, "nothing at all")
        return
    for wrong in (owed + 1, owed - 1, -owed or 2):
        other = market.due(gate, reading, taken, wrong, sold)
        refused(market, other, "another amount")
    refused(market, market.due(gate, reading, taken, owed, sold + 1), "other energy")
    market.keep(entry)
    again = market.due(gate, reading, taken, owed, sold, sold_before=sold)
    refused(market, again, "settled already")


def test_matches_of_a_gate_are_settled_in_their_order_and_share_a_reading(market: Gated) -> None:
    first, second = market.gate((KWH, PRICE), (KWH, PRICE)), market.gate((KWH, PRICE), number=1)
    reading = market.read(market.seller, 0, KWH + 10)
    taken = market.read(market.buyer, 3 * KWH, 0)
    market.keep(market.due(first, reading, taken, 900_000, KWH))
    # Of the second 10 milli-Wh are left: sold for 9, and for the rest the seller owes.
    owed = (PRICE * 10 - 600_000 * (KWH - 10)) // KWH
    market.keep(market.due(first, reading, taken, owed, 10, place=1, sold_before=KWH))
    refused(market, market.sale(reading, 2, sold=KWH + 12), "sold already")
    account = market.accounts[market.seller.agent]
    assert (account.gate_start, account.gate_place) == (BEGIN_US, 1)
    refused(market, market.due(second, reading, taken, 900_000, KWH), "own reading of it")


def test_energy_that_was_shared_out_already_is_not_sold_by_a_match(market: Gated) -> None:
    gate = market.gate((KWH, PRICE))
    reading, taken = market.read(market.seller, 0, KWH), market.read(market.buyer, KWH, 0)
    market.settle(market.sale(reading, 2, sold=2))
    entry = market.due(gate, reading, taken, 900_000, KWH, sold_before=2)
    refused(market, entry, "sold already")


def test_only_a_gates_own_parties_settle_it_and_by_their_own_readings(market: Gated) -> None:
    gate = market.gate((KWH, PRICE))
    reading, taken = market.read(market.seller, 0, KWH), market.read(market.buyer, KWH, 0)
    right = market.due(gate, reading, taken, 900_000, KWH)
    assert right.matched is not None
    for wrong, why in (
        (replace(right.matched, gate=reading.hash), "no gate has matched"),
        (replace(right.matched, place=1), "no gate has matched"),
        (replace(right.matched, place=-1), "no gate has matched"),
        (replace(right.matched, seller_owes=True), "its seller and its buyer"),
        (replace(right.matched, taken=reading.hash), "own reading of it"),
        (replace(right.matched, taken=gate.hash), "own reading of it"),
        (replace(right.matched, taken=None), "may still come"),
    ):
        refused(market, replace(right, matched=wrong), why)
    refused(market, replace(right, reading=taken.hash), "own reading of it")
    refused(market, replace(right, reading=None), "may still come")
    refused(market, replace(right, matched=None), "another price")
    unknown = action_hash(b"not here", market.seller.agent)
    lost = replace(right, matched=replace(right.matched, gate=unknown))
    assert market.verdicts(lost) == [Missing((unknown,))] * 2
    market.buyer, other = market.neighbourhood.member(4), market.buyer
    stranger = replace(market.due(gate, reading, taken, 900_000, KWH), reading=reading.hash)
    refused(market, stranger, "its seller and its buyer")
    market.buyer = other
    forgotten = replace(right.sides[1], account=replace(right.sides[1].account, gate_place=-1))
    refused(market, replace(right, sides=(right.sides[0], forgotten)), "not what it was")


def test_who_is_silent_for_long_is_settled_without(market: Gated) -> None:
    gate = market.gate((KWH, PRICE), (KWH, PRICE))
    taken = market.read(market.buyer, KWH, 0)
    entry = market.due(gate, None, taken, -600_000)
    refused(market, entry, "may still come")
    silent_us = BEGIN_US + (1 + SILENT_INTERVALS_MAX) * LENGTH_US
    market.later(silent_us - market.buyer.head.timestamp_us - 10_000_000)
    refused(market, market.due(gate, None, taken, -600_000), "may still come")
    market.later(20_000_000)
    market.keep(market.due(gate, None, taken, -600_000))


def test_credits_that_a_match_brought_are_claimed_and_nothing_is_none(market: Gated) -> None:
    gate = market.gate((KWH, 0), (KWH, PRICE))
    reading = market.read(market.seller, 0, 2 * KWH)
    taken = market.read(market.buyer, 2 * KWH, 0)
    market.keep(market.due(gate, reading, taken, 0, KWH))
    assert market.accounts[market.seller.agent].receipts == 0
    market.keep(market.due(gate, reading, taken, 900_000, KWH, place=1, sold_before=KWH))
    assert market.accounts[market.seller.agent].receipts == 1
    assert market.accounts[market.buyer.agent] == Account(-900_000)


def test_a_debtor_cannot_go_past_its_limit_by_a_match(
    found_neighbourhood: Any, sign_together: Any
) -> None:
    network = found_neighbourhood(ANNOUNCED, interval_us=LENGTH_US, credit_limit_micro=500_000)
    market = Gated(network, sign_together)
    gate = market.gate((KWH, PRICE))
    taken = market.read(market.buyer, KWH, 0)
    reading = market.read(market.seller, 0, 0)
    refused(market, market.due(gate, reading, taken, -600_000), "credit limit")


def test_a_seller_owes_its_fees_and_pays_each_whole_and_to_its_payee(
    found_neighbourhood: Any, sign_together: Any, new_author: Any
) -> None:
    payee, other = (new_author(number).agent for number in (4, 5))
    fees = (Fee("platform", payee, 1_000), Fee("matching", other, 100))
    network = found_neighbourhood(ANNOUNCED, interval_us=LENGTH_US, price_bp=PRICE_BP, fees=fees)
    market = Gated(network, sign_together)
    seller, reading = market.seller, market.read(market.seller, 0, 4_000)
    right = market.sale(reading, 2_000, sold=2_000)
    refused(market, right, "not what it was")
    after = replace(right.sides[1].account, fees_micro=(100, 10))
    for wrong in ((100, 11), (0, 0), (100,), (100, 10, 0)):
        sides = (right.sides[0], replace(right.sides[1], account=replace(after, fees_micro=wrong)))
        refused(market, replace(right, sides=sides), "not what it was")
    market.settle(replace(right, sides=(right.sides[0], replace(right.sides[1], account=after))))
    refused(market, market.sale(reading, 2_000, sold=4_000), "not what it was")

    market.buyer, market.seller = seller, network.member(4)
    paid = market.payment(100, fee=0)
    payer = replace(paid.sides[0], account=replace(paid.sides[0].account, fees_micro=(0, 10)))
    paid = replace(paid, sides=(payer, paid.sides[1]))
    for entry, why in (
        (market.payment(100, fee=0), "not what it was"),
        (replace(paid, fee=None), "not what it was"),
        (replace(paid, fee=1), "another fee"),
        (replace(paid, fee=2), "another fee"),
        (replace(paid, fee=-1), "another fee"),
        (replace(paid, amount_micro=99), "another fee"),
        (replace(paid, energy_milli_wh=1), "paid by energy"),
        (replace(paid, reading=reading.hash), "paid by energy"),
    ):
        refused(market, entry, why)
    market.seller, stranger = network.member(5), market.seller
    elsewhere = market.payment(100, fee=0)
    refused(market, replace(elsewhere, sides=(payer, elsewhere.sides[1])), "another fee")
    market.seller = stranger
    market.settle(paid)
    refused(market, market.payment(100, fee=0), "another fee")
