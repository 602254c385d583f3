"""What an owner's node is asked about the smart energy apps beside its devices.

A device tells what runs beside it and what that decided; the settings are in the owner's policy.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import tomlkit
import trio
from msgspec.structs import asdict

from ioe_node.conductor import apps, owner_calls
from ioe_node.conductor.owner_calls import AppShown, AppsShown, ShowApps
from ioe_node.conductor.policy import TEMPLATE
from ioe_node.conductor.policy_calls import policy_set
from ioe_node.errors import CallError, IoeError
from ioe_node.hdi import AgentPubKey
from ioe_node.hdk import App
from ioe_node.model.hashes import to_text

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

ASK_WAIT_S = 3.0
DEVICES_AT_ONCE_MAX = 16
WHY_AWAY = "its node does not answer"
Setting = bool | int | float | str | None


async def app_list(conductor: "Conductor") -> list[dict[str, Any]]:
    """The apps beside our devices, or beside this device: settings, decisions, newest first.

    A device that does not answer is listed once, without a name of an app, and says `why`.
    """
    known, ours = apps_known(conductor), await _ours(conductor)
    told: dict[AgentPubKey, list[dict[str, Any]]] = {}
    room = trio.CapacityLimiter(DEVICES_AT_ONCE_MAX)

    async def ask(device: AgentPubKey) -> None:
        async with room:
            found, why = await _beside(conductor, device)
        told[device] = [_row(known, each) for each in found]
        if why:
            told[device] = [_nothing(why)]

    async with trio.open_nursery() as nursery:
        for device in ours:
            nursery.start_soon(ask, device)
    return [
        {"device": device, "device_name": name, **row}
        for device, name in ours.items()
        for row in told[device]
    ]


def apps_known(conductor: "Conductor") -> dict[str, type[App]]:
    """The apps that come with the communities we are in."""
    cells = conductor.cells.values()
    return {app.name: app for cell in cells for app in cell.space.rules.definition.apps}


async def _ours(conductor: "Conductor") -> dict[AgentPubKey, str]:
    """The names of our devices, or of this one."""
    device = conductor.config.device
    if device is not None:
        return {conductor.signer().agent: device.name}
    found: dict[AgentPubKey, str] = {}
    for cell in conductor.cells_with("identity"):
        for each in await cell.call("identity", "portfolio", {}):
            found.setdefault(AgentPubKey(each["device"]), each["name"])
    return found


async def _beside(conductor: "Conductor", device: AgentPubKey) -> tuple[tuple[AppShown, ...], str]:
    """What runs beside a device, or why that is not known."""
    if device == conductor.signer().agent:
        return apps.shown(conductor).apps, ""
    with trio.move_on_after(ASK_WAIT_S):
        try:
            answer = await owner_calls.ask(conductor, device, ShowApps())
        except IoeError as error:
            return (), f"{WHY_AWAY}: {error}"
        if isinstance(answer, AppsShown):
            return answer.apps, ""
        return (), "it does not take us for its owner"
    return (), WHY_AWAY


def _row(known: Mapping[str, type[App]], app: AppShown) -> dict[str, Any]:
    settings, why = {}, ""
    try:
        settings = msgspec.json.decode(app.settings, type=dict[str, Setting])
    except msgspec.DecodeError as error:
        why = f"its settings cannot be read: {error}"
    return {
        "name": app.name,
        "settings": settings,
        "schema": schema_of(known[app.name].settings_type) if app.name in known else {},
        "decisions": [asdict(each) for each in app.decisions],
        "why": why,
    }


def _nothing(why: str) -> dict[str, Any]:
    return {"name": None, "settings": {}, "schema": {}, "decisions": [], "why": why}


def schema_of(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON schema of an app's settings, which hold nothing nested; one may be left out."""
    found: dict[str, Any] = msgspec.json.schema(shape)["$defs"][shape.__name__]
    for field in found["properties"].values():
        for choice in field.pop("anyOf", ()):
            if choice != {"type": "null"}:
                field.update(choice)
    return found


async def app_set(
    conductor: "Conductor", name: str, settings: dict[str, Any], device: str | None = None
) -> dict[str, Any]:
    """Change an app's settings in our policy, for one device (its name or key) or all of ours.

    None takes a setting out of it, so that the app's own default holds.

    Raises `CallError` or `UnfitSettings`.
    """
    if conductor.role != "owner":
        raise CallError("the settings of a device's apps are in its owner's policy")
    if device == "":
        raise CallError("a device has a name or a key; without --device it is for all of ours")
    app = apps.offered(apps_known(conductor), name)
    document = tomlkit.parse(conductor.policy.text or TEMPLATE)
    path: tuple[str, ...] = ("apps", name)
    if device is not None:
        path = ("device", _called(document, device, await _ours(conductor)), *path)
    table = _table(document, *path)
    table.update({name: value for name, value in settings.items() if value is not None})
    for gone in [name for name, value in settings.items() if value is None and name in table]:
        del table[gone]
    apps.read_settings(name, {name: table.unwrap()}, app.settings_type)
    document["version"] = int(document["version"]) + (1 if conductor.policy.text else 0)
    return await policy_set(conductor, tomlkit.dumps(document))


def _called(document: tomlkit.TOMLDocument, device: str, ours: Mapping[AgentPubKey, str]) -> str:
    """What the policy calls a device: a second table, of its key, would undo that of its name."""
    tables = document.get("device", {})
    for agent, name in ours.items():
        names = (to_text(agent), name)
        if device in names:
            return next((each for each in names if each in tables), device)
    return device


def _table(document: tomlkit.TOMLDocument, *path: str) -> tomlkit.items.Table:
    """The table at a path, made where it is not there yet."""
    table: Any = document
    for key in path:
        if key not in table:
            table[key] = tomlkit.table(is_super_table=key != path[-1])
        table = table[key]
    made: tomlkit.items.Table = table
    return made
