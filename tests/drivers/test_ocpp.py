import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto import ConnectionType, WSConnection
from wsproto.events import CloseConnection, Message, Request

from ioe_node.drivers.driver import Reading
from ioe_node.drivers.ocpp import (
    CALL_DEADLINE_S,
    CONNECTIONS_MAX,
    HANDSHAKE_DEADLINE_S,
    SILENCE_S,
    ChargePoint,
)
from ioe_node.drivers.ocpp_messages import (
    MESSAGE_BYTES_MAX,
    Violation,
    decode_frame,
    limit_of,
    time_text,
    time_us,
)
from ioe_node.drivers.ocpp_station import Station
from ioe_node.errors import ConfigError, LocalError, TransportError

NOW_US = 1_767_225_600_000_000
ACTIONS = [
    "BootNotification",
    "Heartbeat",
    "Authorize",
    "StatusNotification",
    "StartTransaction",
    "StopTransaction",
    "MeterValues",
    "DataTransfer",
]


class StoppedClock:
    def now_us(self) -> int:
        return NOW_US


class Told(list[Reading]):
    def station(self, id_tags: frozenset[str] | None = None) -> Station:
        return Station(1, id_tags, self.append)


def meter_values(*values: dict[str, str], at: str = "2026-01-01T00:00:00Z", **more: int) -> bytes:
    value = {"timestamp": at, "sampledValue": list(values)}
    return json.dumps({"connectorId": 1, "meterValue": [value], **more}).encode()


def say(station: Station, action: str, **payload: object) -> dict[str, object]:
    return dict(station.answer(action, json.dumps(payload).encode(), NOW_US))


# --- pure --------------------------------------------------------------------------------------


def test_phases_are_added_up_where_no_total_is_told() -> None:
    told = Told()
    energy = [{"value": "1.5", "unit": "kWh", "phase": phase} for phase in ("L1", "L2", "L3")]
    given = {"value": "250.4", "measurand": "Power.Active.Export", "phase": "L1-N"}
    drawn = {"value": "100", "measurand": "Power.Active.Import"}
    other = {"value": "9", "location": "Inlet"}
    signed = {"value": "AAAA", "format": "SignedData"}
    returned = {"value": "7", "measurand": "Energy.Active.Export.Register"}
    payload = meter_values(*energy, given, drawn, other, signed, returned)
    told.station().answer("MeterValues", payload, NOW_US)
    assert told == [Reading(NOW_US, 4_500_000, 7_000, -150_400, False)]


def test_only_what_is_new_becomes_a_reading() -> None:
    told = Told()
    station = told.station()
    for at, value in (
        ("2025-12-31T23:00:00Z", "5"),
        ("2025-12-31T22:00:00Z", "4"),  # kept while it was offline
        ("2099-01-01T00:00:00Z", "6"),  # its clock is wrong
        ("2026-01-01T00:00:00Z", "7"),
    ):
        station.answer("MeterValues", meter_values({"value": value}, at=at), NOW_US)
    hour = 3_600_000_000
    assert [(each.at_us, each.import_milli_wh) for each in told] == [
        (NOW_US - hour, 5_000),
        (NOW_US, 6_000),
    ]


def test_a_transaction_is_one_of_its_own() -> None:
    told = Told()
    station = told.station()
    start = {"idTag": "a", "meterStart": 1, "timestamp": "2025-12-31T00:00:00Z"}
    first = say(station, "StartTransaction", connectorId=1, **start)
    second = say(station, "StartTransaction", connectorId=2, **start)
    assert first["transactionId"] == NOW_US // 1_000_000
    assert second["transactionId"] == NOW_US // 1_000_000 + 1
    assert station.transaction_id == first["transactionId"]
    say(station, "StatusNotification", connectorId=1, errorCode="NoError", status="Charging")
    assert station.transaction_id == first["transactionId"]
    say(station, "StatusNotification", connectorId=1, errorCode="NoError", status="Available")
    assert station.transaction_id is None
    station.answer("MeterValues", meter_values({"value": "1"}, transactionId=9), NOW_US)
    assert station.transaction_id == 9
    assert told[-1].switched_on is True


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("Reboot", b"{}", "NotImplemented"),
        ("Authorize", b"{}", "TypeConstraintViolation"),
        ("Authorize", b'{"idTag": "123456789012345678901"}', "TypeConstraintViolation"),
        ("Authorize", b"{", "FormationViolation"),
        ("Authorize", b'{"idTag": "\xff"}', "FormationViolation"),
        ("MeterValues", meter_values({"value": "x"}), "PropertyConstraintViolation"),
        ("MeterValues", meter_values({"value": "1e400"}), "PropertyConstraintViolation"),
        ("MeterValues", meter_values({"value": "NaN"}), "PropertyConstraintViolation"),
        ("MeterValues", meter_values({"value": "1", "unit": "J"}), "PropertyConstraintViolation"),
        ("MeterValues", meter_values({"value": "1"}, at="now"), "PropertyConstraintViolation"),
        ("MeterValues", meter_values(*[{"value": "1"}] * 201), "TypeConstraintViolation"),
    ],
)
def test_what_is_refused(action: str, payload: bytes, code: str) -> None:
    with pytest.raises(Violation) as refusal:
        Told().station().answer(action, payload, NOW_US)
    assert refusal.value.code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: (
        st.lists(children)
        | st.dictionaries(
            st.sampled_from(["connectorId", "meterValue", "sampledValue", "timestamp", "value"]),
            children,
        )
    ),
)


@given(st.sampled_from(ACTIONS), JSON)
def test_any_payload_is_answered_or_refused(action: str, payload: object) -> None:
    with suppress(Violation):
        Told().station().answer(action, json.dumps(payload).encode(), NOW_US)


TEXTS = st.text() | JSON.map(json.dumps) | st.lists(JSON, max_size=6).map(json.dumps)


@given(TEXTS)
def test_any_frame_is_decoded_or_refused(text: str) -> None:
    with suppress(Violation):
        decode_frame(text)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '[2,"1","A",' + "[" * 90_000, "\ud800", "[2," + "9" * 9999 + "]"]
)
def test_hard_frames_are_refused(text: str) -> None:
    with pytest.raises(Violation):
        decode_frame(text)


@given(st.integers(0, 10**9), st.sampled_from(["A", "W"]), st.integers(1, 3))
def test_a_limit_never_allows_more_than_was_asked(milli_w: int, unit: str, phases: int) -> None:
    limit = limit_of(milli_w, unit, 230, phases)
    allowed = limit * 1000 * (1 if unit == "W" else 230 * phases)
    assert 0 <= milli_w - allowed < Decimal(100) * 230 * phases


@given(st.integers(0, 4_000_000_000))
def test_times_survive(seconds: int) -> None:
    assert time_us(time_text(seconds * 1_000_000)) == seconds * 1_000_000


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a", "port": 70_000}, "port"),
        ({"name": "a", "limit_unit": "kW"}, "limit_unit"),
        ({"name": "a", "password_file": "/nowhere"}, "password_file"),
        ({"name": "a", "listen": "0.0.0.0"}, "password_file = "),
        ({"name": "a", "listen": "::"}, "password_file = "),
        ({"name": "a", "listen": "0.0.0.0", "password_file": "/dev/null"}, "password_file = "),
        ({"name": "a", "listen": "here"}, "no address"),
        ({"name": "a", "tls_cert": "/nowhere"}, "go together"),
        ({"name": "a", "tls_cert": "/nowhere", "tls_key": "/nowhere"}, "tls_cert, tls_key"),
    ],
)
def test_options(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        ChargePoint.from_options(options)


# --- against charge points that misbehave ------------------------------------------------------


async def listening(nursery: trio.Nursery, told: list[Reading], **more: object) -> ChargePoint:
    options = {"name": "garage", "port": 0, **more}
    driver = ChargePoint.from_options(options, StoppedClock())
    nursery.start_soon(driver.watch, told.append)
    while not driver.port:
        await trio.testing.wait_all_tasks_blocked()
    return driver


@asynccontextmanager
async def connection(driver: ChargePoint) -> AsyncIterator[WebSocketConnection]:
    async with (
        await trio.open_tcp_stream("127.0.0.1", driver.port) as stream,
        trio.open_nursery() as nursery,
    ):
        where = ("127.0.0.1", "/garage")
        yield await wrap_client_stream(nursery, stream, *where, subprotocols=["ocpp1.6"])
        nursery.cancel_scope.cancel()


async def test_the_driver_outlives_bad_messages(nursery: trio.Nursery) -> None:
    told: list[Reading] = []
    driver = await listening(nursery, told)
    async with connection(driver) as socket:
        for message in ("", "{}", "[" * 9000, b"\xff\xfe", '[3,"7",{}]', '[4,"7","x","y"]'):
            await socket.send_message(message)
        await socket.send_message('[2,"a","Nonsense",{}]')
        assert json.loads(await socket.get_message())[:3] == [4, "a", "NotImplemented"]
        await socket.send_message('[2,"b","MeterValues",{"connectorId":1}]')
        assert json.loads(await socket.get_message())[:3] == [4, "b", "TypeConstraintViolation"]
        with suppress(ConnectionClosed):
            await socket.send_message("x" * (MESSAGE_BYTES_MAX + 1))
            await socket.get_message()
        assert socket.closed is not None
        assert socket.closed.code == 1009
    async with connection(driver) as socket:
        await socket.send_message('[2,"c","Heartbeat",{}]')
        assert json.loads(await socket.get_message())[:2] == [3, "c"]
    assert told == []


@pytest.mark.parametrize(
    "opening",
    [b"", b"\xff" * 100_000, b"GET / HTTP/1.1\r\n\r\n", b"GET /garage HTTP/1.1\r\nHost: a\r\n\r\n"],
)
async def test_the_driver_outlives_bad_openings(
    nursery: trio.Nursery, opening: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    driver = await listening(nursery, [])
    async with await trio.open_tcp_stream("127.0.0.1", driver.port) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(opening)
            await stream.send_eof()
            async for _ in stream:
                pass
    async with connection(driver):
        pass


async def test_another_subprotocol_is_refused(nursery: trio.Nursery) -> None:
    driver = await listening(nursery, [])
    request = (
        b"GET /garage HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with await trio.open_tcp_stream("127.0.0.1", driver.port) as stream:
        await stream.send_all(request)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 400")


async def test_too_many_connections(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    driver = await listening(nursery, [])
    where = ("127.0.0.1", driver.port)
    streams = [await trio.open_tcp_stream(*where) for _ in range(CONNECTIONS_MAX)]
    async with await trio.open_tcp_stream(*where) as stream:
        assert await stream.receive_some() == b""
    for each in streams:
        await each.aclose()
    await trio.sleep(HANDSHAKE_DEADLINE_S)
    async with connection(driver):
        pass


async def answer_calls(socket: WebSocketConnection, *answers: str) -> None:
    for answer in answers:
        identifier = json.loads(await socket.get_message())[1]
        await socket.send_message(answer.replace("ID", identifier))


async def test_commands_that_it_does_not_know(nursery: trio.Nursery) -> None:
    driver = await listening(nursery, [])
    async with connection(driver) as socket:
        unknown = '[4,"ID","NotSupported","",{}]'
        rejected = '[3,"ID",{"status":"Rejected"}]'
        broken = '[4,"ID","InternalError","",{}]'
        nonsense = '[3,"ID",[]]'
        nursery.start_soon(answer_calls, socket, unknown, rejected, rejected, broken, nonsense)
        with pytest.raises(LocalError, match="NotSupported"):
            await driver.limit_power(1)
        with pytest.raises(LocalError, match="limit_unit"):
            await driver.limit_power(1)
        with pytest.raises(TransportError, match="plugged in"):
            await driver.set_on(True)
        with pytest.raises(TransportError, match="InternalError"):
            await driver.set_on(True)
        with pytest.raises(TransportError, match="answer to RemoteStart"):
            await driver.set_on(True)


async def test_what_was_said_last_where_it_cannot_be_asked(nursery: trio.Nursery) -> None:
    told: list[Reading] = []
    driver = await listening(nursery, told)
    async with connection(driver) as socket:
        values = meter_values({"value": "3"}).decode()
        await socket.send_message(f'[2,"a","MeterValues",{values}]')
        await socket.get_message()
        nursery.start_soon(answer_calls, socket, '[4,"ID","NotImplemented","",{}]')
        assert await driver.read() == told[0] == Reading(NOW_US, 3_000, 0, None, False)


async def test_nobody_connects(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    driver = await listening(nursery, [])
    with pytest.raises(TransportError, match=f"ws://THIS-MACHINE:{driver.port}/"):
        await driver.read()
    taken = ChargePoint.from_options({"name": "b", "port": driver.port, "listen": "127.0.0.1"})
    with pytest.raises(LocalError, match="cannot listen"):
        await taken.watch(lambda _: None)
    with pytest.raises(LocalError, match="cannot listen"):
        await taken.read()


async def test_a_charge_point_that_falls_silent(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    driver = await listening(nursery, [])
    async with connection(driver) as socket:
        with pytest.raises(TransportError, match="no answer to TriggerMessage"):
            await driver.read()
        assert trio.current_time() >= CALL_DEADLINE_S
        await trio.sleep(SILENCE_S)
        await socket.get_message()  # what it was asked
        with pytest.raises(ConnectionClosed):
            await socket.get_message()


def test_a_password_is_bytes(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_bytes(b"\xff\n")
    for listen in ("127.0.0.1", "0.0.0.0"):
        options = {"name": "a", "listen": listen, "password_file": str(secret)}
        ChargePoint.from_options(options)


async def test_without_being_told_otherwise_only_this_machine_is_listened_to(
    nursery: trio.Nursery,
) -> None:
    driver = ChargePoint.from_options({"name": "garage", "port": 0}, StoppedClock())
    listeners: list[trio.SocketListener] = []
    opened = trio.open_tcp_listeners

    async def noted(port: int, *, host: str) -> list[trio.SocketListener]:
        listeners.extend(await opened(port, host=host))
        return listeners

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "open_tcp_listeners", noted)
        nursery.start_soon(driver.watch, [].append)
        while not driver.port:
            await trio.testing.wait_all_tasks_blocked()
    assert [each.socket.getsockname()[0] for each in listeners] == ["127.0.0.1"]


async def test_a_conversation_under_tls(nursery: trio.Nursery, tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    await trio.run_process([*made, *named, "-keyout", key, "-out", cert], stderr=subprocess.DEVNULL)
    driver = await listening(nursery, [], tls_cert=str(cert), tls_key=str(key))
    trusted = ssl.create_default_context(cafile=str(cert))
    plain = await trio.open_tcp_stream("127.0.0.1", driver.port)
    stream = trio.SSLStream(plain, trusted, server_hostname="127.0.0.1")
    async with plain, trio.open_nursery() as client:
        where = ("127.0.0.1", "/garage")
        socket = await wrap_client_stream(client, stream, *where, subprotocols=["ocpp1.6"])
        await socket.send_message('[2,"c","Heartbeat",{}]')
        assert json.loads(await socket.get_message())[:2] == [3, "c"]
        client.cancel_scope.cancel()


async def test_calls_and_the_end_in_one_breath(nursery: trio.Nursery) -> None:
    driver = await listening(nursery, [])
    peer = WSConnection(ConnectionType.CLIENT)
    opening = peer.send(Request(host="a", target="/garage", subprotocols=["ocpp1.6"]))
    async with await trio.open_tcp_stream("127.0.0.1", driver.port) as stream:
        await stream.send_all(opening)
        peer.receive_data(bytes(await stream.receive_some()))
        beats = b"".join(peer.send(Message('[2,"a","Heartbeat",{}]')) for _ in range(9))
        await stream.send_all(beats + peer.send(CloseConnection(1000)))
        async for _ in stream:
            pass
    async with connection(driver) as socket:
        await socket.send_message('[2,"c","Heartbeat",{}]')
        assert json.loads(await socket.get_message())[:2] == [3, "c"]
