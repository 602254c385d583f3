"""HTTP/1.1 requests to one device, with digest authentication (RFC 7616, SHA-256, qop=auth).

Spoken with h11 over a trio stream, one connection per request, none kept.  All that a device may
send is bounded, and so is the time it may take.  A `LocalError` from here says in what the device
is not the server that was meant; the driver adds what its owner should do about that.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass

import h11
import trio

from ioe_node.errors import LocalError, TransportError

RESPONSE_BYTES_MAX = 256 * 1024
HEADER_BYTES_MAX = 16 * 1024
RECEIVE_BYTES = 16 * 1024
UNAUTHORISED = 401


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response; `challenge` is its WWW-Authenticate header, or ''."""

    status: int
    challenge: str
    body: bytes


class HttpClient:
    """Posts JSON to one device, and answers its challenge where a password is given."""

    def __init__(
        self, host: str, port: int, user: str, password: str | None, deadline_s: float
    ) -> None:
        self._host, self._port = host, port
        self._user, self._password = user, password
        self._deadline_s = deadline_s
        self._digest: Digest | None = None

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets: the Host header, and a name for messages."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    async def post(self, path: str, body: bytes) -> Answer:
        """Whatever the device answers within the deadline, be it a refusal.

        TransportError when it does not, LocalError when it speaks something else than HTTP or
        this authentication.
        """
        try:
            with trio.fail_after(self._deadline_s):
                answer = await self._post_once(path, body)
                if answer.status == UNAUTHORISED and self._password is not None:
                    # The first request, or the device's nonce went stale: answer its challenge.
                    self._digest = Digest.parse(answer.challenge, self._user, self._password)
                    answer = await self._post_once(path, body)
            return answer
        except trio.TooSlowError:
            raise TransportError(f"no answer in {self._deadline_s:g} s") from None
        except OSError as failure:
            raise TransportError(f"cannot connect ({failure})") from failure
        except trio.BrokenResourceError:
            raise TransportError("the connection broke") from None

    async def _post_once(self, path: str, body: bytes) -> Answer:
        headers = [
            ("Host", self.authority),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        if self._digest is not None:
            headers.append(("Authorization", self._digest.authorise("POST", path)))
        stream = await trio.open_tcp_stream(self._host, self._port)
        async with stream:
            request = h11.Request(method="POST", target=path, headers=headers)
            return await exchange(stream, request, body)


async def exchange(stream: trio.abc.Stream, request: h11.Request, body: bytes) -> Answer:
    """One request and its response on a fresh stream, which the caller closes.

    TransportError where the device hangs up, LocalError where it is no HTTP or too much.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MAX)
    out = (
        connection.send(request),
        connection.send(h11.Data(body)),
        connection.send(h11.EndOfMessage()),
    )
    await stream.send_all(b"".join(part for part in out if part))
    response: h11.Response | None = None
    received = bytearray()
    at_end = False
    while True:
        try:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                chunk = await stream.receive_some(RECEIVE_BYTES)
                at_end = not chunk
                connection.receive_data(chunk)
        except h11.RemoteProtocolError as failure:
            if at_end:
                raise TransportError("the device hung up in the middle of its answer") from None
            raise LocalError(f"its answer is not HTTP ({failure})") from None
        if isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            received += event.data
            if len(received) > RESPONSE_BYTES_MAX:
                raise LocalError(f"it sent more than {RESPONSE_BYTES_MAX} bytes")
        elif isinstance(event, h11.EndOfMessage):
            assert response is not None
            challenge = dict(response.headers).get(b"www-authenticate", b"")
            return Answer(response.status_code, challenge.decode("latin-1"), bytes(received))
        elif isinstance(event, h11.ConnectionClosed):
            raise TransportError("the device hung up without an answer")


# --- digest authentication ---------------------------------------------------------------------

_FIELD = re.compile(r'(\w+)\s*=\s*(?:"([^"\\]*)"|([^\s",]+))')


class Digest:
    """Answers one challenge for as long as the device honours its nonce."""

    def __init__(
        self, realm: str, nonce: str, opaque: str | None, user: str, password: str
    ) -> None:
        self._realm, self._nonce, self._opaque = realm, nonce, opaque
        self._user = user
        self._ha1 = sha256_hex(f"{user}:{realm}:{password}")
        self._uses = 0

    @classmethod
    def parse(cls, challenge: str, user: str, password: str) -> "Digest":
        """From a WWW-Authenticate header; LocalError if it asks for anything but SHA-256, auth."""
        fields = {name.lower(): quoted or bare for name, quoted, bare in _FIELD.findall(challenge)}
        offered = fields.get("qop", "").replace(" ", "").split(",")
        if (
            not challenge.lower().startswith("digest ")
            or fields.get("algorithm", "").upper() != "SHA-256"
            or "auth" not in offered
            or "nonce" not in fields
            or not (challenge.isascii() and challenge.isprintable())
        ):
            raise LocalError("it asks for another authentication than digest SHA-256")
        return cls(fields.get("realm", ""), fields["nonce"], fields.get("opaque"), user, password)

    def authorise(self, verb: str, uri: str) -> str:
        """The Authorization header for one request; no two are alike."""
        self._uses += 1
        count, client_nonce = f"{self._uses:08x}", secrets.token_hex(16)
        response = digest_response(
            self._ha1, self._nonce, count, client_nonce, sha256_hex(f"{verb}:{uri}")
        )
        header = (
            f'Digest username="{self._user}", realm="{self._realm}", nonce="{self._nonce}", '
            f'uri="{uri}", algorithm=SHA-256, qop=auth, nc={count}, cnonce="{client_nonce}", '
            f'response="{response}"'
        )
        return header if self._opaque is None else f'{header}, opaque="{self._opaque}"'


def sha256_hex(text: str) -> str:
    """The hash that RFC 7616 calls H, of UTF-8 text, in lower-case hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_response(ha1: str, nonce: str, count: str, client_nonce: str, ha2: str) -> str:
    """RFC 7616 section 3.4.1 with qop=auth."""
    return sha256_hex(f"{ha1}:{nonce}:{count}:{client_nonce}:auth:{ha2}")
