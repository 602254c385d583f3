"""A private device's card, hidden from all but its owner.  (I-029)

    nonce (24)  tag (16)  box (1042): the card's own bytes, padded to one length

The device and its owner share a key (it comes of the device's seed).  Of that key and a fresh
nonce BLAKE2b makes a tag and a key for this one box: the owner computes the tag for each of its
devices and opens the box whose tag is the card's.  To all others a hidden card is 1082 random
bytes, whoever's it is, and two of one device's are as different as two of two devices'.  The
card inside is signed as any other is, so that a box proves nothing that the card does not.

What a listener on the same network still sees is what that network shows of any machine: the
hardware and IP addresses that the packets come from, when they come, and that this is a
private device.  Whoever can dial it and tries is told its peer id by the transport's handshake, as
with any libp2p node; the card therefore gives the address to nobody but the owner, and the port
changes with every start.
"""

from collections.abc import Iterable
from hashlib import blake2b
from hmac import compare_digest

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from discovery.announcement import ANNOUNCEMENT_BYTES_MAX, Announcement, open_announcement

NONCE_BYTES = 24
TAG_BYTES = 16
KEY_BYTES = 32
_LENGTH_BYTES = 2
_MAC_BYTES = 16
HIDDEN_BYTES = NONCE_BYTES + TAG_BYTES + _MAC_BYTES + _LENGTH_BYTES + ANNOUNCEMENT_BYTES_MAX
"""More than `ANNOUNCEMENT_BYTES_MAX`, so that its length tells a hidden card from an open one."""

_DOMAIN = b"ioe hidden card1"


def hide(card: bytes, key: bytes, nonce: bytes) -> bytes:
    """The hidden form of a card's bytes, under a 32-byte key and a fresh 24-byte nonce."""
    assert len(key) == KEY_BYTES, "the key has 32 bytes"
    assert len(nonce) == NONCE_BYTES, "the nonce has 24 bytes"
    assert len(card) <= ANNOUNCEMENT_BYTES_MAX, "no card is longer"
    tag, box_key = _tag_and_key(key, nonce)
    padded = len(card).to_bytes(_LENGTH_BYTES, "big") + card.ljust(ANNOUNCEMENT_BYTES_MAX, b"\0")
    return nonce + tag + bytes(SecretBox(box_key).encrypt(padded, nonce).ciphertext)


def is_hidden(data: bytes) -> bool:
    """Whether these bytes have the form of a hidden card."""
    return len(data) == HIDDEN_BYTES


def unhide(data: bytes, keys: Iterable[bytes]) -> bytes | None:
    """The card's bytes if `data` was hidden under one of `keys`, else None.

    A microsecond or two a key; the box is opened for the one key whose tag it has.
    """
    if not is_hidden(data):
        return None
    nonce, tag = data[:NONCE_BYTES], data[NONCE_BYTES : NONCE_BYTES + TAG_BYTES]
    derived = (_tag_and_key(key, nonce) for key in keys)
    box_key = next((box_key for its_tag, box_key in derived if compare_digest(tag, its_tag)), None)
    if box_key is None:
        return None
    try:
        padded = bytes(SecretBox(box_key).decrypt(data[NONCE_BYTES + TAG_BYTES :], nonce))
    except CryptoError:
        return None
    length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
    return padded[_LENGTH_BYTES : _LENGTH_BYTES + length]


def _tag_and_key(key: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    digest = blake2b(nonce, key=key, person=_DOMAIN, digest_size=TAG_BYTES + KEY_BYTES).digest()
    return digest[:TAG_BYTES], digest[TAG_BYTES:]


def open_card(data: bytes, keys: Iterable[bytes], now_us: int) -> Announcement | None:
    """The card in `data`, open or hidden under one of `keys`; None if hidden from us.

    Raises `Malformed` for anything that is not a card, good now.
    """
    if is_hidden(data):
        shown = unhide(data, keys)
        return None if shown is None else open_announcement(shown, now_us)
    return open_announcement(data, now_us)
