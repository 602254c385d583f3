"""Key-holders: keys of which so many must agree, and their consents to one deed.

The keys are held apart from the agent's own (on paper, by family, by officers), so that whoever
has the agent's machine cannot do by itself what the key-holders decide.  A consent is bound to the
network, to the keyset in force, to the kind of deed and to the deed's canonical bytes: it is good
for nothing else, and for nothing once another keyset is in force.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

from ioe_node.model.codec import encode
from ioe_node.model.hashes import DnaHash
from ioe_node.model.signing import verify

KEYS_MAX = 16
KEY_BYTES = 32
DIGEST_BYTES = 32


@dataclass(frozen=True)
class KeyHolders:
    """`threshold` of these Ed25519 public keys (32 bytes each, ascending) decide."""

    threshold: int
    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class Consent:
    """The signature of the key at `index`."""

    index: int
    signature: bytes


def holders_fault(holders: KeyHolders) -> str | None:
    """Why these can be nobody's key-holders, or None."""
    keys = holders.keys
    if not 1 <= len(keys) <= KEYS_MAX or any(len(key) != KEY_BYTES for key in keys):
        return f"key-holders have 1 to {KEYS_MAX} keys of {KEY_BYTES} bytes"
    if any(first >= second for first, second in pairwise(keys)):
        return "key-holders' keys are in ascending order, each once"
    if not 1 <= holders.threshold <= len(keys):
        return "a threshold of at least one key and at most all of them"
    return None


def holders_digest(holders: KeyHolders) -> bytes:
    """32 bytes that name them before they are shown."""
    return blake2b(b"ioe/holders/1" + encode(holders), digest_size=DIGEST_BYTES).digest()


def consent_message(dna: DnaHash, keyset: bytes, deed: str, body: bytes) -> bytes:
    """What a key-holder signs: `body` is the deed's canonical bytes without its consents.

    `keyset` is the action that put the key-holders in force, or their digest where none has.
    """
    return b"ioe/consent/1" + encode((dna, keyset, deed, body))


def agreed(holders: KeyHolders, consents: Sequence[Consent], message: bytes) -> bool:
    """Whether a threshold of them signed `message`; one signature that does not fit spoils all.

    Each is given once and in the order of the keys, so that a deed has one form only.
    """
    places = [consent.index for consent in consents]
    count = len(holders.keys)
    if len(places) > count or len(places) < holders.threshold or holders_fault(holders):
        return False
    if places != sorted(set(places)) or not all(0 <= place < count for place in places):
        return False
    return all(verify(holders.keys[c.index], message, c.signature) for c in consents)


def merge(holders: KeyHolders, message: bytes, consents: Sequence[Consent]) -> tuple[Consent, ...]:
    """Those that fit, each once and in order: partial signatures that were gathered apart."""
    fit: dict[int, Consent] = {}
    for consent in consents:
        known = 0 <= consent.index < len(holders.keys) and consent.index not in fit
        if known and verify(holders.keys[consent.index], message, consent.signature):
            fit[consent.index] = consent
    return tuple(fit[index] for index in sorted(fit))
