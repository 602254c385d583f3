"""This node as a device, and as an owner of devices: claiming, enrolling, metering.

An owner gives a device its seed inside the pairing channel and vouches for the key that the
seed gives; the device makes itself that key, joins, and acknowledges its owner.
"""

import os
from typing import TYPE_CHECKING, Any

import trio
from msgspec.structs import replace

from ioe_node.conductor import communities, keytree, owner_calls, visibility
from ioe_node.conductor.home import Pending
from ioe_node.conductor.recording import Recorder
from ioe_node.conductor.unowned import FAILED_TOLD
from ioe_node.config import Device
from ioe_node.drivers.driver import TurnsOver
from ioe_node.drivers.poller import Poller
from ioe_node.drivers.slicer import Slicer
from ioe_node.errors import CallError, IoeError, PairingRefused
from ioe_node.hdi import AgentPubKey
from ioe_node.plugins import load, load_driver
from ioe_node.workflows.space import log

if TYPE_CHECKING:
    from ioe_node.conductor.cell import Cell
    from ioe_node.conductor.conductor import Conductor

ENROL_RETRY_S = 1.0
SECOND_US = 1_000_000
SECONDS_PER_HOUR = 3_600


async def claim(
    conductor: "Conductor", cell: "Cell", device: AgentPubKey, code: str, name: str
) -> dict[str, Any]:
    """Pair with a device that is near and take it into our portfolio in `cell`.

    The claim is on our disk before the device gets its seed, so that whatever happens after
    that it is finished (`finish_claims`); of a refused one nothing is kept but our chain's
    invitation of a key that nobody has.
    """
    home = conductor.home
    card = conductor.meeting.find(device)
    if card is None or card.state != "unowned":
        raise CallError("no such device is near and without an owner; see 'ioe device list'")
    seed = await _fresh_seed(conductor)
    visibility.recognise(conductor)
    agent = keytree.device_agent(seed)
    invitation = await communities.invite(conductor, cell, agent, "device")
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


async def _fresh_seed(conductor: "Conductor") -> bytes:
    """A device seed that none of ours has had.

    After a recovery from the words the count begins anew, and the chains still know.
    """
    home = conductor.home
    while True:
        state = home.state()
        home.keep(replace(state, next_device=state.next_device + 1))
        portfolio = keytree.portfolios_of(conductor.keystore.secrets)[-1]
        seed = keytree.device_seed(portfolio, state.next_device)
        agent, cells = keytree.device_agent(seed), conductor.cells_with("identity")
        if not any([agent in await cell.call("identity", "enrolled", {}) for cell in cells]):
            return seed


async def rotate(conductor: "Conductor", cell: "Cell", device: AgentPubKey) -> AgentPubKey:
    """Have a device of ours take its next key, of a seed of our newest portfolio; that key.

    It is enrolled as soon as it is seen, so it is on our disk before the device is told.
    """
    seed = await _fresh_seed(conductor)
    agent = keytree.device_agent(seed)
    for each in await cell.call("identity", "portfolio", {}):
        if each["device"] == device:
            pending = Pending(cell.space.dna, agent, each["kind"], each["name"])
            state = conductor.home.state()
            if pending not in state.pending:
                conductor.home.keep(replace(state, pending=(*state.pending, pending)))
    given = await communities.invite(conductor, cell, agent, "device")
    await owner_calls.ask(conductor, device, owner_calls.Rotate(seed, given.encoded()))
    return agent


async def enrol_again(cell: "Cell") -> None:
    """Say of every device of ours that it is our present key's, and not only an earlier one's."""
    for each in await cell.call("identity", "portfolio", {}):
        if each["enrolled_by"] != cell.space.agent:
            payload = {name: each[name] for name in ("device", "kind", "name")}
            await cell.call("identity", "enrol", payload)


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


async def make_poller(conductor: "Conductor", cell: "Cell", device: Device) -> Poller:
    """The poller of our machine, going on where its chain left off."""
    recorder = Recorder(conductor, cell, device.method)
    properties = cell.space.rules.definition.properties
    interval_us = properties.interval_us
    meter = load_driver(device.driver).from_options(device.options)

    def is_open() -> bool:
        head = cell.space.store.head(cell.space.agent)
        return head is not None and not head.closed

    def refused(why: str) -> None:
        conductor.alert({"kind": "fault", "text": f"{device.name}: {why}"})

    slicer = Slicer(
        interval_us,
        await recorder.resume(),
        properties.power_milli_w_max * (interval_us // SECOND_US) // SECONDS_PER_HOUR,
        meter.turns_over_milli_wh if isinstance(meter, TurnsOver) else None,
    )
    return Poller(
        meter,
        slicer,
        device.poll_ms / 1000,
        conductor.rng,
        recorder.record,
        is_open,
        conductor.history.hear,
        refused,
    )
