"""Encrypted P1 telegrams, as meters in Luxembourg and Austria send them, opened (pure).

After Luxembourg's Smarty P1 specification (section 3.2.5) and the DLMS Green Book's general
global ciphering: the mark DB, the meter's title, a length, and AES-128-GCM with a tag of 12 bytes
over a telegram.  Every customer gets the key of his own meter from the grid operator; the
authentication key is the same for all of Luxembourg, and public.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ioe_node.drivers.dsmr_telegram import TELEGRAM_BYTES_MAX, Telegrams

LUXEMBOURG = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
KEY_BYTES = 16
_MARK = b"\xdb\x08"
_TITLE_BYTES, _COUNTER_BYTES, _TAG_BYTES = 8, 4, 12
_LENGTH_AT = len(_MARK) + _TITLE_BYTES
_BODY_AT = _LENGTH_AT + 3  # 82, and the length in two bytes
_CONTROL = b"\x30"  # authenticated and encrypted


class SealedTelegrams:
    """Cuts frames out of what arrives, and telegrams out of those that the key opens."""

    def __init__(self, key: bytes, authentication_key: bytes) -> None:
        self._key, self._authentication_key = key, authentication_key
        self._received = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The telegrams that are now complete; a frame that does not open yields none."""
        self._received += chunk
        telegrams: list[bytes] = []
        while (start := self._received.find(_MARK)) >= 0:
            del self._received[:start]
            if len(self._received) < _BODY_AT:
                return telegrams
            length = int.from_bytes(self._received[_LENGTH_AT + 1 : _BODY_AT], "big")
            if self._received[_LENGTH_AT] != 0x82 or length > TELEGRAM_BYTES_MAX:
                del self._received[:1]
                continue
            if len(self._received) < _BODY_AT + length:
                return telegrams
            title = bytes(self._received[len(_MARK) : _LENGTH_AT])
            text = self._open(title, bytes(self._received[_BODY_AT : _BODY_AT + length]))
            # What does not open may have been no frame at all: the next one may begin inside.
            del self._received[: 1 if text is None else _BODY_AT + length]
            telegrams += Telegrams().feed(text or b"")
        del self._received[:-1]  # the mark's first byte may be there
        return telegrams

    def _open(self, title: bytes, body: bytes) -> bytes | None:
        control, counter = body[:1], body[1 : 1 + _COUNTER_BYTES]
        sealed, tag = body[1 + _COUNTER_BYTES : -_TAG_BYTES], body[-_TAG_BYTES:]
        if control != _CONTROL or len(body) < 1 + _COUNTER_BYTES + _TAG_BYTES:
            return None
        mode = modes.GCM(title + counter, tag, min_tag_length=_TAG_BYTES)
        opening = Cipher(algorithms.AES(self._key), mode).decryptor()
        opening.authenticate_additional_data(control + self._authentication_key)
        try:
            return opening.update(sealed) + opening.finalize()
        except InvalidTag:
            return None
