"""The trader app: one set of orders an interval, of the device's own past, within the bounds."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from currency.app import LEARNING, TRADED, Settings, Trading
from currency.traders.past import remembering
from currency.traders.policy import POLICIES
from currency.traders.trader import trader_of
from ioe_node.errors import LocalError, TransportError
from ioe_node.hdi import Timestamp, Valid
from zomes.market.integrity import Order

LENGTH_US = 900_000_000
DAY = 96
NOW_US = 10 * DAY * LENGTH_US + 5


class Roof:
    """An `AppHost`: a roof that has exported 500 Wh in every quarter of the last two days."""

    def __init__(self) -> None:
        self.now = NOW_US
        self.chosen = Settings()
        self.kept: Mapping[str, int] = {}
        self.said: list[Mapping[str, Any]] = []
        self.placed: list[dict[str, Any]] = []
        self.by_hand = {"bid": 0, "ask": 0}
        self.feed_away = False
        self.readings = [
            {
                "start": NOW_US // LENGTH_US * LENGTH_US - (ago + 1) * LENGTH_US,
                "end": NOW_US // LENGTH_US * LENGTH_US - ago * LENGTH_US,
                "import_milli_wh": 0,
                "export_milli_wh": 500_000,
            }
            for ago in range(2 * DAY)
        ]

    def now_us(self) -> int:
        return self.now

    def settings(self, shape: type[Any]) -> Any:
        assert shape is Settings
        return self.chosen

    def switched_on(self) -> bool | None:
        return None

    async def set_on(self, on: bool) -> None:
        raise LocalError("no switch")

    async def prices(self) -> Sequence[Mapping[str, Any]]:
        if self.feed_away:
            raise TransportError("no answer")
        ahead = {"start_us": 0, "end_us": 2 * NOW_US, "micro_per_kwh": 300_000, "level": 0}
        return [{**ahead, "micro_per_kwh": None}, ahead]

    async def metered_until(self, at_us: int) -> bool:
        return True

    async def call(self, zome: str, function: str, payload: Mapping[str, Any]) -> Any:
        if (zome, function) == ("metering", "history"):
            return self.readings[: payload["limit"]]
        if (zome, function) == ("market", "terms"):
            return {"grid_import_micro": 310_000, "grid_export_micro": 80_000}
        if (zome, function) == ("market", "own"):
            assert payload["start"] == (self.now // LENGTH_US + 1) * LENGTH_US
            return self.by_hand
        assert (zome, function) == ("market", "place")
        self.placed.append(payload["order"])
        return b"name"

    def remember(self, kept: Mapping[str, int]) -> None:
        self.kept = kept

    def recall(self) -> Mapping[str, int]:
        return self.kept

    def decided(self, decision: Mapping[str, Any]) -> None:
        self.said.append(decision)

    async def sleep(self, seconds: int) -> None:
        raise NotImplementedError


@pytest.fixture
def roof() -> Roof:
    return Roof()


async def test_it_leaves_an_interval_in_which_nothing_is_expected(roof: Roof) -> None:
    for each in roof.readings:
        each["export_milli_wh"] = 0
    await Trading().look(roof)
    assert not roof.placed
    assert "no need and no surplus" in roof.said[0]["why"]


async def test_it_says_that_it_watches_for_a_day_first(roof: Roof) -> None:
    roof.readings = roof.readings[: DAY - 2]
    await Trading().look(roof)
    assert not roof.placed
    assert [each["why"] for each in roof.said] == [LEARNING]
    assert roof.kept == {}


async def test_it_offers_what_it_expects_once_and_says_why(roof: Roof) -> None:
    roof.chosen = Settings(sell_min_micro=100_000, clean=True, zone="vic", policy="local-first")
    app, next_us = Trading(), (NOW_US // LENGTH_US + 1) * LENGTH_US
    for _ in range(2):
        await app.look(roof)
    await Trading().look(roof)  # as after a restart
    assert roof.placed == [
        {
            "side": "ask",
            "energy_milli_wh": 500_000,
            "limit_micro": 100_000,
            "start": next_us,
            "valid_until": next_us,
            "zone": "vic",
            "clean": True,
            "clean_only": False,
            "local_first": True,
            "partner": None,
        }
    ]
    assert [each["what"] for each in roof.said] == ["sell"]
    assert roof.said[0]["why"].startswith("offer 0.500 kWh from 0.100 on")
    assert roof.kept == {TRADED: next_us}
    roof.now += LENGTH_US
    await app.look(roof)
    assert [each["start"] for each in roof.placed] == [next_us, next_us + LENGTH_US]


async def test_what_it_needs_it_bids_for_at_no_more_than_the_bound(roof: Roof) -> None:
    for each in roof.readings:
        each["import_milli_wh"], each["export_milli_wh"] = 200_000, 0
    roof.chosen = Settings(buy_max_micro=250_000, policy="clean-only")
    await Trading().look(roof)
    (bid,) = roof.placed
    assert (bid["side"], bid["energy_milli_wh"], bid["limit_micro"]) == ("bid", 200_000, 250_000)
    assert (bid["clean"], bid["clean_only"]) == (False, True)


@pytest.mark.parametrize(
    ("settings", "readings", "why"),
    [
        (Settings(enabled=False), 1, "has it off"),
        (Settings(), 0, "no reading yet"),
        (Settings(), 5, "watches the meter for a day"),
    ],
)
async def test_it_says_once_why_it_leaves_the_market(
    roof: Roof, settings: Settings, readings: int, why: str
) -> None:
    roof.chosen, roof.readings = settings, roof.readings[:readings]
    app = Trading()
    for _ in range(2):
        await app.look(roof)
        roof.now += LENGTH_US
    assert roof.placed == []
    assert [each["what"] for each in roof.said] == ["left"]
    assert why in roof.said[0]["why"]


async def test_the_market_takes_what_it_places(neighbourhood: Any, roof: Roof) -> None:
    await Trading().look(roof)
    (placed,) = roof.placed
    next_us = (1_700_000_100_000_000 // LENGTH_US + 1) * LENGTH_US
    order = Order(**{**placed, "start": Timestamp(next_us), "valid_until": Timestamp(next_us)})
    assert neighbourhood.verdict(neighbourhood.member(2), order) is Valid


@pytest.mark.parametrize("feed_away", [False, True])
async def test_where_the_feed_has_no_price_the_communitys_holds(
    roof: Roof, feed_away: bool
) -> None:
    """The roof's last day, of imports now, lies at the end of what the feed knows or beyond it."""
    for each in roof.readings:
        each["import_milli_wh"], each["export_milli_wh"] = 200_000, 0
    await Trading().look(roof)
    roof.kept, roof.feed_away = {}, feed_away
    later_us = 0 if feed_away else 20 * DAY * LENGTH_US
    for each in roof.readings:
        each["start"], each["end"] = each["start"] + later_us, each["end"] + later_us
    roof.now += later_us
    await Trading().look(roof)
    assert [each["limit_micro"] for each in roof.placed] == [300_000, 310_000]


@pytest.mark.parametrize(("export_micro", "limit"), [(None, 80_000), (0, 0), (120_000, 120_000)])
async def test_what_nobody_buys_earns_what_the_owner_says_or_the_community(
    roof: Roof, export_micro: int | None, limit: int
) -> None:
    roof.chosen = Settings(export_micro=export_micro)
    await Trading().look(roof)
    assert [each["limit_micro"] for each in roof.placed] == [limit]


@pytest.mark.parametrize(
    ("bid", "ask", "left"),
    [(0, 0, [500_000]), (0, 300_000, [200_000]), (0, 495_000, []), (0, 900_000, []), (1, 0, [])],
)
async def test_what_is_ordered_by_hand_is_not_ordered_again(
    roof: Roof, bid: int, ask: int, left: list[int]
) -> None:
    roof.by_hand = {"bid": bid, "ask": ask}
    await Trading().look(roof)
    assert [each["energy_milli_wh"] for each in roof.placed] == left
    if left:
        assert roof.said[0]["why"].startswith(f"offer 0.{left[0] // 1_000} kWh")
    else:
        assert "by hand" in roof.said[0]["why"]


def test_a_gap_is_taken_as_the_day_before() -> None:
    trader = trader_of(b"", LENGTH_US, POLICIES["lowest-cost"])
    nets = {quarter * LENGTH_US: quarter for quarter in range(2 * DAY) if quarter != DAY + 3}
    known = remembering(trader, nets, (2 * DAY + 1) * LENGTH_US)
    assert known.own == (*range(DAY + 3), 3, *range(DAY + 4, 2 * DAY), DAY)
    assert remembering(trader, {}, LENGTH_US).own == ()
