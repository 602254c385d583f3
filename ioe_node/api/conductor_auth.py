"""Who is let in: origins, tokens that open an app's door, nonces that were used.

Pure: the clock and the source of randomness are passed in.  Tokens and nonces live as long as
this run of the node, so a call that was overheard before a restart would need a new token, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from ioe_node.errors import Busy, CallError

TOKEN_BYTES = 32
TOKENS_MAX = 10_000
EXPIRY_S_DEFAULT = 30
EXPIRY_S_MAX = 10 * 365 * 86_400
NONCE_BYTES = 32
CALL_LIFE_US_MAX = 5 * 60 * 1_000_000
CLOCK_SKEW_US_MAX = 30 * 1_000_000
NONCE_SLICE_US = 30 * 1_000_000
NONCES_MAX = 1_000_000


class NotAuthentic(CallError):
    """A zome call that is not the caller's own, or not fresh; the text says what to do."""


def allowed(origins: str, origin: str | None) -> bool:
    """Whether a client from `origin` may connect; `origins` is `*` or a list with commas.

    A browser cannot leave out where its page is from, and every client must say it.
    """
    if not origin:
        return False
    listed = [each.strip() for each in origins.split(",")]
    return "*" in listed or origin in listed


@dataclass(frozen=True)
class _Pass:
    app: str
    expires_us: int | None
    single_use: bool


class Tokens:
    """App authentication tokens: issued, redeemed, revoked."""

    def __init__(self, draw: Callable[[int], bytes]) -> None:
        self._draw = draw
        self._passes: dict[bytes, _Pass] = {}

    def issue(
        self, app: str, expiry_s: int, single_use: bool, now_us: int
    ) -> tuple[bytes, int | None]:
        """A token for an app and when it expires; an `expiry_s` of 0 is never."""
        if not 0 <= expiry_s <= EXPIRY_S_MAX:
            raise CallError(f"a token expires after 0 (never) to {EXPIRY_S_MAX} s")
        for name in [name for name, each in self._passes.items() if _over(each, now_us)]:
            del self._passes[name]
        if len(self._passes) >= TOKENS_MAX:
            raise Busy(f"{TOKENS_MAX} tokens are out; revoke some, or let them expire")
        token = self._draw(TOKEN_BYTES)
        expires_us = now_us + expiry_s * 1_000_000 if expiry_s else None
        self._passes[_name(token)] = _Pass(app, expires_us, single_use)
        return token, expires_us

    def redeem(self, token: bytes, now_us: int) -> str | None:
        """The app that a token opens; None if it opens none."""
        name = _name(token)
        found = self._passes.get(name)
        if found is None or _over(found, now_us):
            return None
        if found.single_use:
            del self._passes[name]
        return found.app

    def revoke(self, token: bytes) -> None:
        """Have a token open nothing any more."""
        self._passes.pop(_name(token), None)

    def forget(self, app: str) -> None:
        """Have no token open an app that is gone."""
        self._passes = {name: each for name, each in self._passes.items() if each.app != app}


def _name(token: bytes) -> bytes:
    """What a token is looked up by, so that no comparison tells how much of it was right."""
    return blake2b(token, digest_size=16).digest()


def _over(each: _Pass, now_us: int) -> bool:
    return each.expires_us is not None and each.expires_us <= now_us


class Nonces:
    """The nonces of calls that have not expired yet, in slices of the time when they will."""

    def __init__(self) -> None:
        self._slices: dict[int, set[int]] = {}
        self._count = 0
        self._swept = 0

    def use(self, caller: bytes, nonce: bytes, expires_us: int, now_us: int) -> None:
        """Take a call's nonce; raises `NotAuthentic` if it is stale or was taken before."""
        if len(nonce) != NONCE_BYTES:
            raise NotAuthentic(f"a nonce has {NONCE_BYTES} bytes")
        if expires_us <= now_us:
            raise NotAuthentic("this call has expired; sign it anew")
        if expires_us > now_us + CALL_LIFE_US_MAX + CLOCK_SKEW_US_MAX:
            raise NotAuthentic("a call expires within 5 minutes; sign it anew, or set the clock")
        self._sweep(now_us // NONCE_SLICE_US)
        taken = self._slices.setdefault(expires_us // NONCE_SLICE_US, set())
        # The process draws a secret key for this hash, so nobody can choose two that meet.
        mark = hash(caller + nonce)
        if mark in taken:
            raise NotAuthentic("this call was made before; sign it anew, with another nonce")
        if self._count >= NONCES_MAX:
            raise Busy(f"{NONCES_MAX} calls within 5 minutes; wait a while")
        taken.add(mark)
        self._count += 1

    def _sweep(self, now: int) -> None:
        if now == self._swept:
            return
        self._swept = now
        for old in [each for each in self._slices if each < now]:
            self._count -= len(self._slices.pop(old))
