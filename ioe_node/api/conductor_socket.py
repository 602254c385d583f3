"""One WebSocket: the handshake and its origin, whole messages in, frames out in order.

Answers and signals leave through one queue, so that the signals of a call come before its answer.
A client that reads too slowly loses signals, never answers, and is told how many it lost.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

from ioe_node.api.conductor_frames import MESSAGE_BYTES_MAX, missed
from ioe_node.errors import Malformed

READ_BYTES = 65_536
BATCH_BYTES = 262_144
SIGNALS_MAX = 16_384
SIGNALS_BYTES_MAX = 16 * 1024 * 1024
UNSENT_BYTES_MAX = 1024 * 1024
"""With so much unsent, who has a further answer waits until it is sent."""
CLOSE_WAIT_S = 1.0
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
"""What a stream raises once the client has gone, or was sent away."""
TOO_BIG = 1009
REFUSED = 1008

Asked = tuple[str | None, str]
"""The origin and the path that a client's first request names."""


class Outbox:
    """What waits to be sent, in order; pure but for the frames' encoding."""

    def __init__(self, frame: Callable[[bytes], bytes]) -> None:
        self._frame = frame
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._signals = 0
        self._signal_bytes = 0
        self._missed = 0
        self.next_seq = 0
        self.unsent_bytes = 0

    def put(self, message: bytes) -> None:
        """An answer: never dropped."""
        self._waiting.append((message, False))
        self.unsent_bytes += len(message)

    def put_signal(self, make: Callable[[int], bytes]) -> None:
        """The signal that `make(seq)` encodes, if there is room; else it is counted."""
        seq = self.next_seq
        self.next_seq += 1
        full = self._signals >= SIGNALS_MAX or self._signal_bytes >= SIGNALS_BYTES_MAX
        if self._missed or full:
            self._missed += 1
            return
        message = make(seq)
        self._waiting.append((message, True))
        self._signals += 1
        self._signal_bytes += len(message)
        self.unsent_bytes += len(message)

    def take(self) -> bytes:
        """The next frames to send, as one piece; none if nothing waits."""
        frames, size = [], 0
        while self._waiting and size < BATCH_BYTES:
            message, is_signal = self._waiting.popleft()
            if is_signal:
                self._signals -= 1
                self._signal_bytes -= len(message)
            size += len(message)
            frames.append(self._frame(message))
        self.unsent_bytes -= size
        if self._missed and not self._waiting:
            frames.append(self._frame(missed(self._missed, self.next_seq)))
            self._missed = 0
        return frames[0] if len(frames) == 1 else b"".join(frames)


class Socket:
    """A WebSocket that a client has opened."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._events: deque[Event] = deque()
        self._sending = trio.Lock()
        self.outbox = Outbox(lambda message: self._protocol.send(BytesMessage(data=message)))

    async def accept(self, admit: Callable[[Asked], bool]) -> bool:
        """Answer the handshake; whether the client is let in."""
        event = await self._next()
        if not isinstance(event, Request):
            return False
        headers = {name.lower(): value for name, value in event.extra_headers}
        origin = headers.get(b"origin")
        text = None if origin is None else origin.decode("latin-1")
        let_in = admit((text, event.target))
        answer = AcceptConnection() if let_in else RejectConnection(status_code=403)
        await self._stream.send_all(self._protocol.send(answer))
        return let_in

    async def _next(self) -> Event | None:
        """The next event of the protocol; None at the end.  Raises `Malformed`."""
        while not self._events:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except GONE:
                return None
            if not data:
                return None
            try:
                self._protocol.receive_data(data)
                self._events.extend(self._protocol.events())
            except (ProtocolError, ValueError) as error:
                raise Malformed(f"not a WebSocket: {error}") from None
        return self._events.popleft()

    async def receive(self) -> bytes | None:
        """The next whole message; None when the client is gone.  Raises `Malformed`."""
        parts: list[bytes] = []
        size = 0
        while (event := await self._next()) is not None:
            if isinstance(event, BytesMessage):
                size += len(event.data)
                if size > MESSAGE_BYTES_MAX:
                    await self.close(TOO_BIG)
                    return None
                if event.message_finished and not parts:
                    return bytes(event.data)
                parts.append(bytes(event.data))
                if event.message_finished:
                    return b"".join(parts)
            elif isinstance(event, Ping):
                await self._write(self._protocol.send(event.response()))
            elif isinstance(event, CloseConnection):
                await self._say_goodbye(self._protocol.send(event.response()))
                return None
            elif isinstance(event, TextMessage):
                raise Malformed("a text message; this protocol is binary")
        return None

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(data)

    async def reply(self, message: bytes) -> None:
        """Send an answer after all that waits; whoever is sending already takes it along."""
        self.outbox.put(message)
        if self._sending.locked() and self.outbox.unsent_bytes < UNSENT_BYTES_MAX:
            return
        await self.flush()

    async def flush(self) -> None:
        """Send what waits."""
        async with self._sending:
            while data := self.outbox.take():
                await self._stream.send_all(data)

    async def close(self, code: int) -> None:
        """Say why, and close; no answer is awaited."""
        if self._protocol.state is ConnectionState.OPEN:
            await self._say_goodbye(self._protocol.send(CloseConnection(code=code)))
        await self.hang_up()

    async def hang_up(self) -> None:
        """End the connection; what is still to be sent is for nobody."""
        await self._stream.aclose()

    async def _say_goodbye(self, data: bytes) -> None:
        with trio.move_on_after(CLOSE_WAIT_S), suppress(*GONE):
            await self._write(data)
