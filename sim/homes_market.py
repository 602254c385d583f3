"""Homes that share their energy, hour by hour: traders, the market's gate, meters, the ledger.

The interval's order is the one that real nodes have.  Before it begins every trader places its
orders, knowing only past hours and the published tariff; the gate clears them; the batteries
get their set points; then the hour happens, as nobody knew it, and is metered.  A match is settled
as it was metered (`currency.delivery`).  What no match has sold is shared out in the middle of the
grid's prices, and the rest is the grid's.
Every hour the accounts must sum to zero and the meters to what the grid gave and took.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from currency.delivery import Grid
from currency.ledger import BASIS_POINTS
from currency.market import gate
from currency.market.book import KWH_MILLI_WH, Order
from currency.market.match import Match
from currency.traders.battery import HOUR_US, Battery, follow
from currency.traders.policy import Policy
from currency.traders.reason import Reason
from currency.traders.trader import (
    Trader,
    foreseen,
    orders_of,
    set_points_of,
    trader_of,
    watched,
)
from sim.accounts import Accounts

GRID = b"grid"
DAY_HOURS = 24
NEVER = 1 << 62
MECHANISM = "uniform"
BATTERY = Battery(6_400_000, 5_000_000, 948_683, 948_683)
"""The homes' own, as the data's schema has it: 6.4 kWh, 5 kW, and 0.9 there and back."""


@dataclass(frozen=True)
class Street:
    """Each home's net (load less generation) by the hour, and the grid's prices and carbon."""

    nets: tuple[tuple[int, ...], ...]
    prices: tuple[Grid, ...]
    carbon_mg: tuple[int, ...]


@dataclass
class Outcome:
    """What a run came to; energy in milli-Wh, carbon in milligrams, money in the accounts.

    `cost_pico` is what the grid's energy costs before each bill is rounded down, as all bills are.
    """

    accounts: Accounts = field(default_factory=Accounts)
    cost_pico: int = 0
    grid_import: int = 0
    grid_export: int = 0
    matched: int = 0
    delivered: int = 0
    shared: int = 0
    carbon_mg: int = 0
    hours: int = 0
    reasons: list[tuple[int, bytes, Reason]] = field(default_factory=list)

    @property
    def paid_micro(self) -> int:
        """What the homes together paid to the grid."""
        return self.accounts.of[GRID].balance_micro


def play(
    street: Street,
    policies: Sequence[Policy] | None = None,
    battery: Battery | None = None,
    *,
    sharing: bool = True,
    log_from: int = NEVER,
) -> Outcome:
    """Every hour of the street; one policy a home (the default for all), one kind of battery.

    Reasons are kept of the hours from `log_from` on.  AssertionError if money or energy does not
    add up to the last unit in any hour.
    """
    policies = policies or [Policy()] * len(street.nets)
    names = [b"home-%02d" % number for number in range(1, len(street.nets) + 1)]
    traders = [
        trader_of(name, HOUR_US, policy, battery, clean=True)
        for name, policy in zip(names, policies, strict=True)
    ]
    storage = sum(trader.battery.capacity_milli_wh for trader in traders if trader.battery)
    outcome = Outcome()
    for hour, price in enumerate(street.prices):
        tariff = street.prices[hour : hour + DAY_HOURS]
        log = hour >= log_from
        traders = [foreseen(trader, tariff) for trader in traders]
        matches = _gate(traders, hour, price, outcome, log) if sharing else []
        nets = dict(zip(names, (home[hour] for home in street.nets), strict=True))
        meters, stored = _lived(traders, nets, matches, price, outcome, log)
        bought = _settled(meters, matches, hour, price, outcome, sharing)
        outcome.grid_import += bought
        outcome.carbon_mg += bought * street.carbon_mg[hour] // KWH_MILLI_WH
        outcome.hours += 1
        whole = sum(nets.values()) if sharing else None
        traders = [
            watched(each, nets[each.agent], _pooled(each, whole, storage), stored[each.agent])
            for each in traders
        ]
        assert outcome.accounts.sum_micro() == 0, hour
    return outcome


def _gate(
    traders: Sequence[Trader], hour: int, price: Grid, outcome: Outcome, log: bool
) -> list[Match]:
    """Every trader's orders, cleared at one price."""
    orders: list[Order] = []
    for trader in traders:
        decision = orders_of(trader, (hour + 1) * HOUR_US, hour * HOUR_US, price)
        orders += decision.orders
        if log:
            outcome.reasons += ((hour, trader.agent, reason) for reason in decision.reasons)
    counting = gate.counted(orders)
    return gate.matches(counting, gate.clear(counting, MECHANISM))


def _lived(
    traders: Sequence[Trader],
    nets: Mapping[bytes, int],
    matches: Sequence[Match],
    price: Grid,
    outcome: Outcome,
    log: bool,
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """The hour as it happened: every home's meter, and what its battery holds after it."""
    bought = dict.fromkeys(nets, 0)
    for match in matches:
        bought[match.buyer] += match.energy_milli_wh
        bought[match.seller] -= match.energy_milli_wh
    meters, stored = dict(nets), dict.fromkeys(nets, 0)
    for trader in traders:
        name = trader.agent
        if trader.battery is None or (plan := set_points_of(trader, bought[name], price)) is None:
            continue
        flow = follow(trader.battery, plan[0], trader.stored_milli_wh, nets[name], HOUR_US)
        stored[name], meters[name] = flow
        if log:
            outcome.reasons.append((outcome.hours, name, plan[1]))
    return meters, stored


def _pooled(trader: Trader, whole_milli_wh: int | None, storage_milli_wh: int) -> int | None:
    """What of the street's net falls to a trader's battery, if they share."""
    if trader.battery is None or whole_milli_wh is None:
        return None
    return whole_milli_wh * trader.battery.capacity_milli_wh // storage_milli_wh


def _settled(
    meters: Mapping[bytes, int],
    matches: Sequence[Match],
    hour: int,
    price: Grid,
    outcome: Outcome,
    sharing: bool,
) -> int:
    """Pay for the hour as it was metered; the milli-Wh that the grid gave."""
    exports = {name: max(0, -meter) for name, meter in meters.items()}
    imports = {name: max(0, meter) for name, meter in meters.items()}
    accounts = outcome.accounts
    terms = accounts.settle(hour, matches, exports, imports, price)
    delivered = sum(sold for _, sold in terms)
    outcome.matched += sum(match.energy_milli_wh for match in matches)
    outcome.delivered += delivered
    if sharing:
        middle_bp = (price.import_micro + price.export_micro) // 2 * BASIS_POINTS // KWH_MILLI_WH
        metered = sum(exports.values())
        exports, imports = accounts.share_out(hour, matches, exports, imports, price, middle_bp)
        outcome.shared += metered - delivered - sum(exports.values())
    for name, energy in imports.items():
        if energy:
            accounts.transfer(name, GRID, energy * price.import_micro // KWH_MILLI_WH)
    for name, energy in exports.items():
        if energy:
            accounts.transfer(GRID, name, energy * price.export_micro // KWH_MILLI_WH)
    given, taken = sum(imports.values()), sum(exports.values())
    assert given - taken == sum(meters.values()), hour
    outcome.grid_export += taken
    outcome.cost_pico += given * price.import_micro - taken * price.export_micro
    return given
