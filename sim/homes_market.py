"""Homes that share their energy, hour by hour: traders, the market's gate, meters, the ledger.

The interval's order is the one that real nodes have.  Before it begins every trader places its
orders, knowing only past hours and the published tariff; the gate clears them; the batteries
get their set points; then the hour happens, as nobody knew it, and is metered.  A match is settled
as it was metered: what a seller did not deliver it pays at the grid's price.  What was metered
beside the matches is shared out in the middle of the grid's prices, and the rest is the grid's.
Every hour the accounts must sum to zero and the meters to what the grid gave and took.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from currency.ledger import BASIS_POINTS, Account, paid, price_of, received, share_out, sold
from currency.market.book import KWH_MILLI_WH, Order
from currency.market.preferences import cleared
from currency.market.uniform import uniform
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
from currency.traders.worth import GridPrice

GRID = b"grid"
DAY_HOURS = 24
NEVER = 1 << 62
BATTERY = Battery(6_400_000, 5_000_000, 948_683, 948_683)
"""The homes' own, as the data's schema has it: 6.4 kWh, 5 kW, and 0.9 there and back."""


@dataclass(frozen=True)
class Street:
    """Each home's net (load less generation) by the hour, and the grid's prices and carbon."""

    nets: tuple[tuple[int, ...], ...]
    prices: tuple[GridPrice, ...]
    carbon_mg: tuple[int, ...]


@dataclass
class Outcome:
    """What a run came to; energy in milli-Wh, carbon in milligrams, money in the accounts.

    `cost_pico` is what the grid's energy costs before each bill is rounded down, as all bills are.
    """

    accounts: dict[bytes, Account]
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
        return self.accounts[GRID].balance_micro

    def pay(self, payer: bytes, payee: bytes, amount_micro: int) -> None:
        """Move an amount; one below zero moves the other way."""
        if amount_micro < 0:
            payer, payee, amount_micro = payee, payer, -amount_micro
        self.accounts[payer] = paid(self.accounts[payer], amount_micro)
        self.accounts[payee] = received(self.accounts[payee], amount_micro)


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
    outcome = Outcome({name: Account() for name in [*names, GRID]})
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
        assert sum(account.balance_micro for account in outcome.accounts.values()) == 0, hour
    return outcome


class Match(NamedTuple):
    """What a trade says, with its parties."""

    buyer: bytes
    seller: bytes
    energy_milli_wh: int
    price_micro: int


def _gate(
    traders: Sequence[Trader], hour: int, price: GridPrice, outcome: Outcome, log: bool
) -> list[Match]:
    """Every trader's orders, cleared at one price."""
    orders: list[Order] = []
    for trader in traders:
        decision = orders_of(trader, (hour + 1) * HOUR_US, hour * HOUR_US, price)
        orders += decision.orders
        if log:
            outcome.reasons += ((hour, trader.agent, reason) for reason in decision.reasons)
    agents = {order.id: order.agent for order in orders}
    return [
        Match(agents[trade.bid], agents[trade.ask], trade.energy_milli_wh, trade.price_micro)
        for trade in cleared(orders, uniform).trades
    ]


def _lived(
    traders: Sequence[Trader],
    nets: Mapping[bytes, int],
    matches: Sequence[Match],
    price: GridPrice,
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
    price: GridPrice,
    outcome: Outcome,
    sharing: bool,
) -> int:
    """Pay for the hour as it was metered; the milli-Wh that the grid gave."""
    exports = {name: -meter for name, meter in meters.items() if meter < 0}
    imports = {name: meter for name, meter in meters.items() if meter > 0}
    for match, delivered, sold_of_it in _deliveries(matches, exports, imports):
        amount = match.energy_milli_wh * match.price_micro
        amount -= price.import_micro * (match.energy_milli_wh - delivered)
        amount -= price.export_micro * (delivered - sold_of_it)
        outcome.pay(match.buyer, match.seller, amount // KWH_MILLI_WH)
        _sell(outcome, match, hour, sold_of_it, exports, imports)
        outcome.matched += match.energy_milli_wh
        outcome.delivered += sold_of_it
    middle_bp = (price.import_micro + price.export_micro) // 2 * BASIS_POINTS // KWH_MILLI_WH
    for seller, buyer, energy in share_out(exports, imports) if sharing else ():
        outcome.pay(buyer, seller, price_of(energy, middle_bp))
        match = Match(buyer, seller, energy, 0)
        _sell(outcome, match, hour, energy, exports, imports)
        outcome.shared += energy
    for name, energy in imports.items():
        outcome.pay(name, GRID, energy * price.import_micro // KWH_MILLI_WH)
    for name, energy in exports.items():
        outcome.pay(GRID, name, energy * price.export_micro // KWH_MILLI_WH)
    given, taken = sum(imports.values()), sum(exports.values())
    assert given - taken == sum(meters.values()), hour
    outcome.grid_export += taken
    outcome.cost_pico += given * price.import_micro - taken * price.export_micro
    return given


def _deliveries(
    matches: Sequence[Match], exports: Mapping[bytes, int], imports: Mapping[bytes, int]
) -> Iterator[tuple[Match, int, int]]:
    """(match, delivered, sold): what of each was exported, and imported as well, in gate order."""
    out, into = dict(exports), dict(imports)
    for match in matches:
        delivered = min(match.energy_milli_wh, out.get(match.seller, 0))
        consumed = min(match.energy_milli_wh, into.get(match.buyer, 0))
        if delivered:
            out[match.seller] -= delivered
        if consumed:
            into[match.buyer] -= consumed
        yield match, delivered, min(delivered, consumed)


def _sell(
    outcome: Outcome,
    match: Match,
    hour: int,
    energy: int,
    exports: dict[bytes, int],
    imports: dict[bytes, int],
) -> None:
    """Take an energy out of both meters; the account knows how much of the hour is sold."""
    if not energy:
        return
    account = sold(outcome.accounts[match.seller], hour, energy)
    assert account is not None, (hour, match.seller)
    outcome.accounts[match.seller] = account
    exports[match.seller] -= energy
    imports[match.buyer] -= energy
    assert exports[match.seller] >= 0 <= imports[match.buyer], (hour, match)
