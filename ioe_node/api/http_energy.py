"""Routes about energy: history, live flow, the day's balance, where it came from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ioe_node.api.http_carbon import Certified, Weights, weigh
from ioe_node.api.http_cells import agent_of, cells_of, name_of
from ioe_node.api.http_errors import Unfit
from ioe_node.api.http_history import day_span, history_points, iso
from ioe_node.api.http_household import Counted, Meter, flow, sankey
from ioe_node.api.http_live import Owned
from ioe_node.api.http_routes import File, Nothing, route
from ioe_node.api.http_types import (
    Carbon,
    Flow,
    History,
    HistoryOf,
    OnDay,
    Sankey,
    Span,
)
from ioe_node.conductor.cell import Cell
from ioe_node.history.periods import zone_of
from ioe_node.model.hashes import to_text

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api

CSV_HEAD = "start_utc,start_us,import_milli_wh,export_milli_wh,estimated"


@route("GET", "/api/v1/history", "read")
async def history(api: "Api", asked: HistoryOf) -> History:
    """A device's energy by steps."""
    _check_span(asked.from_us, asked.to_us)
    device = agent_of(asked.device)
    return await history_points(api.conductor, device, asked.from_us, asked.to_us, asked.step)


@route("GET", "/api/v1/history.csv", "read", media="text/csv")
async def history_csv(api: "Api", asked: HistoryOf) -> File:
    """The same as a table."""
    found = await history(api, asked)
    lines = [
        f"{iso(each.start_us)},{each.start_us},{each.import_milli_wh},{each.export_milli_wh},"
        f"{int(each.estimated)}"
        for each in found.points
    ]
    return File("\r\n".join([CSV_HEAD, *lines, ""]).encode(), "history.csv")


@route("GET", "/api/v1/flow", "read")
async def flow_now(api: "Api", asked: Nothing) -> Flow:
    """Power in the household now."""
    return flow(await api.live.machines(), api.conductor.clock.now_us())


@route("GET", "/api/v1/sankey", "read")
async def sankey_of_day(api: "Api", asked: OnDay) -> Sankey:
    """A day's energy from where it came to where it went."""
    try:
        zone = zone_of(api.conductor.config.metering.timezone)
        day, from_us, to_us = day_span(asked.day, api.conductor.clock.now_us(), zone)
    except ValueError as error:
        raise Unfit(f"day: {error}") from None
    return sankey(await _counted(api, from_us, to_us), day)


@route("GET", "/api/v1/carbon", "read")
async def carbon(api: "Api", asked: Span) -> Carbon:
    """Where the energy of a span came from, and what it weighs, as far as certificates say."""
    _check_span(asked.from_us, asked.to_us)
    given: dict[Meter, int] = {}
    for each in await _counted(api, asked.from_us, asked.to_us):
        of_grid = each.meter.kind == "monitor"
        energy = each.import_milli_wh if of_grid else each.export_milli_wh
        given[each.meter] = given.get(each.meter, 0) + energy
    certified: list[Certified] = []
    weights = Weights({}, None, 0)
    for cell in cells_of(api.conductor, "origin"):
        ours = [each for each in await api.live.ours() if each.community == name_of(cell)]
        certified += await _certified(cell, ours, asked)
        weights = await _weights(cell, ours, weights)
    return weigh(given, certified, weights)


async def _certified(cell: Cell, ours: Sequence[Owned], asked: Span) -> list[Certified]:
    """What our meters drew of others' certificates; where there are monitors, theirs alone."""
    meters = [each for each in ours if each.kind == "monitor"] or ours
    own = [each.agent for each in ours]
    found = []
    for meter in meters:
        span = {"from_us": asked.from_us, "to_us": asked.to_us, "agent": meter.agent}
        for each in await cell.call("origin", "used", span):
            if each["issuer"] not in own:
                part = (each["source"], each["energy_milli_wh"], each["g_co2_per_kwh"])
                found.append(Certified(*part))
    return found


async def _weights(cell: Cell, ours: Sequence[Owned], before: Weights) -> Weights:
    """What our machines say that they make energy of, and what the community says of the grid."""
    made = dict(before.made)
    for each in ours:
        plant = await cell.call("origin", "plant", {"agent": each.agent})
        made[to_text(each.agent)] = None if plant is None else plant["g_co2_per_kwh"]
    values = cell.space.rules.definition.properties.values
    return Weights(made, values.grid_g_co2_per_kwh, values.clean_g_co2_max)


def _check_span(from_us: int, to_us: int) -> None:
    if to_us <= from_us:
        raise Unfit("a span ends after it begins: to_us > from_us")


async def _counted(api: "Api", from_us: int, to_us: int) -> list[Counted]:
    """What every meter of the household counted in a span, quarter of an hour by quarter."""
    found = []
    for owned in await api.live.ours():
        meter = Meter(to_text(owned.agent), owned.name, owned.kind)
        listed = await history_points(api.conductor, owned.agent, from_us, to_us, "15m")
        found += [
            Counted(meter, each.start_us, each.import_milli_wh, each.export_milli_wh)
            for each in listed.points
        ]
    return found
