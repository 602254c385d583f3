"""Modbus TCP as a master: holding registers of one unit read and written, over one connection.

After the Modbus Application Protocol V1.1b3 and Messaging on TCP/IP V1.0b.  Framing is pure; a
`Unit` joins it to a trio stream for as long as a `connected` block lasts.  Requests go one at a
time, as most devices want it, and an answer that is not the one asked for is an error: nothing
that a device sends is searched for a meaning.
"""

import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from ioe_node.errors import LocalError, TransportError

READ_HOLDING, WRITE_MULTIPLE = 3, 16
EXCEPTION_BIT = 0x80
REGISTERS_PER_READ_MAX = 125
REGISTERS_PER_WRITE_MAX = 123
PDU_BYTES_MAX = 253
_HEADER = struct.Struct(">HHHB")  # transaction, protocol 0, bytes that follow, unit

# Exception codes that pass: device failure (inverters say so at night), acknowledge, busy,
# gateway path, gateway target.
CODES_TO_RETRY = (4, 5, 6, 10, 11)


class ModbusRefused(LocalError):
    """The device answered with an exception: no such function, address or value."""


def read_request(transaction: int, unit: int, address: int, count: int) -> bytes:
    """The frame that asks for `count` holding registers from `address` on."""
    assert 1 <= count <= REGISTERS_PER_READ_MAX
    pdu = struct.pack(">BHH", READ_HOLDING, address, count)
    return _HEADER.pack(transaction, 0, 1 + len(pdu), unit) + pdu


def write_request(transaction: int, unit: int, address: int, values: Sequence[int]) -> bytes:
    """The frame that sets holding registers from `address` on."""
    count = len(values)
    assert 1 <= count <= REGISTERS_PER_WRITE_MAX
    pdu = struct.pack(f">BHHB{count}H", WRITE_MULTIPLE, address, count, 2 * count, *values)
    return _HEADER.pack(transaction, 0, 1 + len(pdu), unit) + pdu


def body_length(header: bytes, transaction: int, unit: int) -> int:
    """How many bytes follow a response's header; TransportError if it answers something else."""
    answered, protocol, length, answering = _HEADER.unpack(header)
    if (answered, protocol, answering) != (transaction, 0, unit):
        raise TransportError("it answered another request than ours")
    if not 2 <= length - 1 <= PDU_BYTES_MAX:
        raise TransportError(f"its answer claims {length} bytes")
    return int(length) - 1


def decode_read(pdu: bytes, count: int) -> tuple[int, ...]:
    """The registers of a read's answer."""
    _refuse_exception(pdu, READ_HOLDING)
    if pdu[1] != 2 * count or len(pdu) != 2 + 2 * count:
        raise TransportError(f"it did not answer with {count} registers")
    return struct.unpack(f">{count}H", pdu[2:])


def check_written(pdu: bytes, address: int, count: int) -> None:
    """That a write's answer confirms it."""
    _refuse_exception(pdu, WRITE_MULTIPLE)
    if pdu[1:] != struct.pack(">HH", address, count):
        raise TransportError("it did not confirm what was written")


def _refuse_exception(pdu: bytes, function: int) -> None:
    if pdu[0] == function | EXCEPTION_BIT:
        code = pdu[1]
        if code in CODES_TO_RETRY:
            raise TransportError(f"the device is busy (Modbus exception {code})")
        raise ModbusRefused(f"the device refused (Modbus exception {code})")
    if pdu[0] != function:
        raise TransportError(f"it answered function {pdu[0]} instead of {function}")


class Unit:
    """One unit behind an open connection."""

    def __init__(self, stream: trio.abc.Stream, unit: int) -> None:
        self._stream, self._unit = stream, unit
        self._transaction = 0

    async def read(self, address: int, count: int) -> tuple[int, ...]:
        """Holding registers, at most `REGISTERS_PER_READ_MAX`."""
        transaction = self._next()
        request = read_request(transaction, self._unit, address, count)
        return decode_read(await self._exchange(request, transaction), count)

    async def write(self, address: int, values: Sequence[int]) -> None:
        """Set holding registers, at most `REGISTERS_PER_WRITE_MAX`; the device has confirmed."""
        transaction = self._next()
        request = write_request(transaction, self._unit, address, values)
        check_written(await self._exchange(request, transaction), address, len(values))

    def _next(self) -> int:
        self._transaction = (self._transaction + 1) & 0xFFFF
        return self._transaction

    async def _exchange(self, request: bytes, transaction: int) -> bytes:
        await self._stream.send_all(request)
        header = await self._exactly(_HEADER.size)
        return await self._exactly(body_length(header, transaction, self._unit))

    async def _exactly(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            chunk = await self._stream.receive_some(count - len(received))
            if not chunk:
                raise TransportError("the device hung up")
            received += chunk
        return bytes(received)


@asynccontextmanager
async def connected(host: str, port: int, unit: int, deadline_s: float) -> AsyncIterator[Unit]:
    """A `Unit` for a block that may take so long; TransportError when it cannot, or breaks."""
    try:
        with trio.fail_after(deadline_s):
            stream = await trio.open_tcp_stream(host, port)
            async with stream:
                yield Unit(stream, unit)
    except trio.TooSlowError:
        raise TransportError(f"no answer in {deadline_s:g} s") from None
    except OSError as failure:
        raise TransportError(f"cannot connect ({failure})") from failure
    except trio.BrokenResourceError:
        raise TransportError("the connection broke") from None
