"""A js-libp2p client without a membrane proof gets nothing from a network's protocol."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from dna.neighbourhood import DNA
from ioe_node.clock import SystemClock
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.signals import Signals
from ioe_node.errors import Malformed, PeerError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer
from ioe_node.net.framing import (
    LINK_ID,
    Failure,
    FrameReader,
    Hello,
    Request,
    decode_payload,
)
from ioe_node.net.libp2p_transport import open_transport
from ioe_node.net.peer_id import join_address, peer_id_of
from ioe_node.net.transport import Service
from ioe_node.store.store import Store
from ioe_node.workflows import peers
from ioe_node.workflows.bell import Workers

PROTOCOL = "/ioe/test-dna/1"
SECRET = b"a member's secret"


@pytest.fixture(scope="session")
def js_outsider(js_script: Callable[[str, str], Path]) -> Path:
    """The client, ready for node."""
    return js_script("js_outsider", "outsider.mjs")


async def outsider_report(client: Path, *arguments: str) -> dict[str, Any]:
    """What the client says that it got."""
    with trio.fail_after(90):
        done = await trio.run_process(
            ["node", str(client), *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["encryption"] == "/noise"
    assert report["multiplexer"] == "/yamux/1.0.0"
    assert "/ipfs/ping/1.0.0" in report["identifiedProtocols"]
    assert report["pingMs"] >= 0
    assert report["pingAfterwardsMs"] >= 0
    return report


def refusals_only(attempts: dict[str, Any]) -> dict[str, str]:
    """Every attempt ended, and got nothing but a typed refusal; the texts of those."""
    texts = {}
    for name, attempt in attempts.items():
        assert attempt["ended"] in ("closed", "reset")
        reader = FrameReader()
        reader.feed(bytes.fromhex(attempt["receivedHex"]))
        refusal = reader.next_frame()
        if refusal is not None:
            assert isinstance(refusal, Failure)
            assert (refusal.id, refusal.code) == (LINK_ID, "membrane")
            texts[name] = refusal.text
        assert reader.next_frame() is None
        reader.finish()
    return texts


async def test_an_outsider_passes_identify_and_ping_and_gets_nothing_more(
    js_outsider: Path,
) -> None:
    handled: list[bytes] = []

    def admit(_peer: AgentPubKey, hello: bytes) -> None:
        if hello != b"sesame":
            raise PeerError("no membrane proof")

    async def handle(_peer: AgentPubKey, message: bytes) -> bytes:
        handled.append(message)
        return SECRET

    async with open_transport(os.urandom(32), "/ip4/127.0.0.1/tcp/0") as transport:
        transport.offer(PROTOCOL, Service(hello=lambda: SECRET, admit=admit, handle=handle))
        address = join_address(transport.agent, transport.addresses()[0])
        report = await outsider_report(js_outsider, address, PROTOCOL)
        charges = sum(transport.charges.values())
        assert report["remotePeer"] == peer_id_of(transport.agent)

    assert refusals_only(report["attempts"]) == {"bogusHello": "no membrane proof"}
    assert handled == []
    assert charges == 3  # saying nothing is no offence


async def test_an_outsider_gets_nothing_from_a_community(js_outsider: Path, tmp_path: Path) -> None:
    """A real cell with a member's data; a member's opening message, stolen, opens nothing."""
    steward = Signer(os.urandom(32))
    definition = replace(
        DNA, seed="closed", properties=replace(DNA.properties, stewards=(steward.agent,))
    )
    async with open_transport(steward.seed, "/ip4/127.0.0.1/tcp/0") as transport:
        signals = Signals()
        store = Store(tmp_path / "cell.sqlite")
        cell = Cell(
            definition,
            steward,
            store,
            transport,
            SystemClock(),
            Random(1),
            Workers(),
            None,
            signals,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(cell.run)
            address = join_address(transport.agent, transport.addresses()[0])
            stolen = peers.hello(cell.space).hex()
            report = await outsider_report(js_outsider, address, cell.space.protocol, stolen)
            known = cell.space.others()
            nursery.cancel_scope.cancel()
        store.close()

    texts = refusals_only(report["attempts"])
    assert set(texts) == {"bogusHello", "stolenHello"}
    assert "no invitation" in texts["stolenHello"]
    assert known == []


def test_the_frames_that_the_client_sends_are_what_it_says() -> None:
    """The client encodes by hand; a frame it got wrong would prove nothing."""
    assert decode_payload(b"\x92\x00\xc4\x09let me in") == Hello(b"let me in")
    assert decode_payload(b"\x93\x01\x01\xc4\x04give") == Request(1, b"give")
    with pytest.raises(Malformed):
        decode_payload(b"GET / HTTP/1.1")
