"""Routes: a handler's types say what comes in and goes out; the OpenAPI document is read off them.

    @route("POST", "/api/v1/payments", "pay", fails=(404, 409, 503))
    async def pay(api: Api, asked: InCommunity, body: Payment) -> Paid:
        '''Pay another member.'''

`asked` has the parameters of path and query, `body` the JSON; both are checked before the handler
runs.  Whatever a handler raises becomes a `Problem`; one of the node's own faults is logged.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec
import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ioe_node.api.http_errors import (
    ApiError,
    BadRequest,
    Forbidden,
    NotJson,
    Problem,
    SlowRequest,
    TooLarge,
    Unfit,
    problem_of,
    status_of,
)
from ioe_node.api.http_tokens import Scope, may
from ioe_node.errors import IoeError

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api

log = logging.getLogger("ioe.http")

BODY_BYTES_MAX = 64 * 1024
BODY_DEPTH_MAX = 16
BODY_WAIT_S = 10.0
QUERY_CHARS_MAX = 2_048
JSON = "application/json"


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


@dataclass(frozen=True)
class File:
    """An answer that is no JSON."""

    data: bytes
    name: str = ""
    media: str = ""


Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """One method of one path; `scope` None is open to everybody."""

    method: str
    path: str
    scope: Scope | None
    handler: Handler
    asked: type[msgspec.Struct]
    body: Any
    answer: Any
    fails: tuple[int, ...]
    media: str

    @property
    def statuses(self) -> tuple[int, ...]:
        """Every status but 200 that this route may answer with."""
        found = {*self.fails, 403, 422, 429}
        if self.scope is not None:
            found |= {401, 503}
        if self.body is not None:
            found |= {400, 408, 413, 415}
        return tuple(sorted(found))


ROUTES: list[Route] = []


def route(
    method: str,
    path: str,
    scope: Scope | None,
    fails: tuple[int, ...] = (),
    media: str = JSON,
) -> Callable[[Handler], Handler]:
    """Serve a handler; its types and its docstring are the documentation."""

    def add(handler: Handler) -> Handler:
        hints = get_type_hints(handler, localns=_api_type(), include_extras=True)
        ROUTES.append(
            Route(
                method,
                path,
                scope,
                handler,
                hints["asked"],
                hints.get("body"),
                hints["return"],
                fails,
                media,
            )
        )
        return handler

    return add


def _api_type() -> dict[str, Any]:
    """Handlers name the type of what they are given without importing it."""
    return {"Api": object}


async def answer(api: "Api", found: Route, request: Request) -> Response:
    """The response to one request, whatever happens."""
    try:
        api.admit(request, found.scope)
        arguments = [_asked(found, request)]
        if found.body is not None:
            arguments.append(await _body(found, request))
        if found.scope is not None:
            await api.conductor.alive()
        return _success(found, await found.handler(api, *arguments))
    except IoeError as error:
        return refusal(error)
    except ClientDisconnect:
        return Response(status_code=400)
    except Exception:
        log.exception("%s %s", found.method, found.path)
        return problem(500, Problem("Fault", "this node failed; its log says more"))


def refusal(error: IoeError) -> Response:
    """The response that tells of an error of the node's."""
    headers = error.headers if isinstance(error, ApiError) else {}
    return problem(status_of(error), problem_of(error), headers)


def problem(status: int, told: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A response that is no success."""
    return Response(msgspec.json.encode(told), status, headers, JSON)


def _success(found: Route, value: Any) -> Response:
    if isinstance(value, File):
        name = {"Content-Disposition": f'attachment; filename="{value.name}"'} if value.name else {}
        return Response(value.data, 200, name, value.media or found.media)
    return Response(msgspec.json.encode(value), 200, None, JSON)


def _asked(found: Route, request: Request) -> msgspec.Struct:
    """The parameters of path and query; raises `Unfit`."""
    if len(request.scope["query_string"]) > QUERY_CHARS_MAX:
        raise Unfit(f"a query has {QUERY_CHARS_MAX} characters at most")
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise Unfit(f"the parameter '{name[:60]}' is given twice")
        values[name] = value
    if set(values) & set(request.path_params):
        raise Unfit("a part of the path is given again in the query")
    try:
        return msgspec.convert(values | request.path_params, found.asked, strict=False)
    except msgspec.ValidationError as error:
        raise Unfit(str(error)) from None


async def _body(found: Route, request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise NotJson(f"send the body as {JSON}")
    data = await read_body(request)
    if depth_of(data) > BODY_DEPTH_MAX:
        raise BadRequest(f"a body nests {BODY_DEPTH_MAX} deep at most")
    try:
        return msgspec.json.decode(data, type=found.body)
    except msgspec.ValidationError as error:
        raise Unfit(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from None


async def read_body(request: Request) -> bytes:
    """A request's body, bounded in bytes and time; raises `TooLarge` or `SlowRequest`."""
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told) > BODY_BYTES_MAX:
        raise TooLarge(f"a body has {BODY_BYTES_MAX} bytes at most", {"Connection": "close"})
    data = bytearray()
    with trio.move_on_after(BODY_WAIT_S) as waiting:
        async for part in request.stream():
            data += part
            if len(data) > BODY_BYTES_MAX:
                raise TooLarge(
                    f"a body has {BODY_BYTES_MAX} bytes at most", {"Connection": "close"}
                )
    if waiting.cancelled_caught:
        raise SlowRequest(f"the body took more than {BODY_WAIT_S:.0f} s", {"Connection": "close"})
    return bytes(data)


def depth_of(data: bytes) -> int:
    """How deep brackets nest in a JSON text, those in strings left out."""
    depth = deepest = 0
    inside = escaped = False
    for byte in data:
        if inside:
            inside = escaped or byte != 0x22
            escaped = not escaped and byte == 0x5C
        elif byte == 0x22:
            inside = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            deepest = max(deepest, depth)
        elif byte in (0x5D, 0x7D):
            depth -= 1
    return deepest


def bearer(request: Request) -> str:
    """The token that a request shows, or nothing."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else ""


def check_scope(token: Any, scope: Scope) -> None:
    """Raise `Forbidden` unless the token may do this."""
    if not may(token, scope):
        raise Forbidden(f"this token may not {scope}; make one with --may {scope}")
