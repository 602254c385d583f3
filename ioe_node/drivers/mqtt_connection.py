"""One connection to an MQTT broker: paho-mqtt's protocol, its socket on trio's loop.

Messages are read and written by the task that calls `serve`, and no thread has a part in it; only
the blocking steps of connecting (name, TCP, TLS) are done in a worker thread.  A connection is
used once: what it breaks with is raised, and whoever keeps it up connects again.  Messages larger
than `MESSAGE_BYTES_MAX` break it, whatever the broker lets pass.
"""

import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from ioe_node.drivers.mqtt_broker import Broker
from ioe_node.errors import LocalError, TransportError

MESSAGE_BYTES_MAX = 256 * 1024
QUEUED_MESSAGES_MAX = 1_000
TOPIC_BYTES_MAX = 512
CONNECT_TIMEOUT_S = 5.0
CONNECT_DEADLINE_S = 15.0
KEEP_ALIVE_S = 30
TICK_S = 1.0
MISTRUSTED = ("Bad user name or password", "Not authorized")


@dataclass(frozen=True, slots=True)
class Message:
    """`retained`: said some time ago, and kept by the broker for whoever comes."""

    topic: str
    payload: bytes
    retained: bool = False


class _Client(mqtt.Client):
    """paho's client, but for the size of what it takes in, and what a failed TLS leaves open."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MESSAGE_BYTES_MAX:
            raise OSError(f"a message of more than {MESSAGE_BYTES_MAX} bytes")
        return super()._sock_recv(bufsize)

    def _ssl_wrap_socket(self, tcp_sock: Any) -> ssl.SSLSocket:
        assert self._ssl_context is not None
        wrapped = self._ssl_context.wrap_socket(
            tcp_sock, server_hostname=self._host, do_handshake_on_connect=False
        )
        try:
            wrapped.settimeout(CONNECT_TIMEOUT_S)
            wrapped.do_handshake()
        except OSError:
            wrapped.close()
            raise
        return wrapped


@asynccontextmanager
async def open_connection(
    broker: Broker, take: Callable[[Message], None], will: Message | None = None
) -> AsyncIterator["Connection"]:
    """Connected and accepted; `take` gets what arrives while `serve` runs.

    TransportError where the broker is away, LocalError where it does not want us.
    """
    client = _Client(CallbackAPIVersion.VERSION2, f"ioe-{secrets.token_hex(8)}")
    client.connect_timeout = CONNECT_TIMEOUT_S
    client.max_queued_messages_set(QUEUED_MESSAGES_MAX)
    if broker.user:
        client.username_pw_set(broker.user, broker.password)
    if will is not None:
        client.will_set(will.topic, will.payload, qos=1, retain=will.retained)
    connection = Connection(broker.name, client, take)
    try:
        with trio.fail_after(CONNECT_DEADLINE_S):
            if broker.tls:
                client.tls_set_context(await trio.to_thread.run_sync(_tls, broker.ca_file))
            connect = client.connect
            where = (broker.host, broker.port, KEEP_ALIVE_S)
            await trio.to_thread.run_sync(connect, *where, abandon_on_cancel=True)  # type: ignore[call-arg]
            client.on_socket_close = _closing
            await connection.accepted()
        yield connection
    except trio.TooSlowError:
        raise TransportError(f"{broker.name} does not answer") from None
    except ssl.SSLCertVerificationError as failure:
        raise LocalError(
            f"{broker.name}: its certificate is not trusted ({failure.verify_message}): name its "
            "CA in `ca_file`, and the host as the certificate does"
        ) from None
    except OSError as failure:
        raise TransportError(f"{broker.name}: cannot connect ({failure})") from None
    finally:
        client.disconnect()
        client.loop_write()


def _closing(client: mqtt.Client, data: Any, socket: Any) -> None:
    """Wake whoever waits for a socket that paho gives up."""
    trio.lowlevel.notify_closing(socket)


def _tls(ca_file: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(
        cafile=None if ca_file is None else str(Path(ca_file).expanduser())
    )


class Connection:
    """An open connection; `serve` is its engine."""

    def __init__(self, name: str, client: mqtt.Client, take: Callable[[Message], None]) -> None:
        self._name = name
        self._client = client
        self._take = take
        self._answer: ReasonCode | None = None
        self.on_taken: Callable[[], None] = lambda: None
        """Called when the broker has taken a message of ours."""
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    def subscribe(self, topics: Iterable[str]) -> None:
        """Ask for what is said under these topics, retained messages first."""
        wanted = [(topic, 1) for topic in sorted(set(topics))]
        if wanted:
            self._client.subscribe(wanted)

    def publish(self, message: Message) -> Callable[[], bool]:
        """Send a message; what is returned says whether the broker has it."""
        sent = self._client.publish(message.topic, message.payload, qos=1, retain=message.retained)
        if sent.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise TransportError(
                f"{self._name}: it takes nothing: {QUEUED_MESSAGES_MAX} messages wait"
            )
        return lambda: sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS and sent.is_published()

    async def serve(self, done: Callable[[], bool] = lambda: False) -> None:
        """Read and write until `done()`; raises what ended the connection before that."""
        while not done():
            socket: Any = self._client.socket()
            if socket is None:
                raise TransportError(f"{self._name}: the connection broke")
            with suppress(trio.ClosedResourceError):
                await self._move(socket)
            self._client.loop_misc()

    async def _move(self, socket: Any) -> None:
        """Write what waits and read what comes; neither holds up the other for more than a tick."""
        if self._client.want_write():
            with trio.move_on_after(TICK_S):
                await trio.lowlevel.wait_writable(socket)
                self._client.loop_write()
        with trio.move_on_after(TICK_S):
            await trio.lowlevel.wait_readable(socket)
            self._client.loop_read()
            while (pending := getattr(self._client.socket(), "pending", None)) and pending():
                self._client.loop_read()

    async def accepted(self) -> None:
        """Wait for the broker's answer to the connecting."""
        await self.serve(lambda: self._answer is not None)
        assert self._answer is not None
        if self._answer.is_failure:
            text = f"{self._name}: it refuses us ({self._answer})"
            if self._answer.getName() in MISTRUSTED:
                raise LocalError(f"{text}: check `user` and `password_file`")
            raise TransportError(text)

    def _on_connect(
        self, client: mqtt.Client, data: Any, flags: Any, answer: ReasonCode, properties: Any
    ) -> None:
        self._answer = answer

    def _on_publish(self, *_: Any) -> None:
        self.on_taken()

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        if len(topic) <= TOPIC_BYTES_MAX:
            self._take(Message(topic, bytes(message.payload), message.retain))
