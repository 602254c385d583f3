"""Routes about the smart energy apps beside our devices."""

from typing import TYPE_CHECKING

from ioe_node.api.http_devices import ours
from ioe_node.api.http_errors import NotFound, Unfit
from ioe_node.api.http_routes import Nothing, route
from ioe_node.api.http_types import NewSettings, OfApp, RunningApp, SettingsKept
from ioe_node.conductor.app_calls import app_set, apps_known
from ioe_node.conductor.apps import UnfitSettings
from ioe_node.model.hashes import to_text

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api


@route("GET", "/api/v1/apps", "read")
async def apps(api: "Api", asked: Nothing) -> list[RunningApp]:
    """The apps beside our devices and what they did; on a device's own node, those beside it."""
    return await api.live.apps()


@route("POST", "/api/v1/apps/{name}/settings", "control", fails=(404, 409))
async def set_app(api: "Api", asked: OfApp, body: NewSettings) -> SettingsKept:
    """Change settings of an app in our policy; those that are not named stay as they are."""
    device = None if body.device is None else to_text(await ours(api, body.device))
    if asked.name not in apps_known(api.conductor):
        raise NotFound("no community here has an app of that name; see /api/v1/apps")
    try:
        kept = await app_set(api.conductor, asked.name, dict(body.settings), device)
    except UnfitSettings as error:
        raise Unfit(str(error)) from None
    api.live.changed()
    return SettingsKept(kept["version"])
