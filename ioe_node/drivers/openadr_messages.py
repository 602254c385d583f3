"""OpenADR 2.0b payloads of a VEN that polls: written, and read by a hardened parser (pure).

After the OpenADR Alliance's Profile B specification 1.1.  A payload is one signed object in an
envelope; signatures are neither made nor checked (that is its high-security variant), TLS is what
protects it.  Documents with a DTD or entities are refused unread.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from defusedxml.ElementTree import fromstring

from ioe_node.drivers.feed import Period, decimal_of, iso_us, level_of, price_micro
from ioe_node.errors import LocalError, TransportError

PAYLOAD_BYTES_MAX = 512 * 1024
EVENTS_MAX = 100
INTERVALS_MAX = 2_000
TEXT_MAX = 256
OPEN_END_US = 366 * 24 * 3_600_000_000
"""An event of length zero lasts until it is cancelled; a year stands for that."""

_OADR = "http://openadr.org/oadr-2.0b/2012/07"
_EI = "http://docs.oasis-open.org/ns/energyinterop/201110"
_PYLD = f"{_EI}/payloads"
_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    f'<oadr:oadrPayload xmlns:oadr="{_OADR}" xmlns:ei="{_EI}" xmlns:pyld="{_PYLD}">'
    '<oadr:oadrSignedObject oadr:Id="oadrSignedObject">'
)
_TAIL = "</oadr:oadrSignedObject></oadr:oadrPayload>"


# --- what we say -------------------------------------------------------------------------------


def _payload(name: str, body: str) -> bytes:
    return f'{_HEAD}<oadr:{name} ei:schemaVersion="2.0b">{body}</oadr:{name}>{_TAIL}'.encode()


def create_registration(request_id: str, ven_name: str, ven_id: str) -> bytes:
    """We ask to be known, by name, and as `ven_id` where we have one already."""
    ven = f"<ei:venID>{escape(ven_id)}</ei:venID>" if ven_id else ""
    return _payload(
        "oadrCreatePartyRegistration",
        f"<pyld:requestID>{escape(request_id)}</pyld:requestID>{ven}"
        "<oadr:oadrProfileName>2.0b</oadr:oadrProfileName>"
        "<oadr:oadrTransportName>simpleHttp</oadr:oadrTransportName>"
        "<oadr:oadrReportOnly>false</oadr:oadrReportOnly>"
        "<oadr:oadrXmlSignature>false</oadr:oadrXmlSignature>"
        f"<oadr:oadrVenName>{escape(ven_name)}</oadr:oadrVenName>"
        "<oadr:oadrHttpPullModel>true</oadr:oadrHttpPullModel>",
    )


def request_events(request_id: str, ven_id: str) -> bytes:
    """We ask for all events that there are."""
    return _payload(
        "oadrRequestEvent",
        f"<pyld:eiRequestEvent><pyld:requestID>{escape(request_id)}</pyld:requestID>"
        f"<ei:venID>{escape(ven_id)}</ei:venID></pyld:eiRequestEvent>",
    )


def poll(ven_id: str) -> bytes:
    """We ask for news."""
    return _payload("oadrPoll", f"<ei:venID>{escape(ven_id)}</ei:venID>")


def created_events(ven_id: str, request_id: str, events: "list[Event]") -> bytes:
    """We take part in these events."""
    responses = "".join(
        "<ei:eventResponse><ei:responseCode>200</ei:responseCode>"
        f"<pyld:requestID>{escape(request_id)}</pyld:requestID>"
        f"<ei:qualifiedEventID><ei:eventID>{escape(event.id)}</ei:eventID>"
        f"<ei:modificationNumber>{event.modification}</ei:modificationNumber>"
        "</ei:qualifiedEventID><ei:optType>optIn</ei:optType></ei:eventResponse>"
        for event in events
    )
    return _payload(
        "oadrCreatedEvent",
        "<pyld:eiCreatedEvent><ei:eiResponse><ei:responseCode>200</ei:responseCode>"
        "<ei:responseDescription>OK</ei:responseDescription><pyld:requestID/></ei:eiResponse>"
        f"<ei:eventResponses>{responses}</ei:eventResponses>"
        f"<ei:venID>{escape(ven_id)}</ei:venID></pyld:eiCreatedEvent>",
    )


# --- what we are told --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `periods` is empty where it is over, cancelled, a test or of no use to us."""

    id: str
    modification: int
    wants_answer: bool
    periods: tuple[Period, ...]


@dataclass(frozen=True, slots=True)
class Distributed:
    """All events that there are for us: others are cancelled."""

    request_id: str
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Registered:
    """We are known, as `ven_id`."""

    ven_id: str


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else, by its element's name."""

    name: str


def decode_payload(data: bytes, source: str) -> Distributed | Registered | Other:
    """What a VTN's payload says; LocalError for what is no payload or refuses us."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise LocalError(f"it sent more than {PAYLOAD_BYTES_MAX} bytes")
    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, ValueError, LookupError):
        raise LocalError("its answer is no XML that we accept: check `url`") from None
    signed = root.find(f"{{{_OADR}}}oadrSignedObject")
    message = None if signed is None else next(iter(signed), None)
    if message is None or not isinstance(message.tag, str):
        raise LocalError("its answer is no OpenADR 2.0b payload: check `url`")
    name = message.tag.rpartition("}")[2]
    _refuse_refusal(message)
    if name == "oadrCreatedPartyRegistration":
        ven_id = _text(message, "venID")
        if not ven_id:
            raise LocalError("it does not register us: have it know `ven_name`")
        return Registered(ven_id)
    if name == "oadrDistributeEvent":
        found = message.findall(f"{{{_OADR}}}oadrEvent")
        if len(found) > EVENTS_MAX:
            raise LocalError(f"it sent more than {EVENTS_MAX} events")
        return Distributed(
            _text(message, "requestID"), tuple(_event(each, source) for each in found)
        )
    return Other(name)


def _refuse_refusal(message: Element) -> None:
    code = _text(message, "eiResponse", "responseCode")
    if code and not code.startswith("2"):
        why = f"it answered {code} {_text(message, 'eiResponse', 'responseDescription')!r}"
        raise TransportError(why) if code.startswith("5") else LocalError(why)


def _event(element: Element, source: str) -> Event:
    event = _find(element, "eiEvent")
    descriptor = None if event is None else _find(event, "eventDescriptor")
    if event is None or descriptor is None:
        raise LocalError("an event of it has no descriptor")
    modification = _text(descriptor, "modificationNumber")
    if not re.fullmatch(r"[0-9]{1,9}", modification):
        raise LocalError("an event of it has no modification number")
    over = _text(descriptor, "eventStatus") in ("cancelled", "completed")
    test = _text(descriptor, "testEvent").lower() not in ("", "false")
    return Event(
        _text(descriptor, "eventID"),
        int(modification),
        _text(element, "oadrResponseRequired") == "always",
        () if over or test else tuple(_periods(event, source)),
    )


def _periods(event: Element, source: str) -> list[Period]:
    properties = _find(event, "eiActivePeriod", "properties")
    if properties is None:
        raise LocalError("an event of it says no time")
    start_us = iso_us(_text(properties, "dtstart", "date-time"))
    whole_us = duration_us(_text(properties, "duration", "duration")) or OPEN_END_US
    found: list[Period] = []
    for signal in event.findall("{*}eiEventSignals/{*}eiEventSignal"):
        intervals = signal.findall("{*}intervals/{*}interval")
        if len(found) + len(intervals) > INTERVALS_MAX:
            raise LocalError(f"an event of it has more than {INTERVALS_MAX} intervals")
        at_us = start_us
        for interval in intervals:
            told_start = _text(interval, "dtstart", "date-time")
            begin_us = iso_us(told_start) if told_start else at_us
            told = _text(interval, "duration", "duration")
            at_us = begin_us + (duration_us(told) if told else whole_us)
            value = _text(interval, "signalPayload", "payloadFloat", "value")
            period = _period(signal, begin_us, at_us, value, source)
            if period is not None and at_us > begin_us:
                found.append(period)
    return found


def _period(signal: Element, start_us: int, end_us: int, value: str, source: str) -> Period | None:
    """A signal's interval, where it is of a kind that we know."""
    kind = _text(signal, "signalName").upper(), _text(signal, "signalType")
    if kind == ("SIMPLE", "level"):
        return Period(start_us, end_us, source, level=level_of(decimal_of(value)))
    if kind == ("ELECTRICITY_PRICE", "price"):
        price = price_micro(decimal_of(value))
        currency = _text(signal, "currencyPerKWh", "itemUnits")
        return Period(start_us, end_us, source, price_micro_per_kwh=price, currency=currency)
    if kind == ("LOAD_CONTROL", "x-loadControlCapacity"):
        share = price_micro(decimal_of(value)) // 100
        if not 0 <= share <= 10_000:
            raise LocalError(f"it tells a capacity of {value[:40]}: it goes from 0 to 1")
        return Period(start_us, end_us, source, capacity_bp=share)
    return None


_DURATION = re.compile(
    r"P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?"
)


def duration_us(text: str) -> int:
    """An ISO 8601 duration without months or years; LocalError otherwise."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        raise LocalError(f"{text[:40]!r} is no duration")
    weeks, days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
    whole = timedelta(days=7 * weeks + days, hours=hours, minutes=minutes, seconds=seconds)
    return whole // timedelta(microseconds=1)


def _find(element: Element, *way: str) -> Element | None:
    return element.find("/".join(f"{{*}}{step}" for step in way))


def _text(element: Element, *way: str) -> str:
    """The text of a descendant, '' where it is missing or absurdly long."""
    found = _find(element, *way)
    text = "" if found is None else (found.text or "").strip()
    return text if len(text) <= TEXT_MAX else ""
