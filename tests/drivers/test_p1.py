import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers.driver import Meter, Reading
from ioe_node.drivers.dsmr_cipher import LUXEMBOURG, SealedTelegrams
from ioe_node.drivers.dsmr_telegram import (
    TELEGRAM_BYTES_MAX,
    Damaged,
    Telegrams,
    crc16,
    decode_telegram,
)
from ioe_node.drivers.p1 import DAMAGED_MAX, P1, SILENCE_S
from ioe_node.errors import ConfigError, LocalError, TransportError

NOW_US = 1_767_225_600_000_000


class StoppedClock:
    def now_us(self) -> int:
        return NOW_US


def telegram(*lines: str, head: str = "/ADN9 6534") -> bytes:
    body = "\r\n".join([head, "", *lines, "!"]).encode()
    return body + f"{crc16(body):04X}\r\n".encode()


SWEDEN = telegram(
    "0-0:1.0.0(210217184019W)",
    "1-0:1.8.0(00006678.394*kWh)",
    "1-0:2.8.0(00000000.001*kWh)",
    "1-0:3.8.0(00000021.988*kvarh)",
    "1-0:1.7.0(0001.727*kW)",
    "1-0:2.7.0(0000.000*kW)",
    "1-0:21.7.0(0001.023*kW)",
)


# --- pure --------------------------------------------------------------------------------------


def test_the_check_value_of_the_checksum() -> None:
    assert crc16(b"123456789") == 0xBB3D


def test_registers_without_tariffs() -> None:
    at_us = 1_613_583_619_000_000
    assert decode_telegram(SWEDEN, 0) == Reading(at_us, 6_678_394_000, 1_000, 1_727_000)


def test_winter_and_summer_elsewhere() -> None:
    line = "1-0:1.8.0(1*Wh)"
    winter = telegram("0-0:1.0.0(210101000000W)", line)
    summer = telegram("0-0:1.0.0(210101000000S)", line)
    midnight = 1_609_459_200_000_000
    assert decode_telegram(winter, 0, 0).at_us == midnight
    assert decode_telegram(winter, 0, 120).at_us == midnight - 7_200_000_000
    assert decode_telegram(summer, 0, 120).at_us == midnight - 10_800_000_000


def test_a_clock_that_was_never_set() -> None:
    unset = telegram("0-0:1.0.0(632525252525W)", "1-0:1.8.0(1*Wh)")
    assert decode_telegram(unset, NOW_US) == Reading(NOW_US, 1000, 0, None)


@pytest.mark.parametrize(
    "spoiled",
    [
        SWEDEN.replace(b"6678", b"6679"),
        SWEDEN.replace(b"!", b"!F"),
        telegram("1-0:1.8.0(-1*kWh)"),
        telegram("1-0:1.8.0(1*kW)"),
        telegram("1-0:1.7.0(1*kWh)"),
        telegram("1-0:1.8.0(1.2.3*kWh)"),
        b"/\r\n\r\n1-3:0.2.8(50)\r\n1-0:1.8.0(1*kWh)\r\n!\r\n",
    ],
)
def test_damage_is_seen(spoiled: bytes) -> None:
    with pytest.raises(Damaged):
        decode_telegram(spoiled, 0)


CHUNKS = st.lists(st.binary(max_size=80) | st.sampled_from([SWEDEN, SWEDEN[:50], SWEDEN[50:]]))


@given(CHUNKS)
def test_any_stream_is_cut_and_read_or_refused(chunks: list[bytes]) -> None:
    for cutter in (Telegrams(), SealedTelegrams(bytes(16), LUXEMBOURG)):
        for chunk in chunks:
            for each in cutter.feed(chunk):
                try:
                    reading = decode_telegram(each, 1)
                except (Damaged, LocalError):
                    continue
                assert reading.import_milli_wh >= 0


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_line_is_read_or_refused(values: list[bytes]) -> None:
    body = b"/x\r\n" + b"".join(b"1-0:1.8.%d(%s*kWh)\r\n" % pair for pair in enumerate(values))
    body = body.replace(b"!", b"") + b"!"
    with suppress(Damaged, LocalError):
        decode_telegram(body + f"{crc16(body):x}".encode(), 1)


@given(st.lists(st.integers(1, 400)))
def test_pieces_of_any_size_give_the_same_telegrams(sizes: list[int]) -> None:
    lost = SWEDEN[: SWEDEN.index(b"1-0:3.8")]
    stream, cutter, found = SWEDEN[20:] + SWEDEN + lost + SWEDEN, Telegrams(), []
    for size in [*sizes, len(stream)]:
        found += cutter.feed(stream[:size])
        stream = stream[size:]
    assert found == [SWEDEN, SWEDEN]


def test_nothing_grows_without_bound() -> None:
    cutter, sealed = Telegrams(), SealedTelegrams(bytes(16), LUXEMBOURG)
    for _ in range(40):
        assert cutter.feed(b"/" + b"x" * 1000) == []
        assert sealed.feed(b"\xdb\x08" + b"y" * 1000) == []
    kept = len(cutter._received) + len(sealed._received)
    assert kept < 2 * TELEGRAM_BYTES_MAX
    assert cutter.feed(b"\r\n" + SWEDEN) == [SWEDEN]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "host"),
        ({"host": "a", "device": "/dev/ttyUSB0"}, "either"),
        ({"device": "/dev/ttyUSB0", "baud": 300}, "baud"),
        ({"host": "a", "port": 0}, "port"),
        ({"host": "a", "key_file": "/nowhere"}, "key_file"),
    ],
)
def test_options(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        P1.from_options(options)


def test_keys(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("00112233445566778899aabbccddeeff\n")
    options = {"host": "a", "key_file": str(key)}
    assert isinstance(P1.from_options(options), Meter)
    with pytest.raises(ConfigError, match="authentication_key"):
        P1.from_options({**options, "authentication_key": "12"})
    key.write_text("secret")
    with pytest.raises(ConfigError, match="32 hexadecimal"):
        P1.from_options(options)


# --- against ports that misbehave --------------------------------------------------------------


async def port_of(nursery: trio.Nursery, data: bytes, hold: bool) -> int:
    """A port where each caller gets `data`, and then silence or the end."""

    async def talk(stream: trio.SocketStream) -> None:
        try:
            await stream.send_all(data)
        except trio.BrokenResourceError:
            return  # the driver had enough
        if hold:
            await trio.sleep_forever()

    serve = partial(trio.serve_tcp, talk, 0, host="127.0.0.1")
    (listener,) = await nursery.start(serve)
    port: int = listener.socket.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("data", "hold", "family", "word"),
    [
        (b"", False, TransportError, "hung up"),
        (b"/" * 100_000, False, TransportError, "hung up"),
        (SWEDEN.replace(b"1", b"2") * DAMAGED_MAX, True, TransportError, "damaged"),
        (telegram("0-1:24.2.1(1*m3)"), True, LocalError, "no electricity"),
    ],
)
async def test_a_port_that_misbehaves(
    nursery: trio.Nursery, data: bytes, hold: bool, family: type[Exception], word: str
) -> None:
    port = await port_of(nursery, data, hold)
    meter = P1.from_options({"host": "127.0.0.1", "port": port}, StoppedClock())
    with pytest.raises(family, match=f"p1 127.0.0.1:{port}: .*{word}"):
        await meter.read()


async def test_a_silent_port(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    port = await port_of(nursery, SWEDEN[:99], True)
    meter = P1.from_options({"host": "127.0.0.1", "port": port})
    began = trio.current_time()
    with pytest.raises(TransportError, match="no telegram in 30 s"):
        await meter.read()
    assert trio.current_time() - began == pytest.approx(SILENCE_S)


async def test_a_port_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="No such file"):
        await P1.from_options({"device": str(tmp_path / "ttyUSB0")}).read()
    with pytest.raises(LocalError, match="no serial line"):
        await P1.from_options({"device": os.devnull}).read()
    with pytest.raises(TransportError, match=re.escape("p1 127.0.0.1:1")):
        await P1.from_options({"host": "127.0.0.1", "port": 1}).read()
