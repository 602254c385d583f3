"""An audit takes nobody's word: it finds what is wrong on chains, and says what it cannot see."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from currency.integrity import Carried, Matched, Settlement
from currency.ledger import Account
from currency.reports import Trail, audit_page
from ioe_node.hdi import ActionHash, AgentPubKey, Found
from ioe_node.model.action import CloseChain
from ioe_node.model.record import Record
from tests.currency.test_integrity import Market

PAGE = 3


@pytest.fixture
def market(found_neighbourhood: Any, sign_together: Callable[..., list[Record]]) -> Market:
    return Market(found_neighbourhood(price_bp=5_000), sign_together)


class Shown:
    """What some authority shows: chains in pages, records one by one, none of it judged."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.hidden: set[ActionHash] = set()
        self.short: set[AgentPubKey] = set()

    def _chain(self, agent: AgentPubKey) -> list[Found]:
        place = self.market.neighbourhood
        authors = (place.steward, self.market.buyer, self.market.seller)
        (chain,) = [each.chain for each in authors if each.agent == agent]
        return [place.rules.found(each) for each in chain]

    async def activity(self, agent: AgentPubKey, from_seq: int = 0) -> list[Found]:
        chain = self._chain(agent)
        return chain[from_seq : from_seq + PAGE] if agent not in self.short else []

    async def newest(self, agent: AgentPubKey, limit: int) -> list[Found]:
        return self._chain(agent)[::-1][:limit]

    async def get(self, action: ActionHash) -> Found | None:
        place = self.market.neighbourhood
        for author in (self.market.buyer, self.market.seller):
            for record in author.chain:
                if record.hash == action not in self.hidden:
                    return place.rules.found(record)  # type: ignore[no-any-return]
        return None

    def audit(self, agent: AgentPubKey) -> tuple[int, list[str], list[str], bool]:
        """(balance, what is wrong, what is unseen, whether the chain was not all read)."""

        async def walk() -> tuple[int, list[str], list[str], bool]:
            trail, from_seq, faults, unchecked = Trail(), 0, list[str](), list[str]()
            while True:
                page = await audit_page(self, agent, from_seq, trail)  # type: ignore[arg-type]
                faults += [each["why"] for each in page["faults"]]
                unchecked += [each["why"] for each in page["unchecked"]]
                trail = Trail(**page["trail"])
                if page["next_seq"] is None:
                    return trail.balance_micro, faults, unchecked, page["unread"]
                from_seq = page["next_seq"]

        return trio.run(walk)


def commit(market: Market, entry: Settlement) -> list[Record]:
    """Both halves on their chains, whatever the rules say of it."""
    records = market.sign(entry)
    for record, author in zip(records, (market.buyer, market.seller), strict=True):
        author.take(record)
        market.last[author.agent] = record.hash
    for party, side in zip(entry.parties, entry.sides, strict=True):
        market.accounts[party.agent] = side.account
    return records


def test_right_books_are_proven(market: Market) -> None:
    reading = market.meter(market.seller, 100)
    commit(market, market.payment(10))
    for sold in (40, 80, 100):
        commit(market, market.sale(reading, 20 if sold == 100 else 40, sold=sold))
    shown = Shown(market)
    assert shown.audit(market.buyer.agent) == (-60, [], [], False)
    assert shown.audit(market.seller.agent) == (60, [], [], False)


def test_energy_that_was_sold_twice_is_found(market: Market) -> None:
    first, second = (market.meter(market.seller, 100, number) for number in (0, 1))
    theirs = market.meter(market.buyer, 100)
    commit(market, market.sale(first, 60, sold=60))
    commit(market, market.sale(first, 60, sold=60))
    assert Shown(market).audit(market.seller.agent)[1] == [
        "more sold out of a reading than it exported"
    ]
    commit(market, market.sale(second, 10, sold=10))
    commit(market, market.sale(first, 10, sold=10))
    assert "before the last one" in Shown(market).audit(market.seller.agent)[1][-1]
    commit(market, market.sale(theirs, 10, sold=10))
    assert "another's reading" in Shown(market).audit(market.seller.agent)[1][-1]


def test_what_no_rule_would_pass_is_named_and_the_audit_goes_on(market: Market) -> None:
    sale = market.sale(market.meter(market.seller, 100), 60, sold=60)
    matched = Matched(market.seller.chain[0].hash, 0, None, seller_owes=False)
    commit(market, replace(sale, reading=None, matched=matched))
    assert Shown(market).audit(market.seller.agent)[1] == ["energy sold without a reading"]
    halves = market.sign(replace(market.payment(10), sides=()))
    for record, author in zip(halves, (market.buyer, market.seller), strict=True):
        author.take(record)
    assert "not of two" in Shown(market).audit(market.buyer.agent)[1][-1]


def test_credits_out_of_nothing_are_found(market: Market) -> None:
    commit(market, market.payment(10))
    right = market.payment(5)
    rich = replace(right.sides[0], account=Account(1_000))
    commit(market, replace(right, sides=(rich, right.sides[1])))
    balance, faults, _, _ = Shown(market).audit(market.buyer.agent)
    assert (balance, len(faults)) == (1_000, 1)
    assert Shown(market).audit(market.seller.agent) == (15, [], [], False)
    right = market.payment(5)
    late = replace(right.sides[1], previous=None)
    commit(market, replace(right, sides=(right.sides[0], late)))
    assert "does not follow" in Shown(market).audit(market.seller.agent)[1][0]


def test_what_cannot_be_seen_is_named(market: Market) -> None:
    reading = market.meter(market.seller, 100)
    halves = commit(market, market.sale(reading, 40, sold=40))
    shown = Shown(market)
    shown.hidden = {reading.hash, halves[0].hash}
    balance, faults, unchecked, unread = shown.audit(market.seller.agent)
    assert (balance, faults, len(unchecked), unread) == (20, [], 2, False)
    shown.short = {market.buyer.agent}
    assert shown.audit(market.buyer.agent) == (0, [], [], True)


def test_an_account_that_went_over_is_followed(market: Market) -> None:
    place, old = market.neighbourhood, market.buyer
    (half, _) = market.settle(market.payment(700))
    heir = place.member(4)
    close = place.write(old, CloseChain, new_target=heir.agent)
    entry = Carried(close.hash, half.hash, 0, Account(-700))
    place.create(heir, entry)
    shown = Shown(market)
    market.buyer, market.seller = heir, old
    assert shown.audit(heir.agent) == (-700, [], [], False)
    heir.chain.pop()
    heir.take(heir.create(replace(entry, account=Account(0))))
    assert "another balance" in shown.audit(heir.agent)[1][0]
