"""The key tree: from 24 words to every key of an owner and of an owner's devices.

    root seed ── revocation
             ├── authorisation
             ├── owner agent of generation g
             └── portfolio of generation g ── device seed n ── device agent
                                                           ├── hiding key
                                                           └── app key m

An owner's node keeps neither the root nor the revocation seed: they are made from the words when
somebody types them.  So whoever has the machine acts as its owner until they are shut out, and
can neither shut the owner out nor take the next generation's keys, the owner's or the devices'.

The words are the root seed itself, in BIP-39's spelling (256 bits and an 8-bit checksum), not
the input of BIP-39's PBKDF2.  So a wrong word is always noticed (PBKDF2
turns any text into some key), and nothing is lost: stretching adds no strength to 256 random bits.

Below the root, each key is libsodium's `crypto_kdf_derive_from_key`, which is BLAKE2b keyed
with the parent, salted with the child's number and personalised with an 8-byte context.  PyNaCl
does not bind that call; hashlib's BLAKE2b takes the same parameters and gives the same bytes,
which the golden vectors hold.  Every key is a 32-byte Ed25519 seed.  (I-045, I-106, decision 8)
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from hashlib import blake2b

from mnemonic import Mnemonic

from ioe_node.errors import LocalError
from ioe_node.model.hashes import CORE, AgentPubKey
from ioe_node.model.signing import Signer

SEED_BYTES = 32
MNEMONIC_WORDS = 24

OWNER_CONTEXT = b"ioeowner"
PORTFOLIO_CONTEXT = b"ioeportf"
DEVICE_CONTEXT = b"ioedevic"
DEVICE_AGENT_CONTEXT = b"ioeagent"
HIDING_CONTEXT = b"ioehide_"
APP_CONTEXT = b"ioeapp__"

REVOCATION_NUMBER = 1
AUTHORISATION_NUMBER = 2
OWNER_AGENT_NUMBER = 3
PORTFOLIO_NUMBER = 1
DEVICE_AGENT_NUMBER = 1
HIDING_NUMBER = 1
GENERATIONS_MAX = 1_000
"""How often one identity may change its key: as far as a recovery looks for the newest."""
GENERATION_BYTES = 4
APP_AGENT = "app "
"""What the names of secrets begin with that are the keys of apps."""


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
    """The seed of the key that revokes others; made from the words, never kept on a disk."""
    return derive(root, OWNER_CONTEXT, REVOCATION_NUMBER)


def authorisation_seed(root: bytes) -> bytes:
    """The seed of the key that authorises new keys and devices."""
    return derive(root, OWNER_CONTEXT, AUTHORISATION_NUMBER)


def owner_agent_seed(root: bytes, generation: int = 0) -> bytes:
    """The seed of the key by which the owner acts as an agent; each generation has another."""
    return derive(root, OWNER_CONTEXT, OWNER_AGENT_NUMBER + generation)


def portfolio_seed(root: bytes, generation: int = 0) -> bytes:
    """The seed that those of the devices come from that an owner claims in a generation."""
    return derive(root, PORTFOLIO_CONTEXT, PORTFOLIO_NUMBER + generation)


def owner_secrets(root: bytes, generation: int = 0) -> dict[str, bytes]:
    """What an owner's key store holds: enough to act and to claim, not to revoke or to renew.

    The portfolios are those of all generations so far: devices live longer than a key.
    """
    return {
        "agent": owner_agent_seed(root, generation),
        "authorisation": authorisation_seed(root),
        "portfolios": b"".join(portfolio_seed(root, each) for each in range(generation + 1)),
        "revocation_key": Signer(revocation_seed(root)).agent[CORE],
        "generation": generation.to_bytes(GENERATION_BYTES, "big"),
    }


def generation_of(secrets: Mapping[str, bytes]) -> int:
    """Which generation of its keys an owner is in."""
    return int.from_bytes(secrets["generation"], "big")


def portfolios_of(secrets: Mapping[str, bytes]) -> list[bytes]:
    """The portfolio seeds that an owner has had, the one for new devices last."""
    seeds = secrets["portfolios"]
    return [seeds[at : at + SEED_BYTES] for at in range(0, len(seeds), SEED_BYTES)]


def device_seed(portfolio: bytes, number: int) -> bytes:
    """The seed that the owner sends to device `number` inside the pairing channel."""
    return derive(portfolio, DEVICE_CONTEXT, number)


def device_agent_seed(device: bytes) -> bytes:
    """The seed of a device's agent key, derived on the device from its device seed."""
    return derive(device, DEVICE_AGENT_CONTEXT, DEVICE_AGENT_NUMBER)


def device_agent(device: bytes) -> AgentPubKey:
    """The agent key of the device that holds this device seed."""
    return Signer(device_agent_seed(device)).agent


def hiding_key(device: bytes) -> bytes:
    """The key that a private device and its owner share, under which its cards are hidden."""
    return derive(device, HIDING_CONTEXT, HIDING_NUMBER)


def app_seeds(secrets: Mapping[str, bytes]) -> dict[str, bytes]:
    """The secrets that hold the keys of apps, which come of no root seed."""
    return {name: seed for name, seed in secrets.items() if name.startswith(APP_AGENT)}


def agent_seed(secrets: Mapping[str, bytes]) -> bytes:
    """The seed of the agent key that a key store gives: a device's, an owner's, or neither's."""
    if "device" in secrets:
        return device_agent_seed(secrets["device"])
    return secrets["agent"] if "agent" in secrets else secrets["enrolment"]


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
