"""Orders and the rules that let everyone clear the same book (I-090).

An interval's orders hang at its basis, a hash that its start alone makes.  The interval's own
beginning closes the book: nothing is placed or taken back any more.
"""

from dataclasses import dataclass
from typing import Literal

from ioe_node.hdi import (
    ActionHash,
    AgentPubKey,
    CreateOp,
    DeleteOp,
    ExternalHash,
    IntegrityZome,
    Invalid,
    LinkOp,
    Timestamp,
    Valid,
    ValidationHost,
    Verdict,
    external_hash,
)

AHEAD_INTERVALS_MAX = 192
"""Two days of quarter hours: nobody fills the books of next year."""
LIMIT_MICRO_MAX = 1_000_000_000
"""A thousand credits a kWh, to pay or to be paid."""
ZONE_CHARS_MAX = 200

zome = IntegrityZome("market")

BOOK = zome.link_type("book")
"""From an interval's basis to each order of it that stands."""


@zome.entry_type(by_hash=False)
@dataclass(frozen=True)
class Order:
    """The author would buy (`bid`) or sell (`ask`) energy in the interval that begins at `start`.

    `limit_micro` is the most that a bid pays and the least that an ask takes, in micro-credits a
    kWh.  It stands until `valid_until`.  `clean` says what is sold; a bid may want `clean_only`.
    `local_first` and `partner` put those first who wish the same.
    """

    side: Literal["bid", "ask"]
    energy_milli_wh: int
    limit_micro: int
    start: Timestamp
    valid_until: Timestamp
    zone: str
    clean: bool
    clean_only: bool
    local_first: bool
    partner: AgentPubKey | None


def basis_of(start: int) -> ExternalHash:
    """Where the orders of the interval that begins at `start` are found."""
    return external_hash(f"market {start}".encode())


@zome.validate_create
def an_order_that_can_be_kept(order: Order, op: CreateOp, host: ValidationHost) -> Verdict:
    length, placed = host.properties.interval_us, op.action.timestamp_us
    if order.start % length or not placed < order.start <= placed + AHEAD_INTERVALS_MAX * length:
        return Invalid("an order for no interval that is open: a whole one, soon, not begun")
    if not placed < order.valid_until <= order.start:
        return Invalid("an order that is past when it is placed, or stands beyond its interval")
    energy_max = host.properties.power_milli_w_max * (length // 1_000_000) // 3_600
    if not 0 < order.energy_milli_wh <= energy_max:
        return Invalid("no energy, or more than the community's largest connection can carry")
    if abs(order.limit_micro) > LIMIT_MICRO_MAX or len(order.zone) > ZONE_CHARS_MAX:
        return Invalid(
            f"a limit past {LIMIT_MICRO_MAX} micro-credits, or a zone of over "
            f"{ZONE_CHARS_MAX} characters"
        )
    if (order.clean and order.side == "bid") or (order.clean_only and order.side == "ask"):
        return Invalid("what is sold is clean; what is bought may have to be")
    return Valid


@zome.validate_delete
def taken_back_in_time(order: Order, op: DeleteOp, host: ValidationHost) -> Verdict:
    if op.action.author != op.original_author:
        return Invalid("an order is taken back by who placed it")
    return _in_time(order, op.action.timestamp_us)


@zome.validate_link(BOOK)
def in_its_own_interval(op: LinkOp, host: ValidationHost) -> Verdict:
    found = host.must_get_record(ActionHash(op.link.target))
    if not isinstance(found.entry, Order):
        return Invalid("a book lists orders")
    if {op.action.author, op.link.author} != {found.action.author}:
        return Invalid("an order is listed and unlisted by who placed it")
    if op.link.base != basis_of(found.entry.start) or op.link.tag:
        return Invalid("an order stands in its own interval's book, without a word")
    return _in_time(found.entry, op.action.timestamp_us)


def _in_time(order: Order, at_us: int) -> Verdict:
    if at_us >= order.start:
        return Invalid("the book of an interval is closed when it begins")
    return Valid
