import random
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.errors import Malformed
from ioe_node.net.framing import (
    CODE_CHARS_MAX,
    ENVELOPE_BYTES_MAX,
    FRAME_BYTES_MAX,
    LENGTH_BYTES,
    REQUEST_ID_MAX,
    TEXT_CHARS_MAX,
    Failure,
    Frame,
    FrameReader,
    Hello,
    Request,
    Response,
    decode_payload,
    encode_frame,
    failure,
)
from ioe_node.net.transport import MESSAGE_BYTES_MAX

ids = st.integers(0, REQUEST_ID_MAX)
frames = st.one_of(
    st.builds(Hello, st.binary()),
    st.builds(Request, ids, st.binary()),
    st.builds(Response, ids, st.binary()),
    st.builds(failure, ids, st.text(max_size=80), st.text(max_size=80)),
)


def read_all(reader: FrameReader, data: bytes) -> list[Frame]:
    reader.feed(data)
    found = []
    while (frame := reader.next_frame()) is not None:
        found.append(frame)
    return found


@given(st.lists(frames), st.integers(1, 64))
def test_frames_survive_any_cutting(sent: list[Frame], piece_bytes: int) -> None:
    stream = b"".join(encode_frame(frame) for frame in sent)
    reader, got = FrameReader(), []
    for start in range(0, len(stream), piece_bytes):
        got += read_all(reader, stream[start : start + piece_bytes])
    reader.finish()
    assert got == sent


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_malformed(data: bytes) -> None:
    reader = FrameReader()
    try:
        got = read_all(reader, data)
        reader.finish()
    except Malformed:
        return
    assert b"".join(encode_frame(frame) for frame in got) == data


@given(frames, st.data())
def test_an_end_inside_a_frame_is_malformed(frame: Frame, data: st.DataObject) -> None:
    stream = encode_frame(frame)
    reader = FrameReader()
    reader.feed(stream[: data.draw(st.integers(1, len(stream) - 1))])
    assert reader.next_frame() is None
    with pytest.raises(Malformed, match="inside a frame"):
        reader.finish()


def test_the_largest_message_fits_and_one_byte_more_is_refused_unbuffered() -> None:
    reader = FrameReader()
    [frame] = read_all(reader, encode_frame(Request(REQUEST_ID_MAX, bytes(MESSAGE_BYTES_MAX))))
    assert isinstance(frame, Request)
    assert len(frame.body) == MESSAGE_BYTES_MAX
    reader.feed(struct.pack(">I", FRAME_BYTES_MAX + 1))
    with pytest.raises(Malformed, match="at most"):
        reader.next_frame()


def test_a_stranger_may_send_less() -> None:
    reader = FrameReader(100 + ENVELOPE_BYTES_MAX)
    assert read_all(reader, encode_frame(Hello(bytes(100))))
    with pytest.raises(Malformed):
        read_all(reader, encode_frame(Hello(bytes(200))))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x92\x04\xc4\x00",  # unknown kind
        b"\x91\x00",  # body missing
        b"\x93\x00\xc4\x00\x00",  # a field too many
        b"\x92\x00\xc4\x00\x00",  # a byte too many
        b"\x92\x00\xa0",  # text for bytes
        b"\x92\xcc\x00\xc4\x00",  # a longer integer than needed
        b"\xdc\x00\x02\x00\xc4\x00",  # a longer array header than needed
        b"\x92\x00\xc5\x00\x00",  # a longer bytes header than needed
        b"\x93\x01\xff\xc4\x00",  # a negative id
        b"\x93\x01\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xc4\x00",  # an id over 32 bits
        b"\x93\x01\xca\x3f\x80\x00\x00\xc4\x00",  # a float for an id
        b"\x94\x03\x00\xa1\xff\xa0",  # not UTF-8
        b"\x94\x03\x00\xa0" + msgspec.msgpack.encode("x" * (TEXT_CHARS_MAX + 1)),
        b"\x94\x03\x00" + msgspec.msgpack.encode("x" * (CODE_CHARS_MAX + 1)) + b"\xa0",
    ],
)
def test_what_is_not_the_one_encoding_of_a_frame_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        decode_payload(payload)


def test_a_failure_is_cut_to_fit_and_made_sendable() -> None:
    long = failure(1, "c" * 1000, "t" * 10_000 + "\udc80")
    assert decode_payload(encode_frame(long)[LENGTH_BYTES:]) == long
    assert decode_payload(encode_frame(failure(1, "c", "\udc80"))[LENGTH_BYTES:]) == Failure(
        1, "c", "?"
    )


@settings(max_examples=1)
@given(st.integers(0, 2**32))
def test_fuzz_one_byte_wrong_never_raises_anything_else(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(20_000):
        stream = bytearray(
            encode_frame(
                rng.choice(
                    [
                        Hello(rng.randbytes(rng.randrange(40))),
                        Request(rng.getrandbits(32), rng.randbytes(rng.randrange(40))),
                        failure(rng.getrandbits(32), "membrane", "no"),
                    ]
                )
            )
        )
        for _ in range(rng.randrange(1, 4)):
            stream[rng.randrange(len(stream))] = rng.getrandbits(8)
        reader = FrameReader()
        try:
            got = read_all(reader, bytes(stream))
            reader.finish()
        except Malformed:
            continue
        assert b"".join(encode_frame(frame) for frame in got) == stream
