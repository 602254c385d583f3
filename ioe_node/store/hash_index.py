"""Where a hash stands: the newest rows in memory, the others in an index on disk.

A hash is random, so each one that enters a b-tree dirties another page.  The newest are kept in
memory and enter the index many at a time, in the transaction of the commit that makes them too
many, together with the place on each chain up to which the index is complete
(`agent.unindexed`).  What stands past that place is hashed anew when the file is opened, so
nothing hangs on how a process ended.
"""

import sqlite3
from collections.abc import Iterable

from ioe_node.model.hashes import CORE, ActionHash, core_of

SEQ_BITS = 32
SEQ_MAX = 2**SEQ_BITS - 1
SHORT_MIN = -(2**63)
HASHES_UNINDEXED_MAX = 1_024
"""Hashes kept in memory; to find them anew takes about 2 ms when a file is opened."""

_UNINDEXED = (
    "SELECT record.id, record.action FROM agent JOIN record ON record.id"
    f" BETWEEN (agent.id << {SEQ_BITS}) + agent.unindexed AND (agent.id << {SEQ_BITS}) + {SEQ_MAX}"
)
_LOST = (
    "SELECT count(*) FROM record JOIN agent ON agent.id = record.id >> ?1"
    " WHERE record.id & ?2 < agent.unindexed AND NOT EXISTS (SELECT 1 FROM hash_index"
    " WHERE short = short_of_action(record.action) AND record = record.id)"
)


def short_of(hash_: bytes) -> int:
    """The first 8 bytes of a hash's core, as the signed integer that SQLite keeps best."""
    return int.from_bytes(hash_[3:11], "big", signed=True)


def _short_of_action(data: object) -> int | None:
    """`short_of` the hash of an action's bytes; None for what a damaged file has instead."""
    if not isinstance(data, bytes):
        return None
    return int.from_bytes(core_of(data)[:8], "big", signed=True)


class HashIndex:
    """The rows of one file by the hashes of their actions.

    Only the thread that holds the write transaction calls `add`, `keep` and `forget`; any
    thread may call `row`.  A fold is committed before memory forgets, so a hash that is not in
    memory is on disk or nowhere.
    """

    def __init__(self) -> None:
        self._recent: dict[bytes, int] = {}
        self._added: dict[bytes, int] = {}
        self._dropped: list[bytes] = []
        self._folded = False

    def load(self, db: sqlite3.Connection) -> None:
        """Hash what stands past the index; raises `sqlite3.Error`."""
        rows = db.execute(_UNINDEXED)
        self._recent = {core_of(data): row for row, data in rows if isinstance(data, bytes)}

    def add(
        self, db: sqlite3.Connection, hashes: Iterable[ActionHash], rows: Iterable[int]
    ) -> None:
        """Take up new rows, inside the transaction that writes them."""
        self._added.update(zip([hash_[CORE] for hash_ in hashes], rows, strict=True))
        if len(self._recent) + len(self._added) > HASHES_UNINDEXED_MAX:
            self._fold(db)

    def _fold(self, db: sqlite3.Connection) -> None:
        found = [*self._recent.items(), *self._added.items()]
        db.executemany(
            "INSERT OR IGNORE INTO hash_index VALUES (?,?)",
            sorted((int.from_bytes(core[:8], "big", signed=True), row) for core, row in found),
        )
        newest = {row >> SEQ_BITS: row & SEQ_MAX for _, row in found}
        db.executemany(
            "UPDATE agent SET unindexed = max(unindexed, ?) WHERE id = ?",
            [(seq + 1, agent) for agent, seq in newest.items()],
        )
        self._folded = True

    def keep(self) -> None:
        """The transaction is on disk."""
        for core in self._dropped:
            self._recent.pop(core, None)
        self._dropped = []
        if self._folded:
            self._recent, self._added, self._folded = {}, {}, False
        elif self._added:
            self._recent.update(self._added)
            self._added = {}

    def forget(self) -> None:
        """The transaction was rolled back."""
        self._added, self._dropped, self._folded = {}, [], False

    def drop(self, hashes: Iterable[ActionHash]) -> None:
        """Forget rows, inside the transaction that deletes them."""
        self._dropped += [hash_[CORE] for hash_ in hashes]

    def row(self, hash_: ActionHash) -> int | None:
        """The row of an action that is not in the index on disk yet, or None."""
        return self._recent.get(hash_[CORE])


def lost_hashes(db: sqlite3.Connection) -> int:
    """How many rows the index on disk should name and does not."""
    db.create_function("short_of_action", 1, _short_of_action, deterministic=True)
    return int(db.execute(_LOST, (SEQ_BITS, SEQ_MAX)).fetchone()[0])
