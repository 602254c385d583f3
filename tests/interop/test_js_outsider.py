"""A js-libp2p client without a membrane proof gets nothing from a network's protocol."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from ioe_node.errors import Malformed, PeerError
from ioe_node.model.hashes import AgentPubKey
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

SOURCE = Path(__file__).with_name("js_outsider")
PROTOCOL = "/ioe/test-dna/1"
SECRET = b"a member's secret"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None,
    reason="the js-libp2p client needs node and npm",
)


@pytest.fixture(scope="session")
def js_outsider() -> Path:
    """The client with its locked dependencies, in the user's cache, installed once per lock."""
    lock = SOURCE.joinpath("package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "ioe-node" / f"js-outsider-{hashlib.sha256(lock).hexdigest()[:16]}"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "outsider.mjs"):
        shutil.copy(SOURCE / name, home / name)
    installed = home / "installed"
    if not installed.exists():
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(command, cwd=home, check=True, timeout=300)
        installed.touch()
    return home / "outsider.mjs"


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
        with trio.fail_after(60):
            done = await trio.run_process(
                ["node", str(js_outsider), address, PROTOCOL],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        assert done.returncode == 0, done.stderr.decode()
        report = json.loads(done.stdout)
        charges = sum(transport.charges.values())
        peer_id = peer_id_of(transport.agent)

    assert report["encryption"] == "/noise"
    assert report["multiplexer"] == "/yamux/1.0.0"
    assert report["remotePeer"] == peer_id
    assert "/ipfs/ping/1.0.0" in report["identifiedProtocols"]
    assert report["pingMs"] >= 0
    assert report["pingAfterwardsMs"] >= 0

    attempts = report["attempts"]
    assert {one["ended"] for one in attempts.values()} <= {"closed", "reset"}
    for name in ("nothing", "garbage", "requestWithoutHello"):
        assert attempts[name]["receivedHex"] == ""
    reader = FrameReader()
    reader.feed(bytes.fromhex(attempts["bogusHello"]["receivedHex"]))
    assert reader.next_frame() == Failure(LINK_ID, "membrane", "no membrane proof")
    assert reader.next_frame() is None
    reader.finish()
    assert SECRET.hex() not in done.stdout.decode()
    assert handled == []
    assert charges == 3  # saying nothing is no offence


def test_the_frames_that_the_client_sends_are_what_it_says() -> None:
    """The client encodes by hand; a frame it got wrong would prove nothing."""
    assert decode_payload(b"\x92\x00\xc4\x09let me in") == Hello(b"let me in")
    assert decode_payload(b"\x93\x01\x01\xc4\x04give") == Request(1, b"give")
    with pytest.raises(Malformed):
        decode_payload(b"GET / HTTP/1.1")
