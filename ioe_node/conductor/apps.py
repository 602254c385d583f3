"""Smart energy apps: each runs beside this node's device, and says what it does and why.

An app is a program that comes with a DNA (`DnaDef.apps`); the device's config says that it runs,
and where its prices come from; the owner's policy holds its settings.  What it switches and claims
goes the ways that the owner's own commands go.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import trio

from ioe_node.conductor import machine
from ioe_node.conductor.market_feed import MARKET, MarketFeed
from ioe_node.conductor.owner_calls import (
    AMOUNT_MAX,
    APPS_MAX,
    DECISIONS_MAX,
    NAME_CHARS_MAX,
    SETTINGS_CHARS_MAX,
    STATE_CHARS_MAX,
    WHY_CHARS_MAX,
    AppShown,
    AppsShown,
    Decided,
)
from ioe_node.config import AppConfig
from ioe_node.drivers.feed import PriceFeed
from ioe_node.errors import AgainstPolicy, CallError, ConfigError, IoeError, LocalError
from ioe_node.hdk import App
from ioe_node.plugins import load

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.app")

RESTART_S = 30.0
SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


class Running:
    """One app of one device: an `AppHost`, and the newest of what was decided."""

    def __init__(
        self, conductor: "Conductor", cell: "Cell", app: type[App], config: AppConfig
    ) -> None:
        self.name = app.name
        self.settings_type = app.settings_type
        self.decisions: deque[Decided] = deque(maxlen=DECISIONS_MAX)
        self._conductor = conductor
        self._cell = cell
        self._app = app
        self._kept = conductor.home.path / f"app-{app.name}.json"
        self._feed = feed_of(config, cell)

    async def run(self) -> None:
        """Run the app until cancelled; what ends it is said, and it begins anew."""
        while True:
            try:
                await self._app().run(self)
            except IoeError as error:
                self.decided({"what": "failed", "why": str(error)})
            except Exception as error:
                log.exception("the app '%s' failed", self.name)
                self.decided({"what": "failed", "why": f"{error!r}; see the log"})
            await trio.sleep(RESTART_S)

    def now_us(self) -> int:
        """The node's clock."""
        return self._conductor.clock.now_us()

    def settings(self, shape: type[SettingsT]) -> SettingsT:
        """What the owner's policy sets for this app; raises `UnfitSettings`."""
        return read_settings(self.name, self._conductor.policy.rules.apps, shape)

    def switched_on(self) -> bool | None:
        """How the device's switch stood when it was last read."""
        poller = self._conductor.poller
        latest = None if poller is None else poller.latest
        return None if latest is None else latest.switched_on

    async def set_on(self, on: bool) -> None:
        """Switch the device."""
        if not self._conductor.policy.rules.automatic.other:
            raise AgainstPolicy("this device switches nothing by itself (automatic.other)")
        await machine.switch(self._conductor, on)

    async def prices(self) -> Sequence[Mapping[str, Any]]:
        """All that the configured feed knows."""
        if self._feed is None:
            raise ConfigError(f"app '{self.name}' needs a feed in the config")
        found: Sequence[Mapping[str, Any]] = [
            {
                "start_us": each.start_us,
                "end_us": each.end_us,
                "micro_per_kwh": each.price_micro_per_kwh,
                "level": each.level or 0,
            }
            for each in await self._feed.periods()
        ]
        return found

    async def metered_until(self, at_us: int) -> bool:
        """Whether the interval readings of all before that time are on our chain."""
        newest = await self._cell.call("metering", "history", {"limit": 1})
        interval_us = self._cell.space.rules.definition.properties.interval_us
        return bool(newest) and newest[0]["end"] > at_us - interval_us

    async def call(self, zome: str, function: str, payload: Mapping[str, Any]) -> Any:
        """Call a zome function as the device."""
        return await self._cell.call(zome, function, dict(payload))

    def remember(self, kept: Mapping[str, int]) -> None:
        """Keep this over restarts; it goes with this life of the device."""
        self._conductor.home.write(self._kept, msgspec.json.encode(kept))

    def recall(self) -> Mapping[str, int]:
        """What was kept last; what cannot be read counts as nothing."""
        try:
            return msgspec.json.decode(self._kept.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s cannot be read: %s", self._kept, error)
            return {}

    def decided(self, decision: Mapping[str, Any]) -> None:
        """Keep it for the owner to see, and tell local clients."""
        kept = {"at_us": self.now_us(), **decision}
        self.decisions.appendleft(_decided(kept))
        log.info("%s: %s, %s", self.name, decision["what"], decision["why"])
        self._conductor.signals.emit({"kind": "decision", "app": self.name, **kept})

    async def sleep(self, seconds: int) -> None:
        """Wait."""
        await trio.sleep(seconds)

    def shown(self) -> AppShown:
        """What our owner may see of it; no settings where those of the policy do not fit."""
        try:
            settings = msgspec.json.encode(self.settings(self.settings_type)).decode()
        except LocalError:
            settings = "{}"
        return AppShown(
            self.name[:NAME_CHARS_MAX],
            settings if len(settings) <= SETTINGS_CHARS_MAX else "{}",
            tuple(self.decisions),
        )


def feed_of(config: AppConfig, cell: "Cell") -> PriceFeed | None:
    """Where an app's prices come from; None where its config says nothing."""
    if config.feed == MARKET:
        return MarketFeed(cell)
    found: PriceFeed | None = None
    if config.feed:
        found = load(config.feed).from_options(config.options)
    return found


def _decided(decision: Mapping[str, Any]) -> Decided:
    """What an app, somebody's own perhaps, says it decided, within what a message takes."""
    amounts = ("micro_per_kwh", "threshold_micro", "saved_milli_wh", "earns_micro")
    return Decided(
        decision["at_us"],
        str(decision["what"])[:STATE_CHARS_MAX],
        str(decision["why"])[:WHY_CHARS_MAX],
        *(_amount(decision.get(name)) for name in amounts),
    )


def _amount(value: object) -> int | None:
    return value if type(value) is int and abs(value) <= AMOUNT_MAX else None


class UnfitSettings(LocalError):
    """Settings that an app does not have, or out of their bounds; the text names them."""


def read_settings(
    name: str, apps: Mapping[str, Mapping[str, Any]], shape: type[SettingsT]
) -> SettingsT:
    """An app's settings out of a policy's; raises `UnfitSettings`."""
    try:
        return msgspec.convert(dict(apps.get(name, {})), shape)
    except msgspec.ValidationError as error:
        known = ", ".join(shape.__struct_fields__)
        raise UnfitSettings(f"settings of app '{name}': {error}; there are: {known}") from None


def of_device(conductor: "Conductor", cell: "Cell") -> list[Running]:
    """The apps that the config names beside our device; one that cannot run is said."""
    known = {app.name: app for app in cell.space.rules.definition.apps}
    made = []
    for config in conductor.config.app:
        try:
            made.append(Running(conductor, cell, offered(known, config.name), config))
        except IoeError as error:
            conductor.alert({"kind": "fault", "text": str(error)})
    return made


def offered(known: Mapping[str, type[App]], name: str) -> type[App]:
    """The app of that name; raises `CallError` that names those there are."""
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise CallError(
            f"no community here has an app '{name[:NAME_CHARS_MAX]}'; there are: {names}"
        )
    return known[name]


def shown(conductor: "Conductor") -> AppsShown:
    """The apps that run here."""
    return AppsShown(tuple(each.shown() for each in conductor.apps[:APPS_MAX]))
