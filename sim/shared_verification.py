"""One process verifies a signature once, whichever of its nodes asks.

Whether a signature fits depends on nothing but its bytes, so no node's verdict changes; a swarm
whose every node checks every receipt would do little else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from ioe_node.model import signing

SIGNATURES_REMEMBERED_MAX = 65_536


@contextmanager
def verified_once() -> Iterator[None]:
    """Remember good signatures until the end; bad ones are checked each time."""
    changed: Any = signing
    before = changed.crypto_sign_open
    changed.crypto_sign_open = lru_cache(maxsize=SIGNATURES_REMEMBERED_MAX)(before)
    try:
        yield
    finally:
        changed.crypto_sign_open = before
