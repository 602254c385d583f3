"""Orders: bounded, in time, listed where they belong, taken back by who placed them."""

from dataclasses import replace
from typing import Any

import pytest

from ioe_node.hdi import Invalid, Timestamp, Valid
from ioe_node.model.action import CreateLink, Delete, DeleteLink
from zomes.market.integrity import (
    AHEAD_INTERVALS_MAX,
    BOOK,
    LIMIT_MICRO_MAX,
    ZONE_CHARS_MAX,
    Order,
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
        ({"start": NEXT_US + AHEAD_INTERVALS_MAX * LENGTH_US}, "soon"),
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
