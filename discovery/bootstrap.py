"""Bootstrap: peers that the configuration names, dialled again and again until they answer.

A named peer is never given up: a device that was off for a year is found when it comes back.
The wait doubles from one second to five minutes, each time with a jitter, so that a street
after a power cut does not dial its one bootstrap peer in step.  (I-038, I-040)

A peer id is written as libp2p does: base58 of the identity multihash of an Ed25519 public key.
"""

from dataclasses import dataclass
from random import Random

from ioe_node.errors import ConfigError
from ioe_node.model.hashes import CORE, AgentPubKey, agent_key

DELAY_S_FIRST = 1.0
DELAY_S_MAX = 300.0
BOOTSTRAP_PEERS_MAX = 64

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PEER_ID_CHARS = 52
_ED25519_MULTIHASH = bytes.fromhex("002408011220")
_DOUBLINGS_MAX = 16


@dataclass(frozen=True)
class BootstrapPeer:
    """Whom to dial, and where: multiaddr text without the peer id."""

    agent: AgentPubKey
    address: str


def parse_bootstrap(texts: list[str]) -> tuple[BootstrapPeer, ...]:
    """Read multiaddrs that end in `/p2p/<peer id>`; raises `ConfigError` naming the bad one."""
    if len(texts) > BOOTSTRAP_PEERS_MAX:
        raise ConfigError(f"bootstrap names {len(texts)} peers; {BOOTSTRAP_PEERS_MAX} is the most")
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> BootstrapPeer:
    address, found, peer_id = text.rpartition("/p2p/")
    public_key = _public_key(peer_id)
    if not found or not address.startswith("/") or public_key is None:
        raise ConfigError(
            f"bootstrap: '{text[:120]}' must look like /ip4/192.168.1.7/tcp/4001/p2p/12D3Koo…"
        )
    return BootstrapPeer(agent_key(public_key), address)


def _public_key(peer_id: str) -> bytes | None:
    """The Ed25519 key inside a peer id; None if it is no such peer id."""
    if len(peer_id) != _PEER_ID_CHARS or any(char not in _BASE58 for char in peer_id):
        return None
    number = 0
    for char in peer_id:
        number = number * 58 + _BASE58.index(char)
    try:
        multihash = number.to_bytes(len(_ED25519_MULTIHASH) + 32, "big")
    except OverflowError:
        return None
    if not multihash.startswith(_ED25519_MULTIHASH):
        return None
    return multihash[len(_ED25519_MULTIHASH) :]


def peer_id_of(agent: AgentPubKey) -> str:
    """The libp2p peer id of an agent, 52 characters from `12D3Koo` on."""
    number = int.from_bytes(_ED25519_MULTIHASH + agent[CORE], "big")
    chars = ""
    while number:
        number, digit = divmod(number, 58)
        chars = _BASE58[digit] + chars
    return "1" + chars


def next_delay_s(failures: int, rng: Random) -> float:
    """Seconds to wait after `failures` (≥ 1) failed dials in a row: half to all of a doubling."""
    full = min(DELAY_S_MAX, DELAY_S_FIRST * (1 << min(failures - 1, _DOUBLINGS_MAX)))
    return full * (0.5 + 0.5 * rng.random())


class Schedule:
    """Which bootstrap peers to dial, and when; all of them at once to begin with."""

    def __init__(self, peers: tuple[BootstrapPeer, ...], rng: Random, now_us: int) -> None:
        self._rng = rng
        self._due_us = dict.fromkeys(peers, now_us)
        self._failures = dict.fromkeys(peers, 0)

    def due(self, now_us: int) -> tuple[BootstrapPeer, ...]:
        """The peers to dial now, in the configuration's order."""
        return tuple(
            peer for peer in self._failures if peer in self._due_us and self._due_us[peer] <= now_us
        )

    def next_due_us(self) -> int | None:
        """When to look again; None while every peer is connected."""
        return min(self._due_us.values(), default=None)

    def reached(self, peer: BootstrapPeer) -> None:
        """The peer answered: leave it alone until `lost`."""
        self._failures[peer] = 0
        self._due_us.pop(peer, None)

    def failed(self, peer: BootstrapPeer, now_us: int) -> None:
        """The dial failed: try again later, and later still each time."""
        self._failures[peer] += 1
        delay_s = next_delay_s(self._failures[peer], self._rng)
        self._due_us[peer] = now_us + int(delay_s * 1_000_000)

    lost = failed
    """The link to a reached peer is gone: the first failure of a new row."""
