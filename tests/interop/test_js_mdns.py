"""js-libp2p's mDNS finds our node, and ours finds it; a private device it does not find."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import SystemRandom
from subprocess import PIPE
from typing import Any

import ifaddr
import pytest
import trio

from discovery import mdns
from discovery.meeting import Me, Meeting
from ioe_node.clock import SystemClock
from ioe_node.errors import TransportError
from ioe_node.model.signing import Signer
from ioe_node.net.libp2p_transport import Libp2pTransport, open_transport
from ioe_node.net.peer_id import agent_of_peer_id, peer_id_of, split_address
from ioe_node.net.transport import Service
from tests.interop.test_js_kad import Lines

PATIENCE_S = 60
QUIET_S = 5
LOOPBACK = "127.0.0.1"

needs_multicast = pytest.mark.skipif(
    not mdns._multicast_works(LOOPBACK), reason="this machine's loopback has no multicast"
)


@asynccontextmanager
async def js_peer(script: Path) -> AsyncIterator[tuple[dict[str, Any], Lines]]:
    """Who it is, and its further lines."""
    process = await trio.lowlevel.open_process(["node", str(script)], stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        try:
            lines = Lines(process.stdout)
            yield json.loads(await lines.next()), lines
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


@asynccontextmanager
async def our_node(hiding_key: bytes | None = None) -> AsyncIterator[Libp2pTransport]:
    """A node that announces itself on every interface: js-libp2p sends on one of its choosing."""
    signer = Signer(os.urandom(32))
    interfaces = [str(ip.ip) for each in ifaddr.get_adapters() for ip in each.ips if ip.is_IPv4]
    async with open_transport(signer.seed, f"/ip4/{LOOPBACK}/tcp/0") as transport:

        def offer(protocol: str, handler: Any) -> None:
            transport.offer(protocol, Service(lambda: b"", lambda peer, hello: None, handler))

        meeting = Meeting(
            Me(signer, "monitor", "owned", "ours", hiding_key),
            transport,
            offer,
            SystemClock(),
            SystemRandom(),
            lambda event: None,
            interfaces,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(meeting.run)
            yield transport
            nursery.cancel_scope.cancel()


async def found_by_js(lines: Lines, node: Libp2pTransport) -> list[str]:
    while True:
        found = json.loads(await lines.next())
        if found["id"] == peer_id_of(node.agent):
            return list(found["addresses"])


async def dial_by_hint(node: Libp2pTransport, js: dict[str, Any]) -> None:
    """Reach a peer of whom nothing but mDNS has told."""
    agent = agent_of_peer_id(js["id"])
    while True:
        try:
            # It does not serve this protocol, and says so: it was reached.
            await node.find_node("/ioe/none/kad/1.0.0", agent, b"key")
        except TransportError as error:
            if "does not answer" in str(error):
                return
        await trio.sleep(0.2)


@needs_multicast
async def test_each_finds_and_dials_the_other(js_script: Callable[[str, str], Path]) -> None:
    script = js_script("js_mdns", "peer.mjs")
    with trio.fail_after(PATIENCE_S):
        async with our_node() as node, js_peer(script) as (js, lines):
            assert await found_by_js(lines, node) == list(node.addresses())
            agent = agent_of_peer_id(js["id"])
            hints = node._dialling._hints
            while agent not in hints:  # noqa: ASYNC110
                await trio.sleep(0.1)
            assert hints[agent] == tuple(split_address(each)[1] for each in js["addresses"])
        async with js_peer(script) as (js, _), our_node() as node:
            await dial_by_hint(node, js)


@needs_multicast
async def test_a_private_device_is_found_by_none_and_finds(
    js_script: Callable[[str, str], Path],
) -> None:
    script = js_script("js_mdns", "peer.mjs")
    with trio.fail_after(PATIENCE_S):
        async with our_node(b"k" * 32) as hidden, js_peer(script) as (js, lines):
            with trio.move_on_after(QUIET_S) as quiet:
                await found_by_js(lines, hidden)
            assert quiet.cancelled_caught
            await dial_by_hint(hidden, js)
