"""What REST takes and gives.

Agents and hashes are text (`uhCAk...`), energy is in milli-Wh, power in milliwatts (import
positive, export negative), money in micro-credits, time in microseconds since 1970.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

TIME_US_MAX = 4_102_444_800_000_000
"""The year 2100."""
MICRO_MAX = 2**53 - 1
PAGE_MAX = 500

Kind = Literal["consumer", "generator", "storage", "monitor"]
AgentText = Annotated[str, Meta(pattern="^uhCAk[A-Za-z0-9_-]{48}$", description="an agent's key")]
HashText = Annotated[str, Meta(pattern="^uhC[A-Za-z0-9_-]{50}$", description="a hash")]
TimeUs = Annotated[int, Meta(ge=0, le=TIME_US_MAX, description="microseconds since 1970")]
Micro = Annotated[int, Meta(ge=1, le=MICRO_MAX, description="micro-credits")]
MilliW = Annotated[int, Meta(ge=0, le=10**12, description="milliwatts")]
CommunityName = Annotated[
    str, Meta(min_length=1, max_length=200, description="a community, by the beginning of its name")
]
Step = Literal["15m", "hour", "day", "week", "month", "year"]


class In(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What comes in: nothing unknown in it."""


# -- parameters -----------------------------------------------------------------------------------


class InCommunity(In, frozen=True):
    """Which community, where we are in several."""

    community: CommunityName | None = None


class MembersOf(In, frozen=True):
    """Which community, and whether our view of each member is wanted, which takes longer."""

    community: CommunityName | None = None
    reputation: bool = False


class OfAgent(In, frozen=True):
    """A device, in the path."""

    agent: AgentText


class Since(In, frozen=True):
    """Alerts after this number."""

    since: Annotated[int, Meta(ge=0, le=MICRO_MAX)] = 0


class Statement(In, frozen=True):
    """A page of the statement; `after` is the `next` of the page before."""

    community: CommunityName | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 100
    after: Annotated[int, Meta(ge=0, le=9_000)] = 0


class Span(In, frozen=True):
    """A span of time."""

    from_us: TimeUs
    to_us: TimeUs


class HistoryOf(In, frozen=True):
    """A device's energy over a span, summed by steps; days and months are this machine's."""

    device: AgentText
    from_us: TimeUs
    to_us: TimeUs
    step: Step = "15m"


class OnDay(In, frozen=True):
    """A day of this machine's calendar; today if none is given."""

    day: Annotated[str, Meta(pattern="^(19[7-9][0-9]|2[01][0-9]{2})-[0-9]{2}-[0-9]{2}$")] = ""


class OfApp(In, frozen=True):
    """An app, in the path."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]


class OrderOf(In, frozen=True):
    """An order, in the path."""

    hash: HashText
    community: CommunityName | None = None


# -- bodies ---------------------------------------------------------------------------------------


class SwitchTo(In, frozen=True):
    """On or off."""

    on: bool


class LimitTo(In, frozen=True):
    """No more than this; null lifts the bound."""

    milli_w: MilliW | None


class ClaimOf(In, frozen=True):
    """A device that is near and without an owner, and the code that it shows."""

    device: AgentText
    code: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(min_length=1, max_length=48)] | None = None
    community: CommunityName | None = None


class Payment(In, frozen=True):
    """Credits for another member; `request` is a name for this payment, never used for another."""

    to: AgentText
    micro_credits: Micro
    memo: Annotated[str, Meta(max_length=140)] = ""
    community: CommunityName | None = None
    request: Annotated[str, Meta(max_length=64)] = ""


class NewSettings(In, frozen=True):
    """Settings of an app, by the names in its schema, for one device of ours or all of them."""

    settings: Annotated[
        dict[
            str,
            bool
            | Annotated[int, Meta(ge=-MICRO_MAX, le=MICRO_MAX)]
            | Annotated[str, Meta(max_length=200)],
        ],
        Meta(min_length=1, max_length=64),
    ]
    device: AgentText | None = None


class NewOrder(In, frozen=True):
    """An offer or a bid of energy in a span of time."""

    side: Literal["offer", "bid"]
    milli_wh: Annotated[int, Meta(ge=1, le=10**12)]
    price_micro_credits_per_kwh: Annotated[int, Meta(ge=0, le=10**12)]
    start_us: TimeUs
    end_us: TimeUs
    community: CommunityName | None = None


# -- answers --------------------------------------------------------------------------------------


class CommunityState(Struct, frozen=True):
    """One community that we are in; `unpublished` actions wait for those who should hold them."""

    name: str
    dna: str
    agent: str
    members: int
    chain_seq: int
    unpublished: int


class Status(Struct, frozen=True):
    """This node; its role is owner, device or, for a device that waits for one, unowned."""

    role: str
    name: str
    agent: str
    version: str
    communities: list[CommunityState]
    faults: list[str]


class Machine(Struct, frozen=True):
    """One device of ours; `state` is its driver's, "away" where its node does not answer.

    `import_milli_wh` and `export_milli_wh` are its registers.
    """

    agent: str
    name: str
    kind: Kind
    community: str
    state: str
    visibility: Literal["public", "private"] | None
    share: Literal["readings", "nothing"] | None
    power_milli_w: int | None
    import_milli_wh: int | None
    export_milli_wh: int | None
    switched_on: bool | None
    can: list[Literal["switch", "limit", "battery"]]
    stored_bp: int | None
    at_us: int | None
    why: str


class Near(Struct, frozen=True):
    """A device that announces itself near here."""

    agent: str
    name: str
    kind: str
    state: str


class Switched(Struct, frozen=True):
    """What the device has confirmed."""

    on: bool


class Limited(Struct, frozen=True):
    """What the device has confirmed."""

    milli_w: int | None


class Claimed(Struct, frozen=True):
    """A device that is ours; `failed` attempts to pair with it were made before."""

    device: str
    kind: str
    name: str
    failed: int


class Member(Struct, frozen=True):
    """A member of a community; `reputation` is our own view in points, where it was asked for."""

    agent: str
    name: str
    kind: str
    near: bool
    reputation: int | None


class Peer(Struct, frozen=True):
    """One whom we know of in a community: see 'ioe peers'."""

    agent: str
    name: str
    role: str
    arc: str
    addresses: list[str]
    asked_at_us: int
    score_points: int
    charges: int
    last_charge: str
    last_charge_us: int
    shunned_s: int
    slowed: bool
    warranted: bool
    refuses_us: str


class Alert(Struct, frozen=True):
    """What an owner wants to hear of: see 'ioe alerts'."""

    id: int
    at_us: int
    kind: str
    text: str
    facts: dict[str, str | int | bool | None]


class StatementEntry(Struct, frozen=True):
    """One settlement; `final` once a quorum holds it, `energy_milli_wh` where it was a sale."""

    at_us: int
    direction: Literal["in", "out"]
    counterparty: str
    micro_credits: int
    kind: Literal["sale", "payment"]
    energy_milli_wh: int | None
    final: bool
    why: str
    hash: str


class Wallet(Struct, frozen=True):
    """What we have, and how far below zero we may go; `next` pages on."""

    balance_micro_credits: int
    pending_micro_credits: int
    limit_micro_credits: int
    entries: list[StatementEntry]
    next: int | None


class Paid(Struct, frozen=True):
    """The settlement's action on our chain."""

    hash: str


class Point(Struct, frozen=True):
    """The energy of one step; `estimated` if any of it is."""

    start_us: int
    import_milli_wh: int
    export_milli_wh: int
    estimated: bool


class History(Struct, frozen=True):
    """Points in order of time; `complete` is False where the span holds more than was read."""

    points: list[Point]
    complete: bool


class FlowDevice(Struct, frozen=True):
    """One device in the flow: import positive, export negative."""

    agent: str
    name: str
    kind: Kind
    power_milli_w: int | None


class Flow(Struct, frozen=True):
    """Power in the household now, None where nothing tells it.

    Solar is what is made, the battery positive when it gives, the grid positive when it gives,
    and home what is used: the sum of the three.  `rest_milli_w` is the part of it that no meter
    of a consumer counts.  Without a meter at the grid connection, `grid_measured` is False and
    home is only what meters count.
    """

    at_us: int
    solar_milli_w: int | None
    battery_milli_w: int | None
    grid_milli_w: int | None
    home_milli_w: int | None
    rest_milli_w: int | None
    grid_measured: bool
    devices: list[FlowDevice]


class SankeyNode(Struct, frozen=True):
    """Where energy comes from (`in` the household) or goes to."""

    id: str
    name: str
    kind: Literal["consumer", "generator", "storage", "monitor", "rest", "unmeasured"]


class SankeyLink(Struct, frozen=True):
    """Energy from one node to another."""

    source: str
    target: str
    milli_wh: int


class Sankey(Struct, frozen=True):
    """A day's energy; links add up, node by node, to what that meter counted."""

    day: str
    nodes: list[SankeyNode]
    links: list[SankeyLink]


class Source(Struct, frozen=True):
    """Energy from one origin; `g_co2` None where nobody says what it weighs."""

    name: str
    kind: str
    milli_wh: int
    g_co2: int | None


class Carbon(Struct, frozen=True):
    """Where the energy came from; None where neither certificates nor the community say."""

    import_milli_wh: int
    g_co2: int | None
    clean_bp: int | None
    by_source: list[Source]


class Order(Struct, frozen=True):
    """One open order."""

    hash: str
    agent: str
    side: Literal["offer", "bid"]
    milli_wh: int
    price_micro_credits_per_kwh: int
    start_us: int
    end_us: int
    ours: bool


class Match(Struct, frozen=True):
    """One trade."""

    at_us: int
    seller: str
    buyer: str
    milli_wh: int
    price_micro_credits_per_kwh: int
    why: str


class Market(Struct, frozen=True):
    """The open book and the newest trades."""

    orders: list[Order]
    matches: list[Match]
    price_micro_credits_per_kwh: int | None


class Placed(Struct, frozen=True):
    """The order's action on our chain."""

    hash: str


class Cancelled(Struct, frozen=True):
    """The order is taken back."""

    hash: str


class Decision(Struct, frozen=True):
    """What an app did and why; prices are of a kWh, the amounts of a saving that it claimed."""

    at_us: int
    what: str
    why: str
    micro_per_kwh: int | None
    threshold_micro: int | None
    saved_milli_wh: int | None
    earns_micro: int | None


class RunningApp(Struct, frozen=True):
    """A smart energy app beside a device; `decisions` are the newest, newest first.

    `schema` is the JSON Schema of the settings.  A device that does not answer is listed once,
    `name` null, with `why`.
    """

    name: str | None
    device: str
    device_name: str
    settings: dict[str, bool | int | float | str | None]
    schema: dict[str, Any]
    decisions: list[Decision]
    why: str


class SettingsKept(Struct, frozen=True):
    """The version of our policy that has them; each device lives by it once it is reached."""

    version: int


class Health(Struct, frozen=True):
    """Alive."""

    ok: bool
