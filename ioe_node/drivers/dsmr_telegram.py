"""P1 telegrams of smart meters, cut out of a stream and decoded (pure).

After the Netherlands' P1 Companion Standard (DSMR 2.2 to 5.0) and those that follow it: Belgium,
Luxembourg, Sweden, Hungary, Austria, Ireland.  A telegram runs from `/` to `!` and, from version 4
on, a CRC-16; each line of it is an OBIS code with its values.  Energy stands in 1.8.0 and 2.8.0
(import, export) or in one register for each tariff, which are added up.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

from ioe_node.drivers.driver import Reading
from ioe_node.errors import LocalError

TELEGRAM_BYTES_MAX = 16 * 1024
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LINE = re.compile(rb"1-0:([12])\.([78])\.([0-9])(?:\*255)?\((-?[0-9.]{1,20})\*(k?W)(h?)\)\s*$")
_CLOCK = re.compile(rb"^0-0:1\.0\.0(?:\*255)?\(([0-9]{12})([SW])\)", re.MULTILINE)
_VERSION = re.compile(rb"^(?:1-3:0\.2\.8|0-0:96\.1\.4)\(", re.MULTILINE)
_END = re.compile(rb"!([0-9A-Fa-f]{0,4})[ \t]*\r?\n")
_MILLI = {b"W": 1_000, b"kW": 1_000_000}


class Damaged(ValueError):
    """A telegram whose checksum is wrong or missing, or that does not say what a meter says."""


class Telegrams:
    """Cuts whole telegrams out of what arrives, in pieces of any size."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The telegrams that are now complete, from `/` to the end of the checksum's line.

        What is longer than `TELEGRAM_BYTES_MAX` is no telegram, and is dropped.
        """
        self._received += chunk
        telegrams = []
        while True:
            start = self._received.find(b"/")
            del self._received[: len(self._received) if start < 0 else start]
            end = _END.search(self._received)
            if end is None:
                break
            telegram = bytes(self._received[: end.end()])
            del self._received[: end.end()]
            # Where the end of one was lost, another begins on a line inside.
            telegrams.append(telegram[telegram.rfind(b"\n/") + 1 :])
        if len(self._received) > TELEGRAM_BYTES_MAX:
            self._received.clear()
        return telegrams


def decode_telegram(telegram: bytes, now_us: int, winter_minutes: int = 60) -> Reading:
    """A telegram as a Reading, at the meter's time if it tells one, else at `now_us`.

    `winter_minutes` is how far local winter time is ahead of UTC.  `Damaged` when it is spoiled,
    LocalError when it is whole and tells no energy.
    """
    check_sum(telegram)
    energy: dict[tuple[bytes, int], int] = {}
    power: dict[bytes, int] = {}
    for line in telegram.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        direction, quantity, tariff, number, unit, hours = found.groups()
        if (quantity == b"8") != bool(hours):
            raise Damaged(f"it tells {line[:40]!r}")
        value = milli(number, unit)
        if hours:
            if value < 0:
                raise Damaged(f"it counts less than nothing: {line[:40]!r}")
            energy[direction, int(tariff)] = value
        elif tariff == b"0":
            power[direction] = value
    imported, exported = total(energy, b"1"), total(energy, b"2")
    if imported is None and exported is None:
        raise LocalError("its telegrams count no electricity: this is another kind of meter")
    drawn, given = power.get(b"1"), power.get(b"2", 0)
    at_us = clock_us(telegram, winter_minutes)
    return Reading(
        now_us if at_us is None else at_us,
        imported or 0,
        exported or 0,
        None if drawn is None else drawn - given,
    )


def total(energy: dict[tuple[bytes, int], int], direction: bytes) -> int | None:
    """The register of all tariffs, or else the sum over them; None where there is none."""
    if (direction, 0) in energy:
        return energy[direction, 0]
    tariffs = [value for (way, _), value in energy.items() if way == direction]
    return sum(tariffs) if tariffs else None


def milli(number: bytes, unit: bytes) -> int:
    """A decimal in W or kW (with h, or without) in thousandths of it, rounded down."""
    try:
        scaled = Decimal(number.decode()) * _MILLI[unit]
    except ArithmeticError:
        raise Damaged(f"{number!r} is no number") from None
    return int(scaled.to_integral_value(ROUND_FLOOR))


def clock_us(telegram: bytes, winter_minutes: int) -> int | None:
    """The meter's clock; None where it has none, or one that was never set."""
    found = _CLOCK.search(telegram)
    if found is None:
        return None
    try:
        local = datetime.strptime(found[1].decode(), "%y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    ahead = timedelta(minutes=winter_minutes + (60 if found[2] == b"S" else 0))
    return (local - ahead - EPOCH) // timedelta(microseconds=1)


def check_sum(telegram: bytes) -> None:
    """`Damaged` unless the CRC is right; telegrams of before version 4 have none."""
    body, mark, told = telegram.rpartition(b"!")
    told = told.strip()
    if not mark:
        raise Damaged("it has no end")
    if not told:
        if _VERSION.search(body):
            raise Damaged("its checksum is missing")
        return
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,4}", told) or int(told, 16) != crc16(body + mark):
        raise Damaged("its checksum is wrong")


def crc16(data: bytes) -> int:
    """CRC-16/ARC: polynomial x^16 + x^15 + x^2 + 1, least significant bit first, from 0."""
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(map(_table_entry, range(256)))
