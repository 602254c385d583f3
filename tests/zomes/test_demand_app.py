"""The app beside a plug: it switches, says why, and claims what was saved when the load is back."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ioe_node.errors import LocalError, TransportError
from zomes.demand.app import PRICES_EVERY_US, Demand
from zomes.demand.decide import HOUR_US, SECOND_US, Settings

DEAR_US = 12 * HOUR_US


class Plug:
    """An `AppHost`: a plug on a day that is dear from 12 to 13 o'clock."""

    def __init__(self) -> None:
        self.now = 0
        self.on: bool | None = True
        self.fault: Exception | None = None
        self.feed_fault: Exception | None = None
        self.kept: Mapping[str, int] = {}
        self.metered_us = 0
        self.said: list[Mapping[str, Any]] = []
        self.claims: list[dict[str, int]] = []
        self.asked = 0
        self.chosen = Settings()

    def now_us(self) -> int:
        return self.now

    def settings(self, shape: type[Any]) -> Any:
        assert shape is Settings
        return self.chosen

    def switched_on(self) -> bool | None:
        return self.on

    async def set_on(self, on: bool) -> None:
        if self.fault:
            raise self.fault
        self.on = on

    async def prices(self) -> Sequence[Mapping[str, Any]]:
        self.asked += 1
        if self.feed_fault:
            raise self.feed_fault
        ends = [(-24 * HOUR_US, DEAR_US, 100), (DEAR_US, DEAR_US + HOUR_US, 500)]
        ends.append((DEAR_US + HOUR_US, 48 * HOUR_US, 100))
        return [
            {"start_us": start, "end_us": end, "micro_per_kwh": micro, "level": 0}
            for start, end, micro in ends
        ]

    async def metered_until(self, at_us: int) -> bool:
        return self.metered_us >= at_us

    async def call(self, zome: str, function: str, payload: Mapping[str, Any]) -> Any:
        assert (zome, function) == ("demand", "claim")
        self.claims.append(dict(payload))
        return {"saved_milli_wh": 700, "earns_micro": 7}

    def remember(self, kept: Mapping[str, int]) -> None:
        self.kept = kept

    def recall(self) -> Mapping[str, int]:
        return self.kept

    def decided(self, decision: Mapping[str, Any]) -> None:
        self.said.append(decision)

    async def sleep(self, seconds: int) -> None:
        raise NotImplementedError

    def what(self) -> list[str]:
        return [each["what"] for each in self.said]


@pytest.fixture
def plug() -> Plug:
    return Plug()


async def at(plug: Plug, app: Demand, now_us: int) -> None:
    plug.now = now_us
    await app.look(plug)


async def test_it_is_off_while_power_is_dear_and_claims_when_the_meter_has_told(
    plug: Plug,
) -> None:
    app, end_us = Demand(), DEAR_US + HOUR_US
    for now_us in (0, DEAR_US - SECOND_US, DEAR_US, DEAR_US + SECOND_US, end_us):
        await at(plug, app, now_us)
    assert plug.what() == ["left", "off", "on"]
    assert "more than 20 %" in plug.said[1]["why"]
    assert (plug.said[1]["micro_per_kwh"], plug.said[1]["threshold_micro"]) == (500, 139)
    await at(plug, app, end_us + 10 * SECOND_US)
    assert plug.claims == []
    plug.metered_us = end_us
    for _ in range(2):
        await at(plug, app, end_us + 20 * SECOND_US)
    assert plug.claims == [{"start_us": DEAR_US, "end_us": end_us}]
    assert plug.said[-1] == {
        "what": "claimed",
        "why": "saved while off",
        "saved_milli_wh": 700,
        "earns_micro": 7,
    }


async def test_whoever_presses_the_button_is_obeyed(plug: Plug) -> None:
    app = Demand()
    await at(plug, app, DEAR_US)
    assert plug.on is False
    plug.on = True
    await at(plug, app, DEAR_US + 60 * SECOND_US)
    assert plug.on
    assert "by hand" in plug.said[-1]["why"]


@pytest.mark.parametrize("fault", [TransportError("away"), LocalError("refused")])
async def test_a_switch_that_fails_is_tried_again(plug: Plug, fault: Exception) -> None:
    app, plug.fault = Demand(), fault
    for _ in range(2):
        with pytest.raises(type(fault)):
            await at(plug, app, DEAR_US)
    plug.fault = None
    await at(plug, app, DEAR_US)
    assert plug.on is False


@pytest.mark.parametrize("fault", [TransportError("away"), LocalError("no JSON")])
async def test_a_feed_that_is_away_leaves_no_load_off(plug: Plug, fault: Exception) -> None:
    app, end_us = Demand(), DEAR_US + HOUR_US
    await at(plug, app, DEAR_US)
    plug.feed_fault = fault
    await at(plug, app, end_us - SECOND_US)
    assert plug.on is False, "the prices that are known hold on"
    await at(plug, app, end_us)
    assert plug.on
    assert str(fault) in plug.said[-1]["why"]


async def test_a_load_that_was_off_at_a_restart_comes_back_and_is_claimed(plug: Plug) -> None:
    end_us = DEAR_US + HOUR_US
    await at(plug, Demand(), DEAR_US)
    again = Demand()
    await at(plug, again, end_us - SECOND_US)
    assert plug.on is False
    plug.metered_us = end_us + SECOND_US
    for _ in range(2):
        await at(plug, again, end_us)
    assert plug.on
    assert plug.claims == [{"start_us": DEAR_US, "end_us": end_us}]
    assert plug.kept == {}


async def test_a_load_that_a_hand_had_off_before_a_restart_stays_off(plug: Plug) -> None:
    plug.on, app = False, Demand()
    for now_us in (DEAR_US, DEAR_US + 2 * HOUR_US):
        await at(plug, app, now_us)
    assert plug.on is False


async def test_prices_are_asked_for_now_and_then(plug: Plug) -> None:
    app = Demand()
    for now_us in range(0, PRICES_EVERY_US + 1, PRICES_EVERY_US // 10):
        await at(plug, app, now_us)
    assert plug.asked == 2


async def test_a_device_without_a_switch_is_left(plug: Plug) -> None:
    plug.on = None
    await at(plug, Demand(), DEAR_US)
    assert plug.what() == ["left"]
    assert "switch" in plug.said[0]["why"]
