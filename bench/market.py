"""Clearing a market: one book of orders, and a day of a thousand houses, in a core's own time.

    python -m bench.market [--json] [--houses N]

A book has as many bids as asks, prices and energies drawn evenly, so half of them trade.  It is
held against HiGHS, which solves the same linear program (one row, a column an order), handed
over as arrays, in turns with ours, and stopped after `PATIENCE_S`; if it comes to an end, both
must have found the same welfare.

The day has three assets a house (load, solar, battery), ten houses a street, ten streets a suburb,
an order an asset in each of 96 slots, a fee at every border and the grid outermost; a third of
the streets has no sun, another twice as much.  What is timed is the clearing and the money of
every trade, and then the settlement against what the meters counted (`bench.settlement`), with the
fees and the sharing out of what was not matched.  Beside it stands gsy-e 1.3.0: 155 s for one
hour of 999 houses, times 24; it simulates the assets too, which ours does not.
"""

import argparse
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from statistics import median
from time import process_time

import highspy
import numpy as np

from bench.accounting import at_most
from bench.report import Line, show
from bench.settlement import metered, settle
from currency.delivery import Grid
from currency.market.book import Order
from currency.market.uniform import uniform
from currency.market.zones import best_pico, clear_tree
from sim.accounts import Accounts

AIMS_MS = {1_000: 2.0, 10_000: None, 100_000: 300.0}
RUNS = {1_000: 21, 10_000: 7, 100_000: 7}
HIGHS_RUNS = {1_000: 5, 10_000: 1, 100_000: 1}
PATIENCE_S = 30.0
HOUSES = 1_000
SLOTS = 96
DAY_AIM_S = 60.0
GSY_DAY_S = 155.0 * 24
GRID = Grid(300_000, 80_000)
PRICE_BP = 1_900
"""Of what no match has sold: the middle of the grid's prices."""
FEE_MICRO = {1: 20_000, 2: 10_000, 3: 5_000}
"""Micro-credits a kWh to leave a region, a suburb, a street."""


def book(rng: Random, each_side: int) -> list[Order]:
    """As many bids as asks, in no order."""
    return [
        Order(
            rng.randbytes(39),
            rng.randbytes(39),
            "bid" if number % 2 else "ask",
            rng.randrange(1, 10_000_000),
            rng.randrange(80_000, 300_000),
        )
        for number in range(2 * each_side)
    ]


def linear_program(orders: list[Order]) -> highspy.HighsLp:
    """Most welfare, bought equals sold."""
    lp = highspy.HighsLp()
    sign = np.array([1.0 if order.side == "bid" else -1.0 for order in orders])
    count = len(orders)
    lp.num_col_, lp.num_row_ = count, 1
    lp.col_cost_ = sign * np.array([order.limit_micro for order in orders])
    lp.col_lower_ = np.zeros(count)
    lp.col_upper_ = np.array([order.energy_milli_wh for order in orders], dtype=float)
    lp.row_lower_ = lp.row_upper_ = np.zeros(1)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.arange(count + 1)
    lp.a_matrix_.index_ = np.zeros(count, dtype=int)
    lp.a_matrix_.value_ = sign
    return lp


def solved(lp: highspy.HighsLp) -> float | None:
    """The optimum, by HiGHS on one thread; None if it was stopped."""
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", PATIENCE_S)
    solver.passModel(lp)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return float(solver.getInfo().objective_function_value)


def one_book(each_side: int) -> Iterator[Line]:
    """Clear it by sorting and by solving, in turns."""
    orders = book(Random(each_side), each_side)
    lp = linear_program(orders)
    ours_ms, theirs_ms = [], []
    stopped = ""
    for run in range(RUNS[each_side]):
        gc.collect()
        begun = process_time()
        clearing = uniform(orders)
        ours_ms.append(1_000 * (process_time() - begun))
        if run < HIGHS_RUNS[each_side]:
            begun = process_time()
            best = solved(lp)
            theirs_ms.append(1_000 * (process_time() - begun))
            if best is None:
                stopped = ", stopped before its optimum"
            else:
                assert abs(clearing.welfare_pico - best) <= 1e-9 * best
    what = f"clear {each_side:,} + {each_side:,}"
    ours, theirs = median(ours_ms), median(theirs_ms)
    yield at_most(what, ours, "ms", len(ours_ms), AIMS_MS[each_side])
    yield Line(f"{what}, beside HiGHS{stopped}", ours, "ms", len(theirs_ms), peer=theirs)


@dataclass
class Day:
    """What a day of clearing came to."""

    seconds: float = 0.0
    settling_s: float = 0.0
    settled: int = 0
    orders: int = 0
    trades: int = 0
    crossing: int = 0
    welfare_pico: int = 0
    best_pico: int = 0
    sum_micro: int = 0
    settled_sum_micro: int = 0


def fees(houses: int) -> dict[str, int]:
    """The fee of every zone that the houses stand in."""
    zones = {
        "/".join(home(house).split("/")[:depth]) for house in range(houses) for depth in (1, 2, 3)
    }
    return {zone: FEE_MICRO[zone.count("/") + 1] for zone in sorted(zones)}


def home(house: int) -> str:
    """Where a house stands: region, suburb, street."""
    return f"vic/suburb{house // 100}/street{house // 10}"


def orders_of(rng: Random, houses: int, slot: int) -> list[Order]:
    """A load, a roof and a battery in every house, a quarter of an hour each."""
    sun = max(0, 32 - abs(slot - 48)) * 30_000
    orders = []
    for house in range(houses):
        assets = (
            ("bid", rng.randrange(50_000, 900_000), rng.randrange(250_000, 320_000), False),
            (
                "ask",
                rng.randrange(sun * (house // 10 % 3) + 1),
                rng.randrange(70_000, 120_000),
                True,
            ),
            ("ask" if slot > 66 else "bid", 300_000, rng.randrange(110_000, 240_000), True),
        )
        for asset, (side, energy, limit, clean) in enumerate(assets):
            name, agent = rng.randbytes(39), (3 * house + asset).to_bytes(39, "big")
            orders.append(
                Order(name, agent, side, energy, limit, slot, zone=home(house), clean=clean)  # type: ignore[arg-type]
            )
    return orders


def simulate(houses: int, slots: int) -> Day:
    """Clear each slot through the tree, settle it, add up every account; only that is timed."""
    rng, day, of_zones = Random(1), Day(), fees(houses)
    of_meters, accounts = Random(2), Accounts()
    for slot in range(slots):
        orders = orders_of(rng, houses, slot)
        begun = process_time()
        cleared = clear_tree(orders, uniform, of_zones, GRID)
        moneys = [each.money() for each in cleared.routed]
        day.seconds += process_time() - begun
        day.orders += len(orders)
        day.trades += len(cleared.routed)
        day.crossing += sum(bool(each.bid_fees or each.ask_fees) for each in cleared.routed)
        day.welfare_pico += cleared.welfare_pico
        day.best_pico += best_pico(orders, of_zones, GRID)
        day.sum_micro += sum(
            money.earned_micro
            + sum(fee for _, fee in money.fees)
            + money.rounding_micro
            - money.paid_micro
            for money in moneys
        )
        exports, imports = metered(of_meters, orders)
        begun = process_time()
        settle(accounts, slot, cleared.routed, orders, exports, imports, GRID, PRICE_BP)
        day.settling_s += process_time() - begun
    day.settled, day.settled_sum_micro = accounts.settled, accounts.sum_micro()
    return day


def one_day(houses: int) -> Iterator[Line]:
    """The simulated day beside its aim and the best published engine."""
    day = simulate(houses, SLOTS)
    what = f"a day of {houses:,} houses"
    whole_s = day.seconds + day.settling_s
    yield at_most(f"{what}, {day.orders:,} orders, settled", whole_s, "s", 1, DAY_AIM_S)
    yield Line(f"{what}, settled, beside gsy-e", whole_s, "s", 1, peer=GSY_DAY_S)
    yield Line(f"{what}, cleared", day.seconds, "s", 1)
    yield Line(f"{what}, trades", day.trades, "trades", 1)
    yield Line(f"{what}, trades over a border", day.crossing, "trades", 1)
    share = 100 * day.welfare_pico / day.best_pico
    yield Line(f"{what}, welfare of the whole tree's optimum", share, "%", 1)
    yield Line(f"{what}, settlements", day.settled, "settlements", 1)
    lost = abs(day.sum_micro) + abs(day.settled_sum_micro)
    yield at_most(f"{what}, money made or lost", lost, "micro-credits", 1, 0)


def main() -> None:
    """Print the table, or JSON lines; exits 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description="Clearing against HiGHS; a day of houses.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--houses", type=int, default=HOUSES)
    options = parser.parse_args()
    lines = [line for each_side in AIMS_MS for line in one_book(each_side)]
    lines += one_day(options.houses)
    raise SystemExit(0 if show("market", lines, options.json) else 1)


if __name__ == "__main__":
    main()
