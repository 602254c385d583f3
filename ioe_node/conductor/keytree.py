"""The key tree: from 24 words to every key of an owner and of an owner's devices.

    root seed ── revocation
             ├── authorisation
             ├── owner agent
             └── device seed n ── device agent
                              ├── hiding key
                              └── app key m

The words are the root seed itself, in BIP-39's spelling (256 bits and an 8-bit checksum), not
the input of BIP-39's PBKDF2.  So a node that holds the root can show the words again, a wrong
word is always noticed (PBKDF2 turns any text into some key), and nothing is lost: stretching
adds no strength to 256 random bits.

Below the root, each key is libsodium's `crypto_kdf_derive_from_key`, which is BLAKE2b keyed
with the parent, salted with the child's number and personalised with an 8-byte context.  PyNaCl
does not bind that call; hashlib's BLAKE2b takes the same parameters and gives the same bytes,
which the golden vectors hold.  Every key is a 32-byte Ed25519 seed.  (I-045, I-106, decision 8)
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from hashlib import blake2b

from mnemonic import Mnemonic

from ioe_node.errors import LocalError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer

SEED_BYTES = 32
MNEMONIC_WORDS = 24

OWNER_CONTEXT = b"ioeowner"
DEVICE_CONTEXT = b"ioedevic"
DEVICE_AGENT_CONTEXT = b"ioeagent"
HIDING_CONTEXT = b"ioehide_"
APP_CONTEXT = b"ioeapp__"

REVOCATION_NUMBER = 1
AUTHORISATION_NUMBER = 2
OWNER_AGENT_NUMBER = 3
DEVICE_AGENT_NUMBER = 1
HIDING_NUMBER = 1


class MnemonicError(LocalError):
    """The recovery words cannot be used; the text says which word, or that one is wrong."""


def derive(parent: bytes, context: bytes, number: int) -> bytes:
    """The 32-byte child `number` (0 to 2^64 - 1) of a 32-byte key in an 8-byte context.

    Equal to libsodium's `crypto_kdf_derive_from_key`.
    """
    assert len(parent) == SEED_BYTES, "a parent key has 32 bytes"
    assert len(context) == 8, "a context has 8 bytes"
    salt = number.to_bytes(8, "little")
    return blake2b(key=parent, salt=salt, person=context, digest_size=SEED_BYTES).digest()


def new_root_seed(entropy: Callable[[int], bytes]) -> bytes:
    """A fresh root seed of 32 bytes, taken from `entropy(32)`."""
    return entropy(SEED_BYTES)


def revocation_seed(root: bytes) -> bytes:
    """The seed of the key that revokes others; used from the words, seldom kept on a disk."""
    return derive(root, OWNER_CONTEXT, REVOCATION_NUMBER)


def authorisation_seed(root: bytes) -> bytes:
    """The seed of the key that authorises new keys and devices."""
    return derive(root, OWNER_CONTEXT, AUTHORISATION_NUMBER)


def owner_agent_seed(root: bytes) -> bytes:
    """The seed of the key by which the owner acts as an agent."""
    return derive(root, OWNER_CONTEXT, OWNER_AGENT_NUMBER)


def device_seed(root: bytes, number: int) -> bytes:
    """The seed that the owner sends to device `number` inside the pairing channel."""
    return derive(root, DEVICE_CONTEXT, number)


def device_agent_seed(device: bytes) -> bytes:
    """The seed of a device's agent key, derived on the device from its device seed."""
    return derive(device, DEVICE_AGENT_CONTEXT, DEVICE_AGENT_NUMBER)


def device_agent(device: bytes) -> AgentPubKey:
    """The agent key of the device that holds this device seed."""
    return Signer(device_agent_seed(device)).agent


def hiding_key(device: bytes) -> bytes:
    """The key that a private device and its owner share, under which its cards are hidden."""
    return derive(device, HIDING_CONTEXT, HIDING_NUMBER)


def app_seed(device: bytes, number: int) -> bytes:
    """The seed of a device's key for app `number`."""
    return derive(device, APP_CONTEXT, number)


def to_mnemonic(root: bytes) -> str:
    """The 24 English words of a 32-byte root seed, one space between."""
    assert len(root) == SEED_BYTES, "a root seed has 32 bytes"
    return str(_english().to_mnemonic(root))


def from_mnemonic(text: str) -> bytes:
    """The 32-byte root seed that 24 English words spell; case and spacing do not matter.

    Raises `MnemonicError` naming the unknown word, the wrong count, or the failed checksum.
    """
    words = text.lower().split()
    for place, word in enumerate(words, 1):
        if word not in _positions():
            raise MnemonicError(f"word {place}, '{word[:20]}', is not in the list{_hint(word)}")
    if len(words) != MNEMONIC_WORDS:
        raise MnemonicError(f"the recovery phrase has {MNEMONIC_WORDS} words, not {len(words)}")
    try:
        return bytes(_english().to_entropy(words))
    except ValueError:
        raise MnemonicError(
            "the words do not fit together: one is wrong or two are swapped; check them"
        ) from None


def _hint(word: str) -> str:
    near = get_close_matches(word, _positions(), n=1)
    return f"; did you mean '{near[0]}'?" if near else "; check its spelling"


@cache
def _english() -> Mnemonic:
    return Mnemonic("english")


@cache
def _positions() -> dict[str, int]:
    return {word: place for place, word in enumerate(_english().wordlist)}
