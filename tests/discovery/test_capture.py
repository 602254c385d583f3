"""A passive listener on the network, with real sockets: what one device's starts have in common.

The listener keeps every multicast DNS packet that a device sends over ten starts, and looks
for byte strings that are in all ten and in none of another device's ten: those would be the
first device's fingerprint.  What both have in common is the protocol's.  (I-029)
"""

import socket
import struct
from collections.abc import Callable
from random import SystemRandom
from typing import Any

import pytest
import trio

from discovery import mdns
from discovery.hidden import HIDDEN_BYTES
from discovery.meeting import Me, Meeting
from ioe_node.clock import SystemClock
from ioe_node.model.hashes import CORE, AgentPubKey, to_text
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import peer_id_of

STARTS = 10
GRAM_BYTES = 4
MDNS_PORT = 5353
PACKET_BYTES_MAX = 9000
PATIENCE_S = 10
INTERFACES = {"one": "127.0.0.2", "two": "127.0.0.3"}

needs_multicast = pytest.mark.skipif(
    not all(mdns._multicast_works(each) for each in INTERFACES.values()),
    reason="this machine's loopback has no multicast",
)


class Listener:
    """Hears every mDNS packet on loopback, and who sent it."""

    def __init__(self) -> None:
        self._socket = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.heard: dict[str, list[bytes]] = {}
        self._news = trio.Condition()

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            self._socket.setsockopt(socket.SOL_SOCKET, option, 1)
        membership = struct.pack(
            "4s4s", socket.inet_aton(mdns._GROUP), socket.inet_aton("127.0.0.1")
        )
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        with self._socket:
            await self._socket.bind((mdns._GROUP, MDNS_PORT))
            task_status.started()
            while True:
                packet, (host, _) = await self._socket.recvfrom(PACKET_BYTES_MAX)
                self.heard.setdefault(host, []).append(packet)
                async with self._news:
                    self._news.notify_all()

    async def until(self, host: str, ready: Callable[[list[bytes]], bool]) -> None:
        with trio.fail_after(PATIENCE_S):
            async with self._news:
                while not ready(self.heard.get(host, [])):
                    await self._news.wait()

    def taken(self, host: str) -> list[bytes]:
        return self.heard.pop(host, [])


class Carrier:
    """A transport that listens on a port of this start."""

    def __init__(self, host: str, port: int) -> None:
        self._address = f"/ip4/{host}/tcp/{port}"

    def addresses(self) -> tuple[str, ...]:
        return (self._address,)

    def learn(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Neighbours are of no matter."""

    def hint(self, peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        """Nor are these."""

    async def request(self, *_: object, **__: object) -> bytes:
        raise AssertionError("a device asks nobody")


def said_its_card(packets: list[bytes]) -> bool:
    return any(len(packet) > HIDDEN_BYTES or b"kind=" in packet for packet in packets)


async def a_start(listener: Listener, me: Me, host: str) -> list[bytes]:
    """What a device sends from its start to its end."""
    rng = SystemRandom()
    carrier = Carrier(host, rng.randrange(1024, 65_536))
    meeting = Meeting(
        me, carrier, lambda *_: None, SystemClock(), rng, lambda event: None, [host]
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(meeting.run)
        await listener.until(host, said_its_card)
        nursery.cancel_scope.cancel()
    await trio.sleep(0.05)
    return listener.taken(host)


def grams(packets: list[bytes]) -> set[bytes]:
    return {
        packet[at : at + GRAM_BYTES]
        for packet in packets
        for at in range(len(packet) - GRAM_BYTES + 1)
    }


def fingerprint(mine: list[list[bytes]], other: list[list[bytes]]) -> set[bytes]:
    """What all of one's starts have, and none of the other's."""
    return set.intersection(*map(grams, mine)).difference(*map(grams, other))


def device(place: bytes, name: str, kind: Any, hidden: bool) -> Me:
    return Me(Signer(place * 32), kind, "owned", name, place * 32 if hidden else None)


async def captured(hidden: bool, starts: int) -> dict[str, list[list[bytes]]]:
    """All starts of two devices that differ in everything.

    They take turns: one that heard the other would repeat its names, as answers that it knows.
    """
    devices = {
        "one": device(b"1", "kettle", "consumer", hidden),
        "two": device(b"2", "the battery in the cellar", "storage", hidden),
    }
    kept: dict[str, list[list[bytes]]] = {which: [] for which in devices}
    listener = Listener()
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        for which in [*devices] * starts:
            kept[which].append(await a_start(listener, devices[which], INTERFACES[which]))
        nursery.cancel_scope.cancel()
    return kept


@needs_multicast
async def test_ten_starts_of_a_private_device_have_nothing_of_its_own_in_common() -> None:
    kept = await captured(hidden=True, starts=STARTS)
    assert all(said_its_card(packets) for starts in kept.values() for packets in starts)
    assert fingerprint(kept["one"], kept["two"]) == set()
    assert fingerprint(kept["two"], kept["one"]) == set()
    agent = Signer(b"1" * 32).agent
    for telling in (agent, agent[CORE], to_text(agent), peer_id_of(agent), "kettle", "consumer"):
        told = telling if isinstance(telling, bytes) else telling.encode()
        assert not any(told in packet for packets in kept["one"] for packet in packets)
    longest = [max(len(packet) for starts in each for packet in starts) for each in kept.values()]
    assert longest[0] == longest[1], "nor does the length tell them apart"


@needs_multicast
async def test_the_listener_would_see_a_device_that_does_not_hide() -> None:
    kept = await captured(hidden=False, starts=3)
    found = fingerprint(kept["one"], kept["two"])
    agent = Signer(b"1" * 32).agent
    for telling in (agent[CORE], to_text(agent).encode(), peer_id_of(agent).encode(), b"kettle"):
        assert grams([telling]) & found
