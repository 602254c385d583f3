"""What finality keeps on disk: a witness' duties, certificates, members' standings, losses.

A loss is when this disk took the place of one that was lost, or of a newer copy of itself.
A duty binds us before its signature leaves, so it is flushed to the disk in its own commit: what
the log of other commits may lose with the power, a witness must not forget.
"""

from collections.abc import Iterable
from sqlite3 import Connection
from typing import Annotated

from msgspec import Meta

from ioe_node.core.witness import Duty, duties
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.codec import Codec, encode
from ioe_node.model.finality import (
    LINEAGE_BYTES_MAX,
    LINKS_MAX,
    Certificate,
    certificates,
    standings,
)
from ioe_node.model.record import WireRecord
from ioe_node.store.notes import guard
from ioe_node.store.store import Store

CERTIFICATES_PER_AUTHOR_MAX = 256

_Links = Annotated[tuple[bytes, ...], Meta(max_length=LINKS_MAX)]
_links: Codec[_Links] = Codec(_Links, "links", LINEAGE_BYTES_MAX)

Proved = tuple[Certificate, tuple[bytes, ...]]
"""A certificate, and the actions after one that it makes final up to the one that it names."""


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
            self._save(db, author, certificate)

    def _save(self, db: Connection, author: AgentPubKey, certificate: Certificate) -> None:
        row = (author, certificate.seq, certificate.hash, encode(certificate))
        db.execute("INSERT OR REPLACE INTO certificate VALUES (?,?,?,?)", row)
        db.execute(
            "DELETE FROM certificate WHERE author=?1 AND seq <= (SELECT seq FROM certificate"
            " WHERE author=?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2) AND NOT EXISTS (SELECT 1 FROM"
            " final WHERE final.author=certificate.author AND final.seq=certificate.seq)",
            (author, CERTIFICATES_PER_AUTHOR_MAX),
        )

    def save_proved(self, hash_: ActionHash, author: AgentPubKey, proved: Proved) -> None:
        """Keep what shows an action of an author's to be final; its chain need not be here."""
        certificate, links = proved
        with self._store._transaction("keep a certificate") as db:
            row = (hash_, author, certificate.seq, encode(links))
            db.execute("INSERT OR REPLACE INTO final VALUES (?,?,?,?)", row)
            self._save(db, author, certificate)

    def is_final(self, hash_: ActionHash) -> bool:
        """Whether an action is known here to be final."""
        return self._proof(hash_) is not None or self._on_chain(hash_) is not None

    def certificate(self, hash_: ActionHash) -> Certificate | None:
        """The certificate that makes an action final, its own or of what rests on it."""
        shown = self._proof(hash_)
        if shown is not None:
            return self.covering(shown[0], shown[1])
        found = self._on_chain(hash_)
        return None if found is None else self.covering(found[0], found[2])

    def proved(self, hash_: ActionHash) -> Proved | None:
        """What shows to anyone that an action is final, if that can be shown from here."""
        certificate = self.certificate(hash_)
        if certificate is None:
            return None
        shown = self._proof(hash_)
        if shown is not None:
            return certificate, _links.decode(shown[2])
        found = self._on_chain(hash_)
        if found is None or found[2] - found[1] > LINKS_MAX:
            return None
        author, seq, last_seq = found
        chain = self._store.chain(author, seq + 1, newest_seq=last_seq)
        return certificate, tuple(record.action_bytes for record in chain)

    def _proof(self, hash_: ActionHash) -> tuple[AgentPubKey, int, bytes] | None:
        with guard("read whether an action is final"):
            found: tuple[AgentPubKey, int, bytes] | None = self._store._reader.execute(
                "SELECT author, seq, links FROM final WHERE hash=?", (hash_,)
            ).fetchone()
        return found

    def _on_chain(self, hash_: ActionHash) -> tuple[AgentPubKey, int, int] | None:
        """(author, place, place certified) of an action whose chain is here up to a certificate."""
        record = self._store.record(hash_)
        if record is None:
            return None
        author, seq = record.action.author, record.action.action_seq
        with guard("read a certificate"):
            row = self._store._reader.execute(
                "SELECT seq, hash FROM certificate WHERE author=? AND seq>=? ORDER BY seq LIMIT 1",
                (author, seq),
            ).fetchone()
        if row is None or not self._store.on_chain(author, seq, hash_):
            return None
        return (author, seq, row[0]) if self._store.on_chain(author, row[0], row[1]) else None

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
