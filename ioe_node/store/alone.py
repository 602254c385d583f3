"""Records held without their chains, because an op of theirs belongs here; half of the `Store`.

They stand beside the chains under negative row ids.  A record is held alone or on its chain,
never twice.  At which place of its author's chain it would stand is noted (`alone`), so that
another action at the same place is seen, whether that comes alone or with its chain.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ioe_node.errors import ChainBroken, Malformed
from ioe_node.model.action import AnyAction, decode_action
from ioe_node.model.codec import encode
from ioe_node.model.hashes import CORE, ActionHash, AgentPubKey, action_hash, core_of
from ioe_node.model.record import Record
from ioe_node.store.hash_index import SEQ_BITS, SHORT_MIN, short_of
from ioe_node.store.names import COUNT_OPS, LIST_OPS, delete_names, index_hashes, insert_names
from ioe_node.store.notes import Notes, guard


def _size_bytes(record: Record) -> int:
    return len(record.action_bytes) + len(record.entry or b"")


def _named(data: bytes) -> tuple[AnyAction, ActionHash]:
    try:
        action = decode_action(data)
        return action, action_hash(data, action.author)
    except (Malformed, TypeError) as error:
        raise ChainBroken(f"a damaged action: {error}; run 'ioe chain verify'") from None


class Unplaced(NamedTuple):
    """A record held alone that nobody has compared with its author's chain: its row, its place."""

    row: int
    author: AgentPubKey
    action_seq: int
    hash: ActionHash


class Alone(Notes):
    """Single records, and the ops that belong outside their authors' neighbourhoods."""

    _agents: dict[bytes, int]
    _lowest: int
    """The lowest row id, 0 without any such record."""

    def _read(self, where: str, parameters: tuple[object, ...]) -> list[Record]:
        """Records; the `Store` says how."""
        raise NotImplementedError

    def keep_alone(self, records: Sequence[Record], by_hash: Sequence[bool]) -> None:
        """Make records visible that are held without their chains; known ones stay."""
        with self._transaction("write a record that came alone") as db:
            self._insert_alone(db, records, by_hash)

    def _insert_alone(
        self, db: sqlite3.Connection, records: Sequence[Record], by_hash: Sequence[bool]
    ) -> None:
        ids = range(self._lowest - 1, self._lowest - 1 - len(records), -1)
        rows = [
            (row, r.proof.index, 0, encode(r.proof), r.action_bytes, r.entry)
            for row, r in zip(ids, records, strict=True)
        ]
        db.executemany("INSERT INTO record VALUES (?,?,?,?,?,?)", rows)
        db.executemany(
            "INSERT INTO alone (author, seq, record, bytes) VALUES (?,?,?,?)",
            [
                (r.action.author, r.action.action_seq, row, _size_bytes(r))
                for row, r in zip(ids, records, strict=True)
            ],
        )
        index_hashes(db, zip(records, ids, strict=True))
        insert_names(db, zip(records, ids, by_hash, strict=True))
        self._lowest = ids[-1]

    def drop_alone(self, records: Sequence[Record], by_hash: Sequence[bool]) -> None:
        """Forget records that came alone and that others hold."""
        with self._transaction("let records go") as db:
            self._delete_alone(db, records, by_hash)

    def _delete_alone(
        self, db: sqlite3.Connection, records: Sequence[Record], by_hash: Sequence[bool]
    ) -> None:
        if not self._lowest:
            return
        for record, indexed in zip(records, by_hash, strict=True):
            row = self._row_alone(db, record.hash)
            if row is not None:
                delete_names(db, [(record, row, indexed)])
                db.execute("DELETE FROM record WHERE id=?", (row,))
                db.execute(
                    "DELETE FROM alone WHERE author=? AND seq=? AND record=?",
                    (record.action.author, record.action.action_seq, row),
                )

    def alone_mark(self) -> int:
        """It falls with each record that comes to be held alone."""
        return self._lowest

    def alone_below(self, row: int, limit: int) -> tuple[int, list[Record]]:
        """The next records held alone, and the row to go on from; what came last has the lowest."""
        with guard("read what is held alone"):
            (last,) = self._reader.execute(
                "SELECT coalesce(min(id), ?1) FROM"
                " (SELECT id FROM record WHERE id < ?1 ORDER BY id DESC LIMIT ?2)",
                (row, limit),
            ).fetchone()
        found = self._read("WHERE id >= ? AND id < ? ORDER BY id DESC", (last, row))
        return int(last), found

    def alone_at(self, author: AgentPubKey, first_seq: int, last_seq: int) -> list[Record]:
        """What is held alone at these places of a chain, both ends included, as it came."""
        if not self._lowest:
            return []
        return self._read(
            "WHERE id IN (SELECT record FROM alone WHERE author=? AND seq BETWEEN ? AND ?)"
            " ORDER BY id DESC",
            (author, first_seq, last_seq),
        )

    def alone_load(self, author: AgentPubKey) -> tuple[int, int]:
        """(rows, bytes) of an author's that are held alone."""
        with guard("count what is held alone"):
            found = self._reader.execute(
                "SELECT rows, bytes FROM alone_load WHERE author=?", (author,)
            ).fetchone()
        return (int(found[0]), int(found[1])) if found else (0, 0)

    def alone_load_most(self) -> tuple[int, int]:
        """The most rows, and the most bytes, of any one author's that are held alone."""
        with guard("count what is held alone"):
            rows, size = self._reader.execute(
                "SELECT coalesce(max(rows), 0), coalesce(max(bytes), 0) FROM alone_load"
            ).fetchone()
        return int(rows), int(size)

    def unplaced(self, after_row: int, limit: int) -> list[Unplaced]:
        """The next records held alone that were not found on their chains, the newest first."""
        with guard("read what is held alone"):
            rows = self._reader.execute(
                "SELECT id, action FROM alone JOIN record ON id = alone.record"
                " WHERE NOT placed AND alone.record > ? ORDER BY alone.record LIMIT ?",
                (after_row, limit),
            ).fetchall()
        return [
            Unplaced(row, action.author, action.action_seq, hash_)
            for row, (action, hash_) in ((row, _named(data)) for row, data in rows)
        ]

    def place(self, found: Iterable[Unplaced]) -> None:
        """Note that these stand on their chains, as an authority of their authors says."""
        with self._transaction("note places") as db:
            db.executemany(
                "UPDATE alone SET placed=1 WHERE author=? AND seq=? AND record=?",
                [(each.author, each.action_seq, each.row) for each in found],
            )

    def hash_at(self, author: AgentPubKey, seq: int) -> ActionHash | None:
        """The action at this place of this chain as held here; reads no entry."""
        agent = self._agents.get(author)
        if agent is None:
            return None
        with guard("look at a place"):
            found = self._reader.execute(
                "SELECT action FROM record WHERE id=?", (agent << SEQ_BITS | seq,)
            ).fetchone()
        return _named(found[0])[1] if found else None

    @staticmethod
    def _row_alone(db: sqlite3.Connection, hash_: ActionHash) -> int | None:
        rows = db.execute(
            "SELECT id, action FROM hash_index JOIN record ON id = record"
            " WHERE short=? AND record < 0",
            (short_of(hash_),),
        )
        return next((int(row) for row, data in rows if core_of(data) == hash_[CORE]), None)

    def count_ops(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """For each range of locations, both ends included, of the ops held outside their authors'
        neighbourhoods: (how many, and two sums by which two nodes see whether theirs are equal).
        """
        with guard("compare ops"):
            return [self._reader.execute(COUNT_OPS, span).fetchone() for span in ranges]

    def list_ops(
        self, low: int, high: int, limit: int, from_short: int = SHORT_MIN
    ) -> list[tuple[int, int]]:
        """(location, short hash) of the first such ops in a range of locations, at the first
        location those from `from_short` on.
        """
        with guard("list ops"):
            return self._reader.execute(LIST_OPS, (low, high, limit, from_short)).fetchall()

    def ops_at(self, location: int, short: int) -> list[Record]:
        """The records of an op that `list_ops` names."""
        return self._read(
            "WHERE id IN (SELECT record FROM op WHERE location=? AND short=?) ORDER BY id",
            (location, short),
        )
