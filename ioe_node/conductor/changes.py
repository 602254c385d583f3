"""What has become of the keys of our communities' devices and people, told to an owner.

    a warrant that says "revoked"               ──►  told: it comes to every member
    an integrated record that goes on for a key ──►  told, whoever's it is
    a device gone from our portfolio            ──►  looked up, told
    a device that somebody offers us            ──►  told

Of records this node holds only its share in a large community; the last two are looked for,
whoever holds the records.  Nothing is told twice, and nothing of before we joined: who joins
takes up a whole past.  (I-042)
"""

import logging
from typing import TYPE_CHECKING, Any

import trio

from ioe_node.errors import IoeError
from ioe_node.hdi import ActionHash, AgentPubKey

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.alerts")

LOOK_EVERY_S = 60.0
WAITING_MAX = 256
_TYPES = ("OpenChain", "identity.Keyset")
_KINDS = {"rotated": "new keys", "sold": "new owner", "revoked": "revoked"}
"""What the alert of a key is that ended so."""

Heard = tuple[bytes, ActionHash]
"""A network, and an action integrated in it."""


async def watch(conductor: "Conductor") -> None:
    """Tell what changes; for ever."""
    send, receive = trio.open_memory_channel[Heard](WAITING_MAX)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_listen, conductor, send)
        nursery.start_soon(_look, conductor)
        async for network, action in receive:
            cell = conductor.cell_of(network)
            if cell is not None:
                try:
                    await _read(conductor, cell, action)
                except IoeError as error:
                    log.info("what a record changes: %s", error)


async def _listen(conductor: "Conductor", send: trio.MemorySendChannel[Heard]) -> None:
    """Pick what may change a key, so fast that no signal is missed."""
    with conductor.signals.follow() as signals:
        async for signal in signals:
            if signal["kind"] == "warrant" and signal["revoked_us"] is not None:
                if _is_news(conductor, signal["dna"], signal["revoked_us"]):
                    _tell(conductor, {"kind": "revoked", "agent": signal["agent"]})
            elif signal["kind"] == "integrated" and signal["type"] in _TYPES:
                try:
                    send.send_nowait((signal["dna"], signal["hash"]))
                except trio.WouldBlock:
                    log.warning("more changes of keys than can be read; some are not told")


async def _read(conductor: "Conductor", cell: "Cell", action: ActionHash) -> None:
    event = await cell.call("identity", "change", {"by": action})
    if event is not None and _is_news(conductor, cell.space.dna, event.pop("since_us")):
        _tell(conductor, event)


async def _look(conductor: "Conductor") -> None:
    """See which devices our portfolio has lost, and which are offered to it."""
    ours: dict[bytes, set[AgentPubKey]] = {}
    while True:
        for cell in conductor.cells_with("identity"):
            try:
                await _compare(conductor, cell, ours.setdefault(cell.space.dna, set()))
                for each in await cell.call("identity", "offered", {}):
                    event = {"seller": each["seller"], "offer": each["offer"]}
                    _tell(conductor, {"kind": "offered", "agent": each["device"], **event}, "offer")
            except IoeError as error:
                log.info("looking at our portfolio: %s", error)
        await trio.sleep(LOOK_EVERY_S)


async def _compare(conductor: "Conductor", cell: "Cell", ours: set[AgentPubKey]) -> None:
    listed = {each["device"] for each in await cell.call("identity", "portfolio", {})}
    for device in sorted(ours - listed):
        for era in await cell.call("identity", "history", {"agent": device}):
            if era["agent"] == device and era["until_us"] is not None:
                ours.discard(device)
                if era["how"] in _KINDS:
                    keys = {"successor": era["to"], "owner": era["to"]}
                    _tell(conductor, {"kind": _KINDS[era["how"]], "agent": device, **keys})
    ours |= listed


def _is_news(conductor: "Conductor", network: bytes, since_us: int) -> bool:
    """Whether this came about after our own chain began."""
    cell = conductor.cell_of(network)
    first = None if cell is None else cell.space.store.record_at(cell.space.agent, 0)
    return first is not None and since_us >= first.action.timestamp_us


def _tell(conductor: "Conductor", event: dict[str, Any], about: str = "agent") -> None:
    if not conductor.alerts.told(event["kind"], about, event[about]):
        conductor.alert(event)
