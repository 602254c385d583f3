"""The trader app: bids and offers for its device in the market's next interval, and says why.

Once an interval it reads its own readings, takes the grid's prices from its feed and its owner,
or else the community's, and places what the owner's policy makes of them.  Energy for which orders
stand already, placed by hand, it does not order again; it cancels none, and what is placed after
it has traded comes on top.  For which interval it traded last is kept over a restart, so that
nothing is placed twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from currency.delivery import Grid
from currency.market.book import Order
from currency.traders.past import remembering
from currency.traders.policy import MICRO_MAX, POLICIES, Policy
from currency.traders.trader import DAY_US, DAYS, Decision, beside, orders_of, trader_of
from ioe_node.hdk import AppHost, IoeError

LOOK_EVERY_S = 30
READINGS_MAX = 10_000
TRADED = "traded_us"
"""The start of the last interval that was traded for, as it is kept."""

LEARNING = "it watches the meter for a day before it trades; until then, orders by hand"

Micro = Annotated[int, Meta(ge=-MICRO_MAX, le=MICRO_MAX)]


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the owner chooses; prices in micro-credits a kWh."""

    enabled: Annotated[bool, Meta(title="The app may trade")] = True
    policy: Annotated[
        Literal["lowest-cost", "clean-only", "local-first"], Meta(title="How to trade")
    ] = "lowest-cost"
    buy_max_micro: Annotated[Micro, Meta(title="Never bid above")] = MICRO_MAX
    sell_min_micro: Annotated[Micro, Meta(title="Never sell below")] = -MICRO_MAX
    export_micro: Annotated[
        Micro | None,
        Meta(
            title="What the grid pays",
            description="For a kWh that nobody buys; empty: as the community has it.",
        ),
    ] = None
    clean: Annotated[bool, Meta(title="What the device generates is clean")] = False
    zone: Annotated[str, Meta(max_length=200, title="The device's zone")] = ""


class Trading:
    """One device's orders."""

    name = "trader"
    settings_type: type[Any] = Settings

    def __init__(self) -> None:
        self._said = ""

    async def run(self, host: AppHost) -> None:
        """Trade for each next interval; for ever."""
        while True:
            try:
                await self.look(host)
            except IoeError as error:
                self._leave(host, f"not now: {error}")
            await host.sleep(LOOK_EVERY_S)

    async def look(self, host: AppHost) -> None:
        """Trade for the next interval, unless that is done or there is nothing to go by."""
        settings = host.settings(Settings)
        if not settings.enabled:
            self._leave(host, "the owner's policy has it off")
            return
        newest = await host.call("metering", "history", {"limit": 1})
        if not newest:
            self._leave(host, "this device has no reading yet")
            return
        length_us = newest[0]["end"] - newest[0]["start"]
        now_us = host.now_us()
        start_us = (now_us // length_us + 1) * length_us
        if host.recall().get(TRADED, 0) >= start_us:
            return
        price = await _price(host, settings, start_us)
        readings = await host.call("metering", "history", {"limit": _limit(length_us)})
        watched_us = start_us - readings[-1]["start"]
        if watched_us < DAY_US:
            self._leave(host, LEARNING)
            return
        ordered = await host.call("market", "own", {"start": start_us})
        wished = decided(settings, readings, length_us, start_us, now_us, price)
        decision = beside(wished, ordered)
        host.remember({TRADED: start_us})
        for order, reason in zip(decision.orders, decision.reasons, strict=True):
            await host.call("market", "place", {"order": fields_of(order)})
            host.decided(
                {
                    "what": reason.act,
                    "why": reason.text(),
                    "micro_per_kwh": reason.price_micro,
                    "threshold_micro": reason.worth_micro,
                }
            )
        if not wished.orders:
            self._leave(host, "no need and no surplus is expected of the next interval")
        elif not decision.orders:
            self._leave(host, "the orders placed by hand for the next interval leave nothing to do")

    def _leave(self, host: AppHost, why: str) -> None:
        """Say each new reason for doing nothing, once."""
        if why != self._said:
            self._said = why
            host.decided({"what": "left", "why": why})


def _limit(length_us: int) -> int:
    return min(READINGS_MAX, DAYS * DAY_US // length_us)


def decided(
    settings: Settings,
    readings: Sequence[Mapping[str, Any]],
    length_us: int,
    start_us: int,
    now_us: int,
    price: Grid,
) -> Decision:
    """The orders of a device for the interval from `start_us`, by its readings."""
    policy: Policy = replace(
        POLICIES[settings.policy],
        buy_max_micro=settings.buy_max_micro,
        sell_min_micro=settings.sell_min_micro,
    )
    nets = {each["start"]: each["import_milli_wh"] - each["export_milli_wh"] for each in readings}
    unknowing = trader_of(b"", length_us, policy, zone=settings.zone, clean=settings.clean)
    return orders_of(remembering(unknowing, nets, start_us), start_us, now_us, price)


async def _price(host: AppHost, settings: Settings, start_us: int) -> Grid:
    """The grid's prices of the interval from `start_us`.

    What is taken costs what the feed says, or, where it does not, what the community's terms do,
    against which a broken promise is settled as well.  No grid pays more than it takes.
    """
    terms = await host.call("market", "terms", {})
    try:
        fed = price_at(await host.prices(), start_us)
    except IoeError:
        fed = None
    takes = terms["grid_import_micro"] if fed is None else fed
    pays = settings.export_micro
    return Grid(takes, min(takes, terms["grid_export_micro"] if pays is None else pays))


def price_at(periods: Sequence[Mapping[str, Any]], at_us: int) -> int | None:
    """The grid's price at a moment; None where the feed has none."""
    for each in periods:
        if each["start_us"] <= at_us < each["end_us"] and each["micro_per_kwh"] is not None:
            price: int = each["micro_per_kwh"]
            return price
    return None


def fields_of(order: Order) -> dict[str, Any]:
    """An order as the market zome takes it."""
    wants = order.wants
    return {
        "side": order.side,
        "energy_milli_wh": order.energy_milli_wh,
        "limit_micro": order.limit_micro,
        "start": order.interval_us,
        "valid_until": order.valid_until_us,
        "zone": order.zone,
        "clean": order.clean,
        "clean_only": wants is not None and wants.clean_only,
        "local_first": wants is not None and wants.local_first,
        "partner": None,
    }
