"""Place an order, take it back, read a book; vote on one, gather the votes, read what cleared."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from statistics import median_low
from typing import Any

from currency.market.gate import ORDERS_PER_AGENT_MAX, counted
from currency.market.match import Match
from ioe_node.hdk import (
    ActionHash,
    AgentPubKey,
    Busy,
    CallError,
    CoordinatorZome,
    Found,
    Host,
    Timestamp,
)
from zomes.market.integrity import (
    BOOK,
    GATES,
    ROUNDS_MAX,
    TALLIES,
    TALLIES_PER_GATE_MAX,
    Gate,
    Judged,
    Order,
    Tally,
    basis_of,
    matches_of,
    standing,
)
from zomes.market.integrity import zome as integrity

BOOK_ORDERS_MAX = 10_000
ROUND_US_MAX = 30_000_000
"""A round of votes is open for this long; the first begins so long after its interval, as what
was placed at the last moment is on its way until then."""
GATES_READ_MAX = 64
CLEARED_MAX = 192
OWN_ORDERS_MAX = 1_000
PATIENCE_INTERVALS = 4
MICRO_PER_BP = 100

zome = CoordinatorZome(integrity)


@zome.function
async def place(host: Host, order: Order) -> ActionHash:
    """Commit an order and list it in its interval's book; the order's name is its hash."""
    await _check_side(host, order)
    placed = await host.create(order)
    await host.create_link(basis_of(order.start), placed, BOOK)
    host.emit_signal({"placed": placed, "start": order.start})
    return placed


async def _check_side(host: Host, order: Order) -> None:
    """What the gate would not count is not placed."""
    ours = await _listed(host, order.start, host.agent_info().agent)
    if len(ours) >= ORDERS_PER_AGENT_MAX:
        raise CallError(f"you have {len(ours)} orders in that interval, the most; cancel one first")
    if any(each.entry.side != order.side for each in ours):
        raise CallError(
            "you stand on the other side of that interval; cancel those orders first, as nobody "
            "sells to itself"
        )


@zome.function
async def cancel(host: Host, order: ActionHash) -> None:
    """Take back an order of ours, before its interval begins."""
    found = await host.get(order)
    if found is None or not isinstance(found.entry, Order):
        raise CallError("no order of that name; `book` lists those that stand")
    us = host.agent_info().agent
    listed = await host.get_links(basis_of(found.entry.start), BOOK)
    ours = [link.hash for link in listed if link.target == order and link.author == us]
    if not ours:
        raise CallError("that order is not ours, or is taken back already")
    for link in ours:
        await host.delete_link(link)
    await host.delete(order)
    host.emit_signal({"cancelled": order, "start": found.entry.start})


@zome.function
async def terms(host: Host) -> dict[str, Any]:
    """How this community trades: an interval's length, the next to begin, what clears it, and what
    the grid takes and pays for a kWh.
    """
    length_us: int = host.properties.interval_us
    return {
        "interval_us": length_us,
        "next_us": host.now_us() // length_us * length_us + length_us,
        "mechanism": host.properties.mechanism,
        "grid_import_micro": host.properties.grid_import_micro,
        "grid_export_micro": host.properties.grid_export_micro,
    }


@zome.function
async def own(host: Host, start: int) -> dict[str, int]:
    """What our orders that stand at an interval's gate would buy and sell, in milli-Wh."""
    ours = standing(await _listed(host, start, host.agent_info().agent), start)
    return {
        side: sum(order.energy_milli_wh for order in ours if order.side == side)
        for side in ("bid", "ask")
    }


@zome.function
async def book(host: Host, start: int) -> list[dict[str, Any]]:
    """The orders of the interval that begins at `start`, valid now, in the order of their names.

    Of those that have arrived: a gate that is signed fixes which count.
    """
    return [
        {
            "id": each.hash,
            "agent": each.action.author,
            "placed_us": each.action.timestamp_us,
            "side": each.entry.side,
            "energy_milli_wh": each.entry.energy_milli_wh,
            "limit_micro": each.entry.limit_micro,
            "valid_until": each.entry.valid_until,
            "zone": each.entry.zone,
            "clean": each.entry.clean,
            "clean_only": each.entry.clean_only,
            "local_first": each.entry.local_first,
            "partner": each.entry.partner,
        }
        for each in await _listed(host, start)
        if each.entry.valid_until > host.now_us()
    ]


async def _listed(host: Host, start: int, of: AgentPubKey | None = None) -> list[Found]:
    """The orders (of one agent) that stand in a book, in the order of their names.

    Of each author no more than can count.
    """
    of_author: defaultdict[AgentPubKey, list[ActionHash]] = defaultdict(list)
    for link in await host.get_links(basis_of(start), BOOK):
        listed = of_author[link.author]
        if of in (None, link.author) and len(listed) < ORDERS_PER_AGENT_MAX:
            listed.append(ActionHash(link.target))
    names = sorted({name for listed in of_author.values() for name in listed})
    found = [each for name in names[:BOOK_ORDERS_MAX] if (each := await host.get(name)) is not None]
    return [each for each in found if isinstance(each.entry, Order)]


@zome.function
async def tally(host: Host, start: int) -> ActionHash | None:
    """Vote for the orders of an interval that has begun, if it is for us to vote now.

    It is for the authorities of the interval's basis, once in each round, until a set is agreed on.
    """
    authorities = await host.authorities(basis_of(start))
    round_ = (host.now_us() - start) // _round_us(host)
    if host.agent_info().agent not in authorities or not 1 <= round_ <= ROUNDS_MAX:
        return None
    newest = await host.query(Tally, limit=1)
    if newest and (newest[0].entry.start, newest[0].entry.round) >= (start, round_):
        return None
    votes = await _votes(host, start, authorities)
    if _carried(votes, authorities):
        return None
    last = _last_round([each for each in votes if each.entry.round < round_], authorities)
    orders = await _agreed(host, last) if last else await _listed(host, start)
    names = tuple(ActionHash(each.id) for each in counted(standing(orders, start)))
    if not names:
        return None
    voted = await host.create(Tally(Timestamp(start), round_, names))
    await host.create_link(basis_of(start), voted, TALLIES)
    return voted


def _round_us(host: Host) -> int:
    """How long a round is open: all of them end well within their interval."""
    length_us: int = host.properties.interval_us
    return min(ROUND_US_MAX, length_us // (2 * ROUNDS_MAX))


async def _votes(host: Host, start: int, authorities: Sequence[AgentPubKey]) -> list[Found]:
    """The tallies of an interval by those whom we take for its authorities, as judged here.

    Of each author one a round, whatever it shows: else it would outvote the others, or have a
    gate count it twice, which is none.
    """
    names: defaultdict[AgentPubKey, list[ActionHash]] = defaultdict(list)
    for link in await host.get_links(basis_of(start), TALLIES):
        if link.author in authorities and len(names[link.author]) < ROUNDS_MAX:
            names[link.author].append(ActionHash(link.target))
    votes: dict[tuple[AgentPubKey, int], Found] = {}
    for each in await _judged(host, chain.from_iterable(names.values())):
        if _is_of(each, Tally, start) and each.action.author in authorities:
            votes.setdefault((each.action.author, each.entry.round), each)
    return list(votes.values())


def _is_of(found: Found, kind: type[Any], start: int) -> bool:
    """Whether a record is of a kind and an interval: a link that others show may lead anywhere."""
    return isinstance(found.entry, kind) and found.entry.start == start


async def _judged(host: Host, names: Iterable[ActionHash]) -> list[Found]:
    """Those of these records that are valid here by now."""
    found = []
    for name in names:
        try:
            found.append(await host.get_judged(name))
        except Busy:
            continue
    return found


def _last_round(votes: list[Found], authorities: Sequence[AgentPubKey]) -> list[Found]:
    """The votes of the last round in which more than half of the authorities voted."""
    for round_ in sorted({each.entry.round for each in votes}, reverse=True):
        cast = [each for each in votes if each.entry.round == round_]
        if 2 * len(cast) > len(authorities):
            return cast
    return []


async def _agreed(host: Host, votes: list[Found]) -> list[Found]:
    """The orders that more than half of these votes list."""
    counts = Counter(order for each in votes for order in each.entry.orders)
    names = sorted(order for order, count in counts.items() if 2 * count > len(votes))
    return [each for name in names if (each := await host.get(name)) is not None]


def _carried(votes: list[Found], authorities: Sequence[AgentPubKey]) -> list[Found]:
    """The votes of the lowest round that agree, if more than half of the authorities cast them."""
    alike: defaultdict[tuple[int, tuple[ActionHash, ...]], list[Found]] = defaultdict(list)
    for each in votes:
        alike[each.entry.round, each.entry.orders].append(each)
    for _, agreeing in sorted(alike.items()):
        if 2 * len({each.action.author for each in agreeing}) > len(authorities):
            return agreeing
    return []


@zome.function
async def gate(host: Host, start: int) -> ActionHash | None:
    """The gate of an interval that counts here, written by us if nobody has; None without one.

    Whoever needs it first puts the votes together: the same votes make the same gate.
    """
    authorities = await host.authorities(basis_of(start))
    written = await _gate_of(host, start, authorities)
    if written is not None:
        return written.hash
    carried = _carried(await _votes(host, start, authorities), authorities)
    newest = await host.query(Gate, limit=1)
    if not carried or (newest and newest[0].entry.start >= start):
        return None
    names = carried[0].entry.orders
    orders = await _judged(host, names)
    if len(orders) < len(names):
        raise Busy("not every order of that gate is here yet; try again")
    matches = matches_of(orders, start, host.properties.mechanism)
    tallies = tuple(sorted(each.hash for each in carried)[:TALLIES_PER_GATE_MAX])
    made = await host.create(Gate(carried[0].entry.start, names, matches, tallies))
    await host.create_link(basis_of(start), made, GATES)
    host.emit_signal(_told(start, matches))
    return made


def _told(start: int, matches: Sequence[Match]) -> dict[str, Any]:
    """What clients hear of a clearing; see `_price_micro`."""
    energy = sum(each.energy_milli_wh for each in matches)
    return {"cleared": start, "price_micro": _price_micro(matches), "energy_milli_wh": energy}


def _price_micro(matches: Sequence[Match]) -> int | None:
    """What a kWh costs by an interval's matches: the median of the buyers; None without any.

    Each buyer has the mean of its own matches by their energy, rounded down; of two in the middle
    the lower counts.  Under the uniform price it is the price of each.  A mean of all would be
    whatever two who trade much with each other, and keep none of it, agree on.
    """
    energy: Counter[AgentPubKey] = Counter()
    worth: Counter[AgentPubKey] = Counter()
    for each in matches:
        energy[each.buyer] += each.energy_milli_wh
        worth[each.buyer] += each.energy_milli_wh * each.price_micro
    return median_low(worth[buyer] // energy[buyer] for buyer in energy) if energy else None


async def _gate_of(host: Host, start: int, authorities: Sequence[AgentPubKey]) -> Found | None:
    """The gate that counts here: of the lowest round that more than half of those have signed.

    What counted when the votes were over goes on counting: who was asleep then has no say.
    Of several that say the same, the one of the lowest name, so that all come to name the same.
    Each author has written one.  Raises `Busy` while one is fetched and judged, for some
    intervals: what another shows may never be judged valid.
    """
    judged = await _judged(host, [each.entry.gate for each in await _first_judged(host, start)])
    if judged:
        return judged[0]
    links = await host.get_links(basis_of(start), GATES)
    links.sort(key=lambda link: link.author not in authorities)
    first = {link.author: ActionHash(link.target) for link in reversed(links)}
    names = [first[author] for author in dict.fromkeys(link.author for link in links)]
    names = names[:GATES_READ_MAX]
    gates, counting = await _judged(host, names), []
    for each in gates:
        round_ = await _signed(host, each, authorities) if _is_of(each, Gate, start) else 0
        if round_:
            counting.append((round_, each.hash, each))
    patient_until = start + PATIENCE_INTERVALS * host.properties.interval_us
    if not counting and len(gates) < len(names) and host.now_us() < patient_until:
        raise Busy("a gate of that interval is not judged here yet; try again")
    return min(counting, key=lambda ranked: ranked[:2])[2] if counting else None


async def _first_judged(host: Host, start: int) -> list[Found]:
    """What we wrote down of the gate that counted once the votes were over, if anything.

    They are written of the interval that runs and of the one before, in either order.
    """
    before = start - host.properties.interval_us
    found = await host.query(Judged, enough=lambda each: each.entry.start < before)
    return [each for each in found if each.entry.start == start]


async def _write_down(host: Host, start: int, authorities: Sequence[AgentPubKey]) -> None:
    """Write down which gate counts here, once, when the votes are over."""
    if host.now_us() < _votes_end_us(host, start) or await _first_judged(host, start):
        return
    with suppress(Busy):
        found = await _gate_of(host, start, authorities)
        if found is not None:
            await host.create(Judged(found.entry.start, found.hash))


def _votes_end_us(host: Host, start: int) -> int:
    """When the last round is over, and what was voted in it has arrived."""
    return start + (ROUNDS_MAX + 2) * _round_us(host)


async def _signed(host: Host, found: Found, authorities: Sequence[AgentPubKey]) -> int:
    """The round in which more than half of these have signed a gate; 0 where they have not."""
    votes = await _judged(host, found.entry.tallies)
    signers = {vote.action.author for vote in votes}.intersection(authorities)
    return votes[0].entry.round if 2 * len(signers) > len(authorities) else 0


@zome.function
async def gate_of(host: Host, start: int) -> dict[str, Any] | None:
    """The gate of an interval that counts here; None without one, `Busy` while one is judged."""
    found = await _gate_of(host, start, await host.authorities(basis_of(start)))
    if found is None:
        return None
    return {
        "hash": found.hash,
        "start": start,
        "orders": list(found.entry.orders),
        "matches": [_shown(each) for each in found.entry.matches],
        "tallies": list(found.entry.tallies),
        "price_micro": _price_micro(found.entry.matches),
    }


@zome.function
async def cleared(host: Host, intervals: int = 16) -> list[dict[str, Any]]:
    """The gates that count here of the last intervals and the one that runs, newest first."""
    length_us: int = host.properties.interval_us
    runs_us = host.now_us() // length_us * length_us
    found = []
    for back in range(min(intervals, CLEARED_MAX)):
        with suppress(Busy):
            found.append(await gate_of(host, runs_us - back * length_us))
    return [each for each in found if each is not None]


@zome.function
async def prices(host: Host, intervals: int = 16) -> list[dict[str, int]]:
    """What a kWh costs in each of the last intervals, oldest first, in micro-credits.

    Its clearing's price; where nothing was traded, the community's own.  As long as the interval
    that runs can still be voted on, the price of the one before it stands.
    """
    length_us, now_us = host.properties.interval_us, host.now_us()
    gates = await cleared(host, intervals)
    traded = {gate["start"]: gate["price_micro"] for gate in gates if gate["matches"]}
    usual_micro = price_micro = host.properties.price_bp * MICRO_PER_BP
    runs_us = now_us // length_us * length_us
    found = []
    for back in range(min(intervals, CLEARED_MAX) - 1, -1, -1):
        start = runs_us - back * length_us
        open_ = now_us < _votes_end_us(host, start)
        price_micro = traded.get(start, price_micro if open_ else usual_micro)
        found.append({"start": start, "price_micro": price_micro})
    return found


@zome.function
async def matches(host: Host, start: int) -> list[dict[str, Any]]:
    """Who sells what to whom in an interval, by the gate that counts here; empty without one."""
    found = await gate_of(host, start)
    return [] if found is None else found["matches"]


def _shown(match: Match) -> dict[str, Any]:
    return {
        "bid": match.bid,
        "ask": match.ask,
        "buyer": match.buyer,
        "seller": match.seller,
        "energy_milli_wh": match.energy_milli_wh,
        "price_micro": match.price_micro,
    }


@zome.function
async def announce(host: Host, gate: ActionHash) -> None:
    """Tell local clients of a clearing by another's gate, if that is the one that counts here.

    Where several wrote the same, it may be told again.
    """
    found = await host.get_judged(gate)
    if not isinstance(found.entry, Gate):
        raise CallError("no gate of that name")
    start = found.entry.start
    authorities = await host.authorities(basis_of(start))
    if not await _signed(host, found, authorities):
        return
    counts = await _gate_of(host, start, authorities)
    if counts is None or counts.hash == gate:
        host.emit_signal(_told(start, found.entry.matches))


@zome.function
async def keep(host: Host) -> dict[str, int]:
    """Vote on the interval that runs, and write the gate of it or the one before; on a schedule.

    That is for the authorities of theirs: the closest writes first, the others only where it has
    not.  These, and who has ordered, also write down for themselves which gate counts.
    """
    length_us: int = host.properties.interval_us
    runs_us = host.now_us() // length_us * length_us
    traded = await ordered(host, runs_us - length_us)
    done = {"tallied": 0, "gated": 0}
    for start in (runs_us - length_us, runs_us):
        # What one interval waits for, and may never come, holds up no other.
        with suppress(Busy):
            await _keep_one(host, start, start in traded, done)
    return done


async def _keep_one(host: Host, start: int, traded: bool, done: dict[str, int]) -> None:
    authorities = await host.authorities(basis_of(start))
    voting = host.agent_info().agent in authorities
    if voting:
        if await tally(host, start) is not None:
            done["tallied"] += 1
            return
        done["gated"] += await _gate_in_turn(host, start, authorities)
    if voting or traded:
        await _write_down(host, start, authorities)


async def _gate_in_turn(host: Host, start: int, authorities: Sequence[AgentPubKey]) -> bool:
    """Write the gate of an interval if nobody has by the time when it is for us to do it."""
    votes = _carried(await _votes(host, start, authorities), authorities)
    if not votes or await _gate_of(host, start, authorities) is not None:
        return False
    round_us = _round_us(host)
    turn_us = round_us // 2 * authorities.index(host.agent_info().agent)
    if host.now_us() < start + votes[0].entry.round * round_us + turn_us:
        return False
    return await gate(host, start) is not None


@zome.function
async def ordered(host: Host, from_start: int) -> list[int]:
    """The intervals from `from_start` on for which we placed orders, oldest first."""
    placed = await host.query(Order, limit=OWN_ORDERS_MAX)
    return sorted({each.entry.start for each in placed if each.entry.start >= from_start})
