"""mDNS: our card told to the local network, and the neighbours' heard.  (I-023, I-029, I-033)

What is told and read is in `mdns_services`: our own service, and libp2p's, by which its other
implementations and we find each other.  A hidden card is told under a new name each time, and no
libp2p service beside it, for that names a peer id.

zeroconf runs in threads of its own.  Everything that waits on it is done in a worker thread, so
that the trio loop never stalls; what its browsers hear is opened and verified in their own
threads and handed over one at a time, which makes a flood wait in the browser and not in us.
mDNS is a convenience: where it cannot work `Mdns` raises `MdnsUnavailable` and the node goes on
with its bootstrap addresses.
"""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from zeroconf._dns import DNSText
from zeroconf.const import _CLASS_IN, _TYPE_TXT

from discovery.announcement import NEARBY_PEERS_MAX, Announcement
from discovery.hidden import open_card
from discovery.mdns_services import (
    LABEL_BYTES,
    LIBP2P_TYPE,
    SERVICE_TYPE,
    Libp2pPeer,
    card_bytes,
    hidden_service,
    libp2p_peer,
    libp2p_service,
    open_service,
)
from ioe_node.clock import Clock
from ioe_node.errors import Malformed, TransportError
from ioe_node.model.hashes import AgentPubKey

FOUND_MAX = 256
PROBE_S = 0.5

_GROUP = "224.0.0.251"
_PROBE = b"ioe multicast probe"


class MdnsUnavailable(TransportError):
    """This machine or network has no multicast; bootstrap addresses do the same work."""


@dataclass(frozen=True)
class Departed:
    """A neighbour's service was withdrawn.  Nobody signs a goodbye: take it as a hint."""

    agent: AgentPubKey


Found = Announcement | Departed | Libp2pPeer
Keys = Callable[[], Sequence[bytes]]


class Mdns:
    """`async with Mdns(interfaces, clock) as mdns`: hear at once, tell from the first `update`.

    `interfaces` are IPv4 addresses of this machine; those without multicast are left out.
    `keys()` gives, to any thread, the keys of the hidden cards that we may open.  `found` yields
    `Announcement`s, opened and good, `Departed` and `Libp2pPeer`; it holds `FOUND_MAX` and then
    drops the oldest, counted in `dropped`; records that were no announcement are counted in
    `malformed`.  Entering raises `MdnsUnavailable` if no interface is left.
    """

    def __init__(self, interfaces: Sequence[str], clock: Clock, keys: Keys = tuple) -> None:
        self._interfaces = list(interfaces)
        self._clock = clock
        self._keys = keys
        self._label = os.urandom(LABEL_BYTES).hex()
        self._told: dict[str, ServiceInfo] = {}
        self._turn = trio.Lock()
        send, receive = trio.open_memory_channel[Found](FOUND_MAX)
        self._send = send
        self.found = receive
        self.dropped = 0
        self._ears: _Ears | None = None

    @property
    def malformed(self) -> int:
        """How many records under our service type were no announcement."""
        return self._ears.malformed if self._ears else 0

    async def __aenter__(self) -> Self:
        token = trio.lowlevel.current_trio_token()
        self._ears = _Ears(self, self._clock, self._keys, token)
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

    async def update(self, card: Announcement | bytes) -> None:
        """Tell a card, or the bytes of a hidden one, from now on, in place of the one before.

        Takes about a second.  Raises `MdnsUnavailable` if zeroconf cannot.
        """
        if isinstance(card, bytes):
            services = [hidden_service(card)]
        else:
            libp2p = libp2p_service(self._label, card.agent, card.addresses)
            services = [open_service(card), libp2p]
        async with self._turn:
            await trio.to_thread.run_sync(self._tell, services)

    def _open(self, ears: "_Ears") -> Zeroconf:
        """In a worker thread: sockets, threads, and the browser."""
        usable = [interface for interface in self._interfaces if _multicast_works(interface)]
        if not usable:
            raise MdnsUnavailable(_unavailable(self._interfaces))
        try:
            zeroconf = Zeroconf(interfaces=usable, ip_version=IPVersion.V4Only)
        except (OSError, Error) as error:
            raise MdnsUnavailable(f"{_unavailable(usable)} ({error})") from error
        # One each: js-libp2p answers a query by its first question only.
        ServiceBrowser(zeroconf, SERVICE_TYPE, listener=ears)
        ServiceBrowser(zeroconf, LIBP2P_TYPE, listener=_Libp2pEars(ears))
        return zeroconf

    def _tell(self, services: list[ServiceInfo]) -> None:
        """In a worker thread: register, replace or rename the services."""
        assert self._ears is not None, "enter Mdns before telling"
        told, telling = self._told, {info.name: info for info in services}
        self._ears.own_names = {name.lower() for name in (*told, *telling)}
        try:
            for name, info in telling.items():
                if name in told:
                    self._zeroconf.update_service(info)
                else:
                    # The name is a key or random: no other to collide with, so no probing.
                    self._zeroconf.register_service(info, cooperating_responders=True)
            for name in told.keys() - telling.keys():
                self._zeroconf.unregister_service(told[name])
        except (OSError, Error) as error:
            raise MdnsUnavailable(f"{_unavailable(self._interfaces)} ({error})") from error
        self._told = telling

    def deliver(self, item: Found) -> None:
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
    """What zeroconf's browser for our service calls, always in its one thread."""

    def __init__(
        self, mdns: Mdns, clock: Clock, keys: Keys, token: trio.lowlevel.TrioToken
    ) -> None:
        self._mdns = mdns
        self._clock = clock
        self._keys = keys
        self._token = token
        self._agents: dict[str, AgentPubKey] = {}
        self.own_names: set[str] = set()
        self.malformed = 0

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        if name.lower() in self.own_names:
            return
        info = ServiceInfo(type_, name)
        info.load_from_cache(zc)
        data = card_bytes(info)
        if not data:
            return  # a name alone; when its TXT record comes, this is called again
        try:
            card = open_card(data, self._keys(), self._clock.now_us())
        except Malformed:
            self.malformed += 1
            return
        if card is None:
            return
        if len(self._agents) < NEARBY_PEERS_MAX:
            self._agents[name.lower()] = card.agent
        self.hand_over(card)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        agent = self._agents.pop(name.lower(), None)
        # One that hides has a name a card, and has left when the last of them has.
        if agent is not None and agent not in self._agents.values():
            self.hand_over(Departed(agent))

    def hand_over(self, item: Found) -> None:
        with suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(self._mdns.deliver, item, trio_token=self._token)


class _Libp2pEars(ServiceListener):
    """What zeroconf's browser for libp2p's service calls, always in its one thread."""

    def __init__(self, ears: _Ears) -> None:
        self._ears = ears

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        # Some tell each address in a record of its own, of which `ServiceInfo` keeps the last.
        records = zc.cache.get_all_by_details(name, _TYPE_TXT, _CLASS_IN)
        peer = libp2p_peer(each.text for each in records if isinstance(each, DNSText))
        if peer is not None:
            self._ears.hand_over(peer)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Whom we can dial we find out by dialling."""


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
