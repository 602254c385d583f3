"""A device's energy over a span, summed by steps of 15 minutes to years."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from ioe_node.api.http_types import History, Point, Step
from ioe_node.conductor import history
from ioe_node.hdi import AgentPubKey

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

US = 1_000_000


async def history_points(
    conductor: "Conductor", device: AgentPubKey, from_us: int, to_us: int, step: Step
) -> History:
    """The points of a span, oldest first; a step without a reading has none."""
    found = await history.points(conductor, device, from_us, to_us, step)
    listed = [
        Point(each.start_us, each.import_milli_wh, each.export_milli_wh, each.estimated)
        for each in found.points
    ]
    return History(listed, found.complete)


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
