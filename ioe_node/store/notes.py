"""What a cell remembers besides records: deliveries, peers, promises, warrants.

`Notes` is the half of the `Store` that needs no chain; see `store.store`.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

from ioe_node.errors import DiskFull, StoreError
from ioe_node.model.hashes import AgentPubKey
from ioe_node.store.hash_index import SEQ_BITS, SEQ_MAX
from ioe_node.store.names import UNLIST_OPS

REFUSAL = (sqlite3.Error, UnicodeDecodeError)
"""What the sqlite3 module raises; the second when a damaged file's name for a thing is no text."""


def fault(what: str, error: Exception) -> StoreError:
    """`DiskFull` or `StoreError` for what SQLite refused."""
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL or "disk I/O error" in str(error):
        return DiskFull(
            f"the disk refused to {what} ({error}): nothing was written; free space, then retry"
        )
    return StoreError(f"cannot {what}: {error}")


@contextmanager
def guard(what: str) -> Iterator[None]:
    """Turn what SQLite raises into our own errors."""
    try:
        yield
    except REFUSAL as error:
        raise fault(what, error) from None


class Notes:
    """Small rows that are written and read whole."""

    _reader: sqlite3.Connection
    _db: sqlite3.Connection
    _writing: RLock

    def __init__(self) -> None:
        self._delivered: dict[AgentPubKey, int] | None = None
        self._delivered_since: set[AgentPubKey] = set()

    @contextmanager
    def _transaction(self, what: str) -> Iterator[sqlite3.Connection]:
        """One write; the `Store` says how."""
        raise NotImplementedError
        yield

    @contextmanager
    def flushed(self) -> Iterator[None]:
        """What commits meanwhile is on the disk, not in its cache, when the commit returns."""
        with self._writing:
            with guard("ask for flushing"):
                before = self._db.execute("PRAGMA synchronous").fetchone()[0]
                self._db.execute("PRAGMA synchronous=FULL")
            try:
                yield
            finally:
                with guard("end flushing"):
                    self._db.execute(f"PRAGMA synchronous={before}")

    def used_bytes(self) -> int:
        """How large the file is once the log is folded into it, without the pages to be reused."""
        with guard("measure the file"):
            pages, unused, page_bytes = (
                int(self._reader.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - unused) * page_bytes

    def next_for(self, peer: AgentPubKey) -> int:
        """The first sequence of our chain for which `peer` owes us a receipt."""
        return self._deliveries().get(peer, 0)

    def receipted_seq(self) -> int:
        """The first sequence of our chain for which nobody is known to have given a receipt."""
        return max(self._deliveries().values(), default=0)

    def _deliveries(self) -> dict[AgentPubKey, int]:
        if self._delivered is None:
            with guard("read delivery"):
                rows = self._reader.execute("SELECT peer, next_seq FROM delivery").fetchall()
            self._delivered = {AgentPubKey(who): int(next_seq) for who, next_seq in rows}
        return self._delivered

    def delivered(self, peer: AgentPubKey, next_seq: int) -> None:
        """`peer` has given receipts for everything below `next_seq`; see `keep_deliveries`."""
        if next_seq > self.next_for(peer):
            self._deliveries()[peer] = next_seq
            self._delivered_since.add(peer)

    def keep_deliveries(self) -> None:
        """Write what `delivered` has noted.

        A crash before that costs only that some of it is sent once more, so many are written
        at a time: a transaction for each would flush the disk eight times for every action.
        """
        since, self._delivered_since = sorted(self._delivered_since), set()
        if since:
            rows = [(peer, self.next_for(peer)) for peer in since]
            with self._transaction("note deliveries") as db:
                db.executemany("INSERT OR REPLACE INTO delivery VALUES (?,?)", rows)

    def owed(self, limit: int) -> list[int]:
        """The sequences of our own first records with ops that other neighbourhoods lack."""
        with guard("read what we owe"):
            rows = self._reader.execute("SELECT seq FROM owed ORDER BY seq LIMIT ?", (limit,))
            return [int(seq) for (seq,) in rows]

    def owed_count(self) -> int:
        """How many records `owed` would name."""
        with guard("count what we owe"):
            return int(self._reader.execute("SELECT count(*) FROM owed").fetchone()[0])

    def repaid(self, seqs: Sequence[int]) -> None:
        """The authorities of these have given receipts enough."""
        with self._transaction("note what we owed") as db:
            db.executemany("DELETE FROM owed WHERE seq=?", [(seq,) for seq in seqs])

    def save_peer(self, agent: AgentPubKey, info: bytes) -> None:
        """Remember a peer's signed info over a restart."""
        with self._transaction("save a peer") as db:
            db.execute("INSERT OR REPLACE INTO peer VALUES (?,?)", (agent, info))

    def forget_peers(self, agents: Iterable[AgentPubKey]) -> None:
        """Drop what was kept of these."""
        with self._transaction("forget peers") as db:
            db.executemany("DELETE FROM peer WHERE agent=?", [(agent,) for agent in agents])

    def peers(self) -> list[bytes]:
        """The signed infos remembered."""
        with guard("read peers"):
            return [row[0] for row in self._reader.execute("SELECT info FROM peer ORDER BY agent")]

    def promise(self, seq: int, body: bytes) -> None:
        """Remember, flushed and before it is sent, that we promised the action at `seq`."""
        with self.flushed(), self._transaction("note a promise") as db:
            db.execute("INSERT INTO promise VALUES (?,?)", (seq, body))

    def promised(self) -> tuple[int, bytes] | None:
        """The (seq, body) that we promised and whose outcome we do not know yet."""
        with guard("read promises"):
            row = self._reader.execute("SELECT seq, body FROM promise").fetchone()
        return (int(row[0]), row[1]) if row else None

    def release(self, seq: int) -> None:
        """The other party will never sign the promise at `seq`."""
        with self._transaction("release a promise") as db:
            db.execute("DELETE FROM promise WHERE seq=?", (seq,))

    def add_warrant(
        self, hash_: bytes, warrantee: AgentPubKey, signed: bytes, now_us: int = 0
    ) -> bool:
        """Keep a verified warrant; False if it was here.

        The ops of its warrantee are listed no more: nobody who has the warrant takes them.
        """
        with self._transaction("keep a warrant") as db:
            done = db.execute(
                "INSERT OR IGNORE INTO warrant (hash, warrantee, signed, kept_us) VALUES (?,?,?,?)",
                (hash_, warrantee, signed, now_us),
            )
            db.execute(UNLIST_OPS, (warrantee, SEQ_BITS, SEQ_MAX))
        return done.rowcount == 1

    def warrants(self) -> list[tuple[AgentPubKey, bytes]]:
        """(warrantee, signed warrant) of all that are kept, in the order of arrival."""
        return [(row[1], row[2]) for row in self.warrant_rows()]

    def warrant_rows(self) -> list[tuple[bytes, AgentPubKey, bytes, int]]:
        """(hash, warrantee, signed warrant, when it came) of all, in the order of arrival."""
        with guard("read warrants"):
            return self._reader.execute(
                "SELECT hash, warrantee, signed, kept_us FROM warrant ORDER BY id"
            ).fetchall()
