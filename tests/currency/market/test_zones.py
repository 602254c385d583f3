"""Zones: fees per border, the lowest common zone, the grid outermost; judged by HiGHS."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from currency.delivery import Grid
from currency.market.book import ROUNDING, Mechanism, Order, Wants
from currency.market.double_auction import double_auction
from currency.market.pay_as_bid import pay_as_bid
from currency.market.uniform import uniform
from currency.market.zones import GRID, TreeClearing, best_pico, clear_tree, outward
from tests.currency.market.books import ZONES, Program, book, order

TREES = 2_000
FEES = {"nem": 3_000, "nem/vic": 7_001, "nem/vic/carlton": 11_003, "nem/vic/fitzroy": 1}
GRIDS = (None, Grid(300_000, 60_000), Grid(100_001, 100_001))


def trees(seed: int) -> list[tuple[list[Order], Grid | None]]:
    rng = Random(seed)
    return [
        (book(rng, zone=lambda rng: rng.choice(ZONES)), rng.choice(GRIDS)) for _ in range(TREES)
    ]


def optima_of_trees(trees: Sequence[tuple[list[Order], Grid | None]]) -> list[int]:
    """Energy flows over every border both ways at its fee; each zone's sum is nought."""
    program = Program()
    for orders, grid in trees:
        program.begin()
        rows = {zone: program.row() for zone in ("", *ZONES)}
        enough = sum(each.energy_milli_wh for each in orders)
        for each in orders:
            sign = 1 if each.side == "bid" else -1
            program.variable(
                sign * each.limit_micro, each.energy_milli_wh, [(rows[each.zone], sign)]
            )
        for zone in ZONES:
            around = zone.rpartition("/")[0]
            for sign in (1, -1):
                ends = [(rows[zone], sign), (rows[around], -sign)]
                program.variable(-FEES.get(zone, 0), enough, ends)
        if grid is not None:
            program.variable(-grid.import_micro, enough, [(rows[""], -1)])
            program.variable(grid.export_micro, enough, [(rows[""], 1)])
    return program.solve()


def check(orders: Sequence[Order], cleared: TreeClearing) -> None:
    """Everybody within its limit, every micro-credit accounted for, fees only on the way."""
    by_id = {each.id: each for each in orders}
    accounts: Counter[str | bytes] = Counter()
    welfare_pico = 0
    traded: Counter[bytes] = Counter()
    for each in cleared.routed:
        trade, money = each.trade, each.money()
        for placed, fees, sign in ((trade.bid, each.bid_fees, 1), (trade.ask, each.ask_fees, -1)):
            grids = order("bid", 0, trade.price_micro)
            limit_micro = by_id.get(placed, grids).limit_micro
            assert dict(fees) == fees_on_the_way(by_id.get(placed, grids).zone, each.zone)
            final_micro = trade.price_micro + sign * sum(fee for _, fee in fees)
            assert sign * (limit_micro - final_micro) >= 0
            traded[placed] += trade.energy_milli_wh
            fees_micro = sum(fee for _, fee in fees)
            welfare_pico += trade.energy_milli_wh * (sign * limit_micro - fees_micro)
        assert 0 <= money.rounding_micro <= len(money.fees)
        accounts[trade.bid] -= money.paid_micro
        accounts[trade.ask] += money.earned_micro
        accounts[ROUNDING] += money.rounding_micro
        for account, fee in money.fees:
            accounts[account] += fee
    assert sum(accounts.values()) == 0
    assert all(traded[each.id] <= each.energy_milli_wh for each in orders)
    assert welfare_pico == cleared.welfare_pico


def fees_on_the_way(zone: str, to: str) -> dict[str, int]:
    assert not to or (zone + "/").startswith(to + "/")
    return {each: FEES[each] for each in outward(zone) if len(each) > len(to) and each in FEES}


@pytest.mark.parametrize("mechanism", [uniform, pay_as_bid, double_auction])
def test_a_tree_clears_exactly_and_says_what_it_gave_up(mechanism: Mechanism) -> None:
    every = trees(seed=1)
    crossing = given_up = 0
    for (orders, grid), best in zip(every, optima_of_trees(every), strict=True):
        cleared = clear_tree(orders, mechanism, FEES, grid)
        check(orders, cleared)
        assert best_pico(orders, FEES, grid) == best >= cleared.welfare_pico
        given_up += best > cleared.welfare_pico
        crossing += any(each.bid_fees or each.ask_fees for each in cleared.routed)
    assert min(crossing, given_up) > TREES // 20


def test_no_order_of_arrival_changes_a_byte() -> None:
    rng = Random(2)
    for orders, grid in trees(seed=3)[:500]:
        shuffled = rng.sample(orders, len(orders))
        assert repr(clear_tree(shuffled, uniform, FEES, grid)) == repr(
            clear_tree(orders, uniform, FEES, grid)
        )


def test_a_trade_clears_at_the_lowest_common_zone_and_pays_each_border() -> None:
    orders = [
        order("bid", 1_000_000, 300_000, 1, zone="nem/vic/carlton"),
        order("ask", 400_000, 100_000, 2, zone="nem/vic/carlton"),
        order("ask", 300_000, 100_000, 3, zone="nem/vic/fitzroy"),
    ]
    cleared = clear_tree(orders, uniform, FEES, Grid(270_000, 50_000))
    at_home, next_door, grid = cleared.routed
    assert (at_home.zone, at_home.bid_fees, at_home.ask_fees) == ("nem/vic/carlton", (), ())
    assert next_door.zone == "nem/vic"
    assert next_door.bid_fees == (("nem/vic/carlton", 11_003),)
    assert next_door.ask_fees == (("nem/vic/fitzroy", 1),)
    assert next_door.trade.price_micro == 300_000 - 11_003  # more is wanted: the bid's limit
    assert next_door.money() == (
        90_000,
        86_698,
        (("nem/vic/carlton", 3_300), ("nem/vic/fitzroy", 0)),
        2,
    )
    assert (grid.trade.ask, grid.trade.price_micro, grid.zone) == (GRID, 270_000, "")
    assert [fee for _, fee in grid.bid_fees] == [11_003, 7_001, 3_000]


def test_the_grid_is_not_clean() -> None:
    choosy = order("bid", 5, 300_000, 1, wants=Wants(clean_only=True))
    plain = order("bid", 5, 300_000, 2)
    cleared = clear_tree([choosy, plain], uniform, {}, Grid(200_000, 50_000))
    assert [each.trade.bid for each in cleared.routed] == [plain.id]
