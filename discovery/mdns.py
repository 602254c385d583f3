"""mDNS: our announcement told to the local network, and the neighbours' heard.  (I-023, I-033)

The announcement's bytes are carried whole in the TXT record of a `_ioe._tcp.local.` service, in
chunks of at most 200 bytes under the keys `a0`, `a1`, …; the port and the addresses beside it are
for other programs' browsers, ours believes only what is signed.

zeroconf runs in threads of its own.  Everything that waits on it is done in a worker thread, so
that the trio loop never stalls; what its browser hears is opened and verified in the browser's
thread and handed over one at a time, which makes a flood wait in the browser and not in us.
mDNS is a convenience: where it cannot work `Mdns` raises `MdnsUnavailable` and the node goes on
with its bootstrap addresses.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from types import TracebackType
from typing import Self

import trio
from zeroconf import (
    Error,
    IPVersion,
    ServiceBrowser,
    ServiceInfo,
    ServiceListener,
    Zeroconf,
)

from discovery.announcement import NEARBY_PEERS_MAX, Announcement, open_announcement
from ioe_node.clock import Clock
from ioe_node.errors import Malformed, TransportError
from ioe_node.model.hashes import CORE, AgentPubKey, to_text

SERVICE_TYPE = "_ioe._tcp.local."
FOUND_MAX = 256
TXT_CHUNK_BYTES_MAX = 200
TXT_CHUNKS_MAX = 8
RECORD_WAIT_MS = 500
PROBE_S = 0.5

_GROUP = "224.0.0.251"
_PROBE = b"ioe multicast probe"


class MdnsUnavailable(TransportError):
    """This machine or network has no multicast; bootstrap addresses do the same work."""


@dataclass(frozen=True)
class Departed:
    """A neighbour's service was withdrawn.  Nobody signs a goodbye: take it as a hint."""

    agent: AgentPubKey


class Mdns:
    """`async with Mdns(interfaces, clock) as mdns`: hear at once, tell from the first `update`.

    `interfaces` are IPv4 addresses of this machine; those without multicast are left out.
    `found` yields `Announcement`s, opened and good, and `Departed`; it holds `FOUND_MAX` and then
    drops the oldest, counted in `dropped`; records that were no announcement are counted in
    `malformed`.  Entering raises `MdnsUnavailable` if no interface is left.
    """

    def __init__(self, interfaces: Sequence[str], clock: Clock) -> None:
        self._interfaces = list(interfaces)
        self._clock = clock
        self._told: ServiceInfo | None = None
        self._turn = trio.Lock()
        send, receive = trio.open_memory_channel[Announcement | Departed](FOUND_MAX)
        self._send = send
        self.found = receive
        self.dropped = 0
        self._ears: _Ears | None = None

    @property
    def malformed(self) -> int:
        """How many records under our service type were no announcement."""
        return self._ears.malformed if self._ears else 0

    async def __aenter__(self) -> Self:
        self._ears = _Ears(self, self._clock, trio.lowlevel.current_trio_token())
        self._zeroconf = await trio.to_thread.run_sync(self._open, self._ears)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._zeroconf.close)
        self._send.close()

    async def update(self, announcement: Announcement) -> None:
        """Tell `announcement` from now on, in place of the one before; takes about a second.

        Raises `MdnsUnavailable` if zeroconf cannot.
        """
        async with self._turn:
            await trio.to_thread.run_sync(self._tell, announcement)

    def _open(self, ears: "_Ears") -> Zeroconf:
        """In a worker thread: sockets, threads, and the browser."""
        usable = [interface for interface in self._interfaces if _multicast_works(interface)]
        if not usable:
            raise MdnsUnavailable(_unavailable(self._interfaces))
        try:
            zeroconf = Zeroconf(interfaces=usable, ip_version=IPVersion.V4Only)
        except (OSError, Error) as error:
            raise MdnsUnavailable(f"{_unavailable(usable)} ({error})") from error
        ServiceBrowser(zeroconf, SERVICE_TYPE, listener=ears)
        return zeroconf

    def _tell(self, announcement: Announcement) -> None:
        """In a worker thread: register, replace or rename the service."""
        told, info = self._told, service_of(announcement)
        assert self._ears is not None, "enter Mdns before telling"
        self._ears.own_names.add(info.name.lower())
        try:
            if told is not None and told.name == info.name:
                self._zeroconf.update_service(info)
            else:
                # The name is a public key, so there is no other to collide with: no probing.
                self._zeroconf.register_service(info, cooperating_responders=True)
                if told is not None:
                    self._zeroconf.unregister_service(told)
        except (OSError, Error) as error:
            raise MdnsUnavailable(f"{_unavailable(self._interfaces)} ({error})") from error
        self._told = info

    def deliver(self, item: Announcement | Departed) -> None:
        """In trio's thread: hand over, dropping the oldest when the reader is behind."""
        while True:
            try:
                self._send.send_nowait(item)
            except trio.WouldBlock:
                with suppress(trio.WouldBlock):
                    self.found.receive_nowait()
                    self.dropped += 1
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            else:
                return


class _Ears(ServiceListener):
    """What zeroconf's browser calls, always in its one thread."""

    def __init__(self, mdns: Mdns, clock: Clock, token: trio.lowlevel.TrioToken) -> None:
        self._mdns = mdns
        self._clock = clock
        self._token = token
        self._agents: dict[str, AgentPubKey] = {}
        self.own_names: set[str] = set()
        self.malformed = 0

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        if name.lower() in self.own_names:
            return
        info = ServiceInfo(type_, name)
        if not info.load_from_cache(zc) and not info.text:
            info.request(zc, RECORD_WAIT_MS)
        try:
            announcement = open_announcement(announcement_bytes(info), self._clock.now_us())
        except Malformed:
            self.malformed += 1
            return
        if len(self._agents) < NEARBY_PEERS_MAX:
            self._agents[name.lower()] = announcement.agent
        self._hand_over(announcement)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        agent = self._agents.pop(name.lower(), None)
        if agent is not None:
            self._hand_over(Departed(agent))

    def _hand_over(self, item: Announcement | Departed) -> None:
        with suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(self._mdns.deliver, item, trio_token=self._token)


def service_of(announcement: Announcement) -> ServiceInfo:
    """The DNS-SD service that carries `announcement`."""
    data = announcement.encoded()
    chunks = [
        data[start : start + TXT_CHUNK_BYTES_MAX]
        for start in range(0, len(data), TXT_CHUNK_BYTES_MAX)
    ]
    hosts, port = _endpoints(announcement.addresses)
    return ServiceInfo(
        SERVICE_TYPE,
        f"{to_text(announcement.agent)}.{SERVICE_TYPE}",
        port=port,
        properties={f"a{place}".encode(): chunk for place, chunk in enumerate(chunks)},
        server=f"ioe-{announcement.agent[CORE].hex()[:16]}.local.",
        addresses=hosts,
    )


def announcement_bytes(info: ServiceInfo) -> bytes:
    """The chunks of a TXT record, put together in the order of their keys."""
    chunks = (info.properties.get(f"a{place}".encode()) for place in range(TXT_CHUNKS_MAX))
    return b"".join(chunk for chunk in chunks if chunk)


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


def _multicast_works(interface: str) -> bool:
    """Whether a datagram to the mDNS group comes back on this interface.  Blocks ≤ `PROBE_S`.

    Sent to a port of our own, so that no mDNS responder is bothered.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(PROBE_S)
            probe.bind(("", 0))
            local = socket.inet_aton(interface)
            membership = socket.inet_aton(_GROUP) + local
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, local)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            probe.sendto(_PROBE, (_GROUP, probe.getsockname()[1]))
            return probe.recv(len(_PROBE)) == _PROBE
    except OSError:
        return False


def _unavailable(interfaces: Sequence[str]) -> str:
    where = ", ".join(interfaces) or "any interface"
    return f"mDNS is not available on {where}; add bootstrap addresses"
