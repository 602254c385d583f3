from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.drivers.feed import Period
from ioe_node.drivers.openadr import Ven
from ioe_node.drivers.openadr_messages import (
    EVENTS_MAX,
    INTERVALS_MAX,
    OPEN_END_US,
    PAYLOAD_BYTES_MAX,
    Distributed,
    Other,
    Registered,
    created_events,
    decode_payload,
    duration_us,
)
from ioe_node.errors import ConfigError, LocalError, TransportError

DAY_US = 1_767_225_600_000_000  # 2026-01-01
QUARTER_US = 900_000_000
OADR = "http://openadr.org/oadr-2.0b/2012/07"
EI = "http://docs.oasis-open.org/ns/energyinterop/201110"
ICAL = "urn:ietf:params:xml:ns:icalendar-2.0"


def payload(name: str, body: str) -> bytes:
    return (
        f'<oadrPayload xmlns="{OADR}" xmlns:ei="{EI}" xmlns:x="{ICAL}"><oadrSignedObject>'
        f"<{name}>{body}</{name}></oadrSignedObject></oadrPayload>"
    ).encode()


def interval(value: str, duration: str | None = "PT15M") -> str:
    lasts = (
        "" if duration is None else f"<x:duration><x:duration>{duration}</x:duration></x:duration>"
    )
    told = f"<ei:payloadFloat><ei:value>{value}</ei:value></ei:payloadFloat>"
    return f"<ei:interval>{lasts}<ei:signalPayload>{told}</ei:signalPayload></ei:interval>"


def event(
    *intervals: str,
    name: str = "SIMPLE",
    kind: str = "level",
    status: str = "far",
    test: str = "false",
    modification: str = "0",
    duration: str = "PT1H",
    unit: str = "",
) -> str:
    return (
        "<oadrEvent><ei:eiEvent><ei:eventDescriptor><ei:eventID>e</ei:eventID>"
        f"<ei:modificationNumber>{modification}</ei:modificationNumber>"
        f"<ei:eventStatus>{status}</ei:eventStatus><ei:testEvent>{test}</ei:testEvent>"
        "</ei:eventDescriptor><ei:eiActivePeriod><x:properties>"
        "<x:dtstart><x:date-time>2026-01-01T00:00:00Z</x:date-time></x:dtstart>"
        f"<x:duration><x:duration>{duration}</x:duration></x:duration>"
        "</x:properties></ei:eiActivePeriod><ei:eiEventSignals><ei:eiEventSignal>"
        f"<x:intervals>{''.join(intervals)}</x:intervals>"
        f"<ei:signalName>{name}</ei:signalName><ei:signalType>{kind}</ei:signalType>{unit}"
        "</ei:eiEventSignal></ei:eiEventSignals></ei:eiEvent>"
        "<oadrResponseRequired>always</oadrResponseRequired></oadrEvent>"
    )


def periods(*events: str) -> tuple[Period, ...]:
    told = decode_payload(payload("oadrDistributeEvent", "".join(events)), "vtn")
    assert isinstance(told, Distributed)
    return tuple(period for each in told.events for period in each.periods)


def test_intervals_follow_on_each_other() -> None:
    middle = DAY_US + QUARTER_US
    assert periods(event(interval("1"), interval("3.0", None))) == (
        Period(DAY_US, middle, "vtn", level=1),
        Period(middle, middle + 4 * QUARTER_US, "vtn", level=3),
    )


def test_a_price_names_its_currency() -> None:
    unit = "<currencyPerKWh><itemUnits>EUR</itemUnits></currencyPerKWh>"
    (period,) = periods(event(interval("0.1"), name="electricity_price", kind="price", unit=unit))
    assert (period.price_micro_per_kwh, period.currency) == (100_000, "EUR")


def test_an_open_end() -> None:
    (period,) = periods(event(interval("1", None), duration="PT0S"))
    assert period.end_us == DAY_US + OPEN_END_US


@pytest.mark.parametrize(
    "silent",
    [
        event(interval("1"), status="cancelled"),
        event(interval("1"), status="completed"),
        event(interval("1"), test="true"),
        event(interval("1"), kind="delta"),
        event(interval("1", "PT0S")),
        event(),
    ],
)
def test_events_that_ask_for_nothing(silent: str) -> None:
    assert periods(silent) == ()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (event(interval("4")), "level"),
        (event(interval("much")), "no number"),
        (event(interval("1e9"), name="ELECTRICITY_PRICE", kind="price"), "price"),
        (event(interval("1.1"), name="LOAD_CONTROL", kind="x-loadControlCapacity"), "from 0 to 1"),
        (event(interval("1"), duration="P1Y"), "no duration"),
        (event(interval("1"), modification="-1"), "modification"),
        (event(*[interval("1")] * (INTERVALS_MAX + 1)), "intervals"),
        (event() * (EVENTS_MAX + 1), "events"),
        ("<oadrEvent/>", "descriptor"),
    ],
)
def test_events_that_are_refused(body: str, word: str) -> None:
    with pytest.raises(LocalError, match=word):
        periods(body)


def test_other_messages() -> None:
    known = payload("oadrCreatedPartyRegistration", "<ei:venID>v</ei:venID>")
    assert decode_payload(known, "") == Registered("v")
    assert decode_payload(payload("oadrResponse", ""), "") == Other("oadrResponse")
    with pytest.raises(LocalError, match="ven_name"):
        decode_payload(payload("oadrCreatedPartyRegistration", ""), "")
    for code, family in ((452, LocalError), (503, TransportError)):
        response = f"<ei:eiResponse><ei:responseCode>{code}</ei:responseCode></ei:eiResponse>"
        with pytest.raises(family, match=str(code)):
            decode_payload(payload("oadrResponse", response), "")


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><a>&b;</a>'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"<html/>",
        BOMB.encode(),
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
        b'<?xml version="1.0" encoding="utf-7"?><a/>',
        b"<a>" * 100_000,
        b"<a>" * 50_000 + b"</a>" * 50_000,
        b" " * (PAYLOAD_BYTES_MAX + 1),
        payload("oadrResponse", "")[:-5],
    ],
)
def test_hostile_documents_are_refused(data: bytes) -> None:
    with pytest.raises(LocalError):
        decode_payload(data, "")


@given(st.text(max_size=40))
def test_any_duration_is_read_or_refused(text: str) -> None:
    with suppress(LocalError):
        assert duration_us(f"P{text}") >= 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT15M", 900), ("P1DT1H", 90_000), ("P2W", 1_209_600), ("PT0S", 0)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration_us(text) == seconds * 1_000_000


def test_what_it_is_told_is_escaped() -> None:
    told = decode_payload(payload("oadrDistributeEvent", event()), "")
    assert isinstance(told, Distributed)
    said = created_events("<v>", "&", list(told.events))
    assert b"<ei:venID>&lt;v&gt;</ei:venID>" in said
    assert b"<pyld:requestID>&amp;</pyld:requestID>" in said


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"ven_name": "a"}, "url"),
        ({"url": "a", "ven_name": "a"}, "url"),
        ({"url": "https://a"}, "ven_name"),
        ({"url": "https://a", "ven_name": "a", "cert_file": "b"}, "both"),
        ({"url": "https://a", "ven_name": "a", "ca_file": "/nowhere"}, "ca_file"),
    ],
)
def test_options(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Ven.from_options(options)


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match="ca_file"):
        Ven.from_options({"url": "https://a", "ven_name": "a", "ca_file": str(path)})
