"""Limbo: parcels received and not yet judged, the one table that strangers' bytes go to.

Each row counts for the peer who gave it; what we fetched from it stands apart from what it sent of
its own accord, so that neither leaves the other no room.
A row is keyed by the digest of its parcel's bytes: a corrupted copy that comes first stands
beside the honest one and not in its way, and the same bytes are never parked twice.
"""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import NamedTuple

from ioe_node.model.hashes import ActionHash, AgentPubKey

DIGEST_BYTES = 16

Guard = Callable[[str], AbstractContextManager[None]]
Transaction = Callable[[str], AbstractContextManager[sqlite3.Connection]]


class Parked(NamedTuple):
    """A row without its bytes: what it begins with, who gave it, asked or not, when it came."""

    row: int
    digest: bytes
    hash: ActionHash
    author: AgentPubKey
    sender: AgentPubKey
    fetched: bool
    size_bytes: int
    parked_us: int


class ToPark(NamedTuple):
    """A parcel to park: its first action's hash, author and place, its bytes, who gave it; and
    whether we asked for it.
    """

    hash: ActionHash
    author: AgentPubKey
    seq: int
    wire: bytes
    sender: AgentPubKey
    fetched: bool = False


def digest_of(wire: bytes) -> bytes:
    """The key of a parcel's bytes."""
    return blake2b(wire, digest_size=DIGEST_BYTES).digest()


class Limbo:
    """The limbo table of one file."""

    def __init__(self, reader: sqlite3.Connection, guard: Guard, transaction: Transaction) -> None:
        self._reader = reader
        self._guard = guard
        self._transaction = transaction

    def park(self, parcels: Iterable[ToPark], now_us: int) -> None:
        """Put parcels into limbo; those that are there stay as they are."""
        with self._transaction("park ops") as db:
            db.executemany(
                "INSERT OR IGNORE INTO limbo (digest, hash, author, seq, sender, fetched, bytes,"
                " parked_us, wire) VALUES (?,?,?,?,?,?,?,?,?)",
                [
                    (
                        *(digest_of(p.wire), p.hash, p.author, p.seq, p.sender),
                        *(p.fetched, len(p.wire), now_us, p.wire),
                    )
                    for p in parcels
                ],
            )

    def load(self, sender: AgentPubKey, fetched: bool = False) -> tuple[int, int]:
        """(rows, bytes) that `sender` has here, of its own accord or because we asked for them."""
        with self._guard("count limbo"):
            count, size = self._reader.execute(
                "SELECT count(*), coalesce(sum(bytes), 0) FROM limbo WHERE sender=? AND fetched=?",
                (sender, fetched),
            ).fetchone()
        return int(count), int(size)

    def rows(self) -> int:
        """How many rows there are."""
        with self._guard("count limbo"):
            return int(self._reader.execute("SELECT count(*) FROM limbo").fetchone()[0])

    def authors(self) -> list[AgentPubKey]:
        """Whose parcels there are, in key order."""
        with self._guard("read limbo"):
            rows = self._reader.execute("SELECT DISTINCT author FROM limbo ORDER BY author")
            return [AgentPubKey(author) for (author,) in rows]

    def page(self, after: int, limit: int) -> list[Parked]:
        """Rows in the order of arrival, after row `after`."""
        with self._guard("read limbo"):
            rows = self._reader.execute(
                "SELECT id, digest, hash, author, sender, fetched, bytes, parked_us FROM limbo"
                " WHERE id > ? ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Parked(*row) for row in rows]

    def wire(self, row: int) -> bytes:
        """The bytes of a row; empty if it is gone."""
        with self._guard("read limbo"):
            found = self._reader.execute("SELECT wire FROM limbo WHERE id=?", (row,)).fetchone()
        return bytes(found[0]) if found else b""
