"""Two real nodes on a network with no way out: found by multicast alone, dialled, and missed."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import Any

import pytest
import trio

from discovery import mdns
from discovery.announcement import Kind
from discovery.meeting import Me, Meeting
from ioe_node.clock import SystemClock
from ioe_node.model.signing import Signer
from ioe_node.net.libp2p_transport import open_transport
from ioe_node.net.transport import Service

LOOPBACK = "127.0.0.1"
PATIENCE_S = 40
KEY = b"k" * 32


class Node:
    """A meeting on a libp2p host, and what it told its person."""

    def __init__(self, meeting: Meeting) -> None:
        self.meeting = meeting
        self.events: list[tuple[str, str]] = []

    async def until(self, *events: tuple[str, str]) -> None:
        with trio.fail_after(PATIENCE_S):
            while self.events != [*events]:  # noqa: ASYNC110
                await trio.sleep(0.05)


@asynccontextmanager
async def node(kind: Kind, ending: str, hiding_key: bytes | None = None) -> AsyncIterator[Node]:
    signer = Signer(os.urandom(32))

    def notify(event: dict[str, Any]) -> None:
        if event["name"] == made.meeting._me.name[::-1]:  # others may be on this machine
            made.events.append((event["event"], event["device_kind"]))

    async with open_transport(signer.seed, f"/ip4/{LOOPBACK}/tcp/0{ending}") as transport:

        def offer(protocol: str, handler: Any) -> None:
            transport.offer(protocol, Service(lambda: b"", lambda peer, hello: None, handler))

        me = Me(signer, kind, "owned", NAMES[kind], hiding_key)
        clock, rng = SystemClock(), SystemRandom()
        made = Node(Meeting(me, transport, offer, clock, rng, notify, [LOOPBACK]))
        async with trio.open_nursery() as nursery:
            await nursery.start(made.meeting.run)
            yield made
            nursery.cancel_scope.cancel()


NAME = os.urandom(8).hex()
NAMES = {"owner": NAME, "storage": NAME[::-1]}


@pytest.mark.skipif(not mdns._multicast_works(LOOPBACK), reason="no multicast on loopback")
@pytest.mark.parametrize("hiding_key", [None, KEY])
async def test_found_dialled_and_missed(hiding_key: bytes | None) -> None:
    async with node("owner", "") as owner:
        owner.meeting.recognise([KEY])
        async with node("storage", "/ws", hiding_key) as device:
            await owner.until(("appeared", "storage"))
            await device.until(("appeared", "owner"))
            agent = device.meeting._me.signer.agent
            with trio.fail_after(PATIENCE_S):
                while not owner.meeting._presence.answers(agent):  # noqa: ASYNC110
                    await trio.sleep(0.05)
        await owner.until(("appeared", "storage"), ("left", "storage"))
