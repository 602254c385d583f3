"""Hashes and agent keys: 39 bytes that say what they name and where it lives.

    3 prefix ‖ 32 core ‖ 4 location

The core is blake2b-256 of the canonical bytes, or an agent's Ed25519 public key.  The
location is blake2b-128 of the core with its four 4-byte words XORed, *except for actions*,
which carry the location of their author, so that a chain lives in one neighbourhood.  Read
big-endian, the location is the Kademlia key.  Text is `u` + unpadded URL-safe base64.
Source: Holochain's HoloHash (prefixes and the location fold), for interoperability.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import NewType

from ioe_node.errors import Malformed

HASH_BYTES = 39
AGENTS_CHECKED_MAX = 1_024
PLACES_CACHED_MAX = 16_384
CORE = slice(3, 35)
LOCATION = slice(35, 39)

AgentPubKey = NewType("AgentPubKey", bytes)
EntryHash = NewType("EntryHash", bytes)
ActionHash = NewType("ActionHash", bytes)
DnaHash = NewType("DnaHash", bytes)
ExternalHash = NewType("ExternalHash", bytes)
WarrantHash = NewType("WarrantHash", bytes)

AGENT = bytes.fromhex("842024")
ENTRY = bytes.fromhex("842124")
OP = bytes.fromhex("842424")
ACTION = bytes.fromhex("842924")
DNA = bytes.fromhex("842d24")
EXTERNAL = bytes.fromhex("842f24")
WARRANT = bytes.fromhex("842c24")

KIND_OF_PREFIX = {
    AGENT: "agent",
    ENTRY: "entry",
    OP: "op",
    ACTION: "action",
    DNA: "dna",
    EXTERNAL: "external",
    WARRANT: "warrant",
}
_WORDS = Struct(">4I")
_WORD = Struct(">I")


def core_of(data: bytes) -> bytes:
    """blake2b-256 of `data`: 32 bytes."""
    return blake2b(data, digest_size=32).digest()


def location_of(core: bytes) -> bytes:
    """The 4 location bytes of a 32-byte core."""
    first, second, third, fourth = _WORDS.unpack(blake2b(core, digest_size=16).digest())
    return _WORD.pack(first ^ second ^ third ^ fourth)


def agent_key(public_key: bytes) -> AgentPubKey:
    """Wrap a 32-byte Ed25519 public key."""
    return AgentPubKey(AGENT + public_key + location_of(public_key))


def entry_hash(data: bytes) -> EntryHash:
    """The hash of an entry's canonical bytes."""
    core = core_of(data)
    return EntryHash(ENTRY + core + location_of(core))


def action_hash(data: bytes, author: AgentPubKey) -> ActionHash:
    """The hash of an action's canonical bytes, at its author's location."""
    return ActionHash(ACTION + core_of(data) + author[LOCATION])


def dna_hash(data: bytes) -> DnaHash:
    """The hash of a DNA definition's canonical bytes."""
    core = core_of(data)
    return DnaHash(DNA + core + location_of(core))


def external_hash(data: bytes) -> ExternalHash:
    """A name for what is no record: a place where links are found."""
    core = core_of(data)
    return ExternalHash(EXTERNAL + core + location_of(core))


def warrant_hash(data: bytes) -> WarrantHash:
    """The hash of a warrant's canonical bytes."""
    core = core_of(data)
    return WarrantHash(WARRANT + core + location_of(core))


def key_of(basis: bytes) -> int:
    """The 32-bit Kademlia key of any hash or agent; distance is XOR."""
    return int.from_bytes(basis[LOCATION], "big")


def proof_digest(membrane_proof: bytes | None) -> bytes:
    """32 bytes that stand for a membrane proof, or for having none."""
    return core_of(membrane_proof or b"")


@lru_cache(PLACES_CACHED_MAX)
def witness_place(agent: AgentPubKey, digest: bytes) -> int:
    """Where an agent stands among witnesses: 32 bits, of its key and what admitted it.

    `digest` is `proof_digest` of its membrane proof.  Nobody knows its place before it is
    admitted: who admits signs for the key, and the signature moves the place.  So keys ground
    to lie beside a known place land anywhere.
    """
    return int.from_bytes(location_of(core_of(agent + digest)), "big")


def check_hash(value: bytes, prefix: bytes) -> None:
    """Raise `Malformed` unless `value` has the length, prefix and location of its kind."""
    if len(value) != HASH_BYTES or value[:3] != prefix:
        raise Malformed(f"expected a {KIND_OF_PREFIX[prefix]} hash of {HASH_BYTES} bytes")
    if prefix not in (ACTION, OP) and value[LOCATION] != location_of(value[CORE]):
        raise Malformed(f"the {KIND_OF_PREFIX[prefix]} hash's location bytes do not fit its core")


@lru_cache(maxsize=AGENTS_CHECKED_MAX)
def check_agent(value: bytes) -> None:
    """`check_hash` for an agent, remembered: every action of a chain names the same one."""
    check_hash(value, AGENT)


def to_text(value: bytes) -> str:
    """`u` + unpadded URL-safe base64: 53 characters."""
    return "u" + urlsafe_b64encode(value).decode().rstrip("=")


def from_text(text: str, prefix: bytes) -> bytes:
    """The inverse of `to_text`; raises `Malformed` for anything else."""
    try:
        value = urlsafe_b64decode(text[1:].encode("ascii") + b"=" * (-len(text[1:]) % 4))
    except ValueError:
        value = b""
    if to_text(value) != text:
        raise Malformed(f"'{text[:60]}' is not the text of a hash")
    check_hash(value, prefix)
    return value
