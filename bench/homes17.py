"""How near traders without foresight come to perfect foresight, on the seventeen homes' year.

    python -m bench.homes17 [--json] [--policy NAME] [--part "held out"]

The oracle is a linear program over every hour at once (HiGHS).  Batteries of one kind whose homes
share everything are one large battery, so one home's program serves for both.  Beside the
whole year it asks for two parts.  The traders' constants (`DAYS`, `CARRY_BP`, `STEPS`) were tried
out over the whole year and compared on homes 1 to 8 in its first half; homes 9 to 17 in its
second half show what they are worth elsewhere.
"""

import argparse
import time
from collections.abc import Iterator, Sequence

import highspy
import numpy as np

from bench.report import Line, show
from currency.traders.policy import POLICIES
from ioe_node.drivers.citylearn import HOMES, HOURS_PER_YEAR, fetch
from sim.homes17 import perfect_sharing_pico, street_of
from sim.homes_market import BATTERY, play

HALF_YEAR = HOURS_PER_YEAR // 2 // 24 * 24
AIM = 55
"""Per cent of the step from perfect sharing to perfect foresight with batteries."""
PARTS = {
    "the year": (range(1, HOMES + 1), slice(None)),
    "chosen by": (range(1, 9), slice(HALF_YEAR)),
    "held out": (range(9, HOMES + 1), slice(HALF_YEAR, None)),
}


def foresight_micro(nets: Sequence[int], prices_micro: Sequence[int], batteries: int) -> float:
    """The least that an hourly net (milli-Wh) costs with so many batteries, all known beforehand.

    Columns: import, charge, discharge, stored after each hour; rows: import - charge + discharge
    is at least the net, and what is stored follows.
    """
    hours, inf = len(nets), highspy.kHighsInf
    efficiency = BATTERY.charge_ppm / 1e6
    at = np.arange(hours)
    one = np.ones(hours)
    power = batteries * BATTERY.power_milli_w / 1e6
    capacity = batteries * BATTERY.capacity_milli_wh / 1e6
    entries = [
        (at, at, one),
        (at, hours + at, -one),
        (at, 2 * hours + at, one),
        (hours + at, hours + at, -efficiency * one),
        (hours + at, 2 * hours + at, one / efficiency),
        (hours + at, 3 * hours + at, one),
        (hours + at[1:], 3 * hours + at[:-1], -one[1:]),
    ]
    rows, columns, values = (np.concatenate([each[n] for each in entries]) for n in range(3))
    order = np.lexsort((rows, columns))
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = 4 * hours, 2 * hours
    program.col_cost_ = np.concatenate([np.array(prices_micro, float), np.zeros(3 * hours)])
    program.col_lower_ = np.zeros(4 * hours)
    program.col_upper_ = np.concatenate([inf * one, power * one, power * one, capacity * one])
    program.row_lower_ = np.concatenate([np.array(nets, float) / 1e6, 0 * one])
    program.row_upper_ = np.concatenate([inf * one, 0 * one])
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.searchsorted(columns[order], np.arange(4 * hours + 1))
    program.a_matrix_.index_ = rows[order]
    program.a_matrix_.value_ = values[order]
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.passModel(program)
    solver.run()
    return float(solver.getInfo().objective_function_value)


def captured(part: str, policy: str) -> Iterator[Line]:
    """One part of the data: the ladder's steps, ours beside the optimum, and the share saved."""
    homes, hours = PARTS[part]
    street = street_of(fetch(), homes, hours)
    prices = [price.import_micro for price in street.prices]
    whole = [sum(nets) for nets in zip(*street.nets, strict=True)]
    policies = [POLICIES[policy]] * len(homes)
    alone = foresight_alone_micro(street.nets, prices) / 1e6
    best = foresight_micro(whole, prices, len(homes)) / 1e6
    perfect = perfect_sharing_pico(street) / 1e12
    nothing = play(street, policies, sharing=False).cost_pico / 1e12
    shared = play(street, policies).cost_pico / 1e12
    own = play(street, policies, BATTERY, sharing=False).cost_pico / 1e12
    began = time.perf_counter()
    both = play(street, policies, BATTERY).cost_pico / 1e12
    took_s = time.perf_counter() - began
    yield Line(f"{part}: no battery, no sharing", nothing, "$", 1)
    yield Line(
        f"{part}: sharing",
        shared,
        "$",
        1,
        perfect,
        None,
        "ratio <= 1.005",
        shared <= perfect * 1.005,
    )
    yield Line(f"{part}: own battery", own, "$", 1, alone)
    yield Line(f"{part}: batteries and sharing", both, "$", 1, best)
    share = 100 * (perfect - both) / (perfect - best)
    yield Line(
        f"{part}: of what foresight would save",
        share,
        "%",
        1,
        aim=f">= {AIM}",
        reached=share >= AIM,
    )
    yield Line(f"{part}: run with batteries and sharing", took_s, "s", 1)


def foresight_alone_micro(nets: Sequence[Sequence[int]], prices_micro: Sequence[int]) -> float:
    """The least that homes cost with a battery each that do not share."""
    return sum(foresight_micro(home, prices_micro, 1) for home in nets)


def main() -> None:
    """Print the table, or JSON lines; exits 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description="Traders against perfect foresight.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--policy", choices=list(POLICIES), default="lowest-cost")
    parser.add_argument("--part", choices=list(PARTS), action="append")
    options = parser.parse_args()
    parts = options.part or list(PARTS)
    lines = [line for part in parts for line in captured(part, options.policy)]
    raise SystemExit(0 if show("homes17", lines, options.json) else 1)


if __name__ == "__main__":
    main()
