"""The DNS-SD services that a node tells, and what is read out of its neighbours'.

Ours is `_ioe._tcp.local.`: the card's bytes whole in the TXT record, in chunks of at most 200
bytes under the keys `a0`, `a1`, …; kind, state and name beside it, the port and the addresses are
for other programs' browsers, ours believes only what is signed.  A hidden card stands alone, under
an instance and a host name that are made of its own random bytes, with no port and no address.

libp2p's is `_p2p._udp.local.`: an instance of a random name whose TXT record holds a string
`dnsaddr=<multiaddr with /p2p/ and the peer id>` an address.  It has to be told as one record or as
several; both forms are read.  It is unsigned, so what it says is a hint and no more.
Source: libp2p specification "mDNS".
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from zeroconf import ServiceInfo

from discovery.announcement import ADDRESSES_MAX, Announcement, is_address
from ioe_node.errors import Malformed
from ioe_node.model.hashes import CORE, AgentPubKey, to_text
from ioe_node.net.peer_id import join_address, split_address

SERVICE_TYPE = "_ioe._tcp.local."
LIBP2P_TYPE = "_p2p._udp.local."
TXT_CHUNK_BYTES_MAX = 200
TXT_CHUNKS_MAX = 8
TXT_STRING_BYTES_MAX = 255
LABEL_BYTES = 16

_DNSADDR = b"dnsaddr="
_RELAYED = "/p2p-circuit"


@dataclass(frozen=True)
class Libp2pPeer:
    """A libp2p node that its mDNS tells of, and where it may be dialled; nobody has signed this."""

    agent: AgentPubKey
    addresses: tuple[str, ...]


def open_service(card: Announcement) -> ServiceInfo:
    """The service that carries a public card."""
    hosts, port = _endpoints(_direct(card.addresses))
    plain = {"kind": card.kind, "state": card.state, "name": card.name}
    return ServiceInfo(
        SERVICE_TYPE,
        f"{to_text(card.agent)}.{SERVICE_TYPE}",
        port=port,
        properties=_chunks(card.encoded()) | {k.encode(): v.encode() for k, v in plain.items()},
        server=f"ioe-{card.agent[CORE].hex()[:16]}.local.",
        addresses=hosts,
    )


def hidden_service(data: bytes) -> ServiceInfo:
    """The service that carries a hidden card, whose first bytes are random."""
    label = data[:LABEL_BYTES].hex()
    return ServiceInfo(
        SERVICE_TYPE,
        f"{label}.{SERVICE_TYPE}",
        port=0,
        properties=_chunks(data),
        server=f"{label}.local.",
    )


def libp2p_service(label: str, agent: AgentPubKey, addresses: tuple[str, ...]) -> ServiceInfo:
    """The service by which other libp2p nodes find us, of which `label` is the random name."""
    direct = _direct(addresses)
    strings = [_DNSADDR + join_address(agent, address).encode() for address in direct]
    fitting = [each for each in strings if len(each) <= TXT_STRING_BYTES_MAX]
    hosts, port = _endpoints(direct)
    return ServiceInfo(
        LIBP2P_TYPE,
        f"{label}.{LIBP2P_TYPE}",
        port=port,
        properties=b"".join(bytes([len(each)]) + each for each in fitting),
        server=f"{label}.local.",
        addresses=hosts,
    )


def card_bytes(info: ServiceInfo) -> bytes:
    """The chunks of a TXT record, put together in the order of their keys."""
    chunks = (info.properties.get(f"a{place}".encode()) for place in range(TXT_CHUNKS_MAX))
    return b"".join(chunk for chunk in chunks if chunk)


def libp2p_peer(texts: Iterable[bytes]) -> Libp2pPeer | None:
    """Whom the TXT records of one `_p2p._udp` instance name, if their key is an Ed25519 one.

    The first address says who it is; those of another peer, relayed ones and those that are no
    multiaddr are left out.
    """
    agent: AgentPubKey | None = None
    addresses: dict[str, None] = {}
    for string in (string for text in texts for string in _strings(text)):
        if not string.startswith(_DNSADDR) or len(addresses) >= ADDRESSES_MAX:
            continue
        try:
            named, address = split_address(string.removeprefix(_DNSADDR).decode("ascii"))
        except (Malformed, UnicodeDecodeError):
            continue
        agent = agent or named
        if named == agent and is_address(address) and _RELAYED not in address:
            addresses[address] = None
    return Libp2pPeer(agent, tuple(addresses)) if agent and addresses else None


def _strings(text: bytes) -> Iterator[bytes]:
    """The strings of a TXT record, each behind its length; a last one that is cut is left out."""
    place = 0
    while place < len(text):
        end = place + 1 + text[place]
        if end <= len(text):
            yield text[place + 1 : end]
        place = end


def _chunks(data: bytes) -> dict[bytes, bytes]:
    starts = range(0, len(data), TXT_CHUNK_BYTES_MAX)
    return {
        f"a{place}".encode(): data[start : start + TXT_CHUNK_BYTES_MAX]
        for place, start in enumerate(starts)
    }


def _direct(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are ours on this network, not a relay's somewhere."""
    return tuple(address for address in addresses if _RELAYED not in address)


def _endpoints(addresses: tuple[str, ...]) -> tuple[list[bytes], int]:
    """The packed IPv4 hosts and the first TCP port among multiaddrs; 0 if there is none."""
    hosts: dict[bytes, None] = {}
    ports: list[int] = []
    for address in addresses:
        parts = address.split("/")[1:]
        named = dict(zip(parts[::2], parts[1::2], strict=False))
        with suppress(AddressValueError):
            hosts[IPv4Address(named.get("ip4", "")).packed] = None
        port = named.get("tcp", "")
        if port.isascii() and port.isdigit() and int(port) < 1 << 16:
            ports.append(int(port))
    return list(hosts), ports[0] if ports else 0
