"""The app: every route, who may use it and how much, the page's files."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from starlette.routing import Route as Path
from starlette.websockets import WebSocket

from ioe_node.api import (
    http_apps,
    http_devices,
    http_energy,
    http_market,
    http_metrics,
    http_money,
    http_node,
)
from ioe_node.api.http_cells import cells_of
from ioe_node.api.http_errors import NoToken, Problem, TooMany
from ioe_node.api.http_guard import App, guarded
from ioe_node.api.http_hub import Hub
from ioe_node.api.http_live import Live
from ioe_node.api.http_openapi import document
from ioe_node.api.http_page import Page
from ioe_node.api.http_routes import ROUTES, Route, answer, bearer, check_scope, problem
from ioe_node.api.http_stream import STREAM_PATH, stream
from ioe_node.api.http_tokens import Scope, Token, Tokens
from ioe_node.conductor.payments import Payments
from ioe_node.core.quota import BURST_S, Bucket

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

MODULES = (http_apps, http_devices, http_energy, http_market, http_metrics, http_money, http_node)
"""Importing them has declared their routes."""
UNDER = "/api"
BUCKETS_MAX = 1_024
WRONG_TOKEN_COST = 20
NAMES = {404: "NotFound", 405: "NotAllowed", 426: "NotAWebSocket"}


@dataclass
class Api:
    """What handlers are given."""

    conductor: "Conductor"
    live: Live = field(init=False)
    hub: Hub = field(init=False)
    tokens: Tokens = field(init=False)
    payments: Payments = field(init=False)
    document: bytes = field(init=False)
    _buckets: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.live = Live(self.conductor)
        self.hub = Hub(self.conductor, self.live)
        self.tokens = Tokens(self.conductor)
        self.payments = Payments(lambda: cells_of(self.conductor, "currency"))
        self.document = msgspec.json.encode(document(ROUTES))

    def admit(self, request: Request, scope: Scope | None) -> None:
        """Raise `NoToken`, `Forbidden` or `TooMany` unless this request may go on."""
        address = request.client.host if request.client else ""
        if scope is None:
            self._spend(f"from {address}", 1)
            return
        check_scope(self.token_of(address, bearer(request)), scope)

    def token_of(self, address: str, text: str) -> Token:
        """The token that is shown; raises `NoToken` or `TooMany`."""
        token = self.tokens.known(text)
        if token is None:
            self._spend(f"from {address}", WRONG_TOKEN_COST if text else 1)
            raise NoToken(
                "send 'Authorization: Bearer TOKEN' with a token that has not ended; "
                "'ioe api token create' makes one, 'ioe page' opens the page with one"
            )
        self._spend(f"token {token.name}", 1)
        return token

    def _spend(self, whose: str, tokens: int) -> None:
        now_us, rate = self.conductor.clock.now_us(), self.conductor.config.api.requests_per_s
        bucket = self._buckets.get(whose)
        if bucket is None:
            bucket = self._buckets[whose] = Bucket(rate, rate * BURST_S, now_us)
            while len(self._buckets) > BUCKETS_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(whose)
        bucket.refill(now_us)
        wait_us = bucket.wait_us()
        if wait_us:
            seconds = max(1, -(-wait_us // 1_000_000))
            raise TooMany("too many requests; wait", {"Retry-After": str(seconds)})
        bucket.spend(tokens)


def make_app(api: Api) -> App:
    """The ASGI app of a node."""
    app = Starlette(routes=routes_of(api), exception_handlers={HTTPException: _refused})
    app.router.redirect_slashes = False
    return guarded(app, api.conductor.config.api.names)


def routes_of(api: Api) -> list[BaseRoute]:
    """Every declared route, the stream, and for what is left the page's files."""
    page = Page.read()

    def endpoint(found: Route, under: str = "") -> Path:
        async def serve(request: Request) -> Response:
            return await answer(api, found, request)

        return Path(found.path.removeprefix(under), serve, methods=[found.method])

    async def files(request: Request) -> Response:
        return page.file(request)

    async def watch(socket: WebSocket) -> None:
        await stream(api, socket)

    rest = [endpoint(each, UNDER) for each in ROUTES if each.path.startswith(UNDER)]
    return [
        # Apart from the page's files, so that a wrong method is not taken for a wrong name.
        Mount(UNDER, routes=[*rest, WebSocketRoute(STREAM_PATH.removeprefix(UNDER), watch)]),
        *(endpoint(each) for each in ROUTES if not each.path.startswith(UNDER)),
        Path("/{path:path}", files, methods=["GET"]),
    ]


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    name = NAMES.get(error.status_code, "Refused")
    told = Problem(name, f"{error.detail}; /openapi.json lists what there is")
    return problem(error.status_code, told, dict(error.headers or {}))
