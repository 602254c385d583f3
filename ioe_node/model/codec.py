"""Canonical msgpack: one value, one encoding.

Two doors.  `Codec` is for shapes we know: msgspec structs and frozen dataclasses, typed,
fast, refusing whatever would not encode back to the same bytes.  `pack` and `unpack` are for
values whose shape only the caller knows (payloads of zome calls, DNA properties), through the
msgpack package with its limits on.  No floats anywhere: 0.1 kWh has no place on a chain.
"""

from typing import Any, Generic, TypeVar

import msgpack
import msgspec

from ioe_node.errors import Malformed

T = TypeVar("T")

VALUE_DEPTH_MAX = 16
VALUE_ITEMS_MAX = 100_000

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode


class Codec(Generic[T]):
    """Decode one shape canonically; `name` is what error texts call it."""

    def __init__(self, shape: Any, name: str, bytes_max: int) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(shape)
        self._name = name
        self._bytes_max = bytes_max

    def decode(self, data: bytes) -> T:
        """The value of `data`; raises `Malformed` for anything but its canonical bytes."""
        if len(data) > self._bytes_max:
            raise Malformed(f"{self._name} of {len(data)} bytes, at most {self._bytes_max}")
        try:
            value = self._decoder.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Malformed(f"not a valid {self._name}: {error}") from None
        if encode(value) != data:
            raise Malformed(f"{self._name} is not in canonical form")
        return value


def check_value(value: object, depth: int = 0) -> None:
    """Raise `Malformed` unless `value` is made of what `pack` takes: no float, not too deep."""
    if depth > VALUE_DEPTH_MAX:
        raise Malformed(f"a value nested deeper than {VALUE_DEPTH_MAX} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise Malformed("a map key that is not text")
            check_value(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            check_value(item, depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise Malformed("an integer of more than 64 bits")
    elif value is not None and not isinstance(value, bool | int | str | bytes):
        raise Malformed(f"a {type(value).__name__} cannot be packed; use integers, text or bytes")


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


def pack(value: object) -> bytes:
    """Canonical bytes of a plain value; map keys sorted."""
    check_value(value)
    try:
        packed: bytes = msgpack.packb(_sorted(value), use_bin_type=True)
    except UnicodeEncodeError:
        raise Malformed("text with half a surrogate pair") from None
    return packed


def unpack(data: bytes) -> Any:
    """The plain value of `data`, arrays as lists; raises `Malformed` unless canonical."""
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_array_len=VALUE_ITEMS_MAX,
            max_map_len=VALUE_ITEMS_MAX,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise Malformed(f"not a packed value: {error}") from None
    if pack(value) != data:
        raise Malformed("a packed value that is not in canonical form")
    return value
