"""The control socket's frames."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.conductor.frames import (
    FRAME_BYTES_MAX,
    LENGTH_BYTES,
    decode_body,
    encode_frame,
    length_of,
)
from ioe_node.errors import Malformed

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), values))
def test_a_map_comes_back(value: dict[str, object]) -> None:
    frame = encode_frame(value)
    assert length_of(frame[:LENGTH_BYTES]) == len(frame) - LENGTH_BYTES
    assert decode_body(frame[LENGTH_BYTES:]) == value


@given(st.binary(max_size=100))
def test_any_bytes_are_a_map_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        assert isinstance(decode_body(data), dict)


def test_an_oversize_length_is_malformed_before_anything_is_read() -> None:
    assert length_of(FRAME_BYTES_MAX.to_bytes(4, "big")) == FRAME_BYTES_MAX
    with pytest.raises(Malformed, match="at most"):
        length_of((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    with pytest.raises(Malformed, match="at most 10"):
        length_of((11).to_bytes(4, "big"), 10)
