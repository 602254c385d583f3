"""Limbo's memory: what was opened stays open, and what waits is left alone until it may move.

A parcel is decoded and its signature checked once, however many passes it waits through: the
opened records are kept by the digest of the parcel's bytes, within `OPENED_BYTES_MAX`.  A parcel
that waits for others is looked at again only when one of those has come, or when its author's
chain has come as far as it (it may be the other branch of a fork).
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ioe_node.core.chain import Head
from ioe_node.errors import Malformed
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.hashes import DnaHash
from ioe_node.model.record import Record, decode_parcel, open_parcel
from ioe_node.store.limbo import Parked
from ioe_node.store.store import Store

OPENED_BYTES_MAX = 16 * 1024 * 1024
WAITS_REMEMBERED_MAX = 20_000
LIMBO_AGE_US_MAX = 60 * 60 * 1_000_000
"""A row that still misses something after this long is dropped; its author publishes it again."""

RECORD, CHAIN, ADMISSION, FINAL = "record", "chain", "admission", "final"
Lack = tuple[str, bytes]
"""What a rule waits for: a record, a chain up to an action, an agent's admission, or that an
action is known to be final."""

Opened = list[Record] | str
"""A parcel's records, or why its bytes are none."""


def open_wire(wire: bytes, network: DnaHash) -> Opened:
    """Decode a parked parcel and check its seal: one signature."""
    try:
        return open_parcel(decode_parcel(wire), network)
    except Malformed as error:
        return str(error)


class Wait(NamedTuple):
    """A row that waits: for what, from which place of its author's chain on, which actions it
    brings, and how far that chain was here when it was judged."""

    parked: Parked
    missing: tuple[Lack, ...]
    seq: int
    brings: tuple[ActionHash, ...]
    head: Head | None

    def is_reached(self, head: Head | None) -> bool:
        """Whether its author's chain has moved since, and stands where that may matter to it."""
        if head is None or self.head is None:
            return head != self.head
        return head != self.head and head.seq + 1 >= self.seq


@dataclass
class LimboMemory:
    """What one cell remembers of its limbo; all of it can be made again."""

    _opened: OrderedDict[bytes, tuple[int, Opened]] = field(default_factory=OrderedDict)
    _opened_bytes: int = 0
    _waits: OrderedDict[bytes, Wait] = field(default_factory=OrderedDict)
    _waiting: dict[Lack, dict[bytes, None]] = field(default_factory=dict)
    """The digests of the rows that wait for each lack, in the order in which they began to."""
    _brought: Counter[bytes] = field(default_factory=Counter)
    """How many of the rows that wait bring each action."""

    def opened(self, parked: Parked) -> Opened | None:
        """What a row was opened to before, if that is still known."""
        found = self._opened.get(parked.digest)
        return None if found is None else found[1]

    def keep_open(self, parked: Parked, opened: Opened) -> None:
        """Remember what a row was opened to; the oldest make room."""
        if parked.digest in self._opened:
            return
        self._opened[parked.digest] = (parked.size_bytes, opened)
        self._opened_bytes += parked.size_bytes
        while self._opened_bytes > OPENED_BYTES_MAX and len(self._opened) > 1:
            _, (size_bytes, _) = self._opened.popitem(last=False)
            self._opened_bytes -= size_bytes

    def forget(self, parked: Parked) -> None:
        """The row is judged."""
        size_bytes, _ = self._opened.pop(parked.digest, (0, ""))
        self._opened_bytes -= size_bytes
        self._end_wait(parked.digest)

    def keep_waiting(
        self, parked: Parked, records: Sequence[Record], missing: tuple[Lack, ...], store: Store
    ) -> None:
        """The row, which was opened to these records, waits for these."""
        self._end_wait(parked.digest)
        missing = tuple(dict.fromkeys(missing))
        brings = tuple(record.hash for record in records)
        seq = records[0].action.action_seq
        self._waits[parked.digest] = Wait(parked, missing, seq, brings, store.head(parked.author))
        for lack in missing:
            self._waiting.setdefault(lack, {})[parked.digest] = None
        self._brought.update(brings)
        if len(self._waits) > WAITS_REMEMBERED_MAX:
            self._end_wait(next(iter(self._waits)))

    def _end_wait(self, digest: bytes) -> None:
        wait = self._waits.pop(digest, None)
        if wait is None:
            return
        for lack in wait.missing:
            waiting = self._waiting[lack]
            waiting.pop(digest, None)
            if not waiting:
                del self._waiting[lack]
        for hash_ in wait.brings:
            self._brought[hash_] -= 1
            if not self._brought[hash_]:
                del self._brought[hash_]

    def waiting_for(self, action: ActionHash) -> list[Wait]:
        """The rows that wait for an action, or for the chain up to it."""
        digests = [
            digest for kind in (RECORD, CHAIN) for digest in self._waiting.get((kind, action), ())
        ]
        return [self._waits[digest] for digest in dict.fromkeys(digests)]

    def is_awaited(self, lack: Lack) -> bool:
        """Whether any row waits for it."""
        return lack in self._waiting

    def brings(self, lack: Lack) -> bool:
        """Whether a row that waits itself brings the action that is lacked."""
        kind, hash_ = lack
        return kind in (RECORD, CHAIN) and hash_ in self._brought

    def missing(self) -> list[bytes]:
        """The hashes that rows wait for; those of actions have their authors' locations."""
        return [hash_ for wait in self._waits.values() for _, hash_ in wait.missing]

    def askers(self, lacks: Collection[Lack]) -> dict[Lack, list[AgentPubKey]]:
        """For each of these whose rows wait for it, and who gave them."""
        found: dict[Lack, dict[AgentPubKey, None]] = {lack: {} for lack in lacks}
        for wait in self._waits.values():
            for lack in wait.missing:
                if lack in found:
                    askers = (wait.parked.author, wait.parked.sender)
                    found[lack].update(dict.fromkeys(askers))
        return {lack: list(agents) for lack, agents in found.items()}

    def waits_for(
        self, parked: Parked, store: Store, met: Callable[[Lack], bool]
    ) -> tuple[Lack, ...]:
        """What the row still waits for, if judging it again would say the same; else nothing."""
        wait = self._waits.get(parked.digest)
        if wait is None or wait.is_reached(store.head(parked.author)):
            return ()
        return () if any(map(met, wait.missing)) else wait.missing
