"""This node as a device, and as an owner of devices: claiming, enrolling, metering.

An owner gives a device its seed inside the pairing channel and vouches for the key that the
seed gives; the device makes itself that key, joins, and acknowledges its owner.
"""

import os
from typing import TYPE_CHECKING, Any

import trio
from msgspec.structs import replace

from ioe_node.conductor import keytree, visibility
from ioe_node.conductor.home import Pending
from ioe_node.conductor.unowned import FAILED_TOLD
from ioe_node.config import Device
from ioe_node.drivers.poller import Poller
from ioe_node.drivers.slicer import Interval, Slicer
from ioe_node.errors import CallError, IoeError, PairingRefused
from ioe_node.hdi import AgentPubKey
from ioe_node.plugins import load
from ioe_node.workflows.space import log

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

ENROL_RETRY_S = 1.0
ACKNOWLEDGE_RETRY_S = 1.0


async def claim(
    conductor: "Conductor", cell: "Cell", device: AgentPubKey, code: str, name: str
) -> dict[str, Any]:
    """Pair with a device that is near and take it into our portfolio in `cell`.

    The claim is on our disk before the device gets its seed, so that whatever happens after
    that it is finished (`finish_claims`); before that, nothing of a refused one is kept.
    """
    home = conductor.home
    card = conductor.meeting.find(device)
    if card is None or card.state != "unowned":
        raise CallError("no such device is near and without an owner; see 'ioe device list'")
    # After a recovery from the words the count begins anew; our chain still knows.
    enrolled = await cell.call("identity", "enrolled", {})
    state = home.state()  # after the waiting: two claims at once do not get one number
    number = max(state.next_device, len(enrolled))
    home.keep(replace(state, next_device=number + 1))
    visibility.recognise(conductor)
    seed = keytree.device_seed(conductor.keystore.secrets["root"], number)
    agent = keytree.device_agent(seed)
    invitation = conductor.invite(cell, agent, "device")
    space = cell.space
    pending = Pending(space.dna, agent, card.kind, name)
    pairing = load("discovery.pairing:Grant")
    grant = pairing(
        device_seed=seed,
        owner=space.agent,
        invitation=invitation.encoded(),
        name=name,
        policy=conductor.policy.sealed(),
    )

    def promise() -> None:
        state = home.state()
        home.keep(replace(state, pending=(*state.pending, pending)))

    try:
        paired = await conductor.meeting.claim(
            device, code, grant, keytree.device_agent, os.urandom, promise
        )
    except PairingRefused:
        _forget(conductor, pending)
        raise
    if paired.failed >= FAILED_TOLD:
        text = f"{paired.failed} attempts to pair with '{name}' had failed before we claimed it"
        conductor.alert({"kind": "guesses", "text": text, "device": agent})
    return {"device": agent, "kind": card.kind, "name": name, "failed": paired.failed}


def _forget(conductor: "Conductor", pending: Pending) -> None:
    state = conductor.home.state()
    if pending in state.pending:
        left = tuple(each for each in state.pending if each != pending)
        conductor.home.keep(replace(state, pending=left))


async def enrol_pending(conductor: "Conductor") -> None:
    """Write on our chain what devices have taken our seed: those seen in their network."""
    for pending in conductor.home.state().pending:
        cell = conductor.cell_of(pending.network)
        if cell is None or AgentPubKey(pending.device) not in cell.space.others():
            continue
        # A crash after the commit leaves the claim open, though the device is enrolled.
        if pending.device not in await cell.call("identity", "enrolled", {}):
            payload = {"device": pending.device, "kind": pending.kind, "name": pending.name}
            await cell.call("identity", "enrol", payload)
        _forget(conductor, pending)


async def finish_claims(conductor: "Conductor") -> None:
    """Enrol the devices that have taken our seed, now or before a crash; for ever."""
    while True:
        try:
            await enrol_pending(conductor)
        except IoeError as error:
            log.info("enrolling: %s", error)
        await trio.sleep(ENROL_RETRY_S)


async def acknowledge(cell: "Cell", owner: AgentPubKey) -> None:
    """Say who owns us, once we can see that the owner says so."""
    while True:
        try:
            if await cell.call("identity", "acknowledge", {"owner": owner}) is not None:
                return
        except IoeError as error:
            log.info("acknowledging our owner: %s", error)
        await trio.sleep(ACKNOWLEDGE_RETRY_S)


async def make_poller(conductor: "Conductor", cell: "Cell", device: Device) -> Poller:
    """The poller of our machine, going on where its chain left off."""
    newest = await cell.call("metering", "history", {"limit": 1})
    resume = None
    if newest:
        last = newest[0]
        resume = (
            last["end"],
            last["import_register_milli_wh"],
            last["export_register_milli_wh"],
        )
    interval_us = cell.space.rules.definition.properties.interval_us
    meter = load(device.driver).from_options(device.options)

    async def record(intervals: list[Interval]) -> None:
        readings = [
            {
                "start": each.start_us,
                "end": each.end_us,
                "import_milli_wh": each.import_milli_wh,
                "export_milli_wh": each.export_milli_wh,
                "import_register_milli_wh": each.import_register_milli_wh,
                "export_register_milli_wh": each.export_register_milli_wh,
                "quality": each.quality,
                "method": device.method,
            }
            for each in intervals
        ]
        await cell.call("metering", "record", {"readings": readings})

    slicer = Slicer(interval_us, resume)
    return Poller(meter, slicer, device.poll_ms / 1000, conductor.rng, record)
