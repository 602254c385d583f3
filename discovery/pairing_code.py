"""The pairing code: eight digits on a screen or sticker, and the line that a QR code holds.

    ioe:claim?device=uhCAk...&code=1234-5678

The line names the device's enrolment key beside the code, so that whoever scans it pairs with
this device and no other of the same name.
"""

import re
from collections.abc import Callable

from ioe_node.errors import LocalError, Malformed
from ioe_node.model.hashes import AGENT, AgentPubKey, from_text, to_text

CODE_DIGITS = 8
URI_SCHEME = "ioe:claim?"
_URI = re.compile(r"ioe:claim\?device=([\w-]{53})&code=(\d{4}-\d{4})", re.ASCII)

Entropy = Callable[[int], bytes]


class BadPairingCode(LocalError):
    """What was typed is not a pairing code: eight digits, as in 1234-5678."""


def new_code(entropy: Entropy) -> str:
    """A fresh code, `1234-5678`, uniform over 10^8 to within 2^-100."""
    digits = f"{int.from_bytes(entropy(16), 'big') % 10**CODE_DIGITS:0{CODE_DIGITS}}"
    return f"{digits[:4]}-{digits[4:]}"


def parse_code(text: str) -> str:
    """The code in its one form, `1234-5678`, however it was spaced or dashed when typed."""
    digits = "".join(char for char in text if not char.isspace() and char not in "-–—_.")
    if len(digits) != CODE_DIGITS or not digits.isascii() or not digits.isdigit():
        raise BadPairingCode("a pairing code has eight digits, as in 1234-5678; type it again")
    return f"{digits[:4]}-{digits[4:]}"


def pairing_uri(device: AgentPubKey, code: str) -> str:
    """The line of a QR code for the device with this enrolment key."""
    return f"{URI_SCHEME}device={to_text(device)}&code={parse_code(code)}"


def parse_uri(text: str) -> tuple[AgentPubKey, str]:
    """(enrolment key, code) of a scanned line; raises `BadPairingCode`."""
    match = _URI.fullmatch(text.strip())
    try:
        if match is not None:
            return AgentPubKey(from_text(match[1], AGENT)), match[2]
    except Malformed:
        pass
    raise BadPairingCode(f"'{text[:80]}' is no line of a pairing QR code; scan it again")
