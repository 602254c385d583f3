"""The history of meters: one SQLite file a node, summed up before anybody asks.

Invariant: a series' quarter hours, its totals, and the place on the chain up to which it has been
read change in one transaction.  So a crash between a chain and its history loses nothing and
counts nothing twice: what is missing is read from the chain again, from that place on.

A device that takes its next key goes on under another name, `before` says from which: a question
about the one is answered with both.

What our own meter counted and no chain says, as its owner shares nothing, is part of the same
series, and kept on its own too, so that it outlasts a reading of the chains anew.

Beside what chains say stand series that were imported, by the name of their source, and never
mixed with these; and a ring of the raw samples of our own meter, which leave this file by nobody.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from heapq import merge
from itertools import groupby, islice
from pathlib import Path
from threading import RLock
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlite_utils import Database, Migrations

from ioe_node.history.periods import Calendar, Step
from ioe_node.history.point import QUARTER_US, Point
from ioe_node.store.notes import REFUSAL, fault, guard

BUSY_TIMEOUT_S = 5.0
KEYS_MAX = 32
"""So many keys of one device are followed back."""
SUMMED: tuple[Step, ...] = ("hour", "day", "month")
MADE_OF: dict[Step, Step] = {"week": "day", "year": "month"}
_Row = tuple[int, int, int, int, int]
_PLACES = {step: place for place, step in enumerate(SUMMED)}

migrations = Migrations("ioe-history")


@migrations()  # type: ignore[untyped-decorator]  # sqlite-utils ships no types
def m001_first(db: Database) -> None:
    """Series, their quarter hours and totals, raw samples, and the zone of the totals."""
    db.executescript(
        """
        CREATE TABLE series (id INTEGER PRIMARY KEY, device BLOB NOT NULL, source TEXT NOT NULL,
            chain INTEGER NOT NULL, next_seq INTEGER NOT NULL DEFAULT 0, before BLOB,
            UNIQUE (device, source));
        CREATE TABLE reading (series INTEGER NOT NULL, start_us INTEGER NOT NULL,
            end_us INTEGER NOT NULL, imported INTEGER NOT NULL, exported INTEGER NOT NULL,
            estimated INTEGER NOT NULL, PRIMARY KEY (series, start_us)) WITHOUT ROWID;
        CREATE TABLE total (series INTEGER NOT NULL, step INTEGER NOT NULL,
            start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, imported INTEGER NOT NULL,
            exported INTEGER NOT NULL, estimated INTEGER NOT NULL,
            PRIMARY KEY (series, step, start_us)) WITHOUT ROWID;
        CREATE TABLE sample (id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL,
            imported INTEGER NOT NULL, exported INTEGER NOT NULL, power INTEGER);
        CREATE TABLE unshared (series INTEGER NOT NULL, start_us INTEGER NOT NULL,
            end_us INTEGER NOT NULL, imported INTEGER NOT NULL, exported INTEGER NOT NULL,
            estimated INTEGER NOT NULL, import_register INTEGER NOT NULL,
            export_register INTEGER NOT NULL, PRIMARY KEY (series, start_us)) WITHOUT ROWID;
        CREATE TABLE zone (id INTEGER PRIMARY KEY CHECK (id = 0), name TEXT NOT NULL);
        """
    )


class Sample(NamedTuple):
    """What a driver read at one instant."""

    at_us: int
    import_milli_wh: int
    export_milli_wh: int
    power_milli_w: int | None


class Unshared(NamedTuple):
    """An interval that its owner does not share, and the meter's registers at its end."""

    point: Point
    import_register: int
    export_register: int


class Series(NamedTuple):
    """One history of a device: a chain's, or an imported one's; and how far it reaches."""

    device: bytes
    source: str
    chain: bool
    from_us: int | None
    to_us: int | None


class History:
    """The file; it may be used from any thread, one at a time."""

    def __init__(self, path: Path, zone: ZoneInfo) -> None:
        self.path = path
        self._calendar = Calendar(zone)
        self._one = RLock()
        with guard(f"open {path}"):
            self._db = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            migrations.apply(Database(self._db))
        self._keep_zone()

    def close(self) -> None:
        """Close the file; nothing may use it after that."""
        with self._one, suppress(sqlite3.Error):
            self._db.close()

    @contextmanager
    def _transaction(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._one:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                if isinstance(error, REFUSAL):
                    raise fault(what, error) from None
                raise

    def _keep_zone(self) -> None:
        """Sum up anew where days begin elsewhere than they did."""
        name = self._calendar.zone.key
        with self._transaction("sum up a history") as db:
            row = db.execute("SELECT name FROM zone").fetchone()
            if row is None or row[0] != name:
                for (series,) in db.execute("SELECT id FROM series").fetchall():
                    self._sum_up(db, series)
                db.execute("INSERT OR REPLACE INTO zone VALUES (0, ?)", (name,))

    # -- writing ------------------------------------------------------------------------------

    def next_seq(self, device: bytes, chain: str) -> int:
        """The place on a chain up to which it has been read."""
        with self._one, guard("read a history"):
            row = self._db.execute(
                "SELECT next_seq FROM series WHERE device=? AND source=?", (device, chain)
            ).fetchone()
        return int(row[0]) if row else 0

    def keys(self, device: bytes) -> list[bytes]:
        """A device's key and those that it had before, newest first, as far as they are known."""
        found = [device]
        with self._one, guard("read a history"):
            while len(found) < KEYS_MAX:
                row = self._db.execute(
                    "SELECT before FROM series WHERE device=? AND before IS NOT NULL", (found[-1],)
                ).fetchone()
                if row is None or row[0] in found:
                    break
                found.append(row[0])
        return found

    def add(
        self,
        device: bytes,
        chain: str,
        from_seq: int,
        next_seq: int,
        points: Sequence[Point],
        before: bytes | None = None,
    ) -> bool:
        """Add what stands on a chain from one place to another; False if that was done before.

        `before` is the key that it says the device had before.
        """
        with self._transaction("add to a history") as db:
            series = self._series(db, device, chain, of_chain=True)
            moved = db.execute(
                "UPDATE series SET next_seq=? WHERE id=? AND next_seq=?",
                (next_seq, series, from_seq),
            )
            if not moved.rowcount:
                return False
            if before is not None:
                db.execute("UPDATE series SET before=? WHERE id=?", (before, series))
            self._add_points(db, series, points)
        return True

    def put(self, device: bytes, source: str, points: Sequence[Point]) -> None:
        """Keep what was imported, all or nothing; it replaces what this source had in its time.

        The points are in order.
        """
        with self._transaction("import a history") as db:
            series = self._series(db, device, source, of_chain=False)
            quarters = _quarters(points)
            db.execute(
                "DELETE FROM reading WHERE series=? AND end_us > ? AND start_us < ?",
                (series, quarters[0].start_us, quarters[-1].end_us),
            )
            db.executemany(
                "INSERT INTO reading VALUES (?,?,?,?,?,?)", [(series, *each) for each in quarters]
            )
            self._sum_up(db, series)

    def keep_unshared(self, device: bytes, chain: str, counted: Sequence[Unshared]) -> None:
        """Add what our meter counted, which never goes on that chain; what is here is left out."""
        with self._transaction("keep what is not shared") as db:
            series = self._series(db, device, chain, of_chain=True)
            new = [
                each.point
                for each in counted
                if db.execute(
                    "INSERT OR IGNORE INTO unshared VALUES (?,?,?,?,?,?,?,?)",
                    (series, *each.point, each.import_register, each.export_register),
                ).rowcount
            ]
            self._add_points(db, series, new)

    def unshared_until(self, device: bytes, chain: str) -> tuple[int, int, int] | None:
        """The end of the newest of these, and the registers then."""
        with self._one, guard("read what is not shared"):
            row = self._db.execute(
                "SELECT end_us, import_register, export_register FROM unshared JOIN series"
                " ON series=id WHERE device=? AND source=? ORDER BY start_us DESC LIMIT 1",
                (device, chain),
            ).fetchone()
        return tuple(row) if row else None

    def forget_chains(self) -> None:
        """Drop what was read from chains, so that it is read again."""
        with self._transaction("forget a history") as db:
            for table in ("reading", "total"):
                db.execute(
                    f"DELETE FROM {table} WHERE series IN (SELECT id FROM series WHERE chain)"
                )
            db.execute("UPDATE series SET next_seq=0 WHERE chain")
            for (series,) in db.execute("SELECT DISTINCT series FROM unshared").fetchall():
                rows = db.execute(
                    "SELECT start_us, end_us, imported, exported, estimated FROM unshared"
                    " WHERE series=? ORDER BY start_us",
                    (series,),
                )
                points = [Point(a, b, c, d, bool(e)) for a, b, c, d, e in rows]
                self._add_points(db, series, points)

    def _add_points(self, db: sqlite3.Connection, series: int, points: Sequence[Point]) -> None:
        db.executemany(
            "INSERT INTO reading VALUES (?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
            " imported=imported+excluded.imported, exported=exported+excluded.exported,"
            " estimated=max(estimated, excluded.estimated)",
            [(series, *each) for each in _quarters(points)],
        )
        self._add_totals(db, series, points)

    def _series(self, db: sqlite3.Connection, device: bytes, source: str, of_chain: bool) -> int:
        row = db.execute(
            "INSERT INTO series (device, source, chain) VALUES (?,?,?)"
            " ON CONFLICT (device, source) DO UPDATE SET source=source RETURNING id",
            (device, source, of_chain),
        ).fetchone()
        return int(row[0])

    def _sum_up(self, db: sqlite3.Connection, series: int) -> None:
        rows = db.execute(
            "SELECT start_us, end_us, imported, exported, estimated FROM reading WHERE series=?"
            " ORDER BY start_us",
            (series,),
        ).fetchall()
        db.execute("DELETE FROM total WHERE series=?", (series,))
        self._add_totals(db, series, rows)

    def _add_totals(
        self, db: sqlite3.Connection, series: int, points: Iterable[tuple[int, int, int, int, bool]]
    ) -> None:
        sums: dict[tuple[int, int, int], list[int]] = {}
        for start_us, _, imported, exported, estimated in points:
            for place, step in enumerate(SUMMED):
                period = self._calendar.period(start_us, step)
                held = sums.setdefault((place, *period), [0, 0, 0])
                held[0] += imported
                held[1] += exported
                held[2] |= estimated
        db.executemany(
            "INSERT INTO total VALUES (?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
            " imported=imported+excluded.imported, exported=exported+excluded.exported,"
            " estimated=max(estimated, excluded.estimated)",
            [(series, *period, *held) for period, held in sums.items()],
        )

    # -- reading ------------------------------------------------------------------------------

    def points(
        self, device: bytes, source: str | None, from_us: int, to_us: int, step: Step, limit: int
    ) -> list[Point]:
        """The first `limit` periods that begin in a span; of chains where no source is named.

        The period in which the span begins counts, whole.
        """
        from_us = self._calendar.period(from_us, step)[0]
        made_of = MADE_OF.get(step, step)
        # A week is of seven rows, a year of twelve.
        most = limit if made_of == step else 12 * limit
        with self._one, guard("read a history"):
            found = (self._find(key, source) for key in self.keys(device))
            rows = _one_by_one(
                [self._rows(each, made_of, from_us, to_us, most) for each in found if each]
            )
            if made_of == step:
                return [Point(a, b, c, d, bool(e)) for a, b, c, d, e in islice(rows, limit)]
            return self._grouped(rows, step)[:limit]

    def _rows(
        self, series: int, step: Step, from_us: int, to_us: int, limit: int
    ) -> Iterator[_Row]:
        place = _PLACES.get(step)
        table = "reading WHERE" if place is None else f"total WHERE step={place} AND"
        return self._db.execute(
            f"SELECT start_us, end_us, imported, exported, estimated FROM {table} series=?"
            " AND start_us >= ? AND start_us < ? ORDER BY start_us LIMIT ?",
            (series, from_us, to_us, limit),
        )

    def _grouped(self, rows: Iterable[_Row], step: Step) -> list[Point]:
        found: list[Point] = []
        for start_us, _, imported, exported, estimated in rows:
            if found and start_us < found[-1].end_us:
                held = found.pop()
                period = held[:2]
                imported += held.import_milli_wh
                exported += held.export_milli_wh
                estimated |= held.estimated
            else:
                period = self._calendar.period(start_us, step)
            found.append(Point(*period, imported, exported, bool(estimated)))
        return found

    def _find(self, device: bytes, source: str | None) -> int | None:
        """A named source's series; or of the chains that of the one which was read furthest."""
        rows = self._db.execute(
            "SELECT id, (SELECT max(start_us) FROM reading WHERE series=id) FROM series"
            " WHERE device=? AND (source=? OR (? IS NULL AND chain))",
            (device, source, source),
        ).fetchall()
        return max(rows, key=lambda row: (row[1] or 0, row[0]))[0] if rows else None

    def series(self) -> list[Series]:
        """All histories that are kept, a device's after one another."""
        with self._one, guard("list the histories"):
            rows = self._db.execute(
                "SELECT device, source, chain, (SELECT min(start_us) FROM reading WHERE series=id),"
                " (SELECT max(end_us) FROM reading WHERE series=id) FROM series"
                " ORDER BY device, chain DESC, source"
            ).fetchall()
        return [Series(device, source, bool(chain), *span) for device, source, chain, *span in rows]

    # -- raw samples --------------------------------------------------------------------------

    def keep_samples(self, samples: Sequence[Sample], oldest_us: int, most: int) -> None:
        """Add samples to the ring: none older than `oldest_us`, and the newest `most` of all."""
        with self._transaction("keep samples") as db:
            db.executemany(
                "INSERT INTO sample (at_us, imported, exported, power) VALUES (?,?,?,?)", samples
            )
            db.execute("DELETE FROM sample WHERE id <= (SELECT max(id) FROM sample) - ?", (most,))
            # In order of arrival, so the old ones are the first.
            db.execute(
                "DELETE FROM sample WHERE id < coalesce((SELECT id FROM sample WHERE at_us >= ?"
                " ORDER BY id LIMIT 1), (SELECT max(id) + 1 FROM sample))",
                (oldest_us,),
            )

    def samples(self, limit: int) -> list[Sample]:
        """The newest raw samples, newest first."""
        with self._one, guard("read samples"):
            rows = self._db.execute(
                "SELECT at_us, imported, exported, power FROM sample ORDER BY id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [Sample(*row) for row in rows]


def _one_by_one(series: list[Iterator[_Row]]) -> Iterator[_Row]:
    """The rows of several series in order; those of one period are one."""
    if len(series) == 1:
        yield from series[0]
        return
    for (start_us, end_us), rows in groupby(merge(*series), key=lambda row: row[:2]):
        _, _, imported, exported, estimated = zip(*rows, strict=True)
        yield start_us, end_us, sum(imported), sum(exported), max(estimated)


def _quarters(points: Sequence[Point]) -> list[Point]:
    """What is shorter than a quarter hour, summed up to it; the longer as it is."""
    sums: dict[tuple[int, int], Point] = {}
    for start_us, end_us, imported, exported, estimated in points:
        where = start_us, end_us
        if end_us - start_us < QUARTER_US:
            start_us = start_us // QUARTER_US * QUARTER_US
            where = start_us, start_us + QUARTER_US
        if where in sums:
            held = sums[where]
            imported += held.import_milli_wh
            exported += held.export_milli_wh
            estimated |= held.estimated
        sums[where] = Point(*where, imported, exported, estimated)
    return list(sums.values())
