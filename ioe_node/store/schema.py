"""Tables and their migrations, applied in order when a file is opened.

A file remembers which migrations it has had, so they are append-only: what is new comes in a
migration of its own; from the first release on, none that stands here is edited.

A record's row id is `agent.id << 32 | action_seq`, so a chain is one contiguous run of the
table's own b-tree and needs no index to be read, published or verified; a second action at
one place is refused by the key itself.  Large columns stand last, where they hide no small one.
A record's hash is not stored, it is what the action's bytes hash to: `short` is its core's
first 8 bytes, enough to find it by.  `hash_index` has every row of a chain below the sequence
`agent.unindexed` (see `store.hash_index`).  The other indexes hold only what is looked up by
them.  A record that is held without its chain, because an op of it belongs here, has a negative
row id and its proof with the path; `op` says at which locations outside their authors'
neighbourhoods records are held, `alone` at which places of their authors' chains, and whether an
authority of the author has said that it holds the same there.
"""

from collections.abc import Iterator

from sqlite_utils import Database, Migrations

from ioe_node.errors import Malformed
from ioe_node.model.action import decode_action

migrations = Migrations("ioe-cell")


@migrations()  # type: ignore[untyped-decorator]  # sqlite-utils ships no types
def m001_first(db: Database) -> None:
    """Chains, what is found by other hashes, limbo, delivery, peers, promises, warrants."""
    db.executescript(
        """
        CREATE TABLE agent (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,
            unindexed INTEGER NOT NULL DEFAULT 0);
        CREATE TABLE record (
            id INTEGER PRIMARY KEY,
            place INTEGER NOT NULL,
            ops INTEGER NOT NULL,
            proof BLOB,
            action BLOB NOT NULL,
            entry BLOB
        );
        CREATE TABLE hash_index (short INTEGER NOT NULL, record INTEGER NOT NULL,
            PRIMARY KEY (short, record)) WITHOUT ROWID;
        CREATE TABLE entry_index (hash BLOB NOT NULL, record INTEGER NOT NULL,
            PRIMARY KEY (hash, record)) WITHOUT ROWID;
        CREATE TABLE amendment (original BLOB NOT NULL, record INTEGER NOT NULL,
            PRIMARY KEY (original, record)) WITHOUT ROWID;
        CREATE TABLE link (base BLOB NOT NULL, record INTEGER NOT NULL,
            PRIMARY KEY (base, record)) WITHOUT ROWID;
        CREATE TABLE limbo (
            id INTEGER PRIMARY KEY,
            hash BLOB NOT NULL UNIQUE,
            author BLOB NOT NULL,
            seq INTEGER NOT NULL,
            wire BLOB NOT NULL,
            sender BLOB NOT NULL,
            bytes INTEGER NOT NULL
        );
        CREATE INDEX limbo_author ON limbo (author, seq);
        CREATE TABLE delivery (peer BLOB PRIMARY KEY, next_seq INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE peer (agent BLOB PRIMARY KEY, info BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE warrant (
            id INTEGER PRIMARY KEY,
            hash BLOB NOT NULL UNIQUE,
            warrantee BLOB NOT NULL,
            signed BLOB NOT NULL
        );
        CREATE TABLE promise (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
        """
    )


@migrations()  # type: ignore[untyped-decorator]
def m002_share(db: Database) -> None:
    """Ops outside their authors' neighbourhoods: those held, and those we owe to others."""
    db.executescript(
        """
        CREATE TABLE op (location INTEGER NOT NULL, short INTEGER NOT NULL,
            record INTEGER NOT NULL, PRIMARY KEY (location, short, record)) WITHOUT ROWID;
        CREATE TABLE owed (seq INTEGER PRIMARY KEY);
        """
    )


@migrations()  # type: ignore[untyped-decorator]
def m003_limbo_by_digest(db: Database) -> None:
    """Limbo keyed by the bytes of its parcels, with their age; when a warrant came.

    What was in it is not lost: nobody has a receipt for it, so it is published again.
    """
    db.executescript(
        """
        DROP TABLE limbo;
        CREATE TABLE limbo (
            id INTEGER PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE,
            hash BLOB NOT NULL,
            author BLOB NOT NULL,
            seq INTEGER NOT NULL,
            sender BLOB NOT NULL,
            bytes INTEGER NOT NULL,
            parked_us INTEGER NOT NULL,
            wire BLOB NOT NULL
        );
        CREATE INDEX limbo_sender ON limbo (sender, bytes);
        ALTER TABLE warrant ADD COLUMN kept_us INTEGER NOT NULL DEFAULT 0;
        """
    )


@migrations()  # type: ignore[untyped-decorator]
def m004_witness(db: Database) -> None:
    """A witness' duty to each author, certificates that we obtained, members' standings.

    `final` says which certificate shows an action to be final whose chain need not be here.
    """
    db.executescript(
        """
        CREATE TABLE duty (author BLOB PRIMARY KEY, duty BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE certificate (author BLOB NOT NULL, seq INTEGER NOT NULL,
            hash BLOB NOT NULL, certificate BLOB NOT NULL, PRIMARY KEY (author, seq)) WITHOUT ROWID;
        CREATE TABLE final (hash BLOB PRIMARY KEY, author BLOB NOT NULL, seq INTEGER NOT NULL,
            links BLOB NOT NULL) WITHOUT ROWID;
        CREATE INDEX final_by ON final (author, seq);
        CREATE TABLE standing (agent BLOB PRIMARY KEY, standing BLOB NOT NULL) WITHOUT ROWID;
        """
    )


@migrations()  # type: ignore[untyped-decorator]
def m005_places(db: Database) -> None:
    """The places of what is held alone; limbo by whether it was asked for; lost duties."""
    db.executescript(
        """
        CREATE TABLE loss (id INTEGER PRIMARY KEY CHECK (id = 0), at_us INTEGER NOT NULL);
        CREATE TABLE alone (author BLOB NOT NULL, seq INTEGER NOT NULL, record INTEGER NOT NULL,
            bytes INTEGER NOT NULL, placed INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (author, seq, record)) WITHOUT ROWID;
        CREATE INDEX alone_unplaced ON alone (record) WHERE NOT placed;
        CREATE TABLE alone_load (author BLOB PRIMARY KEY, rows INTEGER NOT NULL,
            bytes INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TRIGGER alone_came AFTER INSERT ON alone BEGIN
            INSERT INTO alone_load VALUES (new.author, 1, new.bytes) ON CONFLICT (author)
                DO UPDATE SET rows = rows + 1, bytes = bytes + excluded.bytes;
        END;
        CREATE TRIGGER alone_gone AFTER DELETE ON alone BEGIN
            UPDATE alone_load SET rows = rows - 1, bytes = bytes - old.bytes
                WHERE author = old.author;
            DELETE FROM alone_load WHERE author = old.author AND NOT rows;
        END;
        DROP INDEX limbo_sender;
        ALTER TABLE limbo RENAME TO limbo_before;
        CREATE TABLE limbo (
            id INTEGER PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE,
            hash BLOB NOT NULL,
            author BLOB NOT NULL,
            seq INTEGER NOT NULL,
            sender BLOB NOT NULL,
            fetched INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            parked_us INTEGER NOT NULL,
            wire BLOB NOT NULL
        );
        INSERT INTO limbo SELECT id, digest, hash, author, seq, sender, 0, bytes, parked_us, wire
            FROM limbo_before;
        DROP TABLE limbo_before;
        CREATE INDEX limbo_sender ON limbo (sender, fetched, bytes);
        """
    )
    db.conn.executemany(
        "INSERT INTO alone (author, seq, record, bytes) VALUES (?,?,?,?)", _held_alone(db)
    )


def _held_alone(db: Database) -> Iterator[tuple[bytes, int, int, int]]:
    """(author, place, row, bytes) of each record held alone; one that is damaged is passed over."""
    for row, data, size_bytes in db.conn.execute(
        "SELECT id, action, length(action) + coalesce(length(entry), 0) FROM record WHERE id < 0"
    ):
        try:
            action = decode_action(data)
        except (Malformed, TypeError):
            continue
        yield action.author, action.action_seq, row, size_bytes
