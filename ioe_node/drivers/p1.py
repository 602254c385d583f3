"""The P1 port of a smart meter, over TCP (ser2net and its like) or a serial line.

The meter talks, every second or every ten, and is never asked: a reading is the next telegram.
`read` opens the port for one; `watch` keeps it open and tells each, and `read` then waits for
what is told, since a port has one listener.
"""

import os
import termios
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import trio

from ioe_node.clock import Clock, SystemClock
from ioe_node.drivers.driver import Reading, parse_options
from ioe_node.drivers.dsmr_cipher import KEY_BYTES, LUXEMBOURG, SealedTelegrams
from ioe_node.drivers.dsmr_telegram import Damaged, Telegrams, decode_telegram
from ioe_node.errors import ConfigError, LocalError, TransportError

SILENCE_S = 30.0
"""A meter speaks at least every ten seconds."""
DAMAGED_MAX = 3
RECEIVE_BYTES = 4096
_BAUD = {9_600: termios.B9600, 115_200: termios.B115200}


class P1Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`host` and `port`, or the serial `device`: one of both.

    Meters before version 4 speak 9600 baud, 7E1.  `winter_minutes` is how far winter time is
    ahead of UTC where the meter is.  `key_file` holds 32 hexadecimal digits, where telegrams come
    encrypted, and `authentication_key` is another than Luxembourg's.
    """

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 2001
    device: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    baud: Literal[9_600, 115_200] = 115_200
    framing: Literal["7E1", "8N1"] = "8N1"
    winter_minutes: Annotated[int, msgspec.Meta(ge=-720, le=840)] = 60
    key_file: str | None = None
    authentication_key: str | None = None


class P1:
    """A `Meter`, and a `Watch`."""

    def __init__(
        self,
        options: P1Options,
        keys: tuple[bytes, bytes] | None,
        clock: Clock,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._options, self._keys, self._clock = options, keys, clock
        self._silence_s = silence_s
        self._turn = trio.Lock()
        self._watched = False
        self._latest: Reading | None = None
        self._news = trio.Event()

    @classmethod
    def from_options(cls, options: Mapping[str, object], clock: Clock | None = None) -> "P1":
        """ConfigError names the key."""
        parsed = parse_options(options, P1Options, "p1")
        if (parsed.host is None) == (parsed.device is None):
            raise ConfigError("driver p1: give either `host` or `device`")
        return cls(parsed, _keys(parsed), clock or SystemClock())

    async def read(self) -> Reading:
        """What the meter says next."""
        if not self._watched:
            async with self._open() as line:
                return await line.next()
        news = self._news
        with trio.move_on_after(self._silence_s):
            await news.wait()
        if self._latest is None or not news.is_set():
            raise TransportError(f"{self._name}: {silent(self._silence_s)}")
        return self._latest

    async def watch(self, tell: Callable[[Reading], None]) -> None:
        """Tell each telegram as it comes."""
        async with self._open() as line:
            self._watched = True
            try:
                while True:
                    self._latest = await line.next()
                    self._news.set()
                    self._news = trio.Event()
                    tell(self._latest)
            finally:
                self._watched = False

    @property
    def _name(self) -> str:
        options = self._options
        return f"p1 {options.device or f'{options.host}:{options.port}'}"

    @asynccontextmanager
    async def _open(self) -> AsyncIterator["Line"]:
        """The port, ours for a block; errors name it."""
        try:
            async with self._turn:
                stream = await self._connect()
                async with stream:
                    telegrams = Telegrams() if self._keys is None else SealedTelegrams(*self._keys)
                    yield Line(
                        stream,
                        telegrams,
                        lambda telegram: decode_telegram(
                            telegram, self._clock.now_us(), self._options.winter_minutes
                        ),
                        self._silence_s,
                    )
        except (LocalError, TransportError) as failure:
            raise type(failure)(f"{self._name}: {failure}") from None
        except trio.BrokenResourceError:
            raise TransportError(f"{self._name}: the connection broke") from None
        except PermissionError as failure:
            raise LocalError(f"{self._name}: {failure}: let this user open it") from None
        except OSError as failure:
            raise TransportError(f"{self._name}: {failure}") from None

    async def _connect(self) -> trio.abc.ReceiveStream:
        options = self._options
        if options.device is not None:
            return open_serial(options.device, options.baud, options.framing)
        assert options.host is not None
        with trio.move_on_after(self._silence_s):
            return await trio.open_tcp_stream(options.host, options.port)
        raise TransportError(f"no answer in {self._silence_s:g} s")


class Line:
    """An open port: one reading after the other."""

    def __init__(
        self,
        stream: trio.abc.ReceiveStream,
        telegrams: Telegrams | SealedTelegrams,
        decode: Callable[[bytes], Reading],
        silence_s: float,
    ) -> None:
        self._stream, self._telegrams, self._decode = stream, telegrams, decode
        self._silence_s = silence_s
        self._waiting: deque[bytes] = deque()

    async def next(self) -> Reading:
        """The next whole telegram; a damaged one is passed over, but not for ever."""
        for _ in range(DAMAGED_MAX):
            with trio.move_on_after(self._silence_s) as patience:
                await self._receive()
            if patience.cancelled_caught:
                raise TransportError(silent(self._silence_s))
            try:
                return self._decode(self._waiting.popleft())
            except Damaged as damage:
                why = damage
        raise TransportError(
            f"{DAMAGED_MAX} telegrams came damaged ({why}): check `baud`, `framing` and the cable"
        )

    async def _receive(self) -> None:
        while not self._waiting:
            chunk = await self._stream.receive_some(RECEIVE_BYTES)
            if not chunk:
                raise TransportError("the other end hung up")
            self._waiting += self._telegrams.feed(bytes(chunk))


def silent(silence_s: float) -> str:
    """What to say of a port without telegrams."""
    return f"no telegram in {silence_s:g} s: check the cable, or `key_file` if they are encrypted"


def open_serial(path: str, baud: int, framing: str) -> trio.abc.ReceiveStream:
    """The line, set to raw bytes at this speed; OSError, or LocalError where it is no line."""
    line = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        settings = termios.tcgetattr(line)
        settings[0:4] = [termios.IGNBRK, 0, serial_mode(framing), 0]
        settings[4:6] = [_BAUD[baud], _BAUD[baud]]
        settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
        termios.tcsetattr(line, termios.TCSANOW, settings)
        termios.tcflush(line, termios.TCIFLUSH)
    except termios.error as failure:
        os.close(line)
        raise LocalError(f"it is no serial line ({failure}): check `device`") from None
    return trio.lowlevel.FdStream(line)


def serial_mode(framing: str) -> int:
    """The control flags: receive, no modem lines, and the bits of a character."""
    bits = termios.CS7 | termios.PARENB if framing == "7E1" else termios.CS8
    return termios.CREAD | termios.CLOCAL | bits


def _keys(options: P1Options) -> tuple[bytes, bytes] | None:
    if options.key_file is None:
        return None
    try:
        text = Path(options.key_file).expanduser().read_text("ascii")
    except (OSError, ValueError) as refusal:
        raise ConfigError(f"driver p1: key_file: {refusal}") from None
    other = options.authentication_key
    return _key("key_file", text), LUXEMBOURG if other is None else _key(
        "authentication_key", other
    )


def _key(name: str, text: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"driver p1: {name}: it is not {2 * KEY_BYTES} hexadecimal digits")
    return key
