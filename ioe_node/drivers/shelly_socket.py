"""A Shelly's RPC over WebSocket, on which it also tells of its changes (Gen2+).

After the vendor's public documentation (RPC channels, Authentication, Notifications).  The device
sends its notices to whoever has sent it a request with a `src`.  With a password it refuses the
first request and says what to hash; on this channel the digest stands in the frame, and what HTTP
calls method and address are two constants.  Spoken with wsproto over a trio stream; what is
received is bounded, a connection that has gone silent is asked for a sign of life.
"""

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio
import wsproto
import wsproto.events
import wsproto.utilities

from ioe_node.drivers.http_digest import UNAUTHORISED, digest_response, sha256_hex
from ioe_node.drivers.shelly_frames import (
    USER,
    decode_json,
    decode_result,
    not_a_shelly,
)
from ioe_node.errors import LocalError, TransportError

MESSAGE_BYTES_MAX = 256 * 1024
RECEIVE_BYTES = 16 * 1024
QUIET_S = 60.0
"""A plug tells of its counters every minute; one that did not for so long is asked."""
ALGORITHM = "SHA-256"
HA2 = sha256_hex("dummy_method:dummy_uri")


@asynccontextmanager
async def open_socket(
    host: str, port: int, password: str | None, deadline_s: float
) -> AsyncIterator["RpcSocket"]:
    """Connected; TransportError where nobody answers, LocalError where it is no such channel."""
    try:
        with trio.fail_after(deadline_s):
            stream = await trio.open_tcp_stream(host, port)
    except trio.TooSlowError:
        raise TransportError(f"no answer in {deadline_s:g} s") from None
    except OSError as failure:
        raise TransportError(f"cannot connect ({failure})") from failure
    socket = RpcSocket(stream, password, deadline_s)
    try:
        await socket.begin(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        yield socket
    finally:
        await trio.aclose_forcefully(stream)


class RpcSocket:
    """One connection; used by one task."""

    def __init__(self, stream: trio.abc.Stream, password: str | None, deadline_s: float) -> None:
        self._stream = stream
        self._socket = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._password = password
        self._deadline_s = deadline_s
        self._challenge: tuple[str, str] | None = None
        self._last_id = 0
        self._uses = 0
        self._text = ""
        self._frames: list[dict[str, object]] = []
        self._opened = False

    async def begin(self, authority: str) -> None:
        """The WebSocket's opening."""
        with self._deadline():
            await self._send(wsproto.events.Request(host=authority, target="/rpc"))
            while not self._opened:
                await self._receive()

    async def call(self, method: str) -> dict[str, object]:
        """The result of one RPC without parameters.

        Notices that come before it are left out: what is asked now is newer.
        """
        with self._deadline():
            frame = await self._exchange(method)
            if is_refused(frame) and self._password is not None:
                self._challenge = decode_challenge(frame)
                self._uses = 0
                frame = await self._exchange(method)
        return decode_result(frame)

    async def notice(self) -> tuple[str, dict[str, object]]:
        """(method, params) of the next notice; TransportError if the device has gone silent."""
        asked = False
        while True:
            with trio.move_on_after(QUIET_S) as waiting:
                frame = await self._next_frame()
                method, params = frame.get("method"), frame.get("params")
                if isinstance(method, str) and isinstance(params, dict):
                    return method, params
            if waiting.cancelled_caught:
                if asked:
                    raise TransportError(f"silent for {2 * QUIET_S:g} s")
                await self._send(wsproto.events.Ping())
            asked = waiting.cancelled_caught

    async def _exchange(self, method: str) -> dict[str, object]:
        self._last_id += 1
        request: dict[str, object] = {"id": self._last_id, "src": "ioe-node", "method": method}
        if self._challenge is not None and self._password is not None:
            self._uses += 1
            nonce = secrets.token_hex(16)
            request["auth"] = answer_challenge(self._challenge, self._password, self._uses, nonce)
        await self._send(wsproto.events.Message(data=json.dumps(request)))
        while True:
            frame = await self._next_frame()
            if frame.get("id") == self._last_id:
                return frame

    async def _next_frame(self) -> dict[str, object]:
        while not self._frames:
            await self._receive()
        return self._frames.pop(0)

    async def _receive(self) -> None:
        """Take in what comes next; whole messages are in `_frames` then."""
        try:
            chunk = await self._stream.receive_some(RECEIVE_BYTES)
        except trio.BrokenResourceError:
            chunk = b""
        if not chunk:
            raise TransportError("the device hung up")
        try:
            self._socket.receive_data(chunk)
            for event in self._socket.events():
                await self._take(event)
        except wsproto.utilities.ProtocolError:
            raise not_a_shelly("it speaks no WebSocket") from None

    async def _take(self, event: wsproto.events.Event) -> None:
        if isinstance(event, wsproto.events.AcceptConnection):
            self._opened = True
        elif isinstance(event, wsproto.events.Ping):
            await self._send(event.response())
        elif isinstance(event, wsproto.events.CloseConnection | wsproto.events.RejectConnection):
            raise TransportError("the device closed the WebSocket")
        elif isinstance(event, wsproto.events.TextMessage):
            self._text += event.data
            if len(self._text) > MESSAGE_BYTES_MAX:
                raise LocalError(f"it sent more than {MESSAGE_BYTES_MAX} bytes")
            if event.message_finished:
                text, self._text = self._text, ""
                self._frames.append(decode_json(text.encode()))

    async def _send(self, event: wsproto.events.Event) -> None:
        try:
            await self._stream.send_all(self._socket.send(event))
        except (trio.BrokenResourceError, wsproto.utilities.LocalProtocolError):
            raise TransportError("the connection broke") from None

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        try:
            with trio.fail_after(self._deadline_s):
                yield
        except trio.TooSlowError:
            raise TransportError(f"no answer in {self._deadline_s:g} s") from None


# --- authentication (pure) -----------------------------------------------------------------------


def is_refused(frame: dict[str, object]) -> bool:
    """Whether a response asks for a password."""
    error = frame.get("error")
    return isinstance(error, dict) and error.get("code") == UNAUTHORISED


def decode_challenge(frame: dict[str, object]) -> tuple[str, str]:
    """(realm, nonce) of the refusal of a request; the challenge is JSON in its error's text."""
    error = frame.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    challenge = decode_json(message.encode() if isinstance(message, str) else b"")
    realm, nonce = challenge.get("realm"), challenge.get("nonce")
    if challenge.get("algorithm", ALGORITHM) != ALGORITHM or not isinstance(realm, str):
        raise not_a_shelly("it asks for another authentication than digest SHA-256")
    if isinstance(nonce, bool) or not isinstance(nonce, str | int):
        raise not_a_shelly("its challenge has no nonce")
    return realm, str(nonce)


def answer_challenge(
    challenge: tuple[str, str], password: str, count: int, client_nonce: str
) -> dict[str, object]:
    """The `auth` object of one request, the `count`th with this challenge."""
    realm, nonce = challenge
    ha1 = sha256_hex(f"{USER}:{realm}:{password}")
    return {
        "realm": realm,
        "username": USER,
        "nonce": nonce,
        "nc": count,
        "cnonce": client_nonce,
        "response": digest_response(ha1, nonce, str(count), client_nonce, HA2),
        "algorithm": ALGORITHM,
    }
