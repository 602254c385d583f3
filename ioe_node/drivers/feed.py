"""Feeds: what the utility or the market says of the hours to come.

A feed is no device: it has no registers.  It tells periods, each with a price, a level or a bound,
and what a household makes of them is for an app to decide.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Literal, Protocol, runtime_checkable

from ioe_node.errors import LocalError

PERIODS_MAX = 10_000
PRICE_MAX = Decimal(10**6)
LEVEL_MAX = 3
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_MAX = 10**11
"""A greater number is a time in milliseconds."""

Per = Literal["kWh", "MWh"]


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_us` up to `end_us`; what is not told is None.

    `price_micro_per_kwh` is in millionths of `currency`, or of a credit where that is ''; it may
    be negative.  `level` is OpenADR's simple one: 0 normal, 1 moderate, 2 high, 3 special.
    `capacity_bp` is how much of its full load a consumer may draw, in basis points.
    """

    start_us: int
    end_us: int
    source: str
    price_micro_per_kwh: int | None = None
    currency: str = ""
    level: int | None = None
    capacity_bp: int | None = None


@runtime_checkable
class PriceFeed(Protocol):
    """Where periods come from.  Raises `TransportError` (again) or `LocalError` (stop)."""

    async def periods(self) -> tuple[Period, ...]:
        """All that is known now, by their start; some may overlap where they tell other things."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: times in microseconds, the end where it is told."""

    start_us: int
    end_us: int | None
    price: Decimal | None
    level: int | None


def periods_of(
    rows: Iterable[Row], source: str, currency: str, per: Per = "kWh"
) -> tuple[Period, ...]:
    """A table as periods; LocalError where it contradicts itself.

    A row without an end lasts until the next one starts, the last one as long as the one before.
    """
    ordered = sorted(rows, key=lambda row: row.start_us)
    if len(ordered) > PERIODS_MAX:
        raise LocalError(f"it tells more than {PERIODS_MAX} periods")
    periods = []
    for at, row in enumerate(ordered):
        end_us = _end_us(ordered, at) if row.end_us is None else row.end_us
        if end_us <= row.start_us:
            raise LocalError(f"its period that starts at {iso(row.start_us)} has no length")
        if at + 1 < len(ordered) and end_us > ordered[at + 1].start_us:
            raise LocalError(f"two of its periods hold at {iso(ordered[at + 1].start_us)}")
        price = None if row.price is None else price_micro(row.price, per)
        periods.append(Period(row.start_us, end_us, source, price, currency, row.level))
    return tuple(periods)


def _end_us(rows: Sequence[Row], at: int) -> int:
    if at + 1 < len(rows):
        return rows[at + 1].start_us
    if at == 0:
        raise LocalError("its only period does not say when it ends")
    return 2 * rows[at].start_us - rows[at - 1].start_us


# --- numbers and times (pure) ------------------------------------------------------------------


def price_micro(price: Decimal, per: Per = "kWh") -> int:
    """In millionths for a kWh, rounded down; LocalError for what is no price."""
    try:
        if -PRICE_MAX <= price <= PRICE_MAX:  # false for NaN, which also may raise
            micro = price * (10**6 if per == "kWh" else 10**3)
            return int(micro.to_integral_value(ROUND_FLOOR))
    except ArithmeticError:
        pass
    raise LocalError(f"it tells a price of {str(price)[:40]}")


def decimal_of(text: str) -> Decimal:
    """A decimal number; LocalError otherwise."""
    try:
        return Decimal(text.strip())
    except ArithmeticError:
        raise LocalError(f"{text[:40]!r} is no number") from None


def level_of(number: Decimal) -> int:
    """A whole level; LocalError otherwise."""
    try:
        if 0 <= number <= LEVEL_MAX and number == int(number):
            return int(number)
    except ArithmeticError:
        pass
    raise LocalError(f"it tells a level of {str(number)[:40]}: levels go from 0 to {LEVEL_MAX}")


def iso_us(text: str) -> int:
    """An ISO 8601 time, UTC where it names no zone; LocalError otherwise."""
    try:
        told = datetime.fromisoformat(text.strip())
        zoned = told if told.tzinfo else told.replace(tzinfo=UTC)
        return (zoned - EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise LocalError(f"{text[:40]!r} is no time") from None


def unix_us(number: int) -> int:
    """Seconds or milliseconds since 1970; LocalError for what is neither."""
    if not 0 <= number < SECONDS_MAX * 1000:
        raise LocalError(f"{str(number)[:40]} is no time")
    return number * (1_000_000 if number < SECONDS_MAX else 1_000)


def iso(at_us: int) -> str:
    """A time for messages."""
    try:
        return (EPOCH + timedelta(microseconds=at_us)).isoformat()
    except OverflowError:
        return f"{at_us} us"
