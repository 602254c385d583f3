"""Green Button: ESPI 4.0 in an Atom feed, one UsagePoint with a MeterReading a direction.

Written in milli-Wh (`uom` 72, Wh, times ten to the power of -3), which is exact, in IntervalBlocks
of a day.  What is read may stand in any order and in another power of ten; it must be Wh of
electricity, as differences over intervals.  The parser takes no DTD and no entities, and forgets
each entry when it has been read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import IO, Any
from uuid import NAMESPACE_URL, uuid5
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from ioe_node.errors import LocalError
from ioe_node.history.periods import Calendar
from ioe_node.history.point import POINTS_MAX, SECOND_US, FileRefused, Point, checked

ATOM = "http://www.w3.org/2005/Atom"
ESPI = "http://naesb.org/espi"
WH = 72
ENERGY = 12
DELTA = 4
ELECTRICITY = 1
FORWARD, NET, REVERSE = 1, 4, 19
ESTIMATED = {7, 8, 9, 10, 12}
INTERPOLATED = 9
MILLI = -3
DEPTH_MAX = 32
DIGITS_MAX = 18
BLOCKS_MAX = 20_000
READINGS_MAX = 64
ELEMENTS_MAX = 2_000_000


# -- writing --------------------------------------------------------------------------------------


def write_espi(
    file: IO[bytes], points: Sequence[Point], name: str, calendar: Calendar, now_us: int
) -> None:
    """Write points, which begin and end at whole seconds, as a feed titled `name`."""
    if any(each.start_us % SECOND_US or each.end_us % SECOND_US for each in points):
        raise LocalError("Green Button knows whole seconds only; export these points as CSV")
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="{ATOM}" xmlns:espi="{ESPI}">\n'
    feed = Element("feed")
    updated = Calendar.text(now_us)
    for tag, text in (("id", _urn(name)), ("title", name), ("updated", updated)):
        SubElement(feed, tag).text = text
    file.write(head.encode())
    for each in (*feed, *_entries(points, name, calendar, updated)):
        file.write(tostring(each, "utf-8") + b"\n")
    file.write(b"</feed>\n")


def _entries(
    points: Sequence[Point], name: str, calendar: Calendar, updated: str
) -> Iterator[Element]:
    usage = "UsagePoint/1"

    def entry(path: str, up: str, related: Iterable[str], *content: Element) -> Element:
        made = Element("entry")
        SubElement(made, "id").text = _urn(f"{name}/{path}")
        for rel, href in (("self", path), ("up", up), *(("related", each) for each in related)):
            SubElement(made, "link", rel=rel, href=href)
        SubElement(made, "title").text = name
        SubElement(made, "content", type="application/xml").extend(content)
        for tag in ("published", "updated"):
            SubElement(made, tag).text = updated
        return made

    point = _made("UsagePoint", ServiceCategory=_made("ServiceCategory", kind=0))
    yield entry(usage, "UsagePoint", [f"{usage}/MeterReading"], point)
    length_s = min((each.end_us - each.start_us for each in points), default=0) // SECOND_US
    for number, flow in ((1, FORWARD), (2, REVERSE)):
        reading, kind = f"{usage}/MeterReading/{number}", f"ReadingType/{number}"
        blocks = f"{reading}/IntervalBlock"
        yield entry(reading, f"{usage}/MeterReading", [blocks, kind], _made("MeterReading"))
        yield entry(kind, "ReadingType", [], _reading_type(flow, length_s))
        days = groupby(points, lambda each: calendar.period(each.start_us, "day"))
        for day, (_, of_day) in enumerate(days, 1):
            yield entry(f"{blocks}/{day}", blocks, [], _block(list(of_day), flow))


def _reading_type(flow: int, length_s: int) -> Element:
    return _made(
        "ReadingType",
        accumulationBehaviour=DELTA,
        commodity=ELECTRICITY,
        dataQualifier=12,
        flowDirection=flow,
        intervalLength=length_s,
        kind=ENERGY,
        powerOfTenMultiplier=MILLI,
        timeAttribute=0,
        uom=WH,
    )


def _block(points: Sequence[Point], flow: int) -> Element:
    block = _made(
        "IntervalBlock", interval=_span("interval", points[0].start_us, points[-1].end_us)
    )
    for each in points:
        reading = SubElement(block, "espi:IntervalReading")
        if each.estimated:
            reading.append(_made("ReadingQuality", quality=INTERPOLATED))
        reading.append(_span("timePeriod", each.start_us, each.end_us))
        value = each.import_milli_wh if flow == FORWARD else each.export_milli_wh
        SubElement(reading, "espi:value").text = str(value)
    return block


def _span(tag: str, start_us: int, end_us: int) -> Element:
    return _made(tag, duration=(end_us - start_us) // SECOND_US, start=start_us // SECOND_US)


def _made(tag: str, **children: int | Element) -> Element:
    made = Element(f"espi:{tag}")
    for name, child in children.items():
        if isinstance(child, Element):
            made.append(child)
        else:
            SubElement(made, f"espi:{name}").text = str(child)
    return made


def _urn(name: str) -> str:
    return uuid5(NAMESPACE_URL, f"ioe:{name}").urn


# -- reading --------------------------------------------------------------------------------------

Row = tuple[int, int, int, bool]
"""Start and duration in seconds, the value as it stands, and whether it is estimated."""


@dataclass
class _Feed:
    """What the links of a feed will bring together, when all of it has been read."""

    types: dict[str, dict[str, int]] = field(default_factory=dict)
    readings: list[set[str]] = field(default_factory=list)
    blocks: list[tuple[set[str], list[Row]]] = field(default_factory=list)
    rows: int = 0

    def take(self, entry: Any) -> None:
        """One Atom entry."""
        links: dict[str, set[str]] = {}
        for link in entry.iterfind(f"{{{ATOM}}}link"):
            links.setdefault(link.get("rel", ""), set()).add(link.get("href", ""))
        content = entry.find(f"{{{ATOM}}}content")
        for each in () if content is None else content:
            own = links.get("self", set())
            if each.tag == f"{{{ESPI}}}ReadingType":
                kind = {child.tag.partition("}")[2]: child.text for child in each}
                told = {name: _integer(text) for name, text in kind.items() if name in _TOLD}
                self.types.update(dict.fromkeys(own, told))
            elif each.tag == f"{{{ESPI}}}MeterReading":
                self.readings.append(own | links.get("related", set()))
            elif each.tag == f"{{{ESPI}}}IntervalBlock":
                rows = [_row(reading) for reading in each.iterfind(f"{{{ESPI}}}IntervalReading")]
                self.rows += len(rows)
                self.blocks.append((own | links.get("up", set()), rows))
        counts = (self.rows, len(self.blocks), len(self.readings))
        limits = (2 * POINTS_MAX, BLOCKS_MAX, READINGS_MAX)
        if any(count > most for count, most in zip(counts, limits, strict=True)):
            raise FileRefused(TOO_MUCH)


TOO_MUCH = "more than one import takes; import the file in parts"
_TOLD = {
    *("accumulationBehaviour", "commodity", "flowDirection", "kind"),
    *("powerOfTenMultiplier", "uom"),
}


def read_espi(file: IO[bytes]) -> list[Point]:
    """The points of a feed, in order; raises `FileRefused`."""
    feed = _Feed()
    open_: list[Any] = []
    try:
        for count, (event, element) in enumerate(
            iterparse(file, ("start", "end"), forbid_dtd=True), 1
        ):
            if count > 2 * ELEMENTS_MAX:
                raise FileRefused(TOO_MUCH)
            if event == "start":
                open_.append(element)
            else:
                open_.pop()
            if len(open_) > DEPTH_MAX:
                raise FileRefused("elements nested too deep for a Green Button feed")
            if event == "end" and element.tag == f"{{{ATOM}}}entry":
                feed.take(element)
                for parent in open_[-1:]:
                    parent.clear()
    except ParseError as error:
        raise FileRefused(f"no XML: {error}") from None
    except DefusedXmlException:
        raise FileRefused(
            "it has a DTD or entities, which a Green Button feed needs none of"
        ) from None
    except (LookupError, ValueError) as error:
        raise FileRefused(f"no XML: {error}") from None
    return checked(_points(feed))


def _points(feed: _Feed) -> Iterator[Point]:
    found: dict[tuple[int, int], Point] = {}
    used = False
    for links in feed.readings:
        kinds = [feed.types[each] for each in sorted(links) if each in feed.types]
        if len(kinds) != 1 or not _is_energy(kinds[0]):
            continue
        flow = kinds[0].get("flowDirection", FORWARD)
        power = kinds[0].get("powerOfTenMultiplier", 0) - MILLI
        for where, rows in feed.blocks:
            for start_s, duration_s, value, estimated in rows if where & links else ():
                used = True
                span = start_s * SECOND_US, (start_s + duration_s) * SECOND_US
                energy = _scaled(value, power)
                held = found.get(span, Point(*span, 0, 0, False))
                out = -min(energy, 0) if flow == NET else energy * (flow == REVERSE)
                found[span] = Point(
                    *span,
                    held.import_milli_wh + (energy + out if flow == NET else energy - out),
                    held.export_milli_wh + out,
                    held.estimated or estimated,
                )
    if not used:
        raise FileRefused("no MeterReading of electric energy in Wh over intervals (uom 72)")
    yield from found.values()


def _is_energy(kind: dict[str, int]) -> bool:
    return (
        kind.get("uom") == WH
        and kind.get("accumulationBehaviour", DELTA) == DELTA
        and kind.get("commodity", ELECTRICITY) in (0, ELECTRICITY)
        and kind.get("kind", ENERGY) in (0, ENERGY)
        and kind.get("flowDirection", FORWARD) in (FORWARD, NET, REVERSE)
    )


def _row(reading: Any) -> Row:
    def text(path: str) -> str | None:
        found: str | None = reading.findtext(path, None, {"": ESPI})
        return found

    qualities = (each.text for each in reading.iterfind(f".//{{{ESPI}}}quality"))
    return (
        _integer(text("timePeriod/start")),
        _integer(text("timePeriod/duration")),
        _integer(text("value")),
        any(_integer(each) in ESTIMATED for each in qualities),
    )


def _integer(text: str | None) -> int:
    digits = (text or "").strip()
    if not (digits.isascii() and digits.removeprefix("-").isdigit() and len(digits) <= DIGITS_MAX):
        raise FileRefused(f"'{digits[:40]}' stands where a whole number must")
    return int(digits)


def _scaled(value: int, power: int) -> int:
    """`value` times ten to a power, exactly."""
    if not -DIGITS_MAX <= power <= DIGITS_MAX:
        raise FileRefused(f"a power of ten of {power + MILLI} is no energy of a meter")
    factor = int(10 ** abs(power))
    if power >= 0:
        return value * factor
    whole, rest = divmod(value, factor)
    if rest:
        raise FileRefused("energy finer than a milli-Wh")
    return whole
