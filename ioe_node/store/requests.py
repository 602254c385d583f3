"""Payments that a program named itself, so that asking again does not pay again.

A row is flushed to the disk before its payment begins, with the place of the payer's chain at
that moment; after a crash the chain beyond that place says whether it was made.
"""

from typing import NamedTuple

from ioe_node.model.hashes import ActionHash, AgentPubKey
from ioe_node.store.notes import guard
from ioe_node.store.store import Store

_COLUMNS = "name, terms, begun_us, author, seq, answer"


class Request(NamedTuple):
    """`terms` of what was asked, our chain when it began, and the settlement, once it is known."""

    name: str
    terms: bytes
    begun_us: int
    author: AgentPubKey
    seq: int
    answer: ActionHash | None = None


class RequestRows:
    """Requests of one cell, through the connections of its `Store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def named(self, name: str) -> Request | None:
        """The request of this name."""
        return next(iter(self._read("name=?", name)), None)

    def open(self) -> list[Request]:
        """Those of which it is not known what came of them, the oldest first."""
        return self._read("answer IS NULL")

    def answered_by(self, answer: ActionHash) -> bool:
        """Whether a settlement is what came of some request."""
        return bool(self._read("answer=?", answer))

    def begin(self, request: Request, forgotten_before_us: int) -> None:
        """Keep a request, flushed; those answered that are older than this are forgotten."""
        with self._store.flushed(), self._store._transaction("note a request") as db:
            db.execute(
                "DELETE FROM request WHERE begun_us < ? AND answer IS NOT NULL",
                (forgotten_before_us,),
            )
            db.execute("INSERT INTO request VALUES (?,?,?,?,?,?)", request)

    def answer(self, name: str, answer: ActionHash) -> None:
        """Keep what came of a request; if a crash loses that, the chain says it again."""
        with self._store._transaction("note an answer") as db:
            db.execute("UPDATE request SET answer=? WHERE name=?", (answer, name))

    def forget(self, name: str) -> None:
        """Nothing came of a request, and nothing will."""
        with self._store._transaction("forget a request") as db:
            db.execute("DELETE FROM request WHERE name=?", (name,))

    def _read(self, where: str, *values: object) -> list[Request]:
        with guard("read requests"):
            rows = self._store._reader.execute(
                f"SELECT {_COLUMNS} FROM request WHERE {where} ORDER BY begun_us", values
            )
            return [Request(*row) for row in rows]
