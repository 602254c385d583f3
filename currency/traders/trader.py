"""A trader: it watches, decides before the gate, and sets the battery after it.

Three steps an interval.  `orders_of` before the gate: what the home would buy and sell at which
price, one curve of the home's expected net and the battery's chances.  `set_points_of` after it,
knowing what was matched: where to hold the meter, and between which levels of the store.
`watched` when the interval is over and metered.

With a market a battery serves the neighbourhood, so its worth follows from the neighbourhood's
net, divided over all batteries by capacity: who holds less than the others then finds a kWh
worth more, bids more, and so the batteries fill and empty as one.  Without, from the home's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from currency.delivery import Grid
from currency.market.book import Order, Wants
from currency.traders.battery import HOUR_US, PPM, Battery, SetPoints
from currency.traders.policy import BASIS_POINTS, Policy
from currency.traders.reason import Act, Reason
from currency.traders.worth import CELLS, NOTHING, Slopes, cell_of, worth_before

DAYS = 14
"""What is learned from: two weeks have each day of the week twice, and lie in one season."""
CARRY_BP = 5_000
"""How much of the last interval's departure from its usual is expected of the next as well."""
DAY_US = 24 * HOUR_US
STEPS = 4
"""Prices that a battery is bid or offered at in one interval: each is an order to be kept."""
ORDER_MILLI_WH_MIN = 10_000
"""A hundredth of a kWh: less is not worth the keeping of an order."""


@dataclass(frozen=True)
class Trader:
    """What a trader is and knows: of past intervals oldest first, `DAYS` days at most.

    `own` is the home's net (load less generation, without the battery), `pooled` what of the
    neighbourhood's net falls to this battery; milli-Wh.  `worths` are a stored kWh's before
    each interval from the coming one to the end of what is foreseen, and after it; `dawn` what
    they began with.  `clean` says what the home generates.
    """

    agent: bytes
    length_us: int
    policy: Policy
    battery: Battery | None = None
    stored_milli_wh: int = 0
    zone: str = ""
    clean: bool = False
    own: tuple[int, ...] = ()
    pooled: tuple[int, ...] = ()
    worths: tuple[Slopes, ...] = (NOTHING,)
    dawn: Slopes = NOTHING

    @property
    def intervals_a_day(self) -> int:
        return DAY_US // self.length_us

    @property
    def days(self) -> int:
        """Whole days that it knows."""
        return len(self.own) // self.intervals_a_day


class Decision(NamedTuple):
    """Orders for the coming interval, and a reason for each."""

    orders: tuple[Order, ...]
    reasons: tuple[Reason, ...]


class Step(NamedTuple):
    """So much energy, wanted at that price or below, or given at that price or above."""

    limit_micro: int
    energy_milli_wh: int


def trader_of(
    agent: bytes,
    length_us: int,
    policy: Policy,
    battery: Battery | None = None,
    *,
    zone: str = "",
    clean: bool = False,
) -> Trader:
    """A trader that knows nothing yet; the battery keeps the larger of both reserves."""
    if battery is not None:
        reserve = battery.capacity_milli_wh * policy.reserve_bp // BASIS_POINTS
        battery = replace(battery, reserve_milli_wh=max(reserve, battery.reserve_milli_wh))
    return Trader(agent, length_us, policy, battery, zone=zone, clean=clean)


# --- before the gate --------------------------------------------------------------------------


def foreseen(trader: Trader, tariff: Sequence[Grid]) -> Trader:
    """The trader with worths for the coming interval; `tariff` from it on, a day's if it can.

    They are computed a day at a time: backwards from what yesterday's said of this time of day.
    """
    if trader.battery is None or len(trader.worths) > 1:
        return trader
    day = trader.intervals_a_day
    past = trader.pooled if len(trader.pooled) == len(trader.own) else trader.own
    worths = [trader.dawn]
    for ahead in reversed(range(min(day, len(tariff)))):
        nets = past[(len(past) + ahead) % day :: day] if trader.days else ()
        worths.append(
            worth_before(trader.battery, trader.length_us, worths[-1], tariff[ahead], nets)
        )
    return replace(trader, worths=tuple(reversed(worths)), dawn=worths[-1])


def expected(trader: Trader) -> int:
    """The home's net in the coming interval: as on past days, and half as unusual as the last."""
    day = trader.intervals_a_day
    if trader.days == 0:
        return 0
    usual = _mean(trader.own[-day::-day])
    before = trader.own[-day - 1 :: -day] if len(trader.own) > day else trader.own[-1:]
    return usual + (trader.own[-1] - _mean(before)) * CARRY_BP // BASIS_POINTS


def _mean(nets: Sequence[int]) -> int:
    return sum(nets) // len(nets)


def orders_of(trader: Trader, start_us: int, now_us: int, price: Grid) -> Decision:
    """What to place for the interval from `start_us`, by what is known at `now_us`.

    The curve: what the home would draw from its neighbours at each price, falling in the price.
    Where it is negative it sells.  Nobody buys as dear as the grid sells, nor sells as cheap as
    it buys: such offers and bids are left out.  A gate counts one side of each agent's: who would
    sell at some price and buy at a lower one offers, which on the seventeen homes' year costs
    the neighbourhood least.
    """
    net = expected(trader)
    wanted = [Step(price.import_micro, net)] if net > 0 else []
    given = [Step(price.export_micro, -net)] if net < 0 else []
    if trader.battery is not None and trader.days:
        wanted += _charging(trader, trader.battery)
        given += _giving(trader, trader.battery)
    selling = sum(step.energy_milli_wh for step in given)
    asks: list[Step] = []
    bids: list[Step] = []
    for limit, energy in sorted(wanted + given, reverse=True):
        sold = min(energy, selling)
        selling -= sold
        if sold and limit < price.import_micro:
            asks.append(Step(limit, sold))
        if sold < energy and limit > price.export_micro:
            bids.append(Step(min(limit, price.import_micro), energy - sold))
    made = list(_orders(trader, "ask", asks, start_us, now_us))
    made = made or list(_orders(trader, "bid", bids, start_us, now_us))
    return Decision(tuple(order for order, _ in made), tuple(reason for _, reason in made))


def beside(decision: Decision, ordered: Mapping[str, int]) -> Decision:
    """What is left of a decision where orders of so much, by side, stand in the agent's name.

    The same energy is not ordered twice, and nothing on the other side than those, as a gate counts
    one of both.
    """
    left = sum(ordered.values())
    orders: list[Order] = []
    reasons: list[Reason] = []
    for order, reason in zip(decision.orders, decision.reasons, strict=True):
        taken = min(left, order.energy_milli_wh)
        left -= taken
        energy = order.energy_milli_wh - taken
        if energy >= ORDER_MILLI_WH_MIN and ordered[order.side] == sum(ordered.values()):
            orders.append(order._replace(energy_milli_wh=energy))
            reasons.append(reason._replace(energy_milli_wh=energy))
    return Decision(tuple(orders), tuple(reasons))


def _charging(trader: Trader, battery: Battery) -> list[Step]:
    """What the battery takes, at what it is worth later less what charging loses."""
    room = battery.capacity_milli_wh - trader.stored_milli_wh
    energy = min(battery.takes(room), battery.energy_max(trader.length_us))
    level, slopes = trader.stored_milli_wh - battery.reserve_milli_wh, trader.worths[1]
    return [
        Step(
            _slope(battery, slopes, level + battery.stores(middle)) * battery.charge_ppm // PPM,
            part,
        )
        for middle, part in _parts(energy)
    ]


def _giving(trader: Trader, battery: Battery) -> list[Step]:
    """What the battery gives, for what it is worth later and what discharging loses."""
    level, slopes = trader.stored_milli_wh - battery.reserve_milli_wh, trader.worths[1]
    energy = min(battery.gives(level), battery.energy_max(trader.length_us))
    return [
        Step(
            -(
                -_slope(battery, slopes, level - battery.spends(middle))
                * PPM
                // battery.discharge_ppm
            ),
            part,
        )
        for middle, part in _parts(energy)
    ]


def _parts(energy: int) -> list[tuple[int, int]]:
    """(middle, energy) of `STEPS` parts; what does not divide is in the last."""
    part, rest = divmod(energy, STEPS)
    return [
        (part * step + part // 2, part + (rest if step == STEPS - 1 else 0))
        for step in range(STEPS)
        if energy
    ]


def _slope(battery: Battery, slopes: Slopes, level: int) -> int:
    """The worth of a kWh at a level above the reserve."""
    return slopes[min(max(level, 0) // cell_of(battery), CELLS - 1)]


def _orders(
    trader: Trader, side: Literal["bid", "ask"], steps: Sequence[Step], start_us: int, now_us: int
) -> Iterator[tuple[Order, Reason]]:
    """The steps within the policy's bounds as orders, and why."""
    policy, buying = trader.policy, side == "bid"
    clean = not buying and trader.clean and (trader.battery is None or policy.clean_only)
    wants = Wants(buying and policy.clean_only, policy.local_first)
    for place, (worth, energy) in enumerate(steps):
        limit = min(worth, policy.buy_max_micro) if buying else max(worth, policy.sell_min_micro)
        if energy < ORDER_MILLI_WH_MIN:
            continue
        order = Order(
            b"%b %b %d" % (trader.agent, side.encode(), place),
            trader.agent,
            side,
            energy,
            limit,
            interval_us=start_us,
            placed_us=now_us,
            valid_until_us=start_us,
            zone=trader.zone,
            clean=clean,
            wants=wants if any(wants) else None,
        )
        yield order, Reason("buy" if buying else "sell", energy, limit, worth, trader.days)


# --- after the gate ---------------------------------------------------------------------------


def set_points_of(
    trader: Trader, bought_milli_wh: int, price: Grid
) -> tuple[SetPoints, Reason] | None:
    """Where to hold the meter and between which levels, what was matched known (sold: negative).

    Without a day to learn from: store the surplus, cover the home.  None without a battery.
    """
    if (battery := trader.battery) is None:
        return None
    if not trader.days:
        reserve = battery.reserve_milli_wh
        refill = 0 if trader.policy.clean_only else reserve
        plain = SetPoints(bought_milli_wh, refill, reserve, battery.capacity_milli_wh)
        return plain, _why(trader, battery, plain, price)
    into, out, slopes = battery.charge_ppm, battery.discharge_ppm, trader.worths[1]

    def level(cells: int) -> int:
        full = battery.capacity_milli_wh
        return full if cells == CELLS else battery.reserve_milli_wh + cells * cell_of(battery)

    # Falling slopes: as many of the first cells as pass are as high a level.
    charge = sum(slope * into > price.import_micro * PPM for slope in slopes)
    cover = sum(slope * PPM >= price.import_micro * out for slope in slopes)
    absorb = sum(slope * into >= price.export_micro * PPM for slope in slopes)
    points = SetPoints(bought_milli_wh, *map(level, (charge, cover, absorb)))
    if trader.policy.clean_only:
        points = points._replace(charge_to=0)
    return points, _why(trader, battery, points, price)


def _why(trader: Trader, battery: Battery, points: SetPoints, price: Grid) -> Reason:
    """What the set points make the battery do, if the home is as expected."""
    stored, slopes = trader.stored_milli_wh, trader.worths[1]
    level = stored - battery.reserve_milli_wh
    to_add = _slope(battery, slopes, level) * battery.charge_ppm // PPM
    to_take = _slope(battery, slopes, level - 1) * PPM // battery.discharge_ppm
    gap = expected(trader) - points.meter_milli_wh
    short, long = price
    act: Act
    if stored < points.charge_to:
        act, paid, worth = "charge" if level >= 0 else "refill", short, to_add
    elif gap < 0:
        act, paid, worth = "absorb" if stored < points.absorb_to else "full", long, to_add
    elif level <= 0:
        act, paid, worth = "empty", short, to_take
    else:
        act, paid, worth = "cover" if stored > points.cover_to else "hold", short, to_take
    return Reason(act, abs(gap), paid, worth, trader.days)


# --- when it is over --------------------------------------------------------------------------


def watched(
    trader: Trader, net_milli_wh: int, pooled_milli_wh: int | None, stored_milli_wh: int
) -> Trader:
    """The trader after an interval, of what was metered in it; no market, nothing pooled (None)."""
    most = DAYS * trader.intervals_a_day
    pooled = () if pooled_milli_wh is None else (*trader.pooled, pooled_milli_wh)[-most:]
    return replace(
        trader,
        stored_milli_wh=stored_milli_wh,
        own=(*trader.own, net_milli_wh)[-most:],
        pooled=pooled,
        worths=trader.worths[1:] or trader.worths,
    )
