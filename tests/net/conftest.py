"""What the network tests share: services, hosts on loopback, and links on memory streams."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from ioe_node.errors import PeerError, TransportError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.libp2p_transport import Libp2pTransport, open_transport
from ioe_node.net.transport import Service

PROTOCOL = "/ioe/test/1"
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
SESAME = b"sesame"


async def _echo(_peer: AgentPubKey, message: bytes) -> bytes:
    return message


def _admit_sesame(_peer: AgentPubKey, hello: bytes) -> None:
    if hello != SESAME:
        raise PeerError("no proof of membership")


MakeService = Callable[..., Service]
OpenHost = Callable[..., Awaitable[Libp2pTransport]]


@pytest.fixture
def protocol() -> str:
    return PROTOCOL


@pytest.fixture
def make_service() -> MakeService:
    """An echo behind a membrane that wants `sesame`; say otherwise by keyword."""

    def make(
        hello: bytes = SESAME,
        admit: Callable[[AgentPubKey, bytes], None] = _admit_sesame,
        handle: Callable[[AgentPubKey, bytes], Awaitable[bytes]] = _echo,
    ) -> Service:
        return Service(hello=lambda: hello, admit=admit, handle=handle)

    return make


@pytest.fixture
async def open_host(make_service: MakeService) -> AsyncIterator[OpenHost]:
    """Opens hosts on loopback that offer `service` (the echo); closes them after the test."""
    test_done = trio.Event()

    async def keep_open(
        service: Service | None,
        listen: str | Sequence[str],
        task_status: trio.TaskStatus[Libp2pTransport],
    ) -> None:
        async with open_transport(os.urandom(32), listen) as transport:
            transport.offer(PROTOCOL, service or make_service())
            task_status.started(transport)
            await test_done.wait()

    async with trio.open_nursery() as nursery:

        async def open_one(
            service: Service | None = None, listen: str | Sequence[str] = LOOPBACK
        ) -> Libp2pTransport:
            opened: Libp2pTransport = await nursery.start(keep_open, service, listen)
            return opened

        yield open_one
        test_done.set()


class MemoryStream:
    """One end of a pair in memory, as a `ByteStream`."""

    def __init__(self, stream: trio.StapledStream) -> None:
        self.stream = stream

    async def read(self, bytes_max: int) -> bytes:
        try:
            return bytes(await self.stream.receive_some(bytes_max))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportError("broken") from None

    async def write(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportError("broken") from None


@pytest.fixture
def new_memory_streams() -> Callable[[], tuple[MemoryStream, MemoryStream]]:
    def make() -> tuple[MemoryStream, MemoryStream]:
        left, right = trio.testing.memory_stream_pair()
        return MemoryStream(left), MemoryStream(right)

    return make


@pytest.fixture
def memory_streams(
    new_memory_streams: Callable[[], tuple[MemoryStream, MemoryStream]],
) -> tuple[MemoryStream, MemoryStream]:
    return new_memory_streams()


@pytest.fixture
def start_echo_process() -> Iterator[Callable[[bytes], tuple[subprocess.Popen[str], str]]]:
    """Starts real processes that echo for the agent of a seed; gives each with its address."""
    script = Path(__file__).with_name("echo_process.py")
    started: list[subprocess.Popen[str]] = []

    def start(seed32: bytes) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, str(script), seed32.hex(), PROTOCOL, LOOPBACK],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(script.parents[2])},
        )
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()
