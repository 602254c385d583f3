"""A device's energy over a span, summed by steps of 15 minutes to months."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from ioe_node.api.http_cells import cells_of
from ioe_node.api.http_types import History, Point, Step
from ioe_node.hdi import AgentPubKey

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

READINGS_MAX = 10_000
"""More of a chain than this is not read for one answer."""
US = 1_000_000
QUARTER_US = 15 * 60 * US
HOUR_US = 3_600 * US


async def _readings(
    conductor: "Conductor", device: AgentPubKey, from_us: int, to_us: int
) -> tuple[list[dict[str, Any]], bool]:
    """Interval readings that begin in a span, oldest first; and whether these are all of them."""
    found: list[dict[str, Any]] = []
    complete = True
    for cell in cells_of(conductor, "metering"):
        payload = {"device": device, "limit": READINGS_MAX}
        newest_first = await cell.call("metering", "history", payload)
        if len(newest_first) == READINGS_MAX and newest_first[-1]["start"] > from_us:
            complete = False
        found += [each for each in newest_first if from_us <= each["start"] < to_us]
    return sorted(found, key=lambda each: int(each["start"])), complete


async def history_points(
    conductor: "Conductor", device: AgentPubKey, from_us: int, to_us: int, step: Step
) -> History:
    """The points of a span, oldest first; a step without a reading has none."""
    found, complete = await _readings(conductor, device, from_us, to_us)
    points: dict[int, Point] = {}
    for each in found:
        start_us = step_start(each["start"], step)
        before = points.get(start_us, Point(start_us, 0, 0, False))
        points[start_us] = Point(
            start_us,
            before.import_milli_wh + each["import_milli_wh"],
            before.export_milli_wh + each["export_milli_wh"],
            before.estimated or each["quality"] != "measured",
        )
    return History(list(points.values()), complete)


def step_start(at_us: int, step: Step, zone: tzinfo | None = None) -> int:
    """When the step began that a time is in; days and months are the zone's (the machine's)."""
    if step == "15m":
        return at_us - at_us % QUARTER_US
    if step == "hour":
        return at_us - at_us % HOUR_US
    local = datetime.fromtimestamp(at_us // US, zone)
    day = local.day if step == "day" else 1
    return _us(datetime(local.year, local.month, day, tzinfo=zone))


def day_span(day: str, now_us: int, zone: tzinfo | None = None) -> tuple[str, int, int]:
    """(the day's name, its first microsecond, the next day's first); today for an empty `day`.

    Raises `ValueError` for a day that no month has.
    """
    if day:
        year, month, number = map(int, day.split("-"))
        begins = datetime(year, month, number, tzinfo=zone)
    else:
        now = datetime.fromtimestamp(now_us // US, zone)
        begins = datetime(now.year, now.month, now.day, tzinfo=zone)
    after = begins.date() + timedelta(days=1)
    ends = datetime(after.year, after.month, after.day, tzinfo=zone)
    return begins.strftime("%Y-%m-%d"), _us(begins), _us(ends)


def _us(at: datetime) -> int:
    """Microseconds since 1970; a time without a zone is the machine's."""
    return round(at.timestamp()) * US


def iso(at_us: int) -> str:
    """UTC, as spreadsheets read it."""
    return datetime.fromtimestamp(at_us // US, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
