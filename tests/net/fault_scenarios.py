"""One fault of the libp2p host, with or without its mend, in a process of its own.

`fault_scenarios.py SCENARIO mended|as-shipped` prints one line of JSON.  Its own process,
because a host that dies of its fault leaves sockets and patched classes behind.
"""

import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto import ed25519
from libp2p.io.trio import TrioTCPStream
from libp2p.network.config import ConnectionConfig
from multiaddr import Multiaddr

from ioe_node.net.libp2p_faults import (
    mend_cancelled_writes,
    mend_escaping_exceptions,
    mend_inbound_slots,
    mend_stale_identities,
)

ECHO = "/test/echo/1"
FAILING = "/test/failing/1"
SLOTS = 3
DIALS = 3 * SLOTS
PATIENCE_S = 1.0


async def echo(stream: Any) -> None:
    """Raises nothing: an exception here would show another fault than the one looked for."""
    try:
        while True:
            await stream.write(await stream.read(1024))
    except Exception as error:
        logging.debug("the stream ended: %r", error)


async def fail(_stream: Any) -> None:
    raise ZeroDivisionError


@asynccontextmanager
async def running_host(slots: int = 100, seed32: bytes | None = None) -> AsyncIterator[Any]:
    config = ConnectionConfig(
        max_connections=slots, high_watermark=slots, low_watermark=0, min_connections=0
    )
    key_pair = ed25519.create_new_key_pair(seed32 or os.urandom(32))
    host = new_host(key_pair=key_pair, connection_config=config)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        await host.get_network().auto_connector.stop()
        host.set_stream_handler(ECHO, echo)
        host.set_stream_handler(FAILING, fail)
        yield host


async def dial(host: Any, to: Any) -> Any:
    return await host.get_network().dial_addr(to.get_transport_addrs()[0], to.get_id())


async def echoes(host: Any, to: Any) -> bool:
    """Does a fresh stream from `host` to `to` echo in time?"""
    with trio.move_on_after(PATIENCE_S):
        try:
            stream = await host.new_stream(to.get_id(), [ECHO])
            await stream.write(b"hello")
            return bool(await stream.read(1024) == b"hello")
        except Exception:
            return False
    return False


async def deaf() -> int:
    """How many connections, one after the other, does a host with `SLOTS` slots serve?"""
    served = 0
    async with running_host(SLOTS) as server, running_host() as client:
        for _ in range(DIALS):
            with trio.move_on_after(PATIENCE_S) as patience:
                try:
                    connection = await dial(client, server)
                    served += await echoes(client, server)
                    await connection.close()
                except Exception:
                    break
            if patience.cancelled_caught:
                break
            while server.get_network().get_connections():  # noqa: ASYNC110
                await trio.sleep(0.01)
        return served


async def cancelled_write() -> bool:
    """Does a connection survive the cancellation of a write that is on its way out?"""
    write_to_socket = TrioTCPStream.write
    async with running_host() as client, running_host() as server:
        await dial(client, server)
        stream = await client.new_stream(server.get_id(), [ECHO])
        ours = trio.lowlevel.current_task()
        with trio.CancelScope() as scope:

            async def write_while_cancelled(self: Any, data: bytes) -> None:
                # The bytes are encrypted and counted by now; the socket has not had them.
                if trio.lowlevel.current_task() is ours:
                    scope.cancel()
                await write_to_socket(self, data)

            TrioTCPStream.write = write_while_cancelled
            await stream.write(b"hello")
        TrioTCPStream.write = write_to_socket
        return await echoes(client, server)


async def escaping_exception() -> bool:
    """Does a host survive a stream handler that raises?"""
    try:
        async with running_host() as client, running_host() as server:
            await dial(client, server)
            stream = await client.new_stream(server.get_id(), [FAILING])
            with trio.move_on_after(PATIENCE_S):
                try:
                    await stream.read(1)
                except Exception as error:
                    logging.debug("the stream ended: %r", error)
            return await echoes(client, server)
    except* ZeroDivisionError:
        pass
    return False


async def stale_identity() -> bool:
    """Is a peer that comes back elsewhere remembered where it is now?"""
    seed32 = os.urandom(32)
    async with running_host() as server, running_host(seed32=seed32) as client:
        connection = await dial(client, server)
        await remembers(server, client)
        await connection.close()
        while server.get_network().get_connections():  # noqa: ASYNC110
            await trio.sleep(0.01)
        async with running_host(seed32=seed32) as elsewhere:
            await dial(elsewhere, server)
            return await remembers(server, elsewhere)


async def remembers(server: Any, client: Any) -> bool:
    """Does `server` learn in time where `client` listens?"""
    here, found = [str(one) for one in client.get_transport_addrs()], list[str]()
    with trio.move_on_after(PATIENCE_S):
        while found != here:
            await trio.sleep(0.01)
            if client.get_id() in server.get_peerstore().peer_ids():
                known = server.get_peerstore().addrs(client.get_id())
                found = [str(one).partition("/p2p/")[0] for one in known]
    return found == here


SCENARIOS: dict[str, tuple[Callable[[], Awaitable[object]], Callable[[], None]]] = {
    "deaf": (deaf, mend_inbound_slots),
    "cancelled-write": (cancelled_write, mend_cancelled_writes),
    "escaping-exception": (escaping_exception, mend_escaping_exceptions),
    "stale-identity": (stale_identity, mend_stale_identities),
}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    scenario, mend = SCENARIOS[sys.argv[1]]
    if sys.argv[2] == "mended":
        mend()
    print(json.dumps(trio.run(scenario)))
