"""What an owner asks of its device, or of those who hold keys for it, and the answers.

One request and one answer a message, between the owner's node and another, outside any
community: what it is about (keys, ownership, the machine itself) no zome can reach.  The transport
has proved who asks.
"""

from typing import TYPE_CHECKING, Annotated, Literal, get_args

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

STATE_CHARS_MAX = 32
WHY_CHARS_MAX = 500
QUANTITY_MAX = 10**12
"""In milliwatts: no machine of an owner draws a gigawatt."""
APPS_MAX = 8
DECISIONS_MAX = 20
NAME_CHARS_MAX = 64
SETTINGS_CHARS_MAX = 4_096
AMOUNT_MAX = 10**15
"""In micro-credits or milli-Wh: exact in every JSON reader."""

Ability = Literal["switch", "limit", "battery"]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Amount = Annotated[int, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]


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


class Look(_Message, frozen=True, tag="look"):
    """How is your machine?"""


class SetSwitch(_Message, frozen=True, tag="switch"):
    """Switch your machine's load."""

    on: bool


class SetLimit(_Message, frozen=True, tag="limit"):
    """Have your machine draw, or give, no more than so many milliwatts; None lifts the bound."""

    milli_w: Annotated[int, Meta(ge=0, le=QUANTITY_MAX)] | None


class ShowApps(_Message, frozen=True, tag="apps"):
    """Which smart energy apps run beside you, and what have they done?"""


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


class Looked(_Message, frozen=True, tag="looked"):
    """A machine as its node sees it.

    `visibility` is who hears of it, `share` what its community sees of its meter; `state` and `why`
    are its driver's, `can` what may be asked of it; `at_us` is the time of the reading, None before
    the first one.  `power_milli_w` is import positive, export negative.
    """

    visibility: Literal["public", "private"]
    share: Literal["readings", "nothing"]
    state: Annotated[str, Meta(max_length=STATE_CHARS_MAX)]
    why: Annotated[str, Meta(max_length=WHY_CHARS_MAX)]
    can: Annotated[tuple[Ability, ...], Meta(max_length=len(get_args(Ability)))]
    at_us: Count | None
    import_milli_wh: Count | None
    export_milli_wh: Count | None
    power_milli_w: Annotated[int, Meta(ge=-QUANTITY_MAX, le=QUANTITY_MAX)] | None
    switched_on: bool | None
    stored_bp: Annotated[int, Meta(ge=0, le=10_000)] | None


class Decided(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an app did and why; an amount is None where the decision has none.

    Prices are what a kWh costs and the bound that made it dear, in micro-credits.
    """

    at_us: Count
    what: Annotated[str, Meta(max_length=STATE_CHARS_MAX)]
    why: Annotated[str, Meta(max_length=WHY_CHARS_MAX)]
    micro_per_kwh: Amount | None = None
    threshold_micro: Amount | None = None
    saved_milli_wh: Amount | None = None
    earns_micro: Amount | None = None


class AppShown(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An app beside a device; `settings` are the JSON of what is in force, `decisions` newest
    first.
    """

    name: Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
    settings: Annotated[str, Meta(max_length=SETTINGS_CHARS_MAX)]
    decisions: Annotated[tuple[Decided, ...], Meta(max_length=DECISIONS_MAX)]


class AppsShown(_Message, frozen=True, tag="running"):
    """The apps that run beside this device."""

    apps: Annotated[tuple[AppShown, ...], Meta(max_length=APPS_MAX)]


class Unable(_Message, frozen=True, tag="unable"):
    """The machine cannot, or its driver has given up; asking again will not help."""

    why: Annotated[str, Meta(max_length=WHY_CHARS_MAX)]


OfKeys = Release | Rotate | SetPolicy | ShowInvitations | Consider
OfMachine = MeterChanged | Look | SetSwitch | SetLimit | ShowApps
Request = OfKeys | OfMachine
Answer = Done | Owes | Shown | Succeeded | Consented | Looked | AppsShown | Unable
requests: Codec[Request] = Codec(Request, "owner's request", MESSAGE_BYTES_MAX)
answers: Codec[Answer] = Codec(Answer, "device's answer", MESSAGE_BYTES_MAX)


async def ask(conductor: "Conductor", device: AgentPubKey, request: Request) -> Answer:
    """Have a device of ours, or a holder, answer.

    Raises `TransportError` (away: try again), `Refused` or `Malformed`.
    """
    data = await conductor.transport.request(OWNER_PROTOCOL, device, encode(request))
    return answers.decode(data)
