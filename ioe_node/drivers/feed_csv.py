"""Prices and levels from a CSV file, read anew each time: a tariff by hand, or another's export.

Its first line names the columns: `start`, then `price` or `level` or both, and `end` where periods
do not follow on each other.  Times are ISO 8601.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import trio

from ioe_node.drivers.driver import parse_options
from ioe_node.drivers.feed import Period, Row, decimal_of, iso_us, level_of, periods_of
from ioe_node.errors import LocalError, TransportError

FILE_BYTES_MAX = 1024 * 1024
COLUMNS = ("start", "end", "price", "level")


class CsvOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`currency` is '' for credits."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    currency: Annotated[str, msgspec.Meta(max_length=8)] = ""
    per: Literal["kWh", "MWh"] = "kWh"


class CsvFeed:
    """A `PriceFeed`."""

    def __init__(self, options: CsvOptions) -> None:
        self._options = options

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "CsvFeed":
        """ConfigError names the key."""
        return cls(parse_options(options, CsvOptions, "csv feed"))

    async def periods(self) -> tuple[Period, ...]:
        """What the file says now."""
        options = self._options
        path = Path(options.path).expanduser()
        try:
            async with await trio.open_file(path, "rb") as file:
                data = await file.read(FILE_BYTES_MAX + 1)
        except OSError as failure:
            raise TransportError(f"csv feed: {failure}") from None
        try:
            return periods_of(decode_rows(data), path.name, options.currency, options.per)
        except LocalError as failure:
            raise LocalError(f"csv feed {path}: {failure}") from None


def decode_rows(data: bytes) -> Iterator[Row]:
    """The rows of a file; LocalError names the line that cannot be read."""
    if len(data) > FILE_BYTES_MAX:
        raise LocalError(f"it has more than {FILE_BYTES_MAX} bytes")
    try:
        lines = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        names = lines.fieldnames or []
        if "start" not in names or not {"price", "level"} & {*names}:
            raise LocalError("its first line must name `start`, and `price` or `level`")
        for line in lines:
            told = {name: line.get(name) or "" for name in COLUMNS}
            try:
                yield Row(
                    iso_us(told["start"]),
                    iso_us(told["end"]) if told["end"] else None,
                    decimal_of(told["price"]) if told["price"] else None,
                    level_of(decimal_of(told["level"])) if told["level"] else None,
                )
            except LocalError as failure:
                raise LocalError(f"line {lines.line_num}: {failure}") from None
    except (csv.Error, UnicodeDecodeError) as failure:
        raise LocalError(f"it is no CSV in UTF-8 ({failure})") from None
