"""What a device does at its owner's word, and at nobody else's.

One request and one answer a message, between the owner's node and the device's, outside any
community: what it is about (keys, ownership, the machine itself) no zome can reach.  The transport
has proved who asks.  An owner that took a new key is believed once the identity zome proves it.
"""

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from ioe_node.conductor import leaving, succession
from ioe_node.conductor.invitation import INVITATION_BYTES_MAX
from ioe_node.errors import Busy, CallError, NotTheOwner
from ioe_node.hdi import AgentPubKey
from ioe_node.model.action import Hash39
from ioe_node.model.codec import Codec, encode
from ioe_node.model.hashes import AGENT, check_hash

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

OWNER_PROTOCOL = "/ioe/owner/1"
POLICY_BYTES_MAX = 64 * 1024
INVITATIONS_MAX = 16
MESSAGE_BYTES_MAX = INVITATIONS_MAX * (INVITATION_BYTES_MAX + 16)


class _Message(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A request or an answer."""


class Release(_Message, frozen=True, tag="release"):
    """Leave your owner, to a buyer or to anybody, as the chains say; a key alone cannot."""

    buyer: Hash39 | None


class Rotate(_Message, frozen=True, tag="rotate"):
    """Take your next key."""


class SetPolicy(_Message, frozen=True, tag="policy"):
    """Keep to these rules: bytes that their owner has signed."""

    policy: Annotated[bytes, Meta(max_length=POLICY_BYTES_MAX)]


class ShowInvitations(_Message, frozen=True, tag="invitations"):
    """Which communities are you in, and what admitted me to them?"""


class Succeeded(_Message, frozen=True, tag="succeeded"):
    """You were my owner; your identity has this key now."""

    owner: Hash39


class Done(_Message, frozen=True, tag="done"):
    """It is kept, and will be done whatever happens."""


class Owes(_Message, frozen=True, tag="owes"):
    """Before that somebody has to pay what this device owes, in micro-credits."""

    network: Hash39
    amount_micro: Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Shown(_Message, frozen=True, tag="shown"):
    """Invitations for the asker, one a community."""

    invitations: Annotated[
        tuple[Annotated[bytes, Meta(max_length=INVITATION_BYTES_MAX)], ...],
        Meta(max_length=INVITATIONS_MAX),
    ]


Request = Release | Rotate | SetPolicy | ShowInvitations
Answer = Done | Owes | Shown | Succeeded
requests: Codec[Request] = Codec(Request, "owner's request", MESSAGE_BYTES_MAX)
answers: Codec[Answer] = Codec(Answer, "device's answer", MESSAGE_BYTES_MAX)


async def answer(conductor: "Conductor", peer: AgentPubKey, data: bytes) -> bytes:
    """The answer to one request; raises `NotTheOwner`, `Malformed` or `Busy`."""
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
    except CallError as error:
        raise Busy(str(error)) from None


async def _answer(conductor: "Conductor", request: Request) -> Answer:
    match request:
        case Release():
            return await _release(conductor, request)
        case Rotate():
            succession.turn(conductor, succession.next_device_seed(conductor.keystore.secrets))
        case SetPolicy():
            conductor.policy_received(request.policy)
        case ShowInvitations():
            return Shown(await succession.owners_invitations(conductor))
    return Done()


async def _release(conductor: "Conductor", request: Release) -> Done | Owes:
    if request.buyer is not None:
        check_hash(request.buyer, AGENT)
    if await leaving.let_go_to(conductor) != (True, request.buyer):
        raise Busy("the chains do not say so, or not here yet; try again")
    for cell in conductor.cells.values():
        owed = -(await cell.call("currency", "balance", {}))["balance_micro"]
        if owed > 0:
            return Owes(cell.space.dna, owed)
    leaving.leave(conductor, request.buyer)
    return Done()


async def ask(conductor: "Conductor", device: AgentPubKey, request: Request) -> Answer:
    """Have a device of ours answer.

    Raises `TransportError` (away: try again), `Refused` or `Malformed`.
    """
    data = await conductor.transport.request(OWNER_PROTOCOL, device, encode(request))
    return answers.decode(data)
