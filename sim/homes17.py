"""Seventeen real homes for a year, through the traders, the market, the meters and the ledger.

    python -m sim.homes17                       the four steps of the year, a minute or two
    python -m sim.homes17 --hours 336           two weeks
    python -m sim.homes17 --policy clean-only   every home by another policy
    python -m sim.homes17 --why 5               also what home 5's trader did on the last day

Homes, tariff and carbon are those of CityLearn (see `ioe_node.drivers.citylearn`).  Exported energy
earns nothing from the grid, as in the published ladder; each home's battery, 6.4 kWh, 5 kW
and 0.9 there and back, begins empty.  Every hour the run asserts that the accounts sum to
zero and that the meters add up to what the grid gave and took, to the last unit.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from currency.delivery import Grid
from currency.traders.policy import POLICIES
from ioe_node.drivers.citylearn import HOMES, HOURS_PER_YEAR, fetch, load_grid, load_home
from ioe_node.errors import LocalError
from sim.homes_market import BATTERY, DAY_HOURS, Outcome, Street, play

EXPORT_MICRO = 0
GAP_BP_MAX = 50
"""How much dearer sharing without batteries may be than perfect sharing."""
FORESIGHT_PICO = 16_599_390_000_000_000
"""The year with batteries and sharing, everything known beforehand: a linear program's optimum,
which `bench.homes17` computes anew."""

STEPS = (
    ("no battery, no sharing", False, False),
    ("no battery, sharing", False, True),
    ("battery, no sharing", True, False),
    ("battery, sharing", True, True),
)

console = Console(highlight=False, width=120)


def street_of(data: Path, homes: Sequence[int], hours: slice) -> Street:
    """Some homes in some hours of the year; `data` is the cache that `fetch` filled."""
    years = [load_home(data, number) for number in homes]
    grid = load_grid(data)
    return Street(
        tuple(
            tuple(
                load - pv
                for load, pv in zip(year.load_milli_wh[hours], year.pv_milli_wh[hours], strict=True)
            )
            for year in years
        ),
        tuple(Grid(price, EXPORT_MICRO) for price in grid.price_micro[hours]),
        grid.carbon_mg[hours],
    )


def perfect_sharing_pico(street: Street) -> int:
    """What the grid costs where every hour's surplus finds a neighbour; without batteries."""
    sums = map(sum, zip(*street.nets, strict=True))
    return sum(
        max(0, net) * price.import_micro for net, price in zip(sums, street.prices, strict=True)
    )


def row_of(name: str, outcome: Outcome, took_s: float) -> tuple[str, ...]:
    """A step's figures as they are printed."""
    energies = (outcome.grid_import, outcome.grid_export, outcome.matched, outcome.delivered)
    return (
        name,
        f"{outcome.cost_pico / 1e12:,.2f}",
        f"{outcome.paid_micro / 1e6:,.2f}",
        f"{outcome.carbon_mg / 1e6:,.1f}",
        *(f"{energy / 1e6:,.1f}" for energy in (*energies, outcome.shared)),
        f"{took_s:.1f}",
    )


@click.command()
@click.option("--hours", default=HOURS_PER_YEAR, type=click.IntRange(1, HOURS_PER_YEAR))
@click.option("--policy", default="lowest-cost", type=click.Choice(list(POLICIES)))
@click.option(
    "--why", type=click.IntRange(1, HOMES), help="Show this home's last day of decisions."
)
def main(hours: int, policy: str, why: int | None) -> None:
    """Four steps: with and without batteries, with and without sharing."""
    try:
        data = fetch(say=console.print)
    except LocalError as error:
        raise click.ClickException(str(error)) from error
    street = street_of(data, range(1, HOMES + 1), slice(hours))
    table = Table(title=f"{HOMES} homes, {hours} hours, {policy}", title_justify="left")
    for column in ("", "grid $", "paid $", "kg CO2", "in kWh", "out", "matched", "kept", "shared"):
        table.add_column(column, justify="right" if column else "left")
    table.add_column("s", justify="right")
    outcomes = {}
    for name, stores, sharing in STEPS:
        began = time.perf_counter()
        outcome = play(
            street,
            [POLICIES[policy]] * HOMES,
            BATTERY if stores else None,
            sharing=sharing,
            log_from=hours - DAY_HOURS if why else hours,
        )
        table.add_row(*row_of(name, outcome, time.perf_counter() - began))
        outcomes[name] = outcome
    if why:
        tell_why(outcomes["battery, sharing"], why)
    console.print(table)
    console.print(
        "grid: what its energy costs; paid: by bills, each rounded down; matched: at the gate; "
        "kept: of that, as metered; shared: what was metered beside it"
    )
    sys.exit(0 if judged(street, outcomes) else 1)


def tell_why(outcome: Outcome, home: int) -> None:
    """One line per decision."""
    for hour, agent, reason in outcome.reasons:
        if agent == b"home-%02d" % home:
            console.print(f"hour {hour} (of day {hour % DAY_HOURS:02}:00)  {reason.text()}")


def judged(street: Street, outcomes: dict[str, Outcome]) -> bool:
    """Whether sharing is as good as it can be; says so, and what the batteries came to."""
    perfect = perfect_sharing_pico(street)
    gap = outcomes["no battery, sharing"].cost_pico - perfect
    good = gap * 10_000 <= perfect * GAP_BP_MAX
    console.print(
        f"{'ok    ' if good else 'FAILED'} sharing without batteries: {gap / 1e12:,.2f} $ above "
        f"the perfect {perfect / 1e12:,.2f} $ (at most {GAP_BP_MAX / 100} %)"
    )
    if len(street.prices) == HOURS_PER_YEAR:
        saved = perfect - outcomes["battery, sharing"].cost_pico
        whole = perfect - FORESIGHT_PICO
        console.print(
            f"       batteries and sharing without foresight save {saved / 1e12:,.2f} $ of the "
            f"{whole / 1e12:,.2f} $ that perfect foresight would: {100 * saved / whole:.1f} %"
        )
    console.print("ok     every hour the accounts summed to zero and the meters to the grid's")
    return good


if __name__ == "__main__":
    main()
