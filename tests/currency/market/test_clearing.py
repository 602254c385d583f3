"""Every mechanism on thousands of random books: welfare by HiGHS, limits, money, order, bytes."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random

import pytest

from currency.market.book import (
    KWH_MILLI_WH,
    Clearing,
    Mechanism,
    Order,
    Wants,
    left_of,
    money_of,
    standing,
)
from currency.market.double_auction import double_auction
from currency.market.merit import best_pico
from currency.market.mid_market import at_price, mid_market
from currency.market.need_weighted import need_weighted
from currency.market.pay_as_bid import pay_as_bid
from currency.market.preferences import cleared
from currency.market.uniform import uniform
from tests.currency.market.books import (
    AGENTS,
    book,
    clean_if_wanted,
    optima,
    optima_of_pairs,
    order,
)

BOOKS = 10_000
NEEDS_BP = {agent: 10_000 + 5_000 * number for number, agent in enumerate(AGENTS)}

MECHANISMS: dict[str, Mechanism] = {
    "uniform": uniform,
    "double auction": double_auction,
    "pay as bid": pay_as_bid,
    "mid-market": partial(mid_market, import_micro=300_000, export_micro=80_001),
    "need-weighted": partial(need_weighted, need_bp=NEEDS_BP),
}
UNWEIGHTED = ("uniform", "double auction", "pay as bid")


def books(seed: int, count: int = BOOKS) -> list[list[Order]]:
    rng = Random(seed)
    return [book(rng) for _ in range(count)]


def check(orders: Sequence[Order], clearing: Clearing) -> None:
    """Nobody trades more than it has or beyond its limit; welfare and money add up."""
    by_id = {each.id: each for each in orders}
    balances: Counter[bytes] = Counter()
    welfare_pico = 0
    for trade in clearing.trades:
        bid, ask = by_id[trade.bid], by_id[trade.ask]
        assert (bid.side, ask.side) == ("bid", "ask")
        assert trade.energy_milli_wh > 0
        assert ask.limit_micro <= trade.price_micro <= bid.limit_micro
        welfare_pico += trade.energy_milli_wh * (bid.limit_micro - ask.limit_micro)
        money = money_of(trade)
        assert (money.paid_micro, money.rounding_micro) == (money.earned_micro, 0)
        exact = trade.energy_milli_wh * trade.price_micro
        assert money.paid_micro == exact // KWH_MILLI_WH
        balances[bid.agent] -= money.paid_micro
        balances[ask.agent] += money.earned_micro
    assert sum(balances.values()) == 0
    assert welfare_pico == clearing.welfare_pico
    traded = Counter[bytes]()
    for trade in clearing.trades:
        traded[trade.bid] += trade.energy_milli_wh
        traded[trade.ask] += trade.energy_milli_wh
    left = {each.id: each.energy_milli_wh for each in left_of(orders, clearing.trades)}
    for each in orders:
        assert traded[each.id] + left.get(each.id, 0) == each.energy_milli_wh


@pytest.mark.parametrize("name", UNWEIGHTED)
def test_welfare_is_the_linear_programs(name: str) -> None:
    """All at the gate and no weight on need: equal to the last pico-credit, on every book."""
    every = books(seed=1)
    for orders, best_pico_ in zip(every, optima(every), strict=True):
        clearing = MECHANISMS[name](orders)
        assert clearing.welfare_pico == clearing.best_pico == best_pico_
        check(orders, clearing)
    assert sum(bool(uniform(orders).trades) for orders in every) > BOOKS // 4


@pytest.mark.parametrize("weight_bp", [10_000, 25_000])
def test_equal_need_costs_no_welfare(weight_bp: int) -> None:
    for orders in books(seed=2):
        clearing = need_weighted(orders, dict.fromkeys(AGENTS, weight_bp))
        assert clearing.given_up_pico == 0
        check(orders, clearing)


@pytest.mark.parametrize("name", ["mid-market", "need-weighted"])
def test_the_welfare_given_up_is_reported(name: str) -> None:
    """Recomputed from the trades and from HiGHS's optimum."""
    every = books(seed=3)
    given_up = 0
    for orders, best_pico_ in zip(every, optima(every), strict=True):
        clearing = MECHANISMS[name](orders)
        check(orders, clearing)
        assert clearing.given_up_pico == best_pico_ - clearing.welfare_pico >= 0
        given_up += clearing.given_up_pico > 0
    assert given_up > BOOKS // 20


def test_the_price_interval_is_all_of_it() -> None:
    """Strong duality, in integers: at its ends the dual meets the welfare, a step beyond not."""

    def dual(orders: Sequence[Order], price_micro: int) -> int:
        signed = ((1 if each.side == "bid" else -1, each) for each in orders)
        return sum(
            each.energy_milli_wh * max(0, sign * (each.limit_micro - price_micro))
            for sign, each in signed
        )

    for orders in books(seed=4):
        clearing = uniform(orders)
        for price in clearing.prices:
            assert price.ask_micro <= price.low_micro <= price.high_micro <= price.bid_micro
            assert price.price_micro == (price.low_micro + price.high_micro) // 2
            assert dual(orders, price.low_micro) == dual(orders, price.high_micro)
            assert dual(orders, price.low_micro) == clearing.welfare_pico
            assert dual(orders, price.low_micro - 1) > clearing.welfare_pico
            assert dual(orders, price.high_micro + 1) > clearing.welfare_pico


def test_a_continuous_market_is_optimal_at_every_moment() -> None:
    """What each arrival gains is the linear program's for the orders that stand then."""
    rng = Random(5)
    moments: list[list[Order]] = []
    gains: list[int] = []
    for _ in range(1_000):
        orders = book(
            rng,
            placed_us=lambda rng: rng.randrange(8),
            valid_until_us=lambda rng: rng.randrange(4, 16),
        )
        clearing = double_auction(orders)
        check(orders, clearing)
        assert clearing.given_up_pico >= 0
        by_id = {each.id: each for each in orders}
        for now_us in range(8):
            trades = list(clearing.trades)
            when = [max(by_id[each.bid].placed_us, by_id[each.ask].placed_us) for each in trades]
            before = [trade for trade, at in zip(trades, when, strict=True) if at < now_us]
            came = [each for each in orders if each.placed_us <= now_us < each.valid_until_us]
            moments.append(left_of(came, before))
            gains.append(
                sum(
                    trade.energy_milli_wh
                    * (by_id[trade.bid].limit_micro - by_id[trade.ask].limit_micro)
                    for trade, at in zip(trades, when, strict=True)
                    if at == now_us
                )
            )
    assert gains == optima(moments)


@pytest.mark.parametrize("name", MECHANISMS)
def test_no_order_of_arrival_changes_a_byte(name: str) -> None:
    rng = Random(6)
    for orders in books(seed=7, count=1_000):
        shuffled = rng.sample(orders, len(orders))
        assert repr(MECHANISMS[name](shuffled)) == repr(MECHANISMS[name](orders))


def choosy(rng: Random) -> Wants | None:
    return rng.choice((None, None, Wants(clean_only=True)))


@pytest.mark.parametrize("name", MECHANISMS)
def test_clean_energy_only_for_those_that_ask(name: str) -> None:
    rng = Random(8)
    for _ in range(1_000):
        orders = book(rng, wants=choosy, clean=lambda rng: rng.random() < 0.5)
        clearing = cleared(orders, MECHANISMS[name])
        check(orders, clearing)
        by_id = {each.id: each for each in orders}
        for trade in clearing.trades:
            assert clean_if_wanted(by_id[trade.bid], by_id[trade.ask])
        assert clearing.given_up_pico >= 0


def test_who_may_serve_whom_costs_the_uniform_price_no_more_than_the_linear_program() -> None:
    rng = Random(9)
    every = [
        book(rng, wants=choosy, clean=lambda rng: rng.random() < 0.5) for _ in range(BOOKS // 2)
    ]
    best_paired = optima_of_pairs(every, clean_if_wanted)
    costly = 0
    for orders, paired, free in zip(every, best_paired, optima(every), strict=True):
        clearing = cleared(orders, uniform)
        assert clearing.welfare_pico == paired
        assert clearing.given_up_pico == free - paired
        costly += paired < free
    assert costly > BOOKS // 100


def test_wishes_are_met_first_and_their_cost_is_reported() -> None:
    rng = Random(10)

    def wishes(rng: Random) -> Wants | None:
        return rng.choice(
            (None, Wants(local_first=True), Wants(partner=rng.choice(AGENTS)), Wants(True, True))
        )

    every = [
        book(
            rng,
            wants=wishes,
            clean=lambda rng: rng.random() < 0.7,
            zone=lambda rng: rng.choice("ab"),
        )
        for _ in range(2_000)
    ]
    given_up = 0
    for orders, best in zip(every, optima(every), strict=True):
        for mechanism in MECHANISMS.values():
            clearing = cleared(orders, mechanism)
            check(orders, clearing)
            assert clearing.given_up_pico == best - clearing.welfare_pico >= 0
            assert repr(cleared(orders[::-1], mechanism)) == repr(clearing)
        given_up += cleared(orders, uniform).given_up_pico > 0
    assert given_up > 50


def test_partners_and_neighbours_before_the_better_price() -> None:
    ann, bob = AGENTS[:2]
    bid = order("bid", 10, 300, 1, agent=ann, zone="a", wants=Wants(partner=bob))
    dear = order("ask", 4, 280, 2, agent=bob, zone="b", wants=Wants(partner=ann))
    cheap = order("ask", 10, 100, 3, agent=AGENTS[2], zone="a")
    clearing = cleared([bid, dear, cheap], uniform)
    assert [(each.ask, each.energy_milli_wh) for each in clearing.trades] == [
        (dear.id, 4),
        (cheap.id, 6),
    ]
    assert clearing.given_up_pico == 4 * (280 - 100)
    near = dear._replace(zone="a", wants=Wants(local_first=True))
    home = bid._replace(wants=Wants(local_first=True))
    clearing = cleared([home, near, cheap], uniform)
    assert next(iter(clearing.trades)).ask == near.id
    alone = dear._replace(wants=None)  # the wish is not returned
    assert {each.ask for each in cleared([bid, alone, cheap], uniform).trades} == {cheap.id}


def test_the_tie_rule() -> None:
    """At one price in proportion to energy, rounded down; the rest one each in order of ids."""
    orders = [order("ask", 100, 50, 0)]
    orders += [order("bid", energy, 60, number) for number, energy in ((3, 100), (1, 50), (2, 50))]
    got = {each.bid[-1]: each.energy_milli_wh for each in uniform(orders).trades}
    assert got == {1: 25, 2: 25, 3: 50}
    orders[0] = orders[0]._replace(energy_milli_wh=99)
    got = {each.bid[-1]: each.energy_milli_wh for each in uniform(orders).trades}
    assert got == {1: 25, 2: 25, 3: 49}
    halves = [order("bid", 50, 60, 3), order("bid", 50, 60, 4), *orders[2:], orders[0]]
    split = {each.bid[-1]: each.energy_milli_wh for each in uniform(halves).trades}
    assert abs(split[3] + split[4] - got[3]) <= 1
    first, second = order("bid", 5, 60, 9), order("bid", 5, 60, 1, placed_us=1)
    late = order("ask", 6, 50, 5, placed_us=2)
    assert [each.bid for each in double_auction([second, late, first]).trades] == [
        first.id,
        second.id,
    ]


def test_need_chooses_first_at_prices_that_all_can_pay() -> None:
    poor, rich = AGENTS[:2]
    orders = [
        order("bid", 10, 200, 1, agent=poor),
        order("bid", 10, 300, 2, agent=rich),
        order("ask", 10, 100, 3),
    ]
    clearing = need_weighted(orders, {poor: 20_000})
    assert [(each.bid, each.price_micro) for each in clearing.trades] == [(orders[0].id, 150)]
    assert clearing.given_up_pico == 10 * (300 - 200)
    dear = [*orders[:2], order("ask", 10, 250, 3)]
    assert [each.bid for each in need_weighted(dear, {poor: 20_000}).trades] == [orders[1].id]


def test_orders_expire_and_count_once() -> None:
    orders = [
        order("bid", 5, 60, 1, interval_us=900, valid_until_us=10),
        order("bid", 5, 60, 2, interval_us=900, valid_until_us=11),
        order("bid", 5, 60, 3, interval_us=1_800),
    ]
    assert standing(orders + orders, 900, 10) == [orders[1]]
    past = order("bid", 5, 60, 1, valid_until_us=3)
    assert not double_auction([past, order("ask", 5, 50, 2, placed_us=3)]).trades


def test_a_posted_price_trades_with_all_that_allow_it() -> None:
    orders = [order("bid", 30, 50, 1), order("bid", 10, 49, 2), order("ask", 20, 50, 3)]
    assert [tuple(each) for each in at_price(orders, 50).trades] == [
        (orders[0].id, orders[2].id, 20, 50)
    ]
    assert best_pico(orders) == 0
