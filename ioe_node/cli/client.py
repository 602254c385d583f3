"""The client side of the control socket, plain and blocking: one call, one answer."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ioe_node.conductor.frames import LENGTH_BYTES, decode_body, encode_frame, length_of
from ioe_node.errors import IoeError, LocalError, Malformed, TransportError

PORT_MAX = 65_535
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 120.0


class AnswerError(IoeError):
    """The node refused; its own text and exit code are passed on."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@contextmanager
def _connect(home: Path) -> Iterator[tuple[socket.socket, str]]:
    try:
        found = json.loads((home / "control.json").read_text())
        port, token = int(found["port"]), str(found["token"])
        if not 0 < port <= PORT_MAX:  # the C library would take it modulo 65,536
            raise ValueError
        connection = socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT_S)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        raise TransportError(f"no node runs in {home}; start it with 'ioe run'") from None
    with connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            yield connection, token
        except TimeoutError:
            raise TransportError("the node does not answer; see its log") from None
        except OSError as error:
            raise TransportError(f"the node went away ({error.strerror}); see its log") from None
        except Malformed:
            raise TransportError(f"what answers is no node; restart the one in {home}") from None


def _receive(connection: socket.socket) -> dict[str, Any]:
    def take(count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = connection.recv(min(65_536, count - len(data)))
            if not part:
                raise TransportError("the node closed the connection; see its log")
            data += part
        return bytes(data)

    return decode_body(take(length_of(take(LENGTH_BYTES))))


def _ok(answer: dict[str, Any]) -> Any:
    if "error" in answer:
        raise AnswerError(f"{answer['text']}", answer["exit_code"])
    return answer["ok"]


def call(home: Path, name: str, /, **arguments: Any) -> Any:
    """One control call on the node that runs in `home`.

    Raises `TransportError` when none runs there, `AnswerError` when it refuses.
    """
    with _connect(home) as (connection, token):
        try:
            request = encode_frame({"token": token, "call": name, "args": arguments})
        except Malformed as error:
            raise LocalError(f"that is nothing to tell a node: {error}") from None
        connection.sendall(request)
        return _ok(_receive(connection))


def zome(home: Path, community: str | None, zome: str, function: str, /, **payload: Any) -> Any:
    """One zome call; see `call`."""
    return call(
        home, "zome_call", zome=zome, function=function, payload=payload, community=community
    )


def follow(home: Path, begun: Callable[[], None] = lambda: None) -> Iterator[dict[str, Any]]:
    """The node's signals, as they come; `begun()` is called once none is missed any more."""
    with _connect(home) as (connection, token):
        connection.sendall(encode_frame({"token": token, "call": "follow"}))
        _ok(_receive(connection))
        connection.settimeout(None)
        begun()
        while True:
            yield _receive(connection)["signal"]
