"""What a device does at its owner's word, and at nobody else's.

A key alone has it do little: to leave, it wants the owner's word on the chains, which key-holders
may have had to sign.  An owner's next key is obeyed once the chains prove it
(`conductor.succession`); the one before it is only told that it was succeeded.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ioe_node.conductor import apps, holding, leaving, machine, succession
from ioe_node.conductor.consents import from_file
from ioe_node.conductor.invitation import decode_invitation
from ioe_node.conductor.meter_calls import begin_anew
from ioe_node.conductor.owner_calls import (
    WHY_CHARS_MAX,
    Answer,
    Consented,
    Consider,
    Done,
    Look,
    MeterChanged,
    Owes,
    Release,
    Request,
    Rotate,
    SetLimit,
    SetPolicy,
    SetSwitch,
    ShowApps,
    ShowInvitations,
    Shown,
    Succeeded,
    Unable,
    requests,
)
from ioe_node.drivers.slicer import Change
from ioe_node.errors import Busy, LocalError, Malformed, NotTheOwner, TransportError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.codec import encode
from ioe_node.model.hashes import AGENT, check_hash

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor


async def answer(conductor: "Conductor", peer: AgentPubKey, data: bytes) -> bytes:
    """The answer to one request; raises `NotTheOwner`, `Malformed` or `Busy`."""
    if conductor.role == "owner":
        return encode(_consider(conductor, peer, requests.decode(data)))
    if conductor.role != "device":
        raise NotTheOwner("this node is nobody's device")
    owner = conductor.keystore.secrets["owner"]
    if peer in conductor.predecessors:
        return encode(Succeeded(owner))
    if peer != owner:
        raise NotTheOwner("this device answers its owner only")
    request = requests.decode(data)
    try:
        return encode(await _answer(conductor, request))
    except LocalError as error:
        raise Busy(str(error)) from None


def _consider(conductor: "Conductor", peer: AgentPubKey, request: Request) -> Consented:
    """A person's node does nothing at another's word, but asks its own person."""
    if not isinstance(request, Consider):
        raise NotTheOwner("this node is nobody's device")
    try:
        asked = from_file(request.request)
    except LocalError as error:
        raise Malformed(str(error)) from None
    return Consented(holding.consider(conductor, peer, asked))


async def _answer(conductor: "Conductor", request: Request) -> Answer:
    match request:
        case Release():
            return await _release(conductor, request)
        case Rotate():
            given = decode_invitation(request.invitation)
            succession.turn(conductor, {"device": request.device_seed}, given=given)
        case SetPolicy():
            conductor.policy_received(request.policy)
        case ShowInvitations():
            return Shown(await succession.owners_invitations(conductor))
        case MeterChanged():
            begin_anew(conductor, Change(request.reason, request.serial))
        case Look():
            return await machine.look(conductor)
        case ShowApps():
            return apps.shown(conductor)
        case SetSwitch():
            return await _command(machine.switch(conductor, request.on))
        case SetLimit():
            return await _command(machine.limit(conductor, request.milli_w))
        case Consider():
            raise Malformed("a device holds no keys for others")
    return Done()


async def _command(command: Awaitable[None]) -> Done | Unable:
    try:
        await command
    except TransportError as error:
        raise Busy(str(error)) from None
    except LocalError as error:
        return Unable(str(error)[:WHY_CHARS_MAX])
    return Done()


async def _release(conductor: "Conductor", request: Release) -> Done | Owes:
    if request.buyer is not None:
        check_hash(request.buyer, AGENT)
    if await leaving.let_go_to(conductor) != (True, request.buyer):
        raise Busy("the chains do not say so, or not here yet; try again")
    for cell in conductor.cells_with("currency"):
        owed = -(await cell.call("currency", "balance", {}))["balance_micro"]
        if owed > 0:
            return Owes(cell.space.dna, owed)
    leaving.leave(conductor, request.buyer)
    return Done()
