"""What happened, in order: every message and every commit, folded into one hash."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from ioe_node.model.codec import pack


@dataclass
class Trace:
    """Counts and the hash over the events so far; with `keep`, the events themselves."""

    keep: bool = False
    messages: int = 0
    message_bytes: int = 0
    commits: int = 0
    events: list[tuple[Any, ...]] = field(default_factory=list)
    _digest: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def message(
        self, at_us: int, sender: bytes, receiver: bytes, kind: str, size: int, arrived: bool
    ) -> None:
        """A request or an answer has arrived, or is lost."""
        self.messages += 1
        self.message_bytes += size
        self._note(("message", at_us, sender, receiver, kind, size, arrived))

    def commit(self, at_us: int, agent: bytes, hashes: list[bytes]) -> None:
        """An agent has written a bundle of its own."""
        self.commits += 1
        self._note(("commit", at_us, agent, hashes))

    def _note(self, event: tuple[Any, ...]) -> None:
        self._digest.update(pack(event))
        if self.keep:
            self.events.append(event)

    def hash(self) -> str:
        """32 hex digits that two runs share when the same happened in both."""
        return str(self._digest.hexdigest())
