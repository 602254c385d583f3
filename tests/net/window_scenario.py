"""How many window updates two hosts send, as shipped and mended, in a process of its own.

Prints one line of JSON: {"as_shipped": updates, "mended": updates, "bulk": bytes that came back}.
Its own process, because hosts leave sockets and patched classes behind.
"""

import json
import logging
import os
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto import ed25519
from libp2p.stream_muxer.yamux.yamux import YamuxStream
from multiaddr import Multiaddr

from ioe_node.net.libp2p_windows import mend_window_updates

ECHO = "/test/echo/1"
ROUNDS = 20
BULK_BYTES = 3 * 1024 * 1024
READ_BYTES = 65_536

updates: list[int] = []


async def echo(stream: Any) -> None:
    """Raises nothing: what a handler raises stops a host."""
    try:
        while data := await stream.read(READ_BYTES):
            await stream.write(data)
    except Exception as error:
        logging.debug("the stream ended: %r", error)


async def converse(data: bytes, rounds: int) -> int:
    """Send `data` to an echo and take it back, so many times; how many bytes came back."""
    address = Multiaddr("/ip4/127.0.0.1/tcp/0")
    one = new_host(key_pair=ed25519.create_new_key_pair(os.urandom(32)))
    two = new_host(key_pair=ed25519.create_new_key_pair(os.urandom(32)))
    back = bytearray()
    async with one.run([address]), two.run([address]):
        two.set_stream_handler(ECHO, echo)
        await one.get_network().dial_addr(two.get_transport_addrs()[0], two.get_id())
        stream = await one.new_stream(two.get_id(), [ECHO])
        for number in range(1, rounds + 1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.write, data)
                while len(back) < number * len(data):
                    back += await stream.read(READ_BYTES)
        assert bytes(back) == data * rounds
    return len(back)


def count_updates() -> None:
    send = YamuxStream.send_window_update

    async def noted(self: YamuxStream, increment: int, skip_lock: bool = False) -> None:
        updates.append(increment)
        await send(self, increment, skip_lock)

    YamuxStream.send_window_update = noted


def main() -> None:
    logging.disable(logging.CRITICAL)
    count_updates()
    found = {}
    trio.run(converse, b"a message", ROUNDS)
    found["as_shipped"] = len(updates)
    updates.clear()
    mend_window_updates()
    mend_window_updates()
    trio.run(converse, b"a message", ROUNDS)
    found["mended"] = len(updates)
    found["bulk"] = trio.run(converse, os.urandom(BULK_BYTES), 2)
    print(json.dumps(found), flush=True)
    os._exit(0)  # what the hosts leave behind is nobody's business here


if __name__ == "__main__":
    main()
