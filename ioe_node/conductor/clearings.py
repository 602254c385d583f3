"""Have local clients told when an interval of a market is cleared, whoever wrote its gate.

An integrated gate is judged by the market's own `announce`, which tells what counts here.
"""

import logging
from typing import TYPE_CHECKING

import trio

from ioe_node.errors import IoeError
from ioe_node.hdi import ActionHash

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.market")

GATE = "market.Gate"
WAITING_MAX = 64

Heard = tuple[bytes, ActionHash]
"""A network, and a gate integrated in it."""


async def watch(conductor: "Conductor") -> None:
    """Announce what others cleared; for ever.  Of too many at once, some are not told."""
    send, receive = trio.open_memory_channel[Heard](WAITING_MAX)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_listen, conductor, send)
        async for network, gate in receive:
            cell = conductor.cell_of(network)
            try:
                if cell is not None:
                    await cell.call("market", "announce", {"gate": gate})
            except IoeError as error:
                log.info("a gate that is not announced: %s", error)


async def _listen(conductor: "Conductor", send: trio.MemorySendChannel[Heard]) -> None:
    with conductor.signals.follow() as signals:
        async for signal in signals:
            if signal["kind"] == "integrated" and signal["type"] == GATE:
                try:
                    send.send_nowait((signal["dna"], signal["hash"]))
                except trio.WouldBlock:
                    log.warning("more gates than can be announced; some are not told")
