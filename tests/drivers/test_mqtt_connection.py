"""The connection: TLS, passwords, brokers that are away, that refuse, that send too much."""

import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.drivers import mqtt_connection as subject
from ioe_node.drivers.mqtt_broker import Broker, parse_broker
from ioe_node.drivers.mqtt_connection import MESSAGE_BYTES_MAX, Message, open_connection
from ioe_node.errors import LocalError, TransportError

ACCEPTED = b"\x20\x02\x00\x00"


async def listen(broker: Broker, connected: Callable[[], None] = lambda: None) -> None:
    async with open_connection(broker, lambda message: None) as connection:
        connected()
        await connection.serve()


async def echo(broker: Broker, count: int = 1, size: int = 10) -> int:
    """How many of `count` messages to ourselves come back."""
    heard: list[Message] = []
    async with open_connection(broker, heard.append) as connection:
        connection.subscribe(["echo"])
        for number in range(count):
            connection.publish(Message("echo", number.to_bytes(size, "big")))
        await connection.serve(lambda: len(heard) >= count)
    assert sorted(each.payload for each in heard) == [
        each.to_bytes(size, "big") for each in range(count)
    ]
    return len(heard)


async def test_messages_come_and_go(mosquitto: Callable[..., Any]) -> None:
    with trio.fail_after(20):
        assert await echo(parse_broker(mosquitto("max_queued_messages 0").url), 500) == 500
        assert await echo(parse_broker(mosquitto().url), 3, MESSAGE_BYTES_MAX - 100) == 3


def certificate(folder: Path) -> tuple[str, str]:
    """(certificate, key) for localhost, its own CA."""
    key, made = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return str(made), str(key)


def password(users: Path, user: str, secret: str) -> None:
    command = ["mosquitto_passwd", "-b", "-c", str(users), user, secret]
    subprocess.run(command, check=True, capture_output=True)


async def test_tls_and_a_password(mosquitto: Callable[..., Any], tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    users = tmp_path / "users"
    password(users, "ioe", "hütte 9")
    broker = mosquitto(
        "allow_anonymous false", f"password_file {users}", f"certfile {made}", f"keyfile {key}"
    )
    secret, wrong = tmp_path / "secret", tmp_path / "wrong"
    secret.write_text("hütte 9\n")
    wrong.write_text("hut")
    url = f"mqtts://localhost:{broker.port}"
    with trio.fail_after(30):
        assert await echo(parse_broker(url, "ioe", str(secret), made), 20, 20_000) == 20
        for refused, why in [
            (parse_broker(url, "ioe", str(wrong), made), "password_file"),
            (parse_broker(url, ca_file=made), "password_file"),
            (parse_broker(url, "ioe", str(secret)), "ca_file"),
        ]:
            with pytest.raises(LocalError, match=why):
                await echo(refused)
        with pytest.raises(TransportError):
            await echo(parse_broker(broker.url))


async def test_a_broker_that_is_away_or_goes(mosquitto: Callable[..., Any]) -> None:
    broker = mosquitto()
    with trio.fail_after(20):
        with pytest.raises(TransportError, match="the connection broke"):
            await listen(parse_broker(broker.url), broker.stop)
        with pytest.raises(TransportError, match="cannot connect"):
            await echo(parse_broker(broker.url))


async def fake(answer: bytes, nursery: trio.Nursery) -> Broker:
    """A broker that answers so to whatever it is sent."""

    async def handler(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.receive_some(65_536)
            await stream.send_all(answer)
            await trio.sleep_forever()

    listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
    return Broker("127.0.0.1", listeners[0].socket.getsockname()[1])


@pytest.mark.parametrize(
    ("answer", "family", "word"),
    [
        (b"\x20\x02\x00\x05", LocalError, "password_file"),
        (b"\x20\x02\x00\x04", LocalError, "password_file"),
        (b"\x20\x02\x00\x03", TransportError, "refuses us"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TransportError, "."),
        (b"\xff" * 100, TransportError, "."),
        (b"", TransportError, "does not answer"),
    ],
)
async def test_answers_that_are_no_welcome(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, answer: bytes, family: Any, word: str
) -> None:
    monkeypatch.setattr(subject, "CONNECT_DEADLINE_S", 1.5)
    broker = await fake(answer, nursery)
    with pytest.raises(family, match=word) as refusal:
        await echo(broker)
    assert "\n" not in str(refusal.value)


async def test_a_message_too_large_breaks_the_connection(nursery: trio.Nursery) -> None:
    """Whatever its head says, no more than that is taken into memory."""
    huge = b"\x30" + b"\xff\xff\xff\x7f" + struct.pack(">H", 1) + b"t" + bytes(1_000)
    broker = await fake(ACCEPTED + huge, nursery)
    with trio.fail_after(5), pytest.raises(TransportError, match="the connection broke"):
        await listen(broker)
