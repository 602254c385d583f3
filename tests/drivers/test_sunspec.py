import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from fractions import Fraction
from functools import partial
from math import floor, isfinite

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers.driver import Battery, Meter, PowerLimit
from ioe_node.drivers.modbus import (
    ModbusRefused,
    body_length,
    check_written,
    decode_read,
    read_request,
    write_request,
)
from ioe_node.drivers.sunspec import (
    MARK,
    MODELS_MAX,
    SunSpecBattery,
    SunSpecInverter,
    SunSpecMeter,
    decode_counter,
    percent_register,
)
from ioe_node.drivers.sunspec_models import COUNTERS, LIMITS, Point, float32_scaled, text
from ioe_node.errors import ConfigError, LocalError, TransportError

REGISTERS = st.lists(st.integers(0, 0xFFFF), min_size=130, max_size=130)


# --- pure --------------------------------------------------------------------------------------


def test_frames_as_the_specification_prints_them() -> None:
    # Modbus Messaging on TCP/IP, 3.1.3; Application Protocol, 6.12.
    assert read_request(0x1501, 0xFF, 4, 1) == bytes.fromhex("150100000006ff030004 0001")
    assert write_request(1, 1, 1, [10, 258]) == bytes.fromhex(
        "0001 0000 000b 01 10 0001 0002 04 000a 0102"
    )
    assert body_length(bytes.fromhex("15010000 0005 ff"), 0x1501, 0xFF) == 4
    assert decode_read(bytes.fromhex("03020005"), 1) == (5,)
    check_written(bytes.fromhex("1000010002"), 1, 2)


@pytest.mark.parametrize("header", ["000200000003 01", "000100010003 01", "000100000003 02"])
def test_an_answer_to_something_else_is_refused(header: str) -> None:
    with pytest.raises(TransportError, match="another"):
        body_length(bytes.fromhex(header), 1, 1)


@pytest.mark.parametrize("length", [0, 1, 2, 255, 0xFFFF])
def test_an_absurd_length_is_refused(length: int) -> None:
    with pytest.raises(TransportError, match="claims"):
        body_length(struct.pack(">HHHB", 1, 0, length, 1), 1, 1)


@given(st.binary(min_size=2, max_size=253))
def test_any_answer_is_read_or_refused(pdu: bytes) -> None:
    for decode in (lambda: decode_read(pdu, 2), lambda: check_written(pdu, 1, 2)):
        with suppress(LocalError, TransportError):
            decode()


def test_exceptions_pass_or_stay() -> None:
    with pytest.raises(TransportError, match="busy"):
        decode_read(b"\x83\x06", 1)
    with pytest.raises(ModbusRefused, match="exception 2"):
        decode_read(b"\x83\x02", 1)


@given(st.integers(0, 0xFFFF_FFFF))
def test_floats_are_read_exactly(bits: int) -> None:
    (number,) = struct.unpack(">f", bits.to_bytes(4, "big"))
    ours = float32_scaled(bits, 1000)
    assert ours == (floor(Fraction(number) * 1000) if isfinite(number) else None)


@given(st.sampled_from(sorted(COUNTERS)), REGISTERS)
def test_any_registers_are_read_or_refused(model: int, registers: list[int]) -> None:
    try:
        reading = decode_counter(registers, COUNTERS[model], 1)
    except (LocalError, TransportError):
        return
    assert reading.import_milli_wh >= 0
    assert reading.export_milli_wh >= 0


@given(
    st.integers(0, 10**12),
    st.integers(1, 10**12),
    st.integers(-10, 10).map(lambda exponent: exponent & 0xFFFF),
)
def test_a_limit_never_allows_more_than_was_asked(milli_w: int, full: int, factor: int) -> None:
    point = LIMITS[704].percent
    model = [0] * 80
    model[point.scale or 0] = factor
    try:
        steps = percent_register(milli_w, full, model, point)
    except LocalError:
        return
    exponent = factor - (factor >> 15 << 16)
    percent = steps * Fraction(10) ** exponent
    assert 0 <= percent <= 100
    assert percent / 100 * full <= milli_w
    if percent < 100:
        assert (steps + 1) * Fraction(10) ** exponent / 100 * full > min(milli_w, full)


def test_a_scale_factor_out_of_bounds_is_refused() -> None:
    with pytest.raises(LocalError, match="scale factor of 11"):
        Point(0, "uint16", 1).scaled([1, 11], 3)
    with pytest.raises(LocalError, match="bounds"):
        Point(0, "uint64", 4).scaled([0xFFFF, 0, 0, 0, 10], 3)


@given(st.lists(st.integers(0, 0xFFFF), max_size=16))
def test_any_string_can_be_shown(registers: list[int]) -> None:
    assert text(registers).isprintable()


def test_abilities() -> None:
    options = {"host": "inverter.local"}
    meter = SunSpecMeter.from_options(options)
    assert isinstance(meter, Meter)
    assert not isinstance(meter, PowerLimit)
    inverter = SunSpecInverter.from_options(options)
    assert isinstance(inverter, PowerLimit)
    assert not isinstance(inverter, Battery)
    assert isinstance(SunSpecBattery.from_options(options), Battery)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "host"),
        ({"host": ""}, "host"),
        ({"host": "a", "port": 0}, "port"),
        ({"host": "a", "unit": 256}, "unit"),
        ({"host": "a", "model": 5}, "701"),
        ({"host": "a", "speed": 1}, "speed"),
    ],
)
def test_options(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        SunSpecMeter.from_options(options)


# --- against devices that misbehave ------------------------------------------------------------

Answering = Callable[[bytes], bytes]


@asynccontextmanager
async def device(answer: Answering) -> AsyncIterator[SunSpecMeter]:
    """A device that answers each request's header and body as `answer` says; '' hangs up."""

    async def handler(stream: trio.SocketStream) -> None:
        async for request in stream:
            reply = answer(bytes(request))
            if not reply:
                return
            await stream.send_all(reply)

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, handler, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        yield SunSpecMeter.from_options({"host": "127.0.0.1", "port": port})
        nursery.cancel_scope.cancel()


def reply(request: bytes, pdu: bytes) -> bytes:
    return request[:4] + struct.pack(">HB", len(pdu) + 1, request[6]) + pdu


def serving(registers: dict[int, int]) -> Answering:
    def answer(request: bytes) -> bytes:
        address, count = struct.unpack(">HH", request[8:12])
        values = [registers.get(address + at, 0) for at in range(count)]
        return reply(request, struct.pack(f">BB{count}H", 3, 2 * count, *values))

    return answer


HEAD = dict(enumerate(MARK, 40_000))


@pytest.mark.parametrize(
    ("answer", "family", "word"),
    [
        (lambda request: b"", TransportError, "hung up"),
        (lambda request: request[:5], TransportError, "hung up|broke|no answer"),
        (lambda request: b"\xff" * 300, TransportError, "another request"),
        (lambda request: reply(request, b"\x83\x02"), LocalError, "unit"),
        (lambda request: reply(request, b"\x83\x06"), TransportError, "busy"),
        (serving({}), LocalError, "no SunSpec"),
        (serving(HEAD), LocalError, f"more than {MODELS_MAX}"),
        (serving({**HEAD, 40_003: 0xFFFF}), LocalError, "last register"),
        (serving({**HEAD, 40_002: 0xFFFF}), LocalError, "counts energy"),
        (serving({**HEAD, 40_002: 101, 40_003: 3, 40_007: 0xFFFF}), LocalError, "complete"),
    ],
)
async def test_a_device_that_misbehaves(
    answer: Answering, family: type[Exception], word: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with device(answer) as meter:
        with pytest.raises(family, match=word) as failure:
            await meter.read()
        assert "sunspec 127.0.0.1:" in str(failure.value)


async def test_a_chain_that_changes_is_walked_again() -> None:
    registers = {**HEAD, 40_002: 101, 40_003: 50, 40_054: 0xFFFF, 40_027: 9}
    async with device(serving(registers)) as meter:
        assert (await meter.read()).export_milli_wh == 9000
        registers.update({40_002: 1, 40_054: 101, 40_055: 50, 40_106: 0xFFFF, 40_079: 11})
        with pytest.raises(TransportError, match="no longer"):
            await meter.read()
        assert (await meter.read()).export_milli_wh == 11_000


async def test_nobody_listens() -> None:
    meter = SunSpecMeter.from_options({"host": "127.0.0.1", "port": 1})
    with pytest.raises(TransportError, match="cannot connect"):
        await meter.read()
