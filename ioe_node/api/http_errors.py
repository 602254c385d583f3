"""What a request is refused with: a status, a type that programs read, a line that people read."""

import msgspec

from ioe_node.errors import (
    CallError,
    IoeError,
    LocalError,
    PeerError,
    StoreError,
    TransportError,
    Unauthorised,
)

TEXT_CHARS_MAX = 500


class Problem(msgspec.Struct, frozen=True):
    """Every answer that is no success: `error` is its type, `text` says what to do."""

    error: str
    text: str


class ApiError(IoeError):
    """A request that is refused; `status` is HTTP's, `headers` go with it."""

    status = 409

    def __init__(self, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.headers = headers or {}


class BadRequest(ApiError):
    """The body is not what it claims to be."""

    status = 400


class NoToken(ApiError):
    """No token, or none that is known and in time."""

    status = 401

    def __init__(self, text: str) -> None:
        super().__init__(text, {"WWW-Authenticate": "Bearer"})


class Forbidden(ApiError):
    """The token may not do this, or another site asks."""

    status = 403


class NotFound(ApiError):
    """Nothing of that name is here."""

    status = 404


class TooLarge(ApiError):
    """The body has more bytes than this route takes."""

    status = 413


class NotJson(ApiError):
    """The body is of another kind than JSON."""

    status = 415


class Unfit(ApiError):
    """A value is missing, of another type, or out of its range."""

    status = 422


class NotAWebSocket(ApiError):
    """The stream was asked for as if it were a file."""

    status = 426

    def __init__(self, text: str) -> None:
        super().__init__(text, {"Upgrade": "websocket", "Connection": "Upgrade"})


class TooMany(ApiError):
    """More requests than this token or address has."""

    status = 429


class SlowRequest(ApiError):
    """The rest of the request did not come in time."""

    status = 408


class Away(ApiError):
    """What is asked for is not there now; try again."""

    status = 503


_STATUS: tuple[tuple[type[IoeError], int], ...] = (
    (Unauthorised, 403),
    (StoreError, 503),
    (TransportError, 503),
    (CallError, 409),
    (PeerError, 409),
    (LocalError, 409),
)


def status_of(error: IoeError) -> int:
    """The HTTP status of an error of the node's."""
    if isinstance(error, ApiError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 409)


def problem_of(error: IoeError) -> Problem:
    """The body that tells of it."""
    return Problem(type(error).__name__, str(error)[:TEXT_CHARS_MAX] or type(error).__name__)
