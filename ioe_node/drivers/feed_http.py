"""Prices and levels from a web service that answers with a list of JSON objects.

The options say where in the answer the list is and what its fields are called, so one driver
serves most spot-price services.  Times are ISO 8601, or seconds or milliseconds since 1970.
"""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import msgspec

from ioe_node.drivers.driver import parse_options
from ioe_node.drivers.feed import (
    PERIODS_MAX,
    Period,
    Row,
    decimal_of,
    iso_us,
    level_of,
    periods_of,
    unix_us,
)
from ioe_node.drivers.http_fetch import fetch
from ioe_node.errors import ConfigError, LocalError, TransportError

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class HttpOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`list` is the way to the list of periods, names joined by dots; '' where it is the answer.

    `token_file` holds a bearer token.  `currency` is '' for credits.
    """

    url: Annotated[str, msgspec.Meta(pattern="^https?://")]
    list: str = ""
    start: Name = "start"
    end: Name = "end"
    price: Name = "price"
    level: Name = "level"
    token_file: str | None = None
    currency: Annotated[str, msgspec.Meta(max_length=8)] = ""
    per: Literal["kWh", "MWh"] = "kWh"


class HttpFeed:
    """A `PriceFeed`."""

    def __init__(self, options: HttpOptions, token: str | None) -> None:
        self._options, self._token = options, token

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "HttpFeed":
        """ConfigError names the key."""
        parsed = parse_options(options, HttpOptions, "http feed")
        token = None
        if parsed.token_file is not None:
            try:
                token = Path(parsed.token_file).expanduser().read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as refusal:
                raise ConfigError(f"driver http feed: token_file: {refusal}") from None
        return cls(parsed, token)

    async def periods(self) -> tuple[Period, ...]:
        """What the service says now."""
        options = self._options
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            body = await fetch(options.url, headers={"Accept": "application/json", **headers})
            rows = decode_rows(body, options)
            return periods_of(rows, options.url, options.currency, options.per)
        except (LocalError, TransportError) as failure:
            raise type(failure)(f"http feed {options.url}: {failure}") from None


def decode_rows(body: bytes, names: HttpOptions) -> Iterator[Row]:
    """The rows of an answer; LocalError where it is not of the shape that the options tell."""
    try:
        found = json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        raise LocalError("its answer is not JSON") from None
    for step in filter(None, names.list.split(".")):
        found = found.get(step) if isinstance(found, dict) else None
    if not isinstance(found, list) or len(found) > PERIODS_MAX:
        raise LocalError("its answer has no list of periods there: check `list`")
    for each in found:
        if not isinstance(each, dict):
            raise LocalError("its periods are no objects")
        start, end = each.get(names.start), each.get(names.end)
        price, level = each.get(names.price), each.get(names.level)
        if start is None or (price is None and level is None):
            raise LocalError("a period of it lacks a field: check `start`, `price` and `level`")
        yield Row(
            time_us(start),
            None if end is None else time_us(end),
            None if price is None else number(price),
            None if level is None else level_of(number(level)),
        )


def time_us(value: object) -> int:
    """A time as text or number; LocalError otherwise."""
    if isinstance(value, str):
        return iso_us(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return unix_us(value)
    raise LocalError("one of its times is neither text nor a whole number")


def number(value: object) -> Decimal:
    """A number, also one written as text; LocalError otherwise."""
    if isinstance(value, str):
        return decimal_of(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value)
    raise LocalError("one of its numbers is none")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
