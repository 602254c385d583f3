"""What happened, in order: messages, commits, faults, folded into one hash."""

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

FOLD_BYTES = 65_536
"""Encoded events wait for the digest until they are so many bytes: one call for hundreds."""

Event = tuple[Any, ...]
"""(what, microseconds, ...): bytes, integers, text and lists of them."""

_encoder = msgspec.msgpack.Encoder()


@dataclass
class Trace:
    """Counts and the hash over the events so far; the events of a window of time are kept.

    `kinds` counts the messages of each kind.
    `keep_us` is the window's (begin, end) in microseconds since 1970; None keeps nothing.
    """

    keep_us: tuple[int, int] | None = None
    messages: int = 0
    message_bytes: int = 0
    lost: int = 0
    commits: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    events: list[Event] = field(default_factory=list)
    _digest: Any = field(default_factory=lambda: blake2b(digest_size=16))
    _pending: bytearray = field(default_factory=bytearray)

    def message(
        self, at_us: int, sender: bytes, receiver: bytes, kind: str, size: int, arrived: bool
    ) -> None:
        """A request or an answer has arrived, or is lost."""
        self.messages += 1
        self.message_bytes += size
        self.kinds[kind] += 1
        self.lost += not arrived
        self.note(("message", at_us, sender, receiver, kind, size, arrived))

    def commit(self, at_us: int, agent: bytes, hashes: list[bytes]) -> None:
        """An agent has written a bundle of its own."""
        self.commits += 1
        self.note(("commit", at_us, agent, hashes))

    def note(self, event: Event) -> None:
        """Anything else that belongs to what happened."""
        pending = self._pending
        _encoder.encode_into(event, pending, len(pending))
        if len(pending) >= FOLD_BYTES:
            self._fold()
        if self.keep_us is not None and self.keep_us[0] <= event[1] <= self.keep_us[1]:
            self.events.append(event)

    def _fold(self) -> None:
        self._digest.update(self._pending)
        self._pending.clear()

    def hash(self) -> str:
        """32 hex digits that two runs share when the same happened in both."""
        self._fold()
        return str(self._digest.hexdigest())
