"""A process that echoes on one protocol: `echo_process.py SEED_HEX PROTOCOL LISTEN`."""

import sys

import trio

from ioe_node.model.hashes import AgentPubKey
from ioe_node.net.libp2p_transport import open_transport
from ioe_node.net.transport import Service


async def echo(_peer: AgentPubKey, message: bytes) -> bytes:
    return message


def admit(_peer: AgentPubKey, _hello: bytes) -> None:
    """Everyone is welcome."""


async def main(seed_hex: str, protocol: str, listen: str) -> None:
    async with open_transport(bytes.fromhex(seed_hex), listen) as transport:
        transport.offer(protocol, Service(hello=lambda: b"sesame", admit=admit, handle=echo))
        print(transport.addresses()[0], flush=True)
        await trio.sleep_forever()


trio.run(main, *sys.argv[1:])
