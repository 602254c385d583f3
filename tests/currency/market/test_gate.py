"""What counts at a gate, and that everyone clears it alike, in whatever order the orders come."""

from random import Random

import pytest

from currency.market.book import Order
from currency.market.gate import MECHANISMS, ORDERS_MAX, ORDERS_PER_AGENT_MAX, clear, counted
from tests.currency.market.books import AGENTS, book, order

ALICE, BOB, CAROL, *_ = AGENTS


def placed(number: int, side: str, agent: bytes, seq: int) -> Order:
    return order(side, 1_000, 200_000, number, agent=agent, placed_us=seq)


def test_an_agent_stands_on_the_side_of_its_first_order() -> None:
    first, other, later = (
        placed(number, side, ALICE, number) for number, side in ((3, "bid"), (4, "ask"), (5, "bid"))
    )
    theirs = placed(1, "ask", BOB, 9)
    assert counted([other, later, theirs, first]) == [theirs, first, later]
    assert counted([other, later]) == [other]


def test_of_one_agent_no_more_than_so_many_count() -> None:
    own = [placed(number, "bid", ALICE, 100 - number) for number in range(20)]
    assert counted(own) == own[-ORDERS_PER_AGENT_MAX:]


def test_who_places_many_crowds_nobody_out() -> None:
    agents = [number.to_bytes(4, "big") for number in range(ORDERS_MAX // 4)]
    many = [
        placed(len(agents) * nth + number, "ask", agent, nth)
        for number, agent in enumerate(agents)
        for nth in range(5)
    ]
    single = placed(99_999, "bid", CAROL, 9)
    kept = counted([*many, single])
    assert len(kept) == ORDERS_MAX
    assert single in kept
    assert sum(each.placed_us == 3 for each in kept) == len(agents) - 1
    assert not any(each.placed_us == 4 for each in kept)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_order_of_arrival_changes_nothing_and_nobody_sells_to_itself(mechanism: str) -> None:
    rng = Random(mechanism)
    traded = 0
    for _ in range(500):
        orders = book(rng, placed_us=lambda rng: rng.randrange(5))
        shuffled = rng.sample(orders, len(orders))
        agents = {each.id: each.agent for each in orders}
        trades = clear(counted(orders), mechanism)
        assert trades == clear(counted(shuffled), mechanism)
        assert all(agents[trade.bid] != agents[trade.ask] for trade in trades)
        traded += len(trades)
    assert traded > 100


def test_an_id_that_its_author_has_chosen_meets_no_better_a_bid() -> None:
    """Two asks at one price, and two bids that each pay as they bid: the lower id gains nothing."""
    bids = [order("bid", 1_000, price, 10_000 + price, agent=ALICE) for price in (300, 200)]
    won = 0
    for number in range(1, 201):
        low = order("ask", 1_000, 100, 0, agent=BOB)
        high = order("ask", 1_000, 100, number, agent=CAROL)
        (best,) = [t for t in clear([*bids, low, high], "pay_as_bid") if t.price_micro == 300]
        won += best.ask == low.id
    assert 70 < won < 130
