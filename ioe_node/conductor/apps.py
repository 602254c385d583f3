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
import tomlkit
import trio

from ioe_node.conductor.policy import TEMPLATE
from ioe_node.conductor.policy_calls import policy_set
from ioe_node.config import AppConfig
from ioe_node.errors import AgainstPolicy, CallError, ConfigError, IoeError, LocalError
from ioe_node.hdk import App
from ioe_node.plugins import load

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.app")

DECISIONS_MAX = 200
RESTART_S = 30.0
SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


class Running:
    """One app of one device: an `AppHost`, and the newest of what was decided."""

    def __init__(
        self, conductor: "Conductor", cell: "Cell", app: type[App], config: AppConfig
    ) -> None:
        self.name = app.name
        self.settings_type = app.settings_type
        self.decisions: deque[dict[str, Any]] = deque(maxlen=DECISIONS_MAX)
        self._conductor = conductor
        self._cell = cell
        self._app = app
        self._kept = conductor.home.path / f"app-{app.name}.json"
        self._feed = load(config.feed).from_options(config.options) if config.feed else None

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
        """What the owner's policy sets for this app; raises `LocalError` for what does not fit."""
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
        if self._conductor.poller is None:
            raise LocalError("this device is not read now")
        await self._conductor.poller.set_on(on)

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
        self.decisions.appendleft(kept)
        log.info("%s: %s, %s", self.name, decision["what"], decision["why"])
        self._conductor.signals.emit({"kind": "decision", "app": self.name, **kept})

    async def sleep(self, seconds: int) -> None:
        """Wait."""
        await trio.sleep(seconds)


def read_settings(
    name: str, apps: Mapping[str, Mapping[str, Any]], shape: type[SettingsT]
) -> SettingsT:
    """An app's settings out of a policy's; raises `LocalError` that names what does not fit."""
    try:
        return msgspec.convert(dict(apps.get(name, {})), shape)
    except msgspec.ValidationError as error:
        known = ", ".join(shape.__struct_fields__)
        raise LocalError(f"settings of app '{name}': {error}; there are: {known}") from None


def of_device(conductor: "Conductor", cell: "Cell") -> list[Running]:
    """The apps that the config names beside our device; one that cannot run is said."""
    offered = {app.name: app for app in cell.space.rules.definition.apps}
    made = []
    for config in conductor.config.app:
        try:
            made.append(Running(conductor, cell, _offered(offered, config.name), config))
        except IoeError as error:
            conductor.alert({"kind": "fault", "text": str(error)})
    return made


def _offered(offered: Mapping[str, type[App]], name: str) -> type[App]:
    if name not in offered:
        known = ", ".join(sorted(offered)) or "none"
        raise CallError(f"no community here has an app '{name}'; there are: {known}")
    return offered[name]


async def app_set(
    conductor: "Conductor", name: str, settings: dict[str, Any], device: str | None = None
) -> dict[str, Any]:
    """Change an app's settings in our policy, for one device (its name or key) or all of ours."""
    if conductor.role != "owner":
        raise CallError("the settings of a device's apps are in its owner's policy")
    if device == "":
        raise CallError("a device has a name or a key; without --device it is for all of ours")
    known = {app.name: app for cell in conductor.cells.values() for app in _apps_of(cell)}
    app = _offered(known, name)
    document = tomlkit.parse(conductor.policy.text or TEMPLATE)
    table = _table(document, *(("device", device) if device else ()), "apps", name)
    table.update(settings)
    read_settings(name, {name: table.unwrap()}, app.settings_type)
    document["version"] = int(document["version"]) + (1 if conductor.policy.text else 0)
    return await policy_set(conductor, tomlkit.dumps(document))


def _apps_of(cell: "Cell") -> Sequence[type[App]]:
    return cell.space.rules.definition.apps


def _table(document: tomlkit.TOMLDocument, *path: str) -> tomlkit.items.Table:
    """The table at a path, made where it is not there yet."""
    table: Any = document
    for key in path:
        if key not in table:
            table[key] = tomlkit.table(is_super_table=key != path[-1])
        table = table[key]
    made: tomlkit.items.Table = table
    return made


async def app_list(conductor: "Conductor") -> list[dict[str, Any]]:
    """The apps that run here, each with its settings and its newest decisions, newest first."""
    return [
        {
            "name": each.name,
            "settings": msgspec.to_builtins(each.settings(each.settings_type)),
            "schema": msgspec.json.schema(each.settings_type),
            "decisions": list(each.decisions),
        }
        for each in conductor.apps
    ]
