"""Values as JSON takes them."""

from typing import Any

from ioe_node.model.hashes import HASH_BYTES, to_text

HASH_FIRST_BYTE = 0x84


def plain(value: Any) -> Any:
    """`value` with hashes as text and other bytes as hex."""
    if isinstance(value, bytes):
        known = len(value) == HASH_BYTES and value[0] == HASH_FIRST_BYTE
        return to_text(value) if known else value.hex()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
