"""What every request passes first, and what every response carries.

A page of another site must not reach us through its visitor's browser: a `Host` that is a name
which is not ours is refused, since such a name can be made to point here (DNS rebinding); an IP
address cannot.  There are no CORS headers, so no other site's page reads what we answer.

A request that says the length of its body in two ways ends its connection: a proxy before us may
go by the other one, and take the rest for somebody else's request.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ioe_node.api.http_errors import Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
Headers = Sequence[tuple[bytes, bytes]]
HEADERS: Headers = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
NO_STORE = (b"cache-control", b"no-store")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(?::\d{1,5})?")
LOCAL = "localhost"
NO_SUCH_NAME = Problem(
    "Forbidden", "this node has no such name; use its address, or add the name to [api] names"
)


def is_ours(host: str, names: tuple[str, ...]) -> bool:
    """Whether a `Host` is an IP address, localhost, or one of our names."""
    match = HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].lower().rstrip(".")
    if name == LOCAL or name in (each.lower() for each in names):
        return True
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def same_origin(origin: str | None, host: str) -> bool:
    """Whether a browser's page of ours asks, or no browser."""
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def guarded(app: App, names: tuple[str, ...]) -> App:
    """The same app behind the check of the host, its responses with the headers."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        ours = len(hosts) == 1 and is_ours(hosts[0].decode("latin1"), names)
        if ours:
            await app(scope, receive, _with_headers(send))
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(_with_headers(send), 403, NO_SUCH_NAME)

    return guard


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            cached = any(name.lower() == NO_STORE[0] for name, _ in given)
            message["headers"] = [*given, *HEADERS, *(() if cached else (NO_STORE,))]
        await send(message)

    return sending


async def _refuse(send: Send, status: int, why: Problem) -> None:
    body = msgspec.json.encode(why)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
