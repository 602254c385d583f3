"""Telegrams of real meters, from dsmr-parser's tests, read as dsmr-parser reads them.

They are sent over TCP and over a pseudo-terminal, in pieces, as an adapter or a cable would.
"""

import os
import pty
import tty
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from dsmr_parser import telegram_specifications
from dsmr_parser.parsers import TelegramParser

from ioe_node.drivers.driver import Reading
from ioe_node.drivers.dsmr_cipher import LUXEMBOURG, SealedTelegrams
from ioe_node.drivers.dsmr_telegram import Telegrams, decode_telegram
from ioe_node.drivers.p1 import P1
from ioe_node.errors import LocalError

HERE = Path(__file__).parent / "telegrams"
NOW_US = 1_767_225_600_000_000
KEY = bytes(range(16))


class StoppedClock:
    def now_us(self) -> int:
        return NOW_US


def telegram(name: str) -> bytes:
    return (HERE / f"{name}.txt").read_bytes()


def at(text: str) -> int:
    """The UTC time of an ISO text, in microseconds."""
    return int(datetime.fromisoformat(text + "+00:00").timestamp()) * 1_000_000


EXPECTED = {
    "v2_2": Reading(NOW_US, 2_002_000, 2_002_000, 1_010_000),
    "v3": Reading(NOW_US, 24_691_356_000, 24_691_356_000, 1_190_000),
    "v4_2": Reading(at("2016-11-13T19:57:57"), 3_016_829_000, 0, 2_027_000),
    "v5": Reading(at("2017-01-02T18:20:02"), 6_825_000, 2_444_000, 244_000),
    "fluvius_v171": Reading(at("2020-05-12T11:54:09"), 15_792_000, 11_000, 0),
    "fluvius_v171_alt": Reading(at("2023-11-02T11:15:48"), 571_562_000, 5_000, 338_000),
    "esy5q3db1024_v304": Reading(NOW_US, 52_185_782_530, 19_949_322_149, 2_124_860),
    "esy5q3da1004_v304": Reading(NOW_US, 32_549_506_166, 0, 1_688_210),
    "sagemcom_t210_d_r": Reading(at("2022-10-06T13:50:14"), 6_545_766_000, 58_000, 286_000),
    "v5_eon_hu": Reading(at("2023-07-24T13:07:30"), 173_640_000, 627_177_000, -2_601_000),
}
PEER = {
    "v2_2": "V2_2",
    "v3": "V3",
    "v4_2": "V4",
    "v5": "V5",
    "v5_two_mbus": "V5",
    "fluvius_v171": "BELGIUM_FLUVIUS",
    "fluvius_v171_alt": "BELGIUM_FLUVIUS",
    "iskra_ie": "ISKRA_IE",
    "v5_eon_hu": "EON_HUNGARY",
}
# It says summer time in February; dsmr-parser goes by the date, we by the meter.
WRONG_SEASON = ("iskra_ie",)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_telegram_says(name: str) -> None:
    (whole,) = Telegrams().feed(telegram(name))
    assert decode_telegram(whole, NOW_US) == EXPECTED[name]


def of_peer(seen: Any, *names: str) -> int:
    """The sum of what dsmr-parser reads under these names, in milli-units."""
    found = [getattr(seen, name) for name in names if hasattr(seen, name)]
    in_milli = {"Wh": 1_000, "W": 1_000, "kWh": 1_000_000, "kW": 1_000_000}
    return sum(int(Decimal(each.value) * in_milli[each.unit]) for each in found)


@pytest.mark.parametrize("name", PEER)
def test_dsmr_parser_reads_the_same(name: str) -> None:
    text = telegram(name)
    parser = TelegramParser(getattr(telegram_specifications, PEER[name]))
    seen = parser.parse(text.decode("latin-1"))
    ours = decode_telegram(text, NOW_US)
    tariffs = [f"TARIFF_{number}" for number in (1, 2, 3, 4)]
    assert ours.import_milli_wh == of_peer(seen, *(f"ELECTRICITY_USED_{each}" for each in tariffs))
    assert ours.export_milli_wh == of_peer(
        seen, *(f"ELECTRICITY_DELIVERED_{each}" for each in tariffs)
    )
    assert ours.power_milli_w == of_peer(seen, "CURRENT_ELECTRICITY_USAGE") - of_peer(
        seen, "CURRENT_ELECTRICITY_DELIVERY"
    )
    if hasattr(seen, "P1_MESSAGE_TIMESTAMP") and name not in WRONG_SEASON:
        told = int(seen.P1_MESSAGE_TIMESTAMP.value.timestamp()) * 1_000_000
        assert ours.at_us == told


def test_a_meter_of_heat_is_refused() -> None:
    with pytest.raises(LocalError, match="no electricity"):
        decode_telegram(telegram("unpadded_crc"), NOW_US)


async def test_over_tcp(nursery: trio.Nursery) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        data = telegram("v5")[700:] + telegram("v5_eon_hu") + telegram("fluvius_v171")
        with suppress(trio.BrokenResourceError):  # one has enough of it at the first telegram
            for start in range(0, len(data), 100):
                await stream.send_all(data[start : start + 100])

    serve = partial(trio.serve_tcp, talk, 0, host="127.0.0.1")
    (listener,) = await nursery.start(serve)
    port = listener.socket.getsockname()[1]
    meter = P1.from_options({"host": "127.0.0.1", "port": port}, StoppedClock())
    assert await meter.read() == EXPECTED["v5_eon_hu"]
    told: list[Reading] = []
    with pytest.raises(Exception, match="hung up"):
        await meter.watch(told.append)
    assert told == [EXPECTED["v5_eon_hu"], EXPECTED["fluvius_v171"]]


async def test_over_a_serial_line() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    async with trio.open_nursery() as nursery, trio.lowlevel.FdStream(ours) as line:
        meter = P1.from_options(
            {"device": os.ttyname(theirs), "baud": 9600, "framing": "7E1"}, StoppedClock()
        )
        told: list[Reading] = []
        first = trio.Event()

        def tell(reading: Reading) -> None:
            told.append(reading)
            first.set()

        nursery.start_soon(meter.watch, tell)
        await trio.testing.wait_all_tasks_blocked()
        await line.send_all(telegram("v2_2"))
        await first.wait()
        nursery.start_soon(send_later, line, telegram("v3"))
        assert await meter.read() == EXPECTED["v3"]
        assert told == [EXPECTED["v2_2"], EXPECTED["v3"]]
        nursery.cancel_scope.cancel()
    os.close(theirs)


async def send_later(line: trio.lowlevel.FdStream, data: bytes) -> None:
    await trio.testing.wait_all_tasks_blocked()
    await line.send_all(data)


def sealed(text: bytes, key: bytes = KEY, authentication_key: bytes = LUXEMBOURG) -> bytes:
    """A telegram as a meter in Luxembourg sends it."""
    title, counter = b"SAGgp\x01\x02\x03", b"\x10\x00\x00\x01"
    mode = modes.GCM(title + counter, None, min_tag_length=12)
    closing = Cipher(algorithms.AES(key), mode).encryptor()
    closing.authenticate_additional_data(b"\x30" + authentication_key)
    body = closing.update(text) + closing.finalize()
    length = (1 + 4 + len(body) + 12).to_bytes(2, "big")
    return b"\xdb\x08" + title + b"\x82" + length + b"\x30" + counter + body + closing.tag[:12]


def test_sealed_telegrams_are_opened() -> None:
    text = telegram("sagemcom_t210_d_r")
    frame = sealed(text)
    seen = TelegramParser(telegram_specifications.SAGEMCOM_T210_D_R).parse(
        frame.hex(), KEY.hex(), LUXEMBOURG.hex()
    )
    assert str(seen.ELECTRICITY_IMPORTED_TOTAL.value) == "6545766"
    stream = b"\xdb\x08\xdbnoise" + frame + sealed(text, b"x" * 16) + frame
    cutter = SealedTelegrams(KEY, LUXEMBOURG)
    found = [
        each
        for start in range(0, len(stream), 7)
        for each in cutter.feed(stream[start : start + 7])
    ]
    assert found == [text, text]
