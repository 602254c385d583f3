"""One SQLite file a cell: the chains held, limbo, delivery, promises, warrants.

A `Store` is synchronous.  It writes on one connection, one transaction at a time, and reads on
another, so that a transaction in a worker thread is never half seen.  `sqlite3.Error` does not
leave this module: it becomes `DiskFull` or `StoreError`.
"""

import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import Literal

from sqlite_utils import Database

from ioe_node.core.chain import Head, StoredRow, head_after, with_path
from ioe_node.errors import Busy, ChainBroken, Malformed, StoreError
from ioe_node.model.action import Create, Update, decode_action
from ioe_node.model.codec import encode
from ioe_node.model.hashes import CORE, ActionHash, AgentPubKey, EntryHash, action_hash, core_of
from ioe_node.model.op import foreign_bases
from ioe_node.model.record import Proof, Record, check_entry, decode_proof
from ioe_node.store.alone import Alone
from ioe_node.store.hash_index import SEQ_BITS, SEQ_MAX, HashIndex, lost_hashes, short_of
from ioe_node.store.limbo import Limbo
from ioe_node.store.names import delete_names, insert_names
from ioe_node.store.notes import REFUSAL, fault, guard
from ioe_node.store.schema import migrations

BUSY_TIMEOUT_S = 5.0
TREES_CACHED_MAX = 8
ROWS_PER_PAGE = 1_000
ROWS_PER_READ = 512
LET_GO = "that chain was let go just now; ask its authorities"
LOG_PAGES_MAX = 4_096
"""The write-ahead log is folded into the file at 16 MiB, which is more than any bundle, so that
a page that many commits touch is copied once; NORMAL flushes to the disk as often as that."""

MEND = "stop the node, move the file away and start again: the other nodes give back what they hold"

Synchronous = Literal["OFF", "NORMAL", "FULL"]  # OFF: only where no power can fail

_OF_AGENT = "WHERE id BETWEEN ?1 AND ?2"


def _bounds(agent: int) -> tuple[int, int]:
    """The first and the last row id that a chain may have."""
    return agent << SEQ_BITS, agent << SEQ_BITS | SEQ_MAX


class Store(Alone):
    """The rows of one cell; see the package docstring for its invariant."""

    def __init__(self, path: Path, synchronous: Synchronous = "NORMAL") -> None:
        super().__init__()
        self.path = path
        self._agents: dict[bytes, int] = {}
        self._unwritten_agents: dict[bytes, int] = {}
        self._heads: dict[bytes, Head] = {}
        self._hashes = HashIndex()
        self._writing = RLock()
        with guard(f"open {path}"):
            self._db = self._connect(path)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={synchronous}")
            self._db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES_MAX}")
            self._migrate()
            self._reader = self._connect(path)
            self._reader.execute("PRAGMA query_only=1")
            self._agents.update(self._db.execute("SELECT key, id FROM agent"))
            if None in self._agents.values():
                raise StoreError(f"{path} has a damaged list of agents; {MEND}")
            self._newest_agent = max(self._agents.values(), default=0)
            self._hashes.load(self._db)
            self._lowest = min(0, self._db.execute("SELECT min(id) FROM record").fetchone()[0] or 0)
        self.limbo = Limbo(self._reader, guard, self._transaction)
        self._ops_held: int | None = None
        self._ops_added = 0
        self._leaves = lru_cache(maxsize=TREES_CACHED_MAX)(self._read_leaves)

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )

    def _migrate(self) -> None:
        try:
            migrations.apply(Database(self._db))
        except KeyError as error:
            raise StoreError(f"{self.path} has a damaged list of migrations: {error}") from None

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        with suppress(StoreError):
            self.keep_deliveries()
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._reader.close()
        self._db.close()

    @contextmanager
    def _transaction(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._writing:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                self._unwritten_agents.clear()
                self._ops_added = 0
                self._hashes.forget()
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                if isinstance(error, REFUSAL):
                    raise fault(what, error) from None
                raise
            self._hashes.keep()
            if self._ops_held is not None:
                self._ops_held += self._ops_added
            self._ops_added = 0
            if self._unwritten_agents:
                self._agents.update(self._unwritten_agents)
                self._unwritten_agents.clear()

    def _agent_id(self, agent: AgentPubKey) -> int:
        known = self._agents.get(agent) or self._unwritten_agents.get(agent)
        if known is None:
            # Never the number of a chain that was let go: somebody may be reading it still.
            self._newest_agent += 1
            row = self._db.execute(
                "INSERT INTO agent (id, key) VALUES (?,?)"
                " ON CONFLICT (key) DO UPDATE SET key=key RETURNING id",
                (self._newest_agent, agent),
            ).fetchone()
            known = self._unwritten_agents[agent] = int(row[0])
        return known

    # -- records ------------------------------------------------------------------------------

    def close_pass(
        self,
        records: Sequence[Record],
        ops: Sequence[int],
        by_hash: Sequence[bool],
        dropped: Iterable[int],
    ) -> None:
        """End a validation pass: valid records become visible, the rows of limbo `dropped` go.

        `ops[i]` is the set of op kinds that we hold of `records[i]`; `by_hash[i]` says whether
        its entry is found by its hash.
        """
        with self._transaction("write what was validated") as db:
            self._delete_alone(db, records, by_hash)
            self._insert(db, records, ops, by_hash)
            db.executemany("DELETE FROM limbo WHERE id=?", [(row,) for row in dropped])
        self._note_heads(records)

    def commit(
        self, records: Sequence[Record], ops: Sequence[int], by_hash: Sequence[bool]
    ) -> None:
        """Write a bundle of our own; a promise at its place is thereby kept."""
        with self._transaction("commit a bundle") as db:
            self._insert(db, records, ops, by_hash)
            owed = [
                (record.action.action_seq,)
                for record, indexed in zip(records, by_hash, strict=True)
                if foreign_bases(record.action, record.hash, indexed)
            ]
            db.executemany("INSERT INTO owed VALUES (?)", owed)
            if records[0].proof.cosignatures:
                db.execute("DELETE FROM promise WHERE seq=?", (records[0].action.action_seq,))
        self._note_heads(records)

    def drop_chain(
        self,
        author: AgentPubKey,
        by_hash: Callable[[Record], bool],
        keeps: Callable[[Record], bool] = lambda record: False,
    ) -> int:
        """Forget a chain that others hold, all but the records that `keeps` names: those are held
        alone from now on; how many actions it had.
        """
        agent = self._agents.get(author)
        head = self.head(author)
        if agent is None or head is None:
            return 0
        with self._writing:
            with self._transaction("let a chain go") as db:
                kept: list[Record] = []
                for first in range(0, head.seq + 1, ROWS_PER_READ):
                    records = self.chain(author, first, ROWS_PER_READ)
                    kept += [self.alone(record) for record in records if keeps(record)]
                    ids = [agent << SEQ_BITS | record.action.action_seq for record in records]
                    delete_names(db, zip(records, ids, map(by_hash, records), strict=True))
                    self._hashes.drop([record.hash for record in records])
                ops = db.execute(f"SELECT ops FROM record {_OF_AGENT}", _bounds(agent))
                self._ops_added -= sum(int(held).bit_count() for (held,) in ops)
                db.execute(f"DELETE FROM record {_OF_AGENT}", _bounds(agent))
                db.execute("DELETE FROM agent WHERE id=?", (agent,))
                if kept:
                    self._insert_alone(db, kept, [by_hash(record) for record in kept])
            del self._agents[author]
            self._heads.pop(author, None)
        return head.seq + 1

    def _note_heads(self, records: Sequence[Record]) -> None:
        newest = {record.action.author: record for record in records}
        for author, record in newest.items():
            self._heads[author] = head_after(record.action, record.hash)

    def _insert(
        self,
        db: sqlite3.Connection,
        records: Sequence[Record],
        ops: Sequence[int],
        by_hash: Sequence[bool],
    ) -> None:
        self._ops_added += sum(held.bit_count() for held in ops)
        rows, author, first = [], None, 0
        for record, held in zip(records, ops, strict=True):
            action, proof = record.action, record.proof
            if action.author != author:
                author = action.author
                first = self._agent_id(author) << SEQ_BITS
            place = proof.index
            sealed = encode(proof) if not place or proof.cosignatures else None
            row = first | action.action_seq
            rows.append((row, place, held, sealed, record.action_bytes, record.entry))
        db.executemany("INSERT INTO record VALUES (?,?,?,?,?,?)", rows)
        ids = [row[0] for row in rows]
        self._hashes.add(db, [record.hash for record in records], ids)
        insert_names(db, zip(records, ids, by_hash, strict=True))

    _COLUMNS = "SELECT id, action, entry, place, proof FROM record "

    def _read(self, where: str, parameters: tuple[object, ...]) -> list[Record]:
        try:
            return self._read_once(where, parameters)
        except ChainBroken:
            # The chain may have been let go between two looks at it.
            with self._writing:
                return self._read_once(where, parameters)

    def _read_once(self, where: str, parameters: tuple[object, ...]) -> list[Record]:
        with guard("read records"):
            rows = self._reader.execute(self._COLUMNS + where, parameters).fetchall()
        return [self._record(*row) for row in rows]

    def _record(
        self,
        row: int,
        data: bytes,
        entry: bytes | None,
        place: int,
        proof: bytes | None,
    ) -> Record:
        try:
            action = decode_action(data)
            check_entry(action, entry)
            if row < 0:
                alone = decode_proof(proof or b"")
                return Record(action_hash(data, action.author), action, data, alone, entry)
            if action.action_seq != row & SEQ_MAX or self._agents.get(action.author) != row >> 32:
                raise Malformed("it stands at another action's place")
            if proof is not None:
                sealed = decode_proof(proof)
            else:
                sealed = decode_proof(self._first_proof(row - place))
                sealed = Proof(sealed.signature, place, sealed.size)
            if sealed.index != place:
                raise Malformed("its place in its bundle is another")
        except (Malformed, TypeError) as error:
            raise ChainBroken(
                f"{self.path}: action {row & SEQ_MAX}: {error}; run 'ioe chain verify'"
            ) from None
        return Record(action_hash(data, action.author), action, data, sealed, entry)

    def _first_proof(self, row: int) -> bytes:
        with guard("read a proof"):
            found = self._reader.execute("SELECT proof FROM record WHERE id=?", (row,)).fetchone()
        if found is None or found[0] is None:
            raise Malformed("its bundle has lost its first action")
        return bytes(found[0])

    def _read_leaves(self, first: int, size: int) -> tuple[bytes, ...]:
        with guard("read a bundle"):
            rows = self._reader.execute(
                "SELECT action FROM record WHERE id BETWEEN ? AND ?", (first, first + size - 1)
            )
            leaves = tuple(core_of(data) for (data,) in rows)
        if len(leaves) != size:
            raise Busy(LET_GO)
        return leaves

    def alone(self, record: Record) -> Record:
        """`record` with its path, fit to travel without the rest of its bundle.

        Raises `Busy` if its chain was let go meanwhile.
        """
        proof = record.proof
        if proof.size == 1 or proof.path:
            return record
        agent = self._agents.get(record.action.author)
        if agent is None:
            raise Busy(LET_GO)
        row = agent << SEQ_BITS | record.action.action_seq
        return with_path(record, self._leaves(row - proof.index, proof.size))

    def record(self, hash_: ActionHash) -> Record | None:
        """The record of this action, or None."""
        row = self._hashes.row(hash_)
        if row is not None:
            found = self._read("WHERE id=?", (row,))
        else:
            found = self._read(
                "WHERE id IN (SELECT record FROM hash_index WHERE short=?)", (short_of(hash_),)
            )
        return next((record for record in found if record.hash == hash_), None)

    def record_at(self, author: AgentPubKey, seq: int) -> Record | None:
        """The record at this place of this chain, or None."""
        found = self.chain(author, seq, 1, newest_seq=seq)
        return found[0] if found else None

    def has(self, hash_: ActionHash) -> bool:
        """Whether this action is integrated here, with its chain or alone."""
        row = self._hashes.row(hash_)
        if row is not None:
            return True
        with guard("look for an action"):
            found = self._reader.execute(
                "SELECT action FROM record WHERE id IN"
                " (SELECT record FROM hash_index WHERE short=?)",
                (short_of(hash_),),
            ).fetchall()
        return any(core_of(data) == hash_[CORE] for (data,) in found)

    def on_chain(self, author: AgentPubKey, seq: int, hash_: ActionHash) -> bool:
        """Whether this action is held here with the chain before it."""
        record = self.record_at(author, seq)
        return record is not None and record.hash == hash_

    def chain(
        self, author: AgentPubKey, from_seq: int = 0, limit: int = -1, newest_seq: int = SEQ_MAX
    ) -> list[Record]:
        """A run of `author`'s chain as held here, oldest first, both ends included."""
        agent = self._agents.get(author)
        if agent is None:
            return []
        first, last = agent << SEQ_BITS | from_seq, agent << SEQ_BITS | newest_seq
        return self._read("WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", (first, last, limit))

    def newest_of_type(
        self, author: AgentPubKey, entry_type: str, before_seq: int = 2**32
    ) -> Record | None:
        """The newest record of a type before a place on a chain, or None.

        Walks back along the chain's own rows, decoding nothing but what it passes.
        """
        return next(iter(self.of_type(author, entry_type, before_seq=before_seq)), None)

    def of_type(
        self, author: AgentPubKey, entry_type: str, before_seq: int = 2**32
    ) -> Iterator[Record]:
        """The records of a type on a chain, newest first; stop reading when you have enough."""
        agent = self._agents.get(author)
        if agent is None:
            return
        wanted = entry_type.encode()
        with guard("walk a chain"):
            rows = self._reader.execute(
                self._COLUMNS + "WHERE id >= ? AND id < ? AND instr(action, ?) ORDER BY id DESC",
                (agent << SEQ_BITS, (agent << SEQ_BITS) + before_seq, wanted),
            )
            for row in rows:
                try:
                    record = self._record(*row)
                except ChainBroken:
                    with self._writing:
                        if self._agents.get(author) != agent:
                            return
                    raise
                action = record.action
                if isinstance(action, Create | Update) and action.entry_type == entry_type:
                    yield record

    def by_entry(self, hash_: EntryHash, limit: int = -1) -> list[Record]:
        """The records whose entry, found by its hash, is this."""
        return self._joined("entry_index", "hash", hash_, limit)

    def _joined(
        self,
        table: str,
        column: str,
        value: bytes,
        limit: int = -1,
        after_row: int = -(2**63),
    ) -> list[Record]:
        return self._read(
            f"WHERE id IN (SELECT record FROM {table} WHERE {column}=?1 AND record > ?2"
            " ORDER BY record LIMIT ?3) ORDER BY id",
            (value, after_row, limit),
        )

    def amendments(self, original: ActionHash, limit: int = -1) -> list[Record]:
        """Updates and deletes of a record, and removals of a link."""
        return self._joined("amendment", "original", original, limit)

    def links(self, base: bytes, limit: int = -1, after: ActionHash | None = None) -> list[Record]:
        """The CreateLinks at a base, removed ones included; after the link `after` if one is named.

        Nothing comes after a link that is not here.
        """
        last = None if after is None else self.record(after)
        if last is None:
            return [] if after is not None else self._joined("link", "base", base, limit)
        with guard("look for a link"):
            row = self._row_alone(self._reader, last.hash)
        if row is None:
            agent = self._agents.get(last.action.author)
            if agent is None:
                return []
            row = agent << SEQ_BITS | last.action.action_seq
        return self._joined("link", "base", base, limit, row)

    def head(self, author: AgentPubKey) -> Head | None:
        """The newest action of `author`'s chain as held here, or None."""
        noted = self._heads.get(author)
        if noted is not None:
            return noted
        agent = self._agents.get(author)
        if agent is None:
            return None
        found = self._read(f"{_OF_AGENT} ORDER BY id DESC LIMIT 1", _bounds(agent))
        return head_after(found[0].action, found[0].hash) if found else None

    def authors(self) -> list[AgentPubKey]:
        """Every agent of whose chain something is held here, in key order."""
        return sorted(AgentPubKey(key) for key in self._agents)

    def rows(self, author: AgentPubKey) -> Generator[StoredRow, None, None]:
        """The raw rows of a chain, for `core.chain.verify_chain`; none for a stranger.

        Raises `ChainBroken` for an agent that has lost every row.
        """
        agent = self._agents.get(author)
        if agent is None:
            return
        first, last = at, _ = _bounds(agent)
        with guard("read a chain"):
            # A page at a time: an unfinished read would hold all others to what it began with.
            while page := self._reader.execute(
                "SELECT id - ?1, action, entry, place, proof FROM record"
                " WHERE id BETWEEN ?2 AND ?3 ORDER BY id LIMIT ?4",
                (first, at, last, ROWS_PER_PAGE),
            ).fetchall():
                yield from page
                at = first + page[-1][0] + 1
        if at == first:
            raise ChainBroken(f"{self.path}: a chain that has lost its every action")

    def ops_held(self) -> int:
        """How many ops are held: read from the table once, counted from then on."""
        if self._ops_held is None:
            with self._writing, guard("count the ops"):
                rows = self._reader.execute("SELECT ops, count(*) FROM record GROUP BY ops")
                self._ops_held = sum(int(ops).bit_count() * count for ops, count in rows)
        return self._ops_held

    def ops_digest(self) -> tuple[int, bytes]:
        """(number of ops held, 32 bytes that two nodes share when they hold the same ones)."""
        digest, count = blake2b(digest_size=32), 0
        with guard("digest the ops"):
            for author, agent in sorted(self._agents.items()):
                digest.update(author)
                for data, ops in self._reader.execute(
                    f"SELECT action, ops FROM record {_OF_AGENT} ORDER BY id", _bounds(agent)
                ):
                    digest.update(core_of(data) + int(ops).to_bytes(2, "big"))
                    count += int(ops).bit_count()
        return count, digest.digest()

    def check_file(self) -> None:
        """Have SQLite check its pages and indexes; raises `StoreError` for a damaged file.

        `core.chain.verify_chain` checks what the rows say; this, that no row or index is lost.
        """
        with guard("check the file"):
            found = self._reader.execute("PRAGMA integrity_check(1)").fetchone()[0]
            lost = lost_hashes(self._reader) if found == "ok" else 0
        if lost:
            found = f"the hashes of {lost} actions are not in its index"
        if found != "ok":
            raise StoreError(f"{self.path} is damaged: {found}; {MEND}")
