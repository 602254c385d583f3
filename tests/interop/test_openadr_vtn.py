"""openleadr's VTN, which holds what we say to the schema, and we as its VEN."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ioe_node.drivers.feed import Period, PriceFeed
from ioe_node.drivers.openadr import Ven
from ioe_node.errors import LocalError

RunPeer = Callable[..., Any]
START_US = 4_070_908_800_000_000  # 2099-01-01
HOUR_US = 3_600_000_000
QUARTER_US = HOUR_US // 4


class Vtn:
    def __init__(self, peer: Any) -> None:
        self._peer = peer

    async def order(self, *words: str) -> None:
        await self._peer.tell(" ".join(words))
        assert await self.heard() == {"what": "done"}

    async def heard(self) -> dict[str, Any]:
        return dict(json.loads(await self._peer.line()))


async def test_events_of_every_kind(run_peer: RunPeer) -> None:
    async with run_peer("openadr_vtn.py") as peer:
        url = f"http://127.0.0.1:{await peer.line()}/OpenADR2/Simple/2.0b"
        vtn, ven = Vtn(peer), Ven.from_options({"url": url, "ven_name": "home"})
        assert isinstance(ven, PriceFeed)
        assert await ven.periods() == ()
        assert await vtn.heard() == {"what": "registered", "pull": True}

        await vtn.order(
            "add", "e1", "SIMPLE", "level", "2099-01-01T00:00:00+00:00", "900=1", "900=2"
        )
        at, middle = START_US, START_US + QUARTER_US
        levels = (
            Period(at, middle, url, level=1),
            Period(middle, middle + QUARTER_US, url, level=2),
        )
        assert await ven.periods() == levels
        said = {"what": "answered", "ven": "ven-7", "event": "e1", "opt": "optIn"}
        assert await vtn.heard() == said
        assert await ven.periods() == levels  # nothing new: nothing is answered twice

        hour = "2099-01-01T01:00:00Z"
        await vtn.order(
            "add", "e2", "ELECTRICITY_PRICE", "price", hour, "3600=0.2345", "3600=-0.01"
        )
        await vtn.order("add", "e3", "LOAD_CONTROL", "x-loadControlCapacity", hour, "3600=0.55")
        await vtn.order("add", "e4", "ENERGY_PRICE", "priceRelative", hour, "3600=7")
        one = START_US + HOUR_US
        assert await ven.periods() == (
            *levels,
            Period(one, one + HOUR_US, url, price_micro_per_kwh=234_500),
            Period(one, one + HOUR_US, url, capacity_bp=5_500),
            Period(one + HOUR_US, one + 2 * HOUR_US, url, price_micro_per_kwh=-10_000),
        )
        assert {(await vtn.heard())["event"] for _ in range(3)} == {"e2", "e3", "e4"}

        await vtn.order("cancel", "e1")
        assert [each.level for each in await ven.periods()] == [None] * 3
        await vtn.order("forget")
        assert len(await ven.periods()) == 3
        assert await vtn.heard() == {"what": "registered", "pull": True}


async def test_a_stranger_is_told_so(run_peer: RunPeer) -> None:
    async with run_peer("openadr_vtn.py") as peer:
        url = f"http://127.0.0.1:{await peer.line()}/OpenADR2/Simple/2.0b/"
        stranger = Ven.from_options({"url": url, "ven_name": "stranger"})
        with pytest.raises(LocalError, match="ven_name"):
            await stranger.periods()
        lost = Ven.from_options({"url": url + "nowhere", "ven_name": "home"})
        with pytest.raises(LocalError, match="HTTP 404: check `url`"):
            await lost.periods()
