"""CSV (RFC 4180): a header, then one line a point.

    start,end,import_kwh,export_kwh,quality
    2026-03-29T01:45:00+01:00,2026-03-29T03:00:00+02:00,0.125,0,measured

Times are ISO 8601 with their offset.  Energy is in kWh with up to six decimals, which is exact.
`quality` is "measured" or "estimated".  Read back, `export_kwh` and `quality` may be missing, and
other columns are passed over.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TextIO
from zoneinfo import ZoneInfo

from ioe_node.history.periods import instant_us, moment
from ioe_node.history.point import POINTS_MAX, FileRefused, Point, checked

COLUMNS = ("start", "end", "import_kwh", "export_kwh", "quality")
NEEDED = ("start", "end", "import_kwh")
_ENERGY = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?", re.ASCII)
_QUALITIES = {"measured": False, "estimated": True}
_MILLI_WH_PER_KWH = 1_000_000


def write_csv(file: TextIO, points: Iterable[Point], zone: ZoneInfo) -> None:
    """Write points with their local times; `file` was opened with newline=""."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for each in points:
        writer.writerow(
            (
                moment(each.start_us, zone).isoformat(),
                moment(each.end_us, zone).isoformat(),
                _kwh(each.import_milli_wh),
                _kwh(each.export_milli_wh),
                "estimated" if each.estimated else "measured",
            )
        )


def _kwh(milli_wh: int) -> str:
    whole, part = divmod(milli_wh, _MILLI_WH_PER_KWH)
    return f"{whole}.{part:06}".rstrip("0").rstrip(".")


def read_csv(file: TextIO) -> list[Point]:
    """The points of a file, in order; raises `FileRefused` that names the line."""
    reader = csv.DictReader(file, strict=True)
    try:
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise FileRefused(f"line 1: no column '{missing[0]}'; needed are {', '.join(NEEDED)}")
        return checked(_points(reader))
    except csv.Error as error:
        raise FileRefused(f"line {reader.line_num}: {error}") from None
    except UnicodeDecodeError:
        raise FileRefused(f"after line {reader.line_num}: not UTF-8") from None


def _points(reader: "csv.DictReader[str]") -> Iterator[Point]:
    for number, row in enumerate(reader):
        if number == POINTS_MAX:
            raise FileRefused(f"more than {POINTS_MAX} lines; import the file in parts")
        try:
            yield _point(row)
        except (ValueError, OverflowError) as error:
            raise FileRefused(f"line {reader.line_num}: {error}") from None


def _point(row: Mapping[str, str | None]) -> Point:
    quality = row.get("quality") or "measured"
    if quality not in _QUALITIES:
        raise ValueError(f"quality '{quality[:20]}' is neither measured nor estimated")
    return Point(
        _instant(row["start"]),
        _instant(row["end"]),
        _energy(row["import_kwh"]),
        _energy(row.get("export_kwh") or "0"),
        _QUALITIES[quality],
    )


def _instant(text: str | None) -> int:
    at = datetime.fromisoformat((text or "").strip())
    if at.tzinfo is None:
        raise ValueError(f"'{(text or '')[:40]}' has no offset; write 2026-01-01T00:00:00+01:00")
    return instant_us(at)


def _energy(text: str | None) -> int:
    found = _ENERGY.fullmatch((text or "").strip())
    if found is None:
        raise ValueError(f"'{(text or '')[:40]}' is no energy; write kWh: 0.125")
    whole, part = found.groups()
    return int(whole) * _MILLI_WH_PER_KWH + int((part or "").ljust(6, "0"))
