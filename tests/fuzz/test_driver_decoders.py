"""Every decoder of what devices and their servers send, against spoiled bytes."""

from collections.abc import Callable
from contextlib import suppress

from ioe_node.drivers import feed_csv, feed_http
from ioe_node.drivers.dsmr_cipher import LUXEMBOURG, SealedTelegrams
from ioe_node.drivers.dsmr_telegram import Damaged, Telegrams, crc16, decode_telegram
from ioe_node.drivers.feed import periods_of
from ioe_node.drivers.modbus import ModbusRefused, check_written, decode_read
from ioe_node.drivers.ocpp_messages import Call, Violation, decode_frame
from ioe_node.drivers.ocpp_station import Station
from ioe_node.drivers.openadr_messages import decode_payload
from ioe_node.errors import TransportError

Fuzz = Callable[..., None]

EVENT = b"""<?xml version="1.0"?>
<oadr:oadrPayload xmlns:oadr="http://openadr.org/oadr-2.0b/2012/07"
 xmlns:ei="http://docs.oasis-open.org/ns/energyinterop/201110"
 xmlns:x="urn:ietf:params:xml:ns:icalendar-2.0"><oadr:oadrSignedObject>
<oadr:oadrDistributeEvent><requestID>1</requestID><oadr:oadrEvent><ei:eiEvent>
<ei:eventDescriptor><ei:eventID>e</ei:eventID><ei:modificationNumber>0</ei:modificationNumber>
<ei:eventStatus>near</ei:eventStatus></ei:eventDescriptor><ei:eiActivePeriod><x:properties>
<x:dtstart><x:date-time>2026-01-01T00:00:00Z</x:date-time></x:dtstart>
<x:duration><x:duration>PT1H</x:duration></x:duration></x:properties></ei:eiActivePeriod>
<ei:eiEventSignals><ei:eiEventSignal><x:intervals><ei:interval>
<x:duration><x:duration>PT15M</x:duration></x:duration><ei:signalPayload><ei:payloadFloat>
<ei:value>2.0</ei:value></ei:payloadFloat></ei:signalPayload></ei:interval></x:intervals>
<ei:signalName>SIMPLE</ei:signalName><ei:signalType>level</ei:signalType></ei:eiEventSignal>
</ei:eiEventSignals></ei:eiEvent><oadr:oadrResponseRequired>always</oadr:oadrResponseRequired>
</oadr:oadrEvent></oadr:oadrDistributeEvent></oadr:oadrSignedObject></oadr:oadrPayload>"""

LINES = b"/ABC\r\n\r\n0-0:1.0.0(210217184019W)\r\n1-0:1.8.1(000001.5*kWh)\r\n1-0:1.7.0(1*W)\r\n!"
TELEGRAM = LINES + b"%04X\r\n" % crc16(LINES)

VALUES = (
    b'[2,"1","MeterValues",{"connectorId":1,"meterValue":[{"timestamp":"2026-01-01T00:00:00Z",'
    b'"sampledValue":[{"value":"1.5","unit":"kWh"},{"value":"7","measurand":"Power.Active.Import"'
    b',"phase":"L1"}]}]}]'
)
START = (
    b'[2,"1","StartTransaction",{"connectorId":1,"idTag":"a","meterStart":5,'
    b'"timestamp":"2026-01-01T00:00:00+01:00"}]'
)
ROWS = b'[{"start":"2026-01-01T00:00Z","end":1767229200,"price":0.25,"level":1}]'
TABLE = b"start,end,price,level\n2026-01-01T00:00Z,2026-01-01T01:00Z,0.25,1\n"


def test_openadr_payloads(fuzz: Fuzz) -> None:
    tokens = (b"<!DOCTYPE a>", b"&lt;", b"<![CDATA[", b"<?x?>", b"P9W", b"1e999", b"&#0;")
    fuzz(
        [EVENT], lambda data: decode_payload(data, "v"), tokens=tokens, may_raise=(TransportError,)
    )


def test_p1_streams(fuzz: Fuzz) -> None:
    def read(data: bytes) -> None:
        for cutter in (Telegrams(), SealedTelegrams(bytes(16), LUXEMBOURG)):
            for telegram in cutter.feed(data):
                with suppress(Damaged):
                    decode_telegram(telegram, 1)
        body = data.partition(b"!")[0] + b"!"  # as a meter would send it, its checksum right
        decode_telegram(body + b"%04X\r\n" % crc16(body), 1)

    fuzz([TELEGRAM], read, may_raise=(Damaged,))


def test_ocpp_messages(fuzz: Fuzz) -> None:
    def hear(data: bytes) -> None:
        frame = decode_frame(data.decode("utf-8", "replace"))
        if isinstance(frame, Call):
            Station(1, None, lambda _: None).answer(frame.action, frame.payload, 1)

    fuzz([VALUES, START], hear, may_raise=(Violation,))


def test_modbus_answers(fuzz: Fuzz) -> None:
    def read(data: bytes) -> None:
        with suppress(TransportError, ModbusRefused):
            check_written(data, 1, 2)
        decode_read(data, 2)

    fuzz([b"\x03\x04\0\x01\0\x02"], read, may_raise=(TransportError,))


def test_tables_of_prices(fuzz: Fuzz) -> None:
    options = feed_http.HttpOptions(url="http://a")

    def read(data: bytes) -> None:
        json = data.lstrip().startswith(b"[")
        rows = feed_http.decode_rows(data, options) if json else feed_csv.decode_rows(data)
        periods_of(rows, "s", "")

    fuzz([ROWS, TABLE], read)
