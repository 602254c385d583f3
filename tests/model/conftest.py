"""The golden bytes, to be damaged, and the ways to damage them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

GOLDEN = Path(__file__).parent.parent / "golden" / "model.json"


@pytest.fixture(scope="session")
def golden() -> Any:
    """The vectors of tests/golden/model.json."""
    return json.loads(GOLDEN.read_text())


@st.composite
def _damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` with one thing wrong: a bit, an end, a byte more or less, a part twice."""
    data = bytearray(whole)
    at = draw(st.integers(0, len(data) - 1))
    how = draw(st.sampled_from(["flip", "cut", "drop", "insert", "repeat", "more"]))
    if how == "flip":
        data[at] ^= 1 << draw(st.integers(0, 7))
    elif how == "cut":
        del data[at:]
    elif how == "drop":
        del data[at]
    elif how == "insert":
        data.insert(at, draw(st.integers(0, 255)))
    elif how == "repeat":
        data[at:at] = data[at : at + draw(st.integers(1, 40))]
    else:
        data += draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


@pytest.fixture(scope="session")
def damaged() -> Callable[[bytes], st.SearchStrategy[bytes]]:
    """`damaged(whole)`: a strategy of bytes that are nearly `whole`."""
    return _damaged
