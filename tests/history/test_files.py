"""Files of histories: what is written is read back, and nothing of a hostile one is."""

import io
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.errors import LocalError
from ioe_node.history.csv_file import read_csv, write_csv
from ioe_node.history.espi import ATOM, DEPTH_MAX, ESPI, read_espi, write_espi
from ioe_node.history.parquet import write_parquet
from ioe_node.history.periods import Calendar
from ioe_node.history.point import ENERGY_MILLI_WH_MAX, SECOND_US, FileRefused, Point

BERLIN = Calendar(ZoneInfo("Europe/Berlin"))
BEGIN_S = 1_774_738_800  # 2026-03-29, a day of 23 hours there
ENERGY = st.integers(0, ENERGY_MILLI_WH_MAX)


@st.composite
def histories(draw: st.DrawFn) -> list[Point]:
    at_s, points = draw(st.integers(0, 4_000_000_000)), []
    for _ in range(draw(st.integers(1, 30))):
        length_s = draw(st.sampled_from([60, 900, 3_600, 86_400]))
        points.append(
            Point(
                at_s * SECOND_US,
                (at_s + length_s) * SECOND_US,
                draw(ENERGY),
                draw(ENERGY),
                draw(st.booleans()),
            )
        )
        at_s += length_s + draw(st.sampled_from([0, 0, 900, 100_000]))
    return points


def as_csv(points: list[Point]) -> str:
    file = io.StringIO(newline="")
    write_csv(file, points, BERLIN.zone)
    return file.getvalue()


def as_espi(points: list[Point]) -> bytes:
    file = io.BytesIO()
    write_espi(file, points, "south <roof>", BERLIN, BEGIN_S * SECOND_US)
    return file.getvalue()


@given(histories())
def test_csv_holds_what_was_put_in(points: list[Point]) -> None:
    assert read_csv(io.StringIO(as_csv(points), newline="")) == points


@given(histories())
def test_green_button_holds_what_was_put_in(points: list[Point]) -> None:
    assert read_espi(io.BytesIO(as_espi(points))) == points


def test_csv_shows_local_time_on_both_sides_of_the_change() -> None:
    quarters = [
        Point(start * SECOND_US, (start + 900) * SECOND_US, 125_000, 0, False)
        for start in (BEGIN_S + 6_300, BEGIN_S + 7_200)
    ]
    assert as_csv(quarters).splitlines() == [
        "start,end,import_kwh,export_kwh,quality",
        "2026-03-29T01:45:00+01:00,2026-03-29T03:00:00+02:00,0.125,0,measured",
        "2026-03-29T03:00:00+02:00,2026-03-29T03:15:00+02:00,0.125,0,measured",
    ]


def test_others_read_our_green_button(tmp_path: Path) -> None:
    from greenbutton_objects import parse
    from greenbutton_objects.enums import FlowDirectionType, QualityOfReading, UomType

    points = [
        Point((BEGIN_S + at) * SECOND_US, (BEGIN_S + at + 900) * SECOND_US, at, 7 * at, at == 900)
        for at in range(0, 2 * 86_400, 900)
    ]
    file = tmp_path / "roof.xml"
    file.write_bytes(as_espi(points))
    (usage,) = parse.parse_feed(file)
    assert len(usage.meterReadings) == 2
    for reading in usage.meterReadings:
        assert reading.readingType.uom is UomType.wattHours
        out = reading.readingType.flowDirection is FlowDirectionType.reverse
        found = list(reading.intervalReadings)
        assert [each.timePeriod.start.timestamp() * SECOND_US for each in found] == [
            each.start_us for each in points
        ]
        assert [round(each.value * 1_000) for each in found] == [
            each.export_milli_wh if out else each.import_milli_wh for each in points
        ]
        doubted = [each for each in found if each.readingQualities]
        assert [each.timePeriod.start.timestamp() for each in doubted] == [BEGIN_S + 900]
        (quality,) = doubted[0].readingQualities
        assert quality.quality is QualityOfReading.estimatedUsingLinearInterpolation


def test_parquet_holds_what_was_put_in(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    point = Point(BEGIN_S * SECOND_US, (BEGIN_S + 900) * SECOND_US, 5, ENERGY_MILLI_WH_MAX, True)
    write_parquet(tmp_path / "p", [point])
    table = parquet.read_table(tmp_path / "p")
    assert str(table.schema.field("start").type) == "timestamp[us, tz=UTC]"
    (row,) = table.to_pylist()
    assert int(row["start"].timestamp()) == BEGIN_S
    assert (row["import_milli_wh"], row["export_milli_wh"], row["estimated"]) == point[2:]


# -- what others write ----------------------------------------------------------------------------

FEED = f"""<feed xmlns="{ATOM}" xmlns:e="{ESPI}">
<entry><link rel="self" href="b/1"/><link rel="up" href="b"/><content><e:IntervalBlock>
 <e:IntervalReading><e:timePeriod><e:duration>3600</e:duration><e:start>%s</e:start></e:timePeriod>
 <e:value>%s</e:value></e:IntervalReading></e:IntervalBlock></content></entry>
<entry><link rel="self" href="m"/><link rel="related" href="b"/><link rel="related" href="t"/>
 <content><e:MeterReading/></content></entry>
<entry><link rel="self" href="t"/><content><e:ReadingType>
 <e:flowDirection>%s</e:flowDirection><e:powerOfTenMultiplier>%s</e:powerOfTenMultiplier>
 <e:uom>%s</e:uom></e:ReadingType></content></entry></feed>"""


def feed(
    start: object = 0, value: object = 5, flow: int = 1, power: int = 0, uom: int = 72
) -> bytes:
    return (FEED % (start, value, flow, power, uom)).encode()


@pytest.mark.parametrize(
    ("data", "energies"),
    [
        (feed(), (5_000, 0)),
        (feed(power=3), (5_000_000, 0)),
        (feed(flow=19, power=-3), (0, 5)),
        (feed(flow=4), (5_000, 0)),
        (feed(value=-5, flow=4), (0, 5_000)),
        (feed(value=5_000, power=-6), (5, 0)),
    ],
)
def test_directions_and_powers_of_ten(data: bytes, energies: tuple[int, int]) -> None:
    assert read_espi(io.BytesIO(data)) == [Point(0, 3_600 * SECOND_US, *energies, False)]


BOMB = b"""<!DOCTYPE feed [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>"""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no XML"),
        (b"\xff\xfe\x00", "no XML"),
        (b"<?xml version='1.0' encoding='klingon'?><a/>", "no XML"),
        (feed()[:-9], "no XML"),
        (BOMB + feed(), "DTD or entities"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + feed(), "DTD or entities"),
        (b"<a>" * (DEPTH_MAX + 1), "nested too deep"),
        (feed(uom=119), "no MeterReading of electric energy"),
        (b"<feed/>", "no MeterReading of electric energy"),
        (feed(start="soon"), "'soon' stands where"),
        (feed(value="9" * 40), "stands where a whole number"),
        (feed(start=10**15), "is no time"),
        (feed(value=-1), "below zero"),
        (feed(value=10**12), "more than 1 GWh"),
        (feed(power=900), "power of ten"),
        (feed(value=5, power=-9), "finer than a milli-Wh"),
    ],
)
def test_a_feed_that_is_none_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FileRefused, match=why):
        read_espi(io.BytesIO(data))


HEAD = "start,end,import_kwh\r\n"
ROW = "2026-01-01T00:00:00Z,2026-01-01T00:15:00Z,"


def test_a_short_csv_will_do() -> None:
    (point,) = read_csv(
        io.StringIO("note,end,import_kwh,start\n,1970-01-01T01:00Z,0.5,1970-01-01T00:00Z")
    )
    assert point == Point(0, 3_600 * SECOND_US, 500_000, 0, False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1: no column 'start'"),
        ("start,end\n", "line 1: no column 'import_kwh'"),
        (HEAD + ROW, "line 2: '' is no energy"),
        (HEAD + ROW + "-1", "line 2: '-1' is no energy"),
        (HEAD + ROW + "1e9", "no energy"),
        (HEAD + ROW + "\u0661", "no energy"),
        (HEAD + ROW + "0.1234567", "no energy"),
        (HEAD + ROW + "9999999", "more than 1 GWh"),
        (HEAD + ROW.replace("Z", "") + "1", "has no offset"),
        (HEAD + "soon,later,1", "line 2: Invalid isoformat"),
        (HEAD + ROW + "1\n" + ROW + "2", "two points hold the same time"),
        (HEAD + "2026-01-02T00:00Z,2026-01-01T00:00Z,1", "is no time"),
        (HEAD + "2026-01-01T00:00Z,2026-07-01T00:00Z,1", "longer than a month"),
        (HEAD + ROW + '"1', "unexpected end"),
        (HEAD + ROW + "1" + "\0", "no energy|line contains NUL"),
        ("start,end,import_kwh,quality\n" + ROW + "1,guessed", "neither measured nor estimated"),
        (HEAD + "x" * 200_000, "field larger"),
    ],
)
def test_a_csv_that_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(FileRefused, match=why):
        read_csv(io.StringIO(text, newline=""))


def test_bytes_that_are_no_text_are_refused() -> None:
    data = io.TextIOWrapper(io.BytesIO(HEAD.encode() + b"\xff\xff"), "utf-8", newline="")
    with pytest.raises(FileRefused, match="not UTF-8"):
        read_csv(data)


@given(st.binary(max_size=200), st.integers(0, 900), st.booleans())
def test_any_damage_is_refused_or_harmless(junk: bytes, at: int, cut: bool) -> None:
    good = [Point(BEGIN_S * SECOND_US, (BEGIN_S + 900) * SECOND_US, 1, 2, True)]
    for whole, read in ((as_espi(good), read_espi), (as_csv(good).encode(), read_csv_bytes)):
        data = whole[:at] + junk + (b"" if cut else whole[at:])
        try:
            points = read(io.BytesIO(data))
        except FileRefused:
            continue
        assert all(each.start_us < each.end_us and min(each[2:4]) >= 0 for each in points)


def read_csv_bytes(data: io.BytesIO) -> list[Point]:
    return read_csv(io.TextIOWrapper(data, "utf-8", newline=""))


def test_green_button_knows_no_parts_of_seconds() -> None:
    with pytest.raises(LocalError, match="whole seconds"):
        as_espi([Point(1, 900 * SECOND_US, 1, 1, False)])
