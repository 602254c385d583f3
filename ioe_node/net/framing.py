"""Frames on one byte stream: bytes in, frames out, and no network anywhere.

    4-byte big-endian length | msgpack array [kind, ...]

    Hello     [0, body]            the opening message; once, first, in each direction
    Request   [1, id, body]        ids are the asker's to choose, unique while unanswered
    Response  [2, id, body]        the answer to that request
    Failure   [3, id, code, text]  the refusal of that request; id 0 refuses the whole link

Every frame has exactly one encoding: whatever would not encode to the same bytes again is
`Malformed`.  The length is judged before anything is buffered, and never more is buffered
than one frame and one read.
"""

from typing import Annotated

import msgspec

from ioe_node.errors import Malformed
from ioe_node.net.transport import MESSAGE_BYTES_MAX

LENGTH_BYTES = 4
ENVELOPE_BYTES_MAX = 16  # msgpack around a body: array 1, kind 1, id 5, length 5
FRAME_BYTES_MAX = MESSAGE_BYTES_MAX + ENVELOPE_BYTES_MAX
HELLO_BYTES_MAX = 64 * 1024  # what a stranger may make us buffer
REQUEST_ID_MAX = 2**32 - 1
LINK_ID = 0
CODE_CHARS_MAX = 64
TEXT_CHARS_MAX = 1024

RequestId = Annotated[int, msgspec.Meta(ge=0, le=REQUEST_ID_MAX)]
Code = Annotated[str, msgspec.Meta(max_length=CODE_CHARS_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=0):
    """The opening message of one side."""

    body: bytes


class Request(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """A message that wants one answer."""

    id: RequestId
    body: bytes


class Response(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """The answer to request `id`."""

    id: RequestId
    body: bytes


class Failure(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """The refusal of request `id`, or of the link when `id` is `LINK_ID`."""

    id: RequestId
    code: Code
    text: Text


Frame = Hello | Request | Response | Failure

_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
_encoder = msgspec.msgpack.Encoder()


def encode_frame(frame: Frame) -> bytes:
    """The bytes of `frame`, length first."""
    payload = _encoder.encode(frame)
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def failure(request_id: int, code: str, text: str) -> Failure:
    """A `Failure` whose code and text are cut to what a frame may carry, and are UTF-8."""
    sendable = text[:TEXT_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")
    return Failure(request_id, code[:CODE_CHARS_MAX], sendable)


def decode_payload(payload: bytes) -> Frame:
    """The frame that `payload` (without its length) encodes; raises `Malformed`."""
    try:
        frame = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"not a frame: {error}") from None
    if _encoder.encode(frame) != payload:
        raise Malformed("not the one encoding of its frame")
    return frame


class FrameReader:
    """Turns a byte stream, cut anywhere, into frames.

    `frame_bytes_max` may be raised between frames, once the peer has been admitted.  After
    `Malformed` the stream has lost its place and is of no more use.
    """

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream, as they come."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame, or `None` until more is fed; raises `Malformed`."""
        if len(self._buffer) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if length > self.frame_bytes_max:
            raise Malformed(f"a frame of {length} bytes; at most {self.frame_bytes_max} may come")
        end = LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            payload = bytes(view[LENGTH_BYTES:end])
        del self._buffer[:end]
        return decode_payload(payload)

    def finish(self) -> None:
        """Call at the end of the stream: raises `Malformed` if it ends inside a frame."""
        if self._buffer:
            raise Malformed(f"the stream ended inside a frame, {len(self._buffer)} bytes in")
