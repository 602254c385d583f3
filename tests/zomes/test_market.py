"""Orders, votes and gates: bounded, in time, listed where they belong, and who may take back."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from currency.market.gate import ORDERS_MAX
from currency.market.match import Match
from ioe_node.hdi import Invalid, Timestamp, Valid, external_hash
from ioe_node.model.action import CreateLink, Delete, DeleteLink
from ioe_node.model.hashes import action_hash, agent_key
from tests.conftest import Neighbourhood
from zomes.market.integrity import (
    AHEAD_INTERVALS_MAX,
    BOOK,
    GATES,
    LIMIT_MICRO_MAX,
    ROUNDS_MAX,
    TALLIES,
    ZONE_CHARS_MAX,
    Gate,
    Order,
    Tally,
    basis_of,
)

LENGTH_US = 15 * 60 * 1_000_000
NEXT_US = (1_700_000_100_000_000 // LENGTH_US + 1) * LENGTH_US
BID = Order(
    "bid",
    energy_milli_wh=500_000,
    limit_micro=250_000,
    start=Timestamp(NEXT_US),
    valid_until=Timestamp(NEXT_US),
    zone="vic/carlton",
    clean=False,
    clean_only=True,
    local_first=True,
    partner=None,
)


@pytest.fixture
def trader(neighbourhood: Any) -> Any:
    return neighbourhood.member(2)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"side": "ask", "clean": True, "clean_only": False},
        {"energy_milli_wh": 1, "limit_micro": -LIMIT_MICRO_MAX, "zone": ""},
        {"energy_milli_wh": 25_000_000, "limit_micro": LIMIT_MICRO_MAX},
        {"start": NEXT_US + (AHEAD_INTERVALS_MAX - 1) * LENGTH_US},
        {"valid_until": NEXT_US - 1},
    ],
)
def test_orders_that_can_be_kept(neighbourhood: Any, trader: Any, changed: Any) -> None:
    assert neighbourhood.verdict(trader, replace(BID, **changed)) is Valid


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"start": NEXT_US - LENGTH_US}, "not begun"),
        ({"start": NEXT_US + 1}, "whole one"),
        ({"start": NEXT_US + AHEAD_INTERVALS_MAX * LENGTH_US}, "192 intervals from now"),
        ({"valid_until": NEXT_US + 1}, "beyond its interval"),
        ({"valid_until": 1}, "past when it is placed"),
        ({"energy_milli_wh": 0}, "no energy"),
        ({"energy_milli_wh": -1}, "no energy"),
        ({"energy_milli_wh": 25_000_001}, "largest connection"),
        ({"limit_micro": LIMIT_MICRO_MAX + 1}, "limit past"),
        ({"limit_micro": -LIMIT_MICRO_MAX - 1}, "limit past"),
        ({"zone": "z" * (ZONE_CHARS_MAX + 1)}, "characters"),
        ({"clean": True}, "what is sold"),
        ({"side": "ask"}, "what is bought"),
    ],
)
def test_orders_that_cannot(neighbourhood: Any, trader: Any, changed: Any, why: str) -> None:
    said(neighbourhood.verdict(trader, replace(BID, **changed)), why)


def said(verdict: Any, why: str) -> None:
    assert isinstance(verdict, Invalid)
    assert why in verdict.reason


def test_an_order_is_listed_in_its_own_book_by_who_placed_it(
    neighbourhood: Any, trader: Any
) -> None:
    other = neighbourhood.member(3)
    placed = neighbourhood.create(trader, BID)
    fields = {"base": basis_of(NEXT_US), "target": placed.hash, "link_type": BOOK, "tag": b""}

    def linked(by: Any, **changed: Any) -> Any:
        return neighbourhood.verdict_on(by, CreateLink, **{**fields, **changed})

    assert linked(trader) is Valid
    said(linked(other), "who placed it")
    said(linked(trader, base=basis_of(NEXT_US + LENGTH_US)), "own interval")
    said(linked(trader, tag=b"buy mine"), "without a word")
    said(linked(trader, target=trader.chain[2].hash), "lists orders")
    link = neighbourhood.write(trader, CreateLink, **fields)
    said(linked(trader), "listed once")
    gone = {"base": fields["base"], "create_link": link.hash}
    said(neighbourhood.verdict_on(other, DeleteLink, **gone), "who placed it")
    assert neighbourhood.verdict_on(trader, DeleteLink, **gone) is Valid
    late = {**gone, "timestamp_us": NEXT_US}
    said(neighbourhood.verdict_on(trader, DeleteLink, **late), "closed when it begins")


def test_an_order_is_taken_back_in_time_by_who_placed_it(neighbourhood: Any, trader: Any) -> None:
    other = neighbourhood.member(3)
    placed = neighbourhood.create(trader, BID)
    fields = {"deletes_action": placed.hash, "deletes_entry": placed.action.entry_hash}
    assert neighbourhood.verdict_on(trader, Delete, **fields) is Valid
    said(neighbourhood.verdict_on(other, Delete, **fields), "who placed it")
    late = {**fields, "timestamp_us": NEXT_US}
    said(neighbourhood.verdict_on(trader, Delete, **late), "closed when it begins")


def at(author: Any, us: int) -> None:
    """Have an author's next action be of this time."""
    author.head = structs.replace(author.head, timestamp_us=us - STEP_US)


STEP_US = 1_000


@pytest.fixture
def voter(neighbourhood: Any) -> Any:
    """A member who may vote: its interval runs."""
    member = neighbourhood.member(7)
    at(member, NEXT_US)
    return member


HASHES = tuple(sorted(action_hash(bytes([each]), agent_key(bytes(32))) for each in range(3)))
TALLY = Tally(Timestamp(NEXT_US), 1, HASHES)


def test_tallies_that_count(neighbourhood: Any, voter: Any) -> None:
    for tally in (TALLY, replace(TALLY, round=2), replace(TALLY, round=4, orders=HASHES[:1])):
        neighbourhood.create(voter, tally)
    at(voter, NEXT_US + LENGTH_US)
    following = replace(TALLY, start=Timestamp(NEXT_US + LENGTH_US))
    assert neighbourhood.verdict(voter, following) is Valid


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"start": NEXT_US + LENGTH_US}, "another interval"),
        ({"start": NEXT_US - LENGTH_US}, "another interval"),
        ({"start": NEXT_US - 1}, "another interval"),
        ({"round": 0}, "round 1 to"),
        ({"round": ROUNDS_MAX + 1}, "round 1 to"),
        ({"orders": ()}, "names 1 to"),
        ({"orders": HASHES[::-1]}, "in their order"),
        ({"orders": (HASHES[0], HASHES[0])}, "each once"),
    ],
)
def test_tallies_that_do_not(neighbourhood: Any, voter: Any, changed: Any, why: str) -> None:
    said(neighbourhood.verdict(voter, replace(TALLY, **changed)), why)


@pytest.mark.parametrize("round_", [1, 2])
def test_a_vote_in_a_round_that_is_past(neighbourhood: Any, voter: Any, round_: int) -> None:
    neighbourhood.create(voter, replace(TALLY, round=2))
    said(neighbourhood.verdict(voter, replace(TALLY, round=round_)), "second vote")


def test_a_tally_of_too_many_orders(neighbourhood: Any, voter: Any) -> None:
    many = sorted(
        action_hash(each.to_bytes(4, "big"), agent_key(bytes(32))) for each in range(ORDERS_MAX + 1)
    )
    said(neighbourhood.verdict(voter, replace(TALLY, orders=tuple(many))), "names 1 to")


class Market:
    """A bid, two asks of one seller, and two members' votes for all three."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.buyer, self.seller, *self.voters = (place.member(number) for number in range(2, 6))
        self.bid = place.create(self.buyer, BID)
        ask = replace(BID, side="ask", limit_micro=100_000, clean=True, clean_only=False)
        self.asks = [place.create(self.seller, ask) for _ in range(2)]
        self.orders = tuple(sorted(each.hash for each in (self.bid, *self.asks)))
        for voter in self.voters:
            at(voter, NEXT_US)
        self.votes = [self.vote(voter) for voter in self.voters]

    def vote(self, voter: Any, **changed: Any) -> Any:
        tally = replace(Tally(Timestamp(NEXT_US), 1, self.orders), **changed)
        return self.place.create(voter, tally).hash

    def gate(self, **changed: Any) -> Gate:
        """The gate of it all, or what somebody makes of it.

        Each ask serves half of the bid; as they have more to sell, the price is theirs.  Which of
        equals is first is drawn by lot.
        """
        lot = external_hash(b"".join(self.orders))
        matches = tuple(
            Match(self.bid.hash, ask.hash, self.buyer.agent, self.seller.agent, 250_000, 100_000)
            for ask in sorted(self.asks, key=lambda ask: external_hash(lot + ask.hash))
        )
        gate = Gate(Timestamp(NEXT_US), self.orders, matches, tuple(sorted(self.votes)))
        return replace(gate, **changed)


@pytest.fixture
def market(neighbourhood: Any) -> Market:
    return Market(neighbourhood)


def test_a_gate_of_two_votes(neighbourhood: Any, market: Market) -> None:
    writer = market.voters[0]
    verdict = neighbourhood.verdict(writer, market.gate(tallies=market.votes[1:]))
    assert verdict is Valid
    neighbourhood.create(writer, market.gate())
    said(neighbourhood.verdict(writer, market.gate()), "second gate")


def test_a_gate_counts_each_member_once_and_one_round(neighbourhood: Any, market: Market) -> None:
    again = market.vote(market.voters[0], round=2)
    for tallies, why in (
        ((again, market.votes[0]), "one member's vote twice"),
        ((again, market.votes[1]), "several rounds"),
    ):
        gate = market.gate(tallies=tuple(sorted(tallies)))
        said(neighbourhood.verdict(market.voters[1], gate), why)


def test_a_community_may_ask_for_more_votes() -> None:
    market = Market(Neighbourhood(gate_quorum=2))
    writer = market.voters[0]
    assert market.place.verdict(writer, market.gate()) is Valid
    said(market.place.verdict(writer, market.gate(tallies=(market.votes[0],))), "2 to 16 tallies")


def test_a_gate_of_what_does_not_count(neighbourhood: Any, market: Market) -> None:
    """An order on its author's other side, one that was past, and what is no order at all."""
    other = market.place.member(9)
    past = market.place.create(other, replace(BID, valid_until=Timestamp(NEXT_US - 1)))
    own_ask = market.place.create(
        other, replace(BID, side="ask", clean_only=False, limit_micro=10_000)
    )
    own_bid = market.place.create(other, BID)
    for number, more in enumerate(((past,), (own_ask, own_bid), (market.buyer.chain[0],))):
        orders = tuple(sorted((*market.orders, *(each.hash for each in more))))
        voter = market.place.member(20 + number)
        at(voter, NEXT_US)
        vote = market.vote(voter, orders=orders)
        gate = market.gate(orders=orders, tallies=(vote,))
        said(neighbourhood.verdict(voter, gate), "does not count")


def test_votes_and_gates_are_listed_by_their_authors_for_good(
    neighbourhood: Any, market: Market
) -> None:
    voter, other = market.voters
    for kind in (TALLIES, GATES):
        if kind == TALLIES:
            target = market.vote(voter, round=2)
        else:
            target = market.place.create(voter, market.gate()).hash
        fields = {"base": basis_of(NEXT_US), "target": target, "link_type": kind, "tag": b""}
        said(neighbourhood.verdict_on(other, CreateLink, **fields), "another's")
        said(neighbourhood.verdict_on(voter, CreateLink, **{**fields, "tag": b"x"}), "a word")
        wrong = {**fields, "link_type": GATES if kind == TALLIES else TALLIES}
        said(neighbourhood.verdict_on(voter, CreateLink, **wrong), "something else")
        elsewhere = {**fields, "base": basis_of(NEXT_US + LENGTH_US)}
        said(neighbourhood.verdict_on(voter, CreateLink, **elsewhere), "another basis")
        link = neighbourhood.write(voter, CreateLink, **fields)
        said(neighbourhood.verdict_on(voter, CreateLink, **fields), "listed once")
        gone = {"base": fields["base"], "create_link": link.hash}
        said(neighbourhood.verdict_on(voter, DeleteLink, **gone), "stays to be seen")
