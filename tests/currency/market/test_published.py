"""Cases that others have published, to the digit; where the rules differ, the whole interval.

Energy and prices are the sources' numbers times a million.
"""

from itertools import pairwise
from random import Random

import pytest

from currency.delivery import Grid
from currency.market.book import Order, Price
from currency.market.mid_market import mid_market, price_by_ratio
from currency.market.uniform import uniform
from currency.market.zones import GRID, clear_tree
from tests.currency.market.books import Program, order

MEGA = 1_000_000


def scaled(number: str) -> int:
    """A decimal times a million, exactly."""
    whole, _, part = number.partition(".")
    return int(whole + part.ljust(6, "0"))


def of(bids: str, asks: str) -> list[Order]:
    """Orders written as `energy@price`, numbered in this order."""
    written = [("bid", each) for each in bids.split()] + [("ask", each) for each in asks.split()]
    return [
        order(side, *map(scaled, each.split("@")), number)
        for number, (side, each) in enumerate(written)
    ]


def volume(orders: list[Order]) -> int:
    return sum(trade.energy_milli_wh for trade in uniform(orders).trades)


def price_of(orders: list[Order]) -> Price:
    (price,) = uniform(orders).prices
    return price


def interval(low: str, high: str, price: str, ask: str, bid: str) -> Price:
    return Price(*map(scaled, (low, high, price, ask, bid)))


def test_gsy_pay_as_clear() -> None:
    """gsy-framework, test_pay_as_clear_matching_algorithm.py, test_get_matches_recommendations.

    It sorts the second bid out and trades 20 at 3, welfare 39.9996; the linear program trades 25
    at 2, welfare 44.9995.  In its second market it stops at 95 of 120.
    """
    first = of("20@3 15@2 10@1", "25@1.00002 35@2.4 30@5")
    assert volume(first) == 25 * MEGA
    assert price_of(first) == interval("2", "2", "2", "1.00002", "2")
    assert uniform(first).welfare_pico == scaled("44.9995") * MEGA
    theirs = 20 * MEGA * (scaled("3") - scaled("1.00002"))
    assert theirs == scaled("39.9996") * MEGA
    second = of("40@1.5 45@2 50@6", "55@1 60@5 65@1")
    assert volume(second) == 120 * MEGA
    assert price_of(second) == interval("1.5", "1.5", "1.5", "1", "1.5")
    assert uniform(second).welfare_pico == scaled("307.5") * MEGA
    assert 10_000 * 295 * MEGA**2 // uniform(second).welfare_pico == 9_593  # theirs: 95.9 %


@pytest.mark.parametrize(
    ("bids", "asks", "traded", "ours", "theirs"),
    [
        ("1@22", "1@20", "1", ("20", "22", "21", "20", "22"), "21"),
        ("1@32", "1@20", "1", ("20", "32", "26", "20", "32"), "21"),
        ("1.4@21 0.6@22", "0.9@18 1@20 1@21.5", "1.9", ("21", "21", "21", "20", "21"), "20.5"),
        ("0.6@21 0.6@22", "1@20", "1", ("21", "21", "21", "20", "21"), "20.5"),
    ],
)
def test_power_tac(bids: str, asks: str, traded: str, ours: tuple[str, ...], theirs: str) -> None:
    """powertac-server, AuctionServiceTests.java.

    Its price is the middle of the dearest ask and the lowest bid that traded, at most 5 % above
    that ask.  Ours also bows to who goes without: a bid filled in part sets the price.  Both of
    its ends are published with ours, so that its price follows from them.
    """
    orders = of(bids, asks)
    price = price_of(orders)
    assert volume(orders) == scaled(traded)
    assert price == interval(*ours)
    middle = (price.ask_micro + price.bid_micro) // 2
    assert min(middle, price.ask_micro * 105 // 100) == scaled(theirs)


def test_power_tac_leaves_the_rest() -> None:
    """As above: an ask of 1 at 21.5 and 0.1 of the bid at 21 stay."""
    orders = of("1.4@21 0.6@22", "0.9@18 1@20 1@21.5")
    got = {trade.bid: 0 for trade in uniform(orders).trades}
    for trade in uniform(orders).trades:
        got[trade.bid] += trade.energy_milli_wh
    assert got == {orders[0].id: scaled("1.3"), orders[1].id: scaled("0.6")}
    assert orders[4].id not in {trade.ask for trade in uniform(orders).trades}


def test_pymarket_dataset_0() -> None:
    """pymarket, tests/conftest.py: bid_dataset_0, test_maximum_aggregated_utility, test_huang.

    Welfare 6; volume at most 4; Huang's auction keeps 1, sold at 2 and bought at 3: the ask and
    the bid that traded last here, whose orders it sends home.
    """
    orders = of("1@3 2@4 5@1", "4@2 1@1 5@6")
    clearing = uniform(orders)
    assert clearing.welfare_pico == 6 * MEGA**2
    (price,) = clearing.prices
    assert price == interval("2", "2", "2", "2", "3")
    kept = [
        sum(
            each.energy_milli_wh
            for each in orders
            if each.side == "bid" and each.limit_micro > 3 * MEGA
        ),
        sum(
            each.energy_milli_wh
            for each in orders
            if each.side == "ask" and each.limit_micro < 2 * MEGA
        ),
    ]
    assert min(kept) == 1 * MEGA
    program = Program()
    program.begin()
    rows = {each.id: program.row(0, each.energy_milli_wh) for each in orders}
    for bid in orders[:3]:
        for ask in orders[3:]:
            if bid.limit_micro >= ask.limit_micro:
                program.variable(1, 5 * MEGA, [(rows[bid.id], 1), (rows[ask.id], 1)])
    assert program.solve() == [4 * MEGA]


def test_muda_example_1() -> None:
    """MUDA's example at price 50, as in pymarket, tests/test_muda.py: bid_dataset_muda_example_1.

    Four buyers and four sellers trade a unit each; the two sellers pay 20 and 10 for whom they
    keep out, the buyer nothing.
    """
    owners = {**dict.fromkeys(range(6), 0), **dict.fromkeys(range(6, 11), 1)}
    orders = of(
        "1@100 1@90 1@80 1@60 1@40 1@20",
        "1@10 1@20 1@40 1@60 1@70 1@15 1@25 1@35 1@45 1@65",
    )
    price = 50 * MEGA
    book = [
        each
        for each in orders
        if (each.limit_micro > price if each.side == "bid" else each.limit_micro < price)
    ]
    by_id = {each.id: each for each in orders}
    trades = list(uniform(book).trades)
    assert [trade.energy_milli_wh for trade in trades] == [MEGA] * 4
    assert [by_id[trade.bid].limit_micro // MEGA for trade in trades] == [100, 90, 80, 60]
    assert [by_id[trade.ask].limit_micro // MEGA for trade in trades] == [10, 15, 20, 25]

    def worth(without: int | None) -> int:
        """What the sellers gain at the price, all or all but one."""
        asks = [
            each
            for number, each in enumerate(orders)
            if each.side == "ask" and owners.get(number, 2) != without
        ]
        return uniform([order("bid", 4 * MEGA, price, 99), *asks]).welfare_pico // MEGA**2

    sellers = {
        owner: sum(
            50 - by_id[trade.ask].limit_micro // MEGA
            for trade in trades
            if owners.get(int.from_bytes(trade.ask, "big"), 2) == owner
        )
        for owner in (1, 2)
    }
    assert [worth(owner) - (worth(None) - sellers[owner]) for owner in (1, 2)] == [20, 10]


def test_lemlab_prices_by_the_ratio_of_supply_to_demand() -> None:
    """lemlab (tum-ewk), the ex-post table of its documentation, euro a kWh."""
    steps = [
        (ratio_bp, scaled(price))
        for ratio_bp, price in (
            (0, "0.08"),
            (1_000, "0.074"),
            (2_000, "0.068"),
            (6_000, "0.044"),
            (7_000, "0.038"),
            (10_000, "0.02"),
        )
    ]
    for ratio_bp, price in steps:
        assert price_by_ratio(steps, ratio_bp * 7, 70_000) == price
    assert price_by_ratio(steps, 4, 10) == scaled("0.056")
    assert price_by_ratio(steps, 3, 1) == price_by_ratio(steps, 5, 0) == scaled("0.02")
    assert price_by_ratio(steps, 1, 3) == 60_000  # 0.08 - 0.06/3
    assert price_by_ratio([(1_000, 9), (2_000, 5)], 1, 20) == 9


@pytest.mark.parametrize(
    ("supply", "demand", "sellers_get", "buyers_pay"),
    [("10", "10", "0.2", "0.2"), ("6", "10", "0.2", "0.24"), ("10", "6", "0.16", "0.2")],
)
def test_mid_market_rate(supply: str, demand: str, sellers_get: str, buyers_pay: str) -> None:
    """Long et al. 2017, at an import price of 0.3 and an export price of 0.1.

    mid = (import + export) / 2; in a deficit buyers pay (supply·mid + (demand - supply)·import) /
    demand, in a surplus sellers get the like; the sums are the community's bill from the grid.
    """
    rng = Random(1)
    grid = Grid(300_000, 100_000)
    orders = [
        *parts(rng, "bid", scaled(demand), grid.import_micro, 0),
        *parts(rng, "ask", scaled(supply), grid.export_micro, 100),
    ]
    cleared = clear_tree(
        orders, lambda each: mid_market(each, grid.import_micro, grid.export_micro), {}, grid
    )
    assert cleared.clearings[""].prices[0].price_micro == 200_000
    paid: dict[bytes, int] = {}
    for each in cleared.routed:
        money = each.money()
        paid[each.trade.bid] = paid.get(each.trade.bid, 0) + money.paid_micro
        paid[each.trade.ask] = paid.get(each.trade.ask, 0) + money.earned_micro
    bill = paid.pop(GRID, 0)
    total = {
        side: sum(paid[each.id] for each in orders if each.side == side) for side in ("bid", "ask")
    }
    assert total["bid"] - total["ask"] == (bill if scaled(demand) > scaled(supply) else -bill)
    for each in orders:
        price = scaled(buyers_pay if each.side == "bid" else sellers_get)
        exact = each.energy_milli_wh * price // MEGA
        assert abs(paid[each.id] - exact) <= len(cleared.routed)
    assert abs(total["bid"] - scaled(demand) * scaled(buyers_pay) // MEGA) <= len(cleared.routed)


def parts(rng: Random, side: str, whole: int, limit_micro: int, number: int) -> list[Order]:
    """Five orders that make a whole."""
    cuts = [0, *sorted(rng.sample(range(1, whole), 4)), whole]
    return [
        order(side, end - begin, limit_micro, number + place)
        for place, (begin, end) in enumerate(pairwise(cuts))
    ]


@pytest.mark.parametrize(
    ("bids", "asks", "traded", "price"),
    [
        ("10@50", "10@30", "10", ("30", "50", "40", "30", "50")),
        ("10@40", "10@40", "10", ("40", "40", "40", "40", "40")),
        ("5@999999", "3@20 4@30", "5", ("30", "30", "30", "30", "999999")),
        ("9@999999", "3@20 4@30", "7", ("999999", "999999", "999999", "30", "999999")),
        ("4@50 4@50", "2@50 2@50", "4", ("50", "50", "50", "50", "50")),
        ("5@40 5@30", "5@20 5@35", "5", ("30", "35", "32.5", "20", "40")),
    ],
)
def test_gridlab_d_edges(bids: str, asks: str, traded: str, price: tuple[str, ...]) -> None:
    """What GridLAB-D's tracker lists (#401 to #487) as hard for an auction.

    Equal prices, curves that overlap at one quantity or one price, demand that answers to no price.
    """
    orders = of(bids, asks)
    assert volume(orders) == scaled(traded)
    assert price_of(orders) == interval(*price)


@pytest.mark.parametrize(("bids", "asks"), [("", ""), ("5@40", ""), ("", "5@40"), ("5@1", "5@2")])
def test_a_book_of_one_side_or_none(bids: str, asks: str) -> None:
    clearing = uniform(of(bids, asks))
    assert (len(clearing.trades), clearing.prices, clearing.welfare_pico) == (0, (), 0)
