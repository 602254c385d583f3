"""The demand management app: runs beside a device, switches it, claims what that has saved.

It asks its feed for prices, looks at the switch, does what `decide` says, and says so.  When the
load is on again it claims the saving.  Since when it has the load off is kept over a restart, so
that a load is never left off because the node went down.  A feed that is away leaves the prices
that are known; once none is, the load is given back.
"""

from dataclasses import replace
from typing import Any

from ioe_node.hdk import AppHost, IoeError
from zomes.demand.decide import (
    Decision,
    Load,
    Price,
    Settings,
    decide,
    seen,
    switched,
)

LOOK_EVERY_S = 10
PRICES_EVERY_US = 300 * 1_000_000
OFF = "off_us"
"""Since when we have the load off, as it is kept."""


class Demand:
    """One device's load, off while power is dear."""

    name = "demand"
    settings_type: type[Any] = Settings

    def __init__(self) -> None:
        self._load: Load | None = None
        self._prices: tuple[Price, ...] = ()
        self._read_us: int | None = None
        self._off_us: int | None = None
        self._said = ""

    async def run(self, host: AppHost) -> None:
        """Look, decide, switch; for ever."""
        while True:
            try:
                await self.look(host)
            except IoeError as error:
                self._say(host, Decision(None, f"not now: {error}"))
            await host.sleep(LOOK_EVERY_S)

    async def look(self, host: AppHost) -> None:
        """One look at prices and switch, and what follows from it."""
        now_us, settings = host.now_us(), host.settings(Settings)
        missing = await self._renew_prices(host, now_us)
        on = host.switched_on()
        if on is None:
            self._say(host, Decision(None, "this device says nothing of a switch"))
            return
        if self._load is None:
            self._off_us = host.recall().get(OFF)
            if self._off_us is not None and not on:
                self._load = Load(on, self._off_us, wanted=False)
        self._load = seen(self._load, on, now_us)
        if on and self._off_us is not None:
            await self._claim(host, self._off_us, self._load.since_us)
        decision = decide(settings, self._prices, self._load, now_us)
        if decision.on is not None:
            if not decision.on:
                host.remember({OFF: now_us})
            await host.set_on(decision.on)
            self._load = switched(self._load, decision.on, now_us)
            self._off_us = self._off_us if decision.on else now_us
        self._say(host, replace(decision, why=f"{decision.why}{missing}"))

    async def _renew_prices(self, host: AppHost, now_us: int) -> str:
        """What keeps us from news of prices, or nothing."""
        if self._read_us is not None and now_us < self._read_us + PRICES_EVERY_US:
            return ""
        try:
            found = await host.prices()
        except IoeError as error:
            return f"; no news of prices: {error}"
        self._prices = tuple(
            Price(each["start_us"], each["end_us"], each["micro_per_kwh"], each["level"])
            for each in found
        )
        self._read_us = now_us
        return ""

    async def _claim(self, host: AppHost, off_us: int, on_us: int) -> None:
        """Claim the saving once the readings of that time are on the chain."""
        if not await host.metered_until(on_us):
            return
        self._off_us = None
        host.remember({})
        payload = {"start_us": off_us, "end_us": on_us}
        claimed = await host.call("demand", "claim", payload)
        if claimed is not None:
            saved, earns = claimed["saved_milli_wh"], claimed["earns_micro"]
            host.decided(
                {"what": "claimed", "why": "saved while off", "saved_milli_wh": saved}
                | {"earns_micro": earns}
            )

    def _say(self, host: AppHost, decision: Decision) -> None:
        """Keep what was done, and each new reason for doing nothing, once."""
        what = {None: "left", True: "on", False: "off"}[decision.on]
        if decision.on is None and decision.why == self._said:
            return
        self._said = decision.why
        host.decided(
            {
                "what": what,
                "why": decision.why,
                "micro_per_kwh": decision.micro_per_kwh,
                "threshold_micro": decision.threshold_micro,
            }
        )
