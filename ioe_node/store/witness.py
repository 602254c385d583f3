"""What finality keeps on disk: a witness' duties, certificates, members' standings, losses.

A loss is when this disk took the place of one that was lost, or of a newer copy of itself.
A duty binds us before its signature leaves, so it is flushed to the disk in its own commit: what
the log of other commits may lose with the power, a witness must not forget.
"""

from collections.abc import Iterable

from ioe_node.core.witness import Duty, duties
from ioe_node.hdi import AgentPubKey
from ioe_node.model.codec import encode
from ioe_node.model.finality import Certificate, certificates, standings
from ioe_node.model.record import WireRecord
from ioe_node.store.notes import guard
from ioe_node.store.store import Store

CERTIFICATES_PER_AUTHOR_MAX = 256


class WitnessRows:
    """Finality's rows, through the connections of a cell's `Store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def duty(self, author: AgentPubKey) -> Duty | None:
        """Our duty to an author, or None."""
        with guard("read a duty"):
            row = self._store._reader.execute(
                "SELECT duty FROM duty WHERE author=?", (author,)
            ).fetchone()
        return duties.decode(row[0]) if row else None

    def bind(self, author: AgentPubKey, duty: Duty) -> None:
        """Keep a duty, flushed."""
        with self._store.flushed(), self._store._transaction("keep a duty") as db:
            db.execute("INSERT OR REPLACE INTO duty VALUES (?,?)", (author, encode(duty)))

    def forget(self, now_us: int) -> None:
        """Note, flushed, that we have signed what this disk does not know; its duties go."""
        with self._store.flushed(), self._store._transaction("note a loss") as db:
            db.execute(
                "INSERT INTO loss VALUES (0, ?)"
                " ON CONFLICT (id) DO UPDATE SET at_us=max(at_us, excluded.at_us)",
                (now_us,),
            )
            db.execute("DELETE FROM duty")

    def lost_us(self) -> int | None:
        """When we noticed the last loss, in microseconds; None: this disk has seen all."""
        with guard("read when memory was lost"):
            row = self._store._reader.execute("SELECT at_us FROM loss").fetchone()
        return int(row[0]) if row else None

    def save(self, author: AgentPubKey, certificate: Certificate) -> None:
        """Keep a certificate; of an author's many only the newest stay.

        An older action needs none of its own: a later one's certificate covers it.
        """
        with self._store._transaction("keep a certificate") as db:
            row = (author, certificate.seq, encode(certificate))
            db.execute("INSERT OR REPLACE INTO certificate VALUES (?,?,?)", row)
            db.execute(
                "DELETE FROM certificate WHERE author=?1 AND seq <= (SELECT seq FROM certificate"
                " WHERE author=?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                (author, CERTIFICATES_PER_AUTHOR_MAX),
            )

    def covering(self, author: AgentPubKey, seq: int) -> Certificate | None:
        """The first certificate of an author's at this place or later."""
        return self._certificate("seq >= ? ORDER BY seq", author, seq)

    def newest(self, author: AgentPubKey) -> Certificate | None:
        """The certificate of an author's latest final action."""
        return self._certificate("seq >= ? ORDER BY seq DESC", author, 0)

    def _certificate(self, which: str, author: AgentPubKey, seq: int) -> Certificate | None:
        with guard("read a certificate"):
            row = self._store._reader.execute(
                f"SELECT certificate FROM certificate WHERE author=? AND {which} LIMIT 1",
                (author, seq),
            ).fetchone()
        return certificates.decode(row[0]) if row else None

    def save_standings(
        self, taken: Iterable[tuple[AgentPubKey, WireRecord]], dropped: Iterable[AgentPubKey] = ()
    ) -> None:
        """Remember members' standings, and forget others."""
        rows = [(agent, encode(standing)) for agent, standing in taken]
        with self._store._transaction("keep standings") as db:
            db.executemany("INSERT OR REPLACE INTO standing VALUES (?,?)", rows)
            db.executemany("DELETE FROM standing WHERE agent=?", [(agent,) for agent in dropped])

    def standings(self) -> list[WireRecord]:
        """The standings remembered, in key order."""
        with guard("read standings"):
            rows = self._store._reader.execute("SELECT standing FROM standing ORDER BY agent")
            return [standings.decode(row[0]) for row in rows]
