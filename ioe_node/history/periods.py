"""Quarter hours, hours, days, weeks, months and years as the people of a place count them.

A day begins at local midnight, so the two days of the year on which clocks change have 23 and 25
hours; a week begins on Monday.  An interval belongs to the period that it begins in.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from ioe_node.history.point import QUARTER_US, SECOND_US

Step = Literal["15m", "hour", "day", "week", "month", "year"]
STEPS: tuple[Step, ...] = ("15m", "hour", "day", "week", "month", "year")
HOUR_US = 3_600 * SECOND_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")
_LOCALTIME = Path("/etc/localtime")


def machine_zone() -> ZoneInfo:
    """The time zone of this machine; UTC where it names none that is known."""
    _, _, linked = str(_LOCALTIME.resolve()).partition("zoneinfo/")
    for name in (os.environ.get("TZ", "").lstrip(":"), linked):
        try:
            if name:
                return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            continue
    return UTC_ZONE


def zone_of(name: str) -> ZoneInfo:
    """The zone of this name, or the machine's for ""; raises KeyError or ValueError."""
    return ZoneInfo(name) if name else machine_zone()


def moment(at_us: int, zone: ZoneInfo) -> datetime:
    """The exact local time of an instant."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone)


def instant_us(at: datetime) -> int:
    """The instant of a time that knows its offset."""
    return (at - _EPOCH) // timedelta(microseconds=1)


class Calendar:
    """Where an instant's periods begin; quick for instants of one day after another."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._day = (0, 0)
        self._month = (0, 0)
        self._offset_us: int | None = None

    @staticmethod
    def text(at_us: int) -> str:
        """An instant in UTC, as Atom writes it."""
        return moment(at_us // SECOND_US * SECOND_US, UTC_ZONE).strftime("%Y-%m-%dT%H:%M:%SZ")

    def period(self, at_us: int, step: Step) -> tuple[int, int]:
        """Where the period that holds an instant begins, and where it ends."""
        if step == "15m":
            start_us = at_us // QUARTER_US * QUARTER_US
            return start_us, start_us + QUARTER_US
        self._turn_to(at_us)
        if step == "hour":
            return self._hour(at_us)
        if step == "day":
            return self._day
        if step == "month":
            return self._month
        day = moment(at_us, self.zone)
        if step == "year":
            return self._midnight(day.year, 1, 1), self._midnight(day.year + 1, 1, 1)
        monday = day.date() - timedelta(days=day.weekday())
        after = monday + timedelta(days=7)
        return (
            self._midnight(monday.year, monday.month, monday.day),
            self._midnight(after.year, after.month, after.day),
        )

    def _turn_to(self, at_us: int) -> None:
        if self._day[0] <= at_us < self._day[1]:
            return
        today = moment(at_us, self.zone).date()
        after = today + timedelta(days=1)
        self._day = (
            self._midnight(today.year, today.month, today.day),
            self._midnight(after.year, after.month, after.day),
        )
        next_month = (today.replace(day=28) + timedelta(days=4)).replace(day=1)
        self._month = (
            self._midnight(today.year, today.month, 1),
            self._midnight(next_month.year, next_month.month, 1),
        )
        offsets = {self._offset(self._day[0]), self._offset(self._day[1] - 1)}
        self._offset_us = offsets.pop() if len(offsets) == 1 else None

    def _hour(self, at_us: int) -> tuple[int, int]:
        offset_us = self._offset(at_us) if self._offset_us is None else self._offset_us
        start_us = (at_us + offset_us) // HOUR_US * HOUR_US - offset_us
        return start_us, start_us + HOUR_US

    def _offset(self, at_us: int) -> int:
        offset = moment(at_us, self.zone).utcoffset()
        assert offset is not None
        return offset // timedelta(microseconds=1)

    def _midnight(self, year: int, month: int, day: int) -> int:
        """The first instant of a local day, also where clocks jump over midnight."""
        return instant_us(datetime(year, month, day, tzinfo=self.zone))
