"""A limit that export has raised, as validators see it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from currency.integrity import Settlement
from currency.limit import proven_after
from ioe_node.hdi import Invalid, Missing, Timestamp, Valid
from ioe_node.model.record import Record
from tests.currency.test_integrity import LENGTH_US, LIMIT_MICRO, PRICE_BP, Market, final, refused

HALF_US = 45 * LENGTH_US
WINDOW_US = 2 * HALF_US
SHARE_BP = 5_000


@pytest.fixture
def raising(found_neighbourhood: Any, sign_together: Callable[..., list[Record]]) -> Market:
    """A market where a kWh that was sold raises its seller's limit by half a credit."""
    network = found_neighbourhood(
        credit_limit_micro=LIMIT_MICRO,
        price_bp=PRICE_BP,
        limit_share_bp=SHARE_BP,
        limit_window_us=WINDOW_US,
        limit_raise_micro_max=300,
    )
    return Market(network, sign_together)


def spending(market: Market, amount_micro: int, energy: int, *run: Record) -> Settlement:
    """The buyer claims the sales of its `run`, of so much energy together, and pays."""
    side = market.claiming(market.buyer, -amount_micro, run, *run)
    sales = [(each.action.timestamp_us, energy) for each in run[:1]]
    proven = proven_after(side.account.proven, sales, WINDOW_US)
    side = replace(side, account=replace(side.account, proven=proven))
    return market.payment(amount_micro, sides=(side, market.side(market.seller, amount_micro)))


def test_export_that_was_paid_for_raises_the_limit_and_nothing_else_does(raising: Market) -> None:
    market = raising
    reading = market.meter(market.seller, 400)
    market.turned()
    refused(market, market.payment(LIMIT_MICRO + 1), "credit limit")
    market.turned()
    (_, half) = market.settle(market.sale(reading, 400, sold=400))
    market.turned()
    unclaimed = market.payment(LIMIT_MICRO + 1)
    refused(market, unclaimed, "credit limit")
    most = LIMIT_MICRO + 200 + 200
    claimed = spending(market, most, 400, half)
    assert isinstance(market.verdicts(claimed)[0], Missing), "not known to be final yet"
    refused(market, spending(market, most + 1, 400, half), "credit limit")
    refused(market, spending(market, most, 500, half), "not what it was")
    refused(market, spending(market, 1, 0, half), "not what it was")
    final(market, half)
    market.settle(claimed)
    refused(market, market.payment(1), "credit limit")


def test_a_raise_has_an_end_and_fades_at_the_later_of_both_times(raising: Market) -> None:
    market = raising
    reading = market.meter(market.seller, 10_000)
    (_, half) = market.settle(market.sale(reading, 1_900, sold=1_900))
    final(market, half)
    market.turned()
    refused(market, spending(market, LIMIT_MICRO + 950 + 301, 1_900, half), "credit limit")
    full = spending(market, LIMIT_MICRO + 950 + 300, 1_900, half)
    late = half.action.timestamp_us // HALF_US * HALF_US + WINDOW_US
    for place in (0, 1):
        parties = list(full.parties)
        parties[place] = replace(parties[place], timestamp_us=Timestamp(late))
        assert isinstance(market.verdicts(replace(full, parties=tuple(parties)))[0], Invalid)
        parties[place] = replace(parties[place], timestamp_us=Timestamp(late - 1))
        assert market.verdicts(replace(full, parties=tuple(parties)))[0] is Valid
    market.settle(full)
