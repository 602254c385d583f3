"""A blocking client of the conductor's doors, in Python: what another language would have to do.

Frames are made by hand with a mask of zeros, which the protocol allows and the server cannot
tell: so the client's share of the two cores stays small.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Iterable
from hashlib import sha512
from struct import pack, unpack
from typing import Any

import msgspec

from ioe_node.model.signing import Signer

encode = msgspec.msgpack.encode
decode = msgspec.msgpack.decode

ORIGIN = "ioe"
CALL_LIFE_US = 5 * 60 * 1_000_000
BINARY, CLOSE = 2, 8
SMALL, SHORT = 126, 127


class Refused(Exception):
    """An answer of type `error`: its name and text."""

    def __init__(self, value: dict[str, str]) -> None:
        super().__init__(f"{value['type']}: {value['value']}")
        self.name, self.text = value["type"], value["value"]


class Closed(Exception):
    """The node has closed the connection, or never took it."""


class Client:
    """One WebSocket to a door; requests are asked one by one, or sent first and read later."""

    def __init__(self, port: int, origin: str | None = ORIGIN, path: str = "/") -> None:
        self.signals: deque[dict[str, Any]] = deque()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = bytearray()
        self._id = 0
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version: 13",
        ]
        if origin is not None:
            lines.append(f"Origin: {origin}")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._unread:
            self._read()
        head, _, rest = bytes(self._unread).partition(b"\r\n\r\n")
        self._unread = bytearray(rest)
        if not head.startswith(b"HTTP/1.1 101"):
            raise Closed(head.split(b"\r\n")[0].decode())

    def close(self) -> None:
        """Go away without a word."""
        self._socket.close()

    def __del__(self) -> None:
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(262_144)
        except ConnectionError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed("the node has closed the connection")
        self._unread += data

    def send(self, message: bytes) -> None:
        """One binary message."""
        size = len(message)
        if size < SMALL:
            head = pack(">BB", 0x80 | BINARY, 0x80 | size)
        elif size < 65_536:
            head = pack(">BBH", 0x80 | BINARY, 0x80 | SMALL, size)
        else:
            head = pack(">BBQ", 0x80 | BINARY, 0x80 | SHORT, size)
        self._socket.sendall(head + bytes(4) + message)

    def say_goodbye(self) -> None:
        """Begin to close; the node answers with the end of the connection."""
        self._socket.sendall(pack(">BB", 0x80 | CLOSE, 0x80) + bytes(4))

    def receive(self) -> bytes:
        """The next message; raises `Closed`."""
        while True:
            unread = self._unread
            if len(unread) >= 2:
                size, start = unread[1], 2
                if size == SMALL and len(unread) >= 4:
                    size, start = unpack(">H", unread[2:4])[0], 4
                elif size == SHORT and len(unread) >= 10:
                    size, start = unpack(">Q", unread[2:10])[0], 10
                elif size >= SMALL:
                    size = len(unread)
                if len(unread) >= start + size:
                    opcode, message = unread[0] & 15, bytes(unread[start : start + size])
                    del unread[: start + size]
                    if opcode == CLOSE:
                        raise Closed(f"code {int.from_bytes(message[:2], 'big')}")
                    return message
            self._read()

    def authenticate(self, token: Iterable[int]) -> None:
        """Show an app's token; nothing answers it."""
        self.send(encode({"type": "authenticate", "data": encode({"token": list(token)})}))

    def start(self, tag: str, value: Any = None) -> int:
        """Send a request; its id."""
        self._id += 1
        data = encode({"type": tag, "value": value})
        self.send(encode({"type": "request", "id": self._id, "data": data}))
        return self._id

    def answer(self) -> tuple[int, Any]:
        """The next answer: (id, value); signals on the way are put aside.  Raises `Refused`."""
        while True:
            message = decode(self.receive())
            inner = decode(message["data"])
            if message["type"] == "signal":
                self.signals.append(inner)
                continue
            if inner["type"] == "error":
                raise Refused(inner["value"])
            return message["id"], inner["value"]

    def ask(self, tag: str, value: Any = None) -> Any:
        """A request and its answer."""
        id_ = self.start(tag, value)
        answered, found = self.answer()
        assert answered == id_
        return found

    def next_signal(self) -> dict[str, Any]:
        """The next signal, waited for."""
        while not self.signals:
            message = decode(self.receive())
            assert message["type"] == "signal"
            self.signals.append(decode(message["data"]))
        return self.signals.popleft()


class Caller:
    """A key that may call one cell: what `authorizeSigningCredentials` makes."""

    def __init__(self, cell: tuple[bytes, bytes]) -> None:
        self.signer = Signer(os.urandom(32))
        self.agent = self.signer.agent[:-4] + bytes(4)
        self.secret = os.urandom(64)
        self.cell = cell

    def grant(self, functions: Any = None) -> dict[str, Any]:
        """The argument of `grant_zome_call_capability`."""
        access = {"secret": self.secret, "assignees": [self.agent]}
        return {
            "cell_id": self.cell,
            "cap_grant": {
                "tag": "a key",
                "functions": functions or {"type": "all"},
                "access": {"type": "assigned", "value": access},
            },
        }

    def signed(self, zome: str, function: str, payload: Any = None, **more: Any) -> dict[str, Any]:
        """The argument of `call_zome`; `more` puts other values in the place of ours."""
        said = {
            "provenance": self.agent,
            "cell_id": self.cell,
            "zome_name": zome,
            "fn_name": function,
            "cap_secret": self.secret,
            "payload": encode(payload),
            "nonce": os.urandom(32),
            "expires_at": time.time_ns() // 1_000 + CALL_LIFE_US,
            **more,
        }
        data = encode(said)
        return {"bytes": data, "signature": self.signer.sign(sha512(data).digest())}


def called(value: bytes) -> Any:
    """What a zome call returned."""
    return decode(value)
