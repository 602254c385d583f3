"""What an owner asks of its device, or of those who hold keys for it, and the answers.

One request and one answer a message, between the owner's node and another, outside any
community: what it is about (keys, ownership, the machine itself) no zome can reach.  The transport
has proved who asks.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from ioe_node.conductor.invitation import INVITATION_BYTES_MAX
from ioe_node.conductor.keytree import SEED_BYTES
from ioe_node.hdi import AgentPubKey, Consent
from ioe_node.model.action import Hash39
from ioe_node.model.codec import Codec, encode
from ioe_node.model.consent import KEYS_MAX

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

OWNER_PROTOCOL = "/ioe/owner/1"
POLICY_BYTES_MAX = 64 * 1024
REQUEST_FILE_BYTES_MAX = 256 * 1024
INVITATIONS_MAX = 16
MESSAGE_BYTES_MAX = INVITATIONS_MAX * (INVITATION_BYTES_MAX + 16)


class _Message(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A request or an answer."""


class Release(_Message, frozen=True, tag="release"):
    """Leave your owner, to a buyer or to anybody, as the chains say; a key alone cannot."""

    buyer: Hash39 | None


class Rotate(_Message, frozen=True, tag="rotate"):
    """Go on under the key of another device seed, which this invitation admits."""

    device_seed: Annotated[bytes, Meta(min_length=SEED_BYTES, max_length=SEED_BYTES)]
    invitation: Annotated[bytes, Meta(max_length=INVITATION_BYTES_MAX)]


class SetPolicy(_Message, frozen=True, tag="policy"):
    """Keep to these rules: bytes that their owner has signed."""

    policy: Annotated[bytes, Meta(max_length=POLICY_BYTES_MAX)]


class ShowInvitations(_Message, frozen=True, tag="invitations"):
    """Which communities are you in, and what admitted me to them?"""


class Consider(_Message, frozen=True, tag="consider"):
    """To a holder of our keys: consent to this (the bytes of a request's file)."""

    request: Annotated[bytes, Meta(max_length=REQUEST_FILE_BYTES_MAX)]


class Consented(_Message, frozen=True, tag="consented"):
    """The consents that this holder has given to it so far."""

    consents: Annotated[tuple[Consent, ...], Meta(max_length=KEYS_MAX)]


class Succeeded(_Message, frozen=True, tag="succeeded"):
    """You were my owner; your identity has this key now."""

    owner: Hash39


class MeterChanged(_Message, frozen=True, tag="meter"):
    """Your meter is another one, or counts from another value: begin its count anew."""

    reason: Literal["reset", "replaced", "clock"]
    serial: Annotated[str, Meta(max_length=64)]


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


Request = Release | Rotate | SetPolicy | ShowInvitations | Consider | MeterChanged
Answer = Done | Owes | Shown | Succeeded | Consented
requests: Codec[Request] = Codec(Request, "owner's request", MESSAGE_BYTES_MAX)
answers: Codec[Answer] = Codec(Answer, "device's answer", MESSAGE_BYTES_MAX)


async def ask(conductor: "Conductor", device: AgentPubKey, request: Request) -> Answer:
    """Have a device of ours, or a holder, answer.

    Raises `TransportError` (away: try again), `Refused` or `Malformed`.
    """
    data = await conductor.transport.request(OWNER_PROTOCOL, device, encode(request))
    return answers.decode(data)
