"""Orders, tallies and gates: the rules that let everyone clear the same book (I-090).

An interval's orders hang at its basis, a hash that its start alone makes.  The interval's own
beginning closes the book: nothing is placed or taken back any more.

What an order's author dates back comes late all the same, and what was kept back is in nobody's
tally: neither changes a gate.  A gate proves who has voted for its orders, and what they clear to.
Whether those are enough is no rule, as views of who is an authority differ: each party judges that
for itself (`coordinator`), and a few who agree with one another bind nobody else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from currency.market import (
    book,
    double_auction,
    gate,
    match,
    merit,
    pay_as_bid,
    preferences,
    uniform,
)
from currency.market.match import Match
from ioe_node.hdi import (
    ActionHash,
    AgentPubKey,
    CreateOp,
    DeleteOp,
    ExternalHash,
    Found,
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
ROUNDS_MAX = 4
TALLIES_PER_GATE_MAX = 16
"""Of as many authorities as there are, and some that only a few take for one."""
_LISTED_AT_ONCE = "a link that does not follow what it lists: each is listed once, at once"

zome = IntegrityZome(
    "market",
    pure_modules=(book, merit, match, uniform, pay_as_bid, double_auction, preferences, gate),
)

BOOK = zome.link_type("book")
"""From an interval's basis to each order of it that stands."""
TALLIES = zome.link_type("tallies")
"""From an interval's basis to each vote for a set of its orders."""
GATES = zome.link_type("gates")
"""From an interval's basis to each gate of it."""


@zome.entry_type(by_hash=False)
@dataclass(frozen=True)
class Order:
    """The author would buy (`bid`) or sell (`ask`) energy in the interval that begins at `start`.

    `limit_micro` is the most that a bid pays and the least that an ask takes, in micro-credits a
    kWh.  It stands until `valid_until`: at the gate only if that is `start`.  `clean` says what is
    sold; a bid may want `clean_only`.  `local_first` and `partner` put who wish the same first.
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


@zome.entry_type(by_hash=False)
@dataclass(frozen=True)
class Tally:
    """The author holds these orders of the interval that begins at `start`, by their hashes.

    In the first round those that it sees itself; in each one after it, those that most of the
    last round's tallies list.
    """

    start: Timestamp
    round: int
    orders: tuple[ActionHash, ...]


@zome.entry_type(by_hash=False)
@dataclass(frozen=True)
class Gate:
    """The orders that `tallies`, all of one round, agree on, by their hashes, and their matches.

    Several members may write the same; `matches` are in the order of the clearing.
    """

    start: Timestamp
    orders: tuple[ActionHash, ...]
    matches: tuple[Match, ...]
    tallies: tuple[ActionHash, ...]


def basis_of(start: int) -> ExternalHash:
    """Where the orders, tallies and gates of the interval that begins at `start` are found."""
    return external_hash(f"market {start}".encode())


@zome.entry_type(visibility="private")
@dataclass(frozen=True)
class Judged:
    """Once the votes on the interval that begins at `start` were over, `gate` counted here.

    It goes on counting for the author, whoever sleeps or wakes up afterwards.
    """

    start: Timestamp
    gate: ActionHash


@zome.validate_create
def an_order_that_can_be_kept(order: Order, op: CreateOp, host: ValidationHost) -> Verdict:
    length, placed = host.properties.interval_us, op.action.timestamp_us
    if order.start % length or not placed < order.start <= placed + AHEAD_INTERVALS_MAX * length:
        return Invalid(
            "an order for no interval that is open: a whole one, soon, within "
            f"{AHEAD_INTERVALS_MAX} intervals from now, not begun"
        )
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
    if op.link.action_seq != found.action.action_seq + 1:
        return Invalid(_LISTED_AT_ONCE)
    return _in_time(found.entry, op.action.timestamp_us)


def _in_time(order: Order, at_us: int) -> Verdict:
    if at_us >= order.start:
        return Invalid("the book of an interval is closed when it begins")
    return Valid


@zome.validate_create
def one_vote_a_round(tally: Tally, op: CreateOp, host: ValidationHost) -> Verdict:
    length = host.properties.interval_us
    if tally.start % length or not tally.start <= op.action.timestamp_us < tally.start + length:
        return Invalid("a tally of another interval than the one that runs")
    if not 1 <= tally.round <= ROUNDS_MAX:
        return Invalid(f"a tally is of round 1 to {ROUNDS_MAX}")
    if not 1 <= len(tally.orders) <= gate.ORDERS_MAX or not _rising(tally.orders):
        return Invalid(f"a tally names 1 to {gate.ORDERS_MAX} orders, each once, in their order")
    before = host.must_get_previous(op, Tally)
    if before and (tally.start, tally.round) <= (before.entry.start, before.entry.round):
        return Invalid("a second vote in one round, or one for a round that is past")
    return Valid


@zome.validate_create
def signed_and_cleared(entry: Gate, op: CreateOp, host: ValidationHost) -> Verdict:
    quorum = host.properties.gate_quorum
    if not quorum <= len(entry.tallies) <= TALLIES_PER_GATE_MAX or not _rising(entry.tallies):
        return Invalid(f"a gate names {quorum} to {TALLIES_PER_GATE_MAX} tallies, in their order")
    if not 1 <= len(entry.orders) <= gate.ORDERS_MAX or not _rising(entry.orders):
        return Invalid(f"a gate names 1 to {gate.ORDERS_MAX} orders, each once, in their order")
    before = host.must_get_previous(op, Gate)
    if before and entry.start <= before.entry.start:
        return Invalid("a second gate of one interval by one author, or one of an earlier one")
    found = host.must_get_records((*entry.tallies, *entry.orders))
    tallies, orders = found[: len(entry.tallies)], found[len(entry.tallies) :]
    wrong = _tallies_fault(entry, tallies)
    if wrong:
        return Invalid(wrong)
    listed = standing(orders, entry.start)
    if tuple(order.id for order in gate.counted(listed)) != entry.orders:
        return Invalid("a gate of something that is no order of its interval, or does not count")
    if entry.matches != matches_of(orders, entry.start, host.properties.mechanism):
        return Invalid("other matches than the orders clear to")
    return Valid


def _rising(hashes: tuple[ActionHash, ...]) -> bool:
    return all(low < high for low, high in pairwise(hashes))


def _tallies_fault(entry: Gate, tallies: list[Found]) -> str:
    """Why these are not so many members' votes for a gate's orders, or nothing."""
    if any(not isinstance(each.entry, Tally) for each in tallies):
        return "a gate that rests on something that is no tally"
    if len({each.action.author for each in tallies}) < len(tallies):
        return "a gate that counts one member's vote twice"
    if len({each.entry.round for each in tallies}) > 1:
        return "a gate of tallies of several rounds"
    if any(
        (each.entry.start, each.entry.orders) != (entry.start, entry.orders) for each in tallies
    ):
        return "a gate of other orders than its tallies list"
    return ""


def standing(found: Iterable[Found], start: int) -> list[book.Order]:
    """Those of these that are orders of an interval, valid until it begins, as a market reads them.

    In place of a time each has its place on its author's chain.
    """
    orders = [_as_the_market_reads(each) for each in found if isinstance(each.entry, Order)]
    return book.standing(orders, start, start - 1)


def _as_the_market_reads(found: Found) -> book.Order:
    order: Order = found.entry
    wants = book.Wants(order.clean_only, order.local_first, order.partner)
    return book.Order(
        found.hash,
        found.action.author,
        order.side,
        order.energy_milli_wh,
        order.limit_micro,
        order.start,
        found.action.action_seq,
        order.valid_until,
        order.zone,
        order.clean,
        wants if any(wants) else None,
    )


def matches_of(found: Iterable[Found], start: int, mechanism: str) -> tuple[Match, ...]:
    """What the orders that count clear to."""
    orders = gate.counted(standing(found, start))
    return tuple(gate.matches(orders, gate.clear(orders, mechanism)))


def _listed(op: LinkOp, host: ValidationHost, listed: type[Any]) -> Verdict:
    """Whether a link shows its author's own at its own interval's basis, for good."""
    if op.action is not op.link:
        return Invalid("what was voted for stays to be seen")
    found = host.must_get_record(ActionHash(op.link.target))
    if not isinstance(found.entry, listed) or found.action.author != op.action.author:
        return Invalid("a link to something else, or to another's")
    if op.link.base != basis_of(found.entry.start) or op.link.tag:
        return Invalid("a link at another basis than its interval's, or with a word")
    if op.link.action_seq != found.action.action_seq + 1:
        return Invalid(_LISTED_AT_ONCE)
    return Valid


@zome.validate_link(TALLIES)
def a_tally_of_its_author(op: LinkOp, host: ValidationHost) -> Verdict:
    return _listed(op, host, Tally)


@zome.validate_link(GATES)
def a_gate_of_its_author(op: LinkOp, host: ValidationHost) -> Verdict:
    return _listed(op, host, Gate)
