"""The envelopes of Holochain's conductor protocol: bytes in, requests out.  No I/O.

Each WebSocket message is a msgpack map `{type, id, data}` whose `data` is msgpack once more: a
map `{type, value}`, where `value` is left out or nil for what takes none.  Answers are encoded
in the same way and never re-read.  What does not decode raises `Malformed`.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from ioe_node.errors import Malformed
from ioe_node.model.action import Hash39

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
NAME_CHARS_MAX = 256

CellId = tuple[Hash39, Hash39]
"""A DNA's hash and the agent that runs it."""
Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]


class Envelope(Struct):
    """A message: a `request` with its id, `authenticate`, or a `signal`, which we ignore."""

    type: Annotated[str, Meta(max_length=32)]
    data: bytes
    id: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class Tagged(Struct):
    """What an envelope holds: the name of a request and its argument, not decoded yet."""

    type: Name
    value: Raw = Raw(b"\xc0")


_envelopes = msgspec.msgpack.Decoder(Envelope)
_tagged = msgspec.msgpack.Decoder(Tagged)
_values = msgspec.msgpack.Decoder()
_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}

_FAILED = (msgspec.DecodeError, ValueError, RecursionError)


def decode_envelope(message: bytes) -> Envelope:
    """The envelope of a WebSocket message."""
    try:
        return _envelopes.decode(message)
    except _FAILED as error:
        raise Malformed(f"not a message of the conductor's protocol: {error}") from None


def decode_tagged(data: bytes) -> Tagged:
    """The request inside an envelope."""
    try:
        return _tagged.decode(data)
    except _FAILED as error:
        raise Malformed(f"not a request: {error}") from None


def decode_as(shape: Any, data: bytes | Raw) -> Any:
    """A request's argument in the shape that it must have."""
    decoder = _decoders.get(shape)
    if decoder is None:
        decoder = _decoders[shape] = msgspec.msgpack.Decoder(shape)
    try:
        return decoder.decode(data)
    except _FAILED as error:
        raise Malformed(str(error)) from None


def decode_plain(data: bytes) -> Any:
    """A value of no known shape: a zome call's payload."""
    try:
        return _values.decode(data)
    except (*_FAILED, TypeError) as error:
        raise Malformed(f"not a msgpack value: {error}") from None


def response(id_: int, tag: str, value: Any) -> bytes:
    """The message that answers request `id_`; `value` is of what msgspec encodes."""
    inner = encode({"type": tag, "value": value})
    return encode({"type": "response", "id": id_, "data": inner})


def app_signal(cell: Sequence[bytes], zome: str, value: Any, seq: int) -> bytes:
    """A zome's signal; `seq` counts the signals of this connection, from 0."""
    said = {"cell_id": cell, "zome_name": zome, "signal": encode(value), "seq": seq}
    inner = encode({"type": "app", "value": said})
    return encode({"type": "signal", "data": inner})


def system_signal(value: Any) -> bytes:
    """A notice of the conductor's own; clients hand it on as it is."""
    return encode({"type": "signal", "data": encode({"type": "system", "value": value})})


def missed(count: int, next_seq: int) -> bytes:
    """The notice that `count` signals before `next_seq` were not sent: this client is too slow."""
    return system_signal({"SignalsMissed": {"missed": count, "next_seq": next_seq}})
