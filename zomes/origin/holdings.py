"""What an agent holds of certificates: integer arithmetic of steps, each of which says the rest.

A *part* is energy of one certificate that one action brought; parts are numbered as they come.  A
*lot* is such energy in a battery.  No step makes energy out of nothing: what one holder gains
another gave, out of what a meter counted.

A holder has room for so many parts and so many lots.  Of more, the smallest lapses, the oldest
among equals: nobody holds it any more, and nobody can claim to have used it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ioe_node.hdi import Timestamp

BASIS_POINTS = 10_000
PARTS_MAX = 64
LOTS_MAX = 64
DRAWN_MAX = 16
"""So many of the newest readings that were drawn on may be drawn on again."""
DAY_US = 24 * 3_600 * 1_000_000
LOT_DAYS_MAX = 366
"""What was stored for longer is gone."""


@dataclass(frozen=True)
class Part:
    """Energy of one certificate, the `number`th thing that came to its holder."""

    number: int
    energy_milli_wh: int


@dataclass(frozen=True)
class Lot:
    """Energy in a battery, the `number`th thing that came to it; decayed up to the time `at`."""

    number: int
    energy_milli_wh: int
    at: Timestamp


@dataclass(frozen=True)
class Drawn:
    """How much of the import of the holder's reading at `reading_seq` is accounted for."""

    reading_seq: int
    energy_milli_wh: int


@dataclass(frozen=True)
class Holdings:
    """An agent's standing: its parts and lots, and how far its own readings are used up.

    `brought` counts the parts and lots that ever came.
    `issued_milli_wh` is certified of the export of the reading at `issued_seq`, the last one that
    certificates were issued from, -1 before the first.
    """

    parts: tuple[Part, ...] = ()
    lots: tuple[Lot, ...] = ()
    drawn: tuple[Drawn, ...] = ()
    brought: int = 0
    issued_seq: int = -1
    issued_milli_wh: int = 0

    @property
    def numbers(self) -> list[int]:
        """Of all that is held."""
        return [*(each.number for each in self.parts), *(each.number for each in self.lots)]

    def energy_of(self, number: int) -> int:
        """How much is held of what came as this number."""
        held = [each.energy_milli_wh for each in self.parts if each.number == number]
        return sum(held) + sum(each.energy_milli_wh for each in self.lots if each.number == number)


Held = TypeVar("Held", Part, Lot)


def gained(holdings: Holdings, energy_milli_wh: int) -> Holdings:
    """The holdings with the part that an action brings."""
    number = holdings.brought + 1
    parts = _bounded((*holdings.parts, Part(number, energy_milli_wh)), PARTS_MAX)
    return replace(holdings, parts=parts, brought=number)


def spent(holdings: Holdings, number: int, energy_milli_wh: int) -> Holdings | None:
    """The holdings without some of a part; None where there is not so much of it."""
    parts = _without(holdings.parts, number, energy_milli_wh)
    return None if parts is None else replace(holdings, parts=parts)


def issued(
    holdings: Holdings, reading_seq: int, energy_milli_wh: int, export_milli_wh: int, again: bool
) -> Holdings | None:
    """The holdings once energy of a reading's export is certified; None where it was before.

    Readings are used in the order of the chain, each of them once, or several times where `again`,
    up to what it exported.
    """
    before = 0
    if reading_seq == holdings.issued_seq and again:
        before = holdings.issued_milli_wh
    elif reading_seq <= holdings.issued_seq:
        return None
    total = before + energy_milli_wh
    if energy_milli_wh <= 0 or total > export_milli_wh:
        return None
    return replace(holdings, issued_seq=reading_seq, issued_milli_wh=total)


def drawn(
    holdings: Holdings, reading_seq: int, energy_milli_wh: int, import_milli_wh: int
) -> Holdings | None:
    """The holdings once energy is accounted for as a reading's import; None where it is not.

    That is more than the reading's import, or the reading is older than the `DRAWN_MAX` newest.
    """
    known = {each.reading_seq: each.energy_milli_wh for each in holdings.drawn}
    forgotten = len(known) == DRAWN_MAX and reading_seq < holdings.drawn[0].reading_seq
    total = known.get(reading_seq, 0) + energy_milli_wh
    if forgotten or energy_milli_wh <= 0 or total > import_milli_wh:
        return None
    known[reading_seq] = total
    listed = tuple(Drawn(seq, energy) for seq, energy in sorted(known.items()))
    return replace(holdings, drawn=listed[-DRAWN_MAX:])


def undrawn(holdings: Holdings, reading_seq: int, import_milli_wh: int) -> int:
    """How much of a reading's import may still be accounted for."""
    if len(holdings.drawn) == DRAWN_MAX and reading_seq < holdings.drawn[0].reading_seq:
        return 0
    taken = [each.energy_milli_wh for each in holdings.drawn if each.reading_seq == reading_seq]
    return import_milli_wh - sum(taken)


def kept_of(energy_milli_wh: int, efficiency_bp: int) -> int:
    """What a battery keeps of what it takes up; rounded down, the rest is its loss."""
    return energy_milli_wh * efficiency_bp // BASIS_POINTS


def stored(holdings: Holdings, energy_milli_wh: int, at: Timestamp) -> Holdings:
    """The holdings with another lot."""
    number = holdings.brought + 1
    lots = _bounded((*holdings.lots, Lot(number, energy_milli_wh, at)), LOTS_MAX)
    return replace(holdings, lots=lots, brought=number)


def decayed(lot: Lot, at: int, decay_bp: int) -> Lot:
    """A lot at a later time: each whole day takes its share, rounded so that less is left."""
    days = max(0, at - lot.at) // DAY_US
    energy = 0 if days > LOT_DAYS_MAX else lot.energy_milli_wh
    for _ in range(days if decay_bp and energy else 0):
        energy = energy * (BASIS_POINTS - decay_bp) // BASIS_POINTS
    return replace(lot, energy_milli_wh=energy, at=Timestamp(lot.at + days * DAY_US))


def discharged(
    holdings: Holdings, number: int, energy_milli_wh: int, at: int, decay_bp: int
) -> Holdings | None:
    """The holdings once energy left a lot at a time; None where there was not so much then."""
    lots = [decayed(lot, at, decay_bp) if lot.number == number else lot for lot in holdings.lots]
    return written_off(replace(holdings, lots=tuple(lots)), number, energy_milli_wh)


def written_off(holdings: Holdings, number: int, energy_milli_wh: int) -> Holdings | None:
    """The holdings without some of a lot as it stands; None where there is not so much of it."""
    lots = _without(holdings.lots, number, energy_milli_wh)
    return None if lots is None else replace(holdings, lots=lots)


def _without(held: Sequence[Held], number: int, energy_milli_wh: int) -> tuple[Held, ...] | None:
    left: list[Held] = []
    found = False
    for each in held:
        if each.number != number:
            left.append(each)
        elif 0 < energy_milli_wh <= each.energy_milli_wh:
            found = True
            rest = each.energy_milli_wh - energy_milli_wh
            left += [replace(each, energy_milli_wh=rest)] if rest else []
    return tuple(left) if found else None


def _bounded(held: tuple[Held, ...], most: int) -> tuple[Held, ...]:
    left = [each for each in held if each.energy_milli_wh > 0]
    while len(left) > most:
        left.remove(min(left, key=lambda each: each.energy_milli_wh))
    return tuple(left)
