"""A reserve owes as much as its community lets it, and nobody else more for that."""

from collections.abc import Callable
from typing import Any

from ioe_node.model.record import Record
from tests.currency.test_integrity import LIMIT_MICRO, Market, refused

RESERVE_MICRO = 50 * LIMIT_MICRO
RESERVE = 2
"""The number of the agent that a `Market` has for its buyer."""


def test_only_a_reserve_gives_more_credits_than_its_members_may_owe(
    found_neighbourhood: Any, new_author: Any, sign_together: Callable[..., list[Record]]
) -> None:
    network = found_neighbourhood(
        credit_limit_micro=LIMIT_MICRO,
        reserves=(new_author(RESERVE).agent,),
        reserve_limit_micro=RESERVE_MICRO,
    )
    market = Market(network, sign_together)
    assert market.buyer.agent in network.dna.properties.reserves
    refused(market, market.payment(RESERVE_MICRO + 1), "credit limit")
    market.settle(market.payment(RESERVE_MICRO - 1))
    market.settle(market.payment(1))
    refused(market, market.payment(1), "credit limit")
    market.turned()
    refused(market, market.payment(LIMIT_MICRO + 1), "credit limit")
    market.settle(market.payment(LIMIT_MICRO))
