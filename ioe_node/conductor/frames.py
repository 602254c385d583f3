"""The control socket's frames: 4 bytes of length, then a packed map."""

from typing import Any

from ioe_node.errors import Malformed
from ioe_node.model.codec import pack, unpack

FRAME_BYTES_MAX = 64 * 1024 * 1024
LENGTH_BYTES = 4


def encode_frame(value: dict[str, Any]) -> bytes:
    """A frame's bytes; raises `Malformed` for what cannot be packed."""
    body = pack(value)
    if len(body) > FRAME_BYTES_MAX:
        raise Malformed(f"an answer of {len(body)} bytes; ask for less")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def length_of(prefix: bytes, bytes_max: int = FRAME_BYTES_MAX) -> int:
    """The body length that a prefix announces; raises `Malformed` past the limit."""
    length = int.from_bytes(prefix, "big")
    if length > bytes_max:
        raise Malformed(f"a frame of {length} bytes, at most {bytes_max}")
    return length


def decode_body(body: bytes) -> dict[str, Any]:
    """The map of a frame's body; raises `Malformed`."""
    value = unpack(body)
    if not isinstance(value, dict):
        raise Malformed("a frame that is no map")
    return value
