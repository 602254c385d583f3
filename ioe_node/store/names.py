"""By which other names a record is found: its entry, what it refers to, where its ops belong."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator

from ioe_node.model.action import Create, CreateLink, Delete, DeleteLink, Update
from ioe_node.model.hashes import ActionHash, key_of
from ioe_node.model.op import foreign_bases
from ioe_node.model.record import Record
from ioe_node.store.hash_index import short_of

_REFERS = {
    Update: ("amendment", "original_action"),
    Delete: ("amendment", "deletes_action"),
    DeleteLink: ("amendment", "create_link"),
    CreateLink: ("link", "base"),
}
"""The table by which an action is found at another hash, and its field that names that hash."""
_COLUMN = {"entry_index": "hash", "amendment": "original", "link": "base"}

COUNT_OPS = (
    "SELECT count(*), coalesce(sum(short & 4294967295), 0), coalesce(sum(short >> 32), 0)"
    " FROM (SELECT DISTINCT location, short FROM op WHERE location BETWEEN ? AND ?)"
)
LIST_OPS = (
    "SELECT DISTINCT location, short FROM op WHERE location BETWEEN ?1 AND ?2"
    " AND (location > ?1 OR short >= ?4) ORDER BY location, short LIMIT ?3"
)
UNLIST_OPS = (
    "DELETE FROM op WHERE record IN (SELECT record FROM alone WHERE author = ?1) OR EXISTS"
    " (SELECT 1 FROM agent WHERE key = ?1 AND record BETWEEN id << ?2 AND (id << ?2) + ?3)"
)

Row = tuple[Record, int, bool]
"""A record, its row id, and whether its entry is found by its hash."""


def _names(record: Record, indexed: bool) -> Iterator[tuple[str, bytes]]:
    action = record.action
    if indexed and isinstance(action, Create | Update):
        yield "entry_index", action.entry_hash
    if type(action) in _REFERS:
        table, field = _REFERS[type(action)]
        yield table, getattr(action, field)


def _ops(record: Record, row: int, indexed: bool) -> list[tuple[int, int, int]]:
    bases = foreign_bases(record.action, record.hash, indexed)
    return [(key_of(basis), short_of(record.hash), row) for basis in bases]


def insert_names(db: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Have new records found by all their names but their own hash; ops are listed for all but the
    warranted.
    """
    named: defaultdict[str, list[tuple[bytes, int]]] = defaultdict(list)
    ops: list[tuple[int, int, int]] = []
    warranted = {agent for (agent,) in db.execute("SELECT warrantee FROM warrant")}
    for record, row, indexed in rows:
        if indexed or type(record.action) in _REFERS:
            for table, name in _names(record, indexed):
                named[table].append((name, row))
            if record.action.author not in warranted:
                ops += _ops(record, row, indexed)
    for table, names in named.items():
        db.executemany(f"INSERT INTO {table} VALUES (?,?)", names)
    db.executemany("INSERT OR IGNORE INTO op VALUES (?,?,?)", ops)


def delete_names(db: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Have records found no more, by their own hash neither."""
    for record, row, indexed in rows:
        for table, name in _names(record, indexed):
            db.execute(f"DELETE FROM {table} WHERE {_COLUMN[table]}=? AND record=?", (name, row))
        db.executemany(
            "DELETE FROM op WHERE location=? AND short=? AND record=?", _ops(record, row, indexed)
        )
        db.execute(
            "DELETE FROM hash_index WHERE short=? AND record=?", (short_of(record.hash), row)
        )


def index_hashes(db: sqlite3.Connection, rows: Iterable[tuple[Record, int]]) -> None:
    """Have records that came alone found by their own hashes."""
    db.executemany(
        "INSERT OR IGNORE INTO hash_index VALUES (?,?)",
        [(short_of(ActionHash(record.hash)), row) for record, row in rows],
    )
