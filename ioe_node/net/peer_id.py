"""Peer ids: the same 32-byte key as an agent's, in the text that libp2p addresses use.

A peer id is the base58 text of an identity multihash over the protobuf encoding of an Ed25519
public key.  Both ways are arithmetic: an agent's peer id needs no lookup, and a peer that has
proved its id has proved its agent key.  Imports nothing of libp2p, so that the CLI starts fast.
Source: the libp2p specification "Peer Ids and Keys".
"""

from ioe_node.errors import Malformed
from ioe_node.model.hashes import CORE, AgentPubKey, agent_key

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
DIGIT_OF = {symbol: digit for digit, symbol in enumerate(ALPHABET)}

IDENTITY_MULTIHASH = bytes.fromhex("0024")  # function 0, 36 bytes follow
ED25519_KEY = bytes.fromhex("08011220")  # protobuf: key type 1; 32 bytes of data
PREFIX = IDENTITY_MULTIHASH + ED25519_KEY
PEER_ID_BYTES = len(PREFIX) + 32
PEER_ID_CHARS_MAX = 64

PEER_PART = "/p2p/"
CIRCUIT_PART = "/p2p-circuit"


def peer_id_of(agent: AgentPubKey) -> str:
    """The peer id of `agent`: 52 characters, `12D3KooW...`."""
    value = int.from_bytes(peer_id_bytes(agent), "big")
    symbols = []
    while value:
        value, digit = divmod(value, len(ALPHABET))
        symbols.append(ALPHABET[digit])
    # Base58 writes each leading zero byte as the first symbol; the prefix has exactly one.
    return ALPHABET[0] + "".join(reversed(symbols))


def agent_of_peer_id(text: str) -> AgentPubKey:
    """The agent whose key the peer id `text` carries; raises `Malformed` if it carries none."""
    if len(text) > PEER_ID_CHARS_MAX or not DIGIT_OF.keys() >= set(text):
        raise Malformed(f"'{text[:PEER_ID_CHARS_MAX]}' is not a peer id")
    value = 0
    for symbol in text:
        value = value * len(ALPHABET) + DIGIT_OF[symbol]
    data = value.to_bytes(PEER_ID_CHARS_MAX, "big")[-PEER_ID_BYTES:]
    agent = agent_key(data[len(PREFIX) :])
    # One comparison catches a wrong length, key type, hash function and leading zeros alike.
    if peer_id_of(agent) != text:
        raise Malformed(f"'{text}' is not the peer id of an Ed25519 key")
    return agent


def peer_id_bytes(agent: AgentPubKey) -> bytes:
    """The peer id of `agent` as bytes, a multihash: what kad-dht looks up and names peers by."""
    return PREFIX + agent[CORE]


def agent_of_peer_id_bytes(data: bytes) -> AgentPubKey:
    """The inverse of `peer_id_bytes`; raises `Malformed` if `data` carries no Ed25519 key."""
    if len(data) != PEER_ID_BYTES or not data.startswith(PREFIX):
        raise Malformed(f"{data[:PEER_ID_BYTES].hex()} is not the peer id of an Ed25519 key")
    return agent_key(data[len(PREFIX) :])


def split_address(text: str) -> tuple[AgentPubKey, str]:
    """Split `/ip4/../tcp/../p2p/<peer id>` into its agent and the address before `/p2p/`.

    Raises `Malformed` if either part is missing or the peer id is none of ours.
    """
    address, found, peer_id = text.rpartition(PEER_PART)
    if not found or not address.startswith("/"):
        raise Malformed(f"'{text[:120]}' is not an address of the form /ip4/../tcp/../p2p/<id>")
    return agent_of_peer_id(peer_id), address


def join_address(agent: AgentPubKey, address: str) -> str:
    """The inverse of `split_address`."""
    return f"{address}{PEER_PART}{peer_id_of(agent)}"


def circuit_address(relay: AgentPubKey, address: str) -> str:
    """Where a peer is dialled that has a place at `relay`, which is itself dialled at `address`.

    Without an address it is for those who know where the relay is.
    """
    return f"{join_address(relay, address)}{CIRCUIT_PART}"


def relay_of(address: str) -> tuple[AgentPubKey, str] | None:
    """The relay that an address leads through and where it is dialled; None for a direct one.

    Where it is dialled may be left out, for those who know.  Raises `Malformed` for a circuit
    whose relay is none.
    """
    relay, found, rest = address.rpartition(CIRCUIT_PART)
    if not found:
        return None
    if rest or CIRCUIT_PART in relay:
        raise Malformed(f"'{address[:120]}' leads through more than one relay")
    if relay.startswith(PEER_PART):
        return agent_of_peer_id(relay.removeprefix(PEER_PART)), ""
    return split_address(relay)
