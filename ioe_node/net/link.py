"""One link: a byte stream on which one side asks and the other answers.

The side that opened the stream asks, the other answers; two peers that ask each other hold
two streams on one connection.  So simultaneous dials need no tie-break, and request ids have
one owner.

    asker     Hello ->                     Request 1, 2, 3 ...
    answerer            judge, <- Hello                        Response 2, 1, 3 ...

The answerer says nothing at all, its own hello included, before it has admitted the asker.

A link's reader never waits for a handler and its one writer is never cancelled while the link
lives: a muxer resets a stream whose reader idles, and a cancelled write loses the stream's
place.  Back-pressure is therefore by count: the asker holds requests back beyond
`REQUESTS_IN_FLIGHT_PER_PEER_MAX`, and the answerer refuses what an asker sends beyond it.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

from ioe_node.errors import (
    Busy,
    IoeError,
    LocalError,
    Malformed,
    PeerError,
    Refused,
    Shunned,
    TransportError,
)
from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.framing import (
    ENVELOPE_BYTES_MAX,
    FRAME_BYTES_MAX,
    HELLO_BYTES_MAX,
    LINK_ID,
    REQUEST_ID_MAX,
    Failure,
    Frame,
    FrameReader,
    Hello,
    Request,
    Response,
    encode_frame,
    failure,
)
from ioe_node.net.transport import MESSAGE_BYTES_MAX, Service

REQUESTS_IN_FLIGHT_PER_PEER_MAX = 64
REQUEST_BYTES_IN_FLIGHT_PER_PEER_MAX = 4 * MESSAGE_BYTES_MAX
IN_HAND_BYTES_MAX = 128 * 1024 * 1024
WRITE_QUEUE_FRAMES_MAX = 16
READ_BYTES_MAX = 256 * 1024
WRITE_BYTES_MAX = 65_000  # fits, muxer's header included, in one Noise message
HELLO_DEADLINE_S = 5.0

log = logging.getLogger("ioe.net")

Charge = Callable[[AgentPubKey, PeerError], None]


class ByteStream(Protocol):
    """What a link is laid on.  Both calls raise `TransportError` when the stream is broken."""

    async def read(self, bytes_max: int) -> bytes:
        """The next bytes; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send all of `data`."""


class Wire:
    """Frames over a byte stream, with one writer and a bounded queue before it."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._reader = FrameReader(HELLO_BYTES_MAX + ENVELOPE_BYTES_MAX)
        self._queue_in, self._queue_out = trio.open_memory_channel[bytes](WRITE_QUEUE_FRAMES_MAX)
        self.heard_at = trio.current_time()
        self.open = False

    def admitted(self) -> None:
        """From here on the peer may send frames of full size."""
        self.open = True
        self._reader.frame_bytes_max = FRAME_BYTES_MAX

    async def next_frame(self) -> Frame | None:
        """The next frame, `None` at the end; raises `Malformed` or `TransportError`."""
        while (frame := self._reader.next_frame()) is None:
            data = await self._stream.read(READ_BYTES_MAX)
            if not data:
                self._reader.finish()
                return None
            self.heard_at = trio.current_time()
            self._reader.feed(data)
        return frame

    async def first_frame(self) -> Frame | None:
        """`next_frame` with a deadline: raises `TransportError` when nothing comes."""
        with trio.move_on_after(HELLO_DEADLINE_S):
            return await self.next_frame()
        raise TransportError("the peer sent no hello in time; try again")

    async def write_first(self, frame: Frame) -> None:
        """Write at once; only before `write_queued` runs."""
        await self._write(encode_frame(frame))

    async def send(self, frame: Frame) -> None:
        """Queue one frame; waits while the queue is full.  Cancelled: it was not queued."""
        await self._queue_in.send(encode_frame(frame))

    async def write_queued(self, link: trio.CancelScope) -> None:
        """Write what is queued, small frames together, until the stream breaks."""
        try:
            async for data in self._queue_out:
                batch = data
                while len(batch) < WRITE_BYTES_MAX:
                    try:
                        batch += self._queue_out.receive_nowait()
                    except trio.WouldBlock:
                        break
                await self._write(batch)
        except TransportError:
            link.cancel()

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), WRITE_BYTES_MAX):
            await self._stream.write(data[start : start + WRITE_BYTES_MAX])


class _Answer:
    """Where the answer to one request arrives."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.frame: Response | Failure | None = None


class Asker:
    """The side that opened the stream.  `open`, then `run` in a task; `ask` from any task."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._slots = trio.Semaphore(REQUESTS_IN_FLIGHT_PER_PEER_MAX)
        self._unanswered: dict[int, _Answer] = {}
        self._asking: set[trio.CancelScope] = set()
        self._last_id = LINK_ID
        self._ended: IoeError | None = None

    @property
    def idle(self) -> bool:
        """Whether no request waits for its answer."""
        return not self._unanswered and not self._asking

    async def open(self, peer: AgentPubKey, service: Service) -> None:
        """Exchange hellos; raises `Refused`, `Malformed` or `TransportError`."""
        await self._wire.write_first(Hello(service.hello()))
        match await self._wire.first_frame():
            case Hello(body=body):
                try:
                    service.admit(peer, body)
                except PeerError as error:
                    code = opening_code(error)
                    await self._wire.write_first(failure(LINK_ID, code, str(error)))
                    raise Refused(code, f"we do not admit the peer: {error}") from error
            case Failure(id=0, code=code, text=text):
                raise Refused(code, text)
            case None:
                raise TransportError("the peer closed the link; try again")
            case _:
                raise Malformed("the first frame is not a hello")
        self._wire.admitted()

    async def ask(self, message: bytes) -> bytes:
        """One request; raises `Refused`, `Busy` or `TransportError`.  Safe to cancel."""
        with trio.CancelScope() as until_end:
            if self._ended is not None:
                raise self._ended
            self._asking.add(until_end)
            try:
                frame = await self._ask(message)
            finally:
                self._asking.discard(until_end)
            match frame:
                case Response(body=body):
                    return body
                case Failure(code="busy", text=text):
                    raise Busy(text)
                case Failure(code=code, text=text):
                    raise Refused(code, text)
        raise self._ended or TransportError("the link was closed; try again")

    async def _ask(self, message: bytes) -> Response | Failure:
        await self._slots.acquire()
        self._last_id = self._last_id % REQUEST_ID_MAX + 1
        request_id, answer = self._last_id, _Answer()
        self._unanswered[request_id] = answer
        try:
            await self._wire.send(Request(request_id, message))
        except trio.Cancelled:
            self._forget(request_id)
            raise
        # If the caller gives up now, the entry and its slot wait on for the answer, so that
        # we never have more unanswered at the peer than it allows.
        await answer.arrived.wait()
        assert answer.frame is not None
        return answer.frame

    def _forget(self, request_id: int) -> _Answer:
        self._slots.release()
        return self._unanswered.pop(request_id)

    async def run(self) -> None:
        """Carry requests and answers until the link ends; then `ask` raises `TransportError`.

        Raises `Malformed` if the answerer misbehaved.
        """
        ended: IoeError = TransportError("the peer closed the link; try again")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wire.write_queued, nursery.cancel_scope)
                try:
                    while (frame := await self._wire.next_frame()) is not None:
                        self._take(frame)
                except IoeError as error:
                    ended = error
                nursery.cancel_scope.cancel()
        finally:
            self.end(TransportError(str(ended)))
        if isinstance(ended, Malformed):
            raise ended

    def end(self, reason: IoeError) -> None:
        """Every `ask`, waiting or to come, raises `reason`."""
        self._ended = reason
        for scope in list(self._asking):
            scope.cancel()

    def _take(self, frame: Frame) -> None:
        if not isinstance(frame, Response | Failure) or frame.id not in self._unanswered:
            raise Malformed("an answer to nothing that was asked")
        answer = self._forget(frame.id)
        answer.frame = frame
        answer.arrived.set()


class InHand:
    """The bytes of the requests that are being answered on all links of a transport together."""

    def __init__(self, bytes_max: int = IN_HAND_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0

    def full(self, size_bytes: int) -> bool:
        """Whether a request of this size must wait; one is always taken, however large."""
        return bool(self.bytes) and self.bytes + size_bytes > self.bytes_max

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Count a request while it is answered."""
        self.bytes += size_bytes
        try:
            yield
        finally:
            self.bytes -= size_bytes


class Answerer:
    """The side that accepted the stream."""

    def __init__(
        self,
        wire: Wire,
        peer: AgentPubKey,
        service: Service,
        charge: Charge,
        in_hand: InHand | None = None,
    ) -> None:
        self._wire = wire
        self._peer = peer
        self._service = service
        self._charge = charge
        self._bytes_in_flight: dict[int, int] = {}
        self._in_hand = in_hand or InHand()
        self._shunned = False

    async def open(self) -> bool:
        """Judge the asker's hello, then send ours.  False: refused, the asker has been told.

        Raises `Malformed` or `TransportError`.
        """
        frame = await self._wire.first_frame()
        if not isinstance(frame, Hello):
            raise Malformed("the first frame is not a hello")
        try:
            self._service.admit(self._peer, frame.body)
        except PeerError as error:
            self._charge(self._peer, error)
            await self._wire.write_first(failure(LINK_ID, opening_code(error), str(error)))
            return False
        self._wire.admitted()
        await self._wire.write_first(Hello(self._service.hello()))
        return True

    async def run(self) -> None:
        """Answer requests until the link ends; raises `Malformed` if the asker misbehaved."""
        ended: IoeError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wire.write_queued, nursery.cancel_scope)
            try:
                while (frame := await self._wire.next_frame()) is not None:
                    if self._shunned or (isinstance(frame, Failure) and frame.id == LINK_ID):
                        break
                    await self._take(frame, nursery)
            except IoeError as error:
                ended = error
            nursery.cancel_scope.cancel()
        if isinstance(ended, Malformed):
            raise ended

    async def _take(self, frame: Frame, nursery: trio.Nursery) -> None:
        if not isinstance(frame, Request) or frame.id in (LINK_ID, *self._bytes_in_flight):
            raise Malformed("not a new request")
        in_flight = self._bytes_in_flight
        if (
            len(in_flight) >= REQUESTS_IN_FLIGHT_PER_PEER_MAX
            or sum(in_flight.values()) + len(frame.body) > REQUEST_BYTES_IN_FLIGHT_PER_PEER_MAX
            or self._in_hand.full(len(frame.body))
        ):
            await self._wire.send(failure(frame.id, "busy", "too many requests at once; wait"))
            return
        in_flight[frame.id] = len(frame.body)
        nursery.start_soon(self._answer, frame)

    async def _answer(self, request: Request) -> None:
        with self._in_hand.hold(len(request.body)):
            reply = await reply_to(request, self._peer, self._service, self._charge)
        # Free the slot before the answer leaves: the asker counts from when it arrives.
        del self._bytes_in_flight[request.id]
        await self._wire.send(reply)
        if isinstance(reply, Failure) and reply.code == "shunned":
            self._shunned = True  # it has its answer; the link ends with its next word


async def reply_to(
    request: Request, peer: AgentPubKey, service: Service, charge: Charge
) -> Response | Failure:
    """What the service answers; its errors become typed refusals, and nothing is raised."""
    try:
        body = await service.handle(peer, request.body)
        if len(body) > MESSAGE_BYTES_MAX:
            raise LocalError(f"an answer of {len(body)} bytes; at most {MESSAGE_BYTES_MAX} may go")
    except Busy as error:
        return failure(request.id, "busy", str(error))
    except PeerError as error:
        # `Refused` means that a third peer refused us: this asker did no wrong.
        if not isinstance(error, Refused):
            charge(peer, error)
            return failure(request.id, code_of(error), str(error))
        log.warning("a request failed: %s", error)
    except IoeError as error:
        log.warning("a request failed: %s", error)
    except Exception:
        log.exception("a request handler failed")
    else:
        return Response(request.id, body)
    return failure(request.id, "internal", "the peer could not answer; its log says why")


def opening_code(error: PeerError) -> str:
    """The code that refuses a link: for a while, or as the membrane does."""
    return "shunned" if isinstance(error, Shunned) else "membrane"


def code_of(error: IoeError) -> str:
    """The code that names an error on the wire: its class in kebab-case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
