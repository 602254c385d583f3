"""Tokens: capability grants for programs and browsers, kept without what they open with.

A token is 32 random bytes as text, shown once.  Its grant (`model.capability`) names it by its
tag and lists what it may do as functions; in place of the secret stands the SHA-512 of the token,
so that who reads the file can use none of them.  They die with the life of a device: its file is
wiped with what its owner leaves.
"""

import re
from collections.abc import Iterator
from hashlib import sha512
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from ioe_node.errors import CallError, StoreError
from ioe_node.model.capability import CapGrant, allows
from ioe_node.model.hashes import HASH_BYTES, AgentPubKey

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

Scope = Literal["read", "control", "pay", "admin"]
"""`read` what the node knows; `control` switches and claims devices; `pay` spends credits and
places orders; `admin` changes settings."""

TOKENS_MAX = 64
TOKEN_BYTES = 32
TOKEN_CHARS_MAX = 64
NAME = re.compile(r"[\w. -]{1,48}")
ANYBODY = AgentPubKey(bytes(HASH_BYTES))
"""A token is for whoever holds it."""
FILE = "tokens.json"
FILE_BYTES_MAX = 1024 * 1024


class Token(msgspec.Struct, frozen=True):
    """One token: its grant, when it was made and when it ends (None: when it is revoked)."""

    grant: CapGrant
    made_us: int
    expires_us: int | None = None

    @property
    def name(self) -> str:
        return self.grant.tag


class Tokens:
    """The tokens of one node; read again whenever their file changes."""

    def __init__(self, conductor: "Conductor") -> None:
        self._conductor = conductor
        self._path: Path = conductor.home.path / FILE
        self._read_at: tuple[int, int] | None = None
        self._kept: tuple[Token, ...] = ()

    def kept(self) -> tuple[Token, ...]:
        """Those that have not ended, oldest first; raises `StoreError`."""
        now_us = self._conductor.clock.now_us()
        return tuple(each for each in self._all() if not _ended(each, now_us))

    def create(self, name: str, may: tuple[Scope, ...], for_us: int | None, secret: bytes) -> str:
        """Keep a new token made of `secret`, random bytes, and return it as text.

        Raises `CallError` for a name that is taken or no name, or one token too many.
        """
        if not NAME.fullmatch(name):
            raise CallError("a token's name is 1 to 48 letters, digits, spaces or ._-")
        if not may or not set(may) <= set(get_args(Scope)):
            raise CallError(f"say what it may do: {', '.join(get_args(Scope))}")
        kept = self.kept()
        if any(each.name == name for each in kept):
            raise CallError(f"there is a token '{name}'; revoke it or choose another name")
        if len(kept) >= TOKENS_MAX:
            raise CallError(f"there are {TOKENS_MAX} tokens; revoke one: ioe api token list")
        text = secret.hex()
        now_us = self._conductor.clock.now_us()
        grant = CapGrant(tag=name, functions=tuple(sorted(set(may))), secret=_digest(text))
        made = Token(grant, now_us, None if for_us is None else now_us + for_us)
        self._write((*kept, made))
        return text

    def revoke(self, name: str) -> None:
        """End the token of this name; raises `CallError` if there is none."""
        kept = self.kept()
        left = tuple(each for each in kept if each.name != name)
        if len(left) == len(kept):
            raise CallError(f"there is no token '{name[:60]}'; see 'ioe api token list'")
        self._write(left)

    def known(self, text: str) -> Token | None:
        """The token that `text` is, if it may be used now."""
        if not 0 < len(text) <= TOKEN_CHARS_MAX:
            return None
        shown = _digest(text)
        return next((each for each in self.kept() if _fits(each, shown)), None)

    def _all(self) -> tuple[Token, ...]:
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._read_at:
                with self._path.open("rb") as file:
                    self._kept = msgspec.json.decode(
                        file.read(FILE_BYTES_MAX), type=tuple[Token, ...]
                    )
                self._read_at = (stat.st_mtime_ns, stat.st_ino)
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(f"{self._path} cannot be read: {error}; delete it") from None
        return self._kept

    def _write(self, tokens: tuple[Token, ...]) -> None:
        self._conductor.home.write(self._path, msgspec.json.encode(tokens))


def may(token: Token, scope: Scope) -> bool:
    """Whether a token that is known covers this scope."""
    return scope in token.grant.functions


def shown(tokens: tuple[Token, ...]) -> Iterator[dict[str, object]]:
    """What people see of tokens."""
    for each in tokens:
        yield {
            "name": each.name,
            "may": list(each.grant.functions),
            "made_us": each.made_us,
            "expires_us": each.expires_us,
        }


def _digest(text: str) -> bytes:
    return sha512(text.encode()).digest()


def _fits(token: Token, shown: bytes) -> bool:
    return allows(token.grant, ANYBODY, shown, token.grant.functions[0])


def _ended(token: Token, now_us: int) -> bool:
    return token.expires_us is not None and token.expires_us <= now_us
