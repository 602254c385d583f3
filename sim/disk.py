"""A home's disk in the simulator: real SQLite files, that can fail, be torn off or be lost.

A killed process loses what it has not committed and nothing else: the file and its write-ahead
log stay as they are, unfolded, with a write that was under way torn in the middle.  SQLite
folds the log when the last connection closes, so `tear` copies both before that and puts the
copies back after it.
"""

import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from ioe_node.errors import DiskFull, StoreError
from ioe_node.model.record import Record
from ioe_node.store.store import Store

CACHE_KIB = 64
LOG_PAGES_MAX = 128
"""What a store's connection may keep of its file in memory, and when it folds its log into the
file: swarms have many."""

LOGS_MAX = 2_000
"""In a larger swarm no store has a log open beside its file: the system's limit is on both."""

LOG_HEADER_BYTES = 32
LOG_FRAME_BYTES = 24 + 4_096
"""A frame of the write-ahead log: its header and one page."""

ERRORS: dict[str, Callable[[str], StoreError]] = {
    "disk full": lambda what: DiskFull(f"the disk refused to {what}: it is full"),
    "disk error": lambda what: StoreError(f"cannot {what}: the disk has failed"),
}


class SimulatedStore(Store):
    """A store on a disk that fails when told to, and that says what its owner commits.

    `failing` is a key of `ERRORS` while the disk fails: a full one refuses to write, a broken
    one to read chains, too.  Without `logs` nothing is torn by a crash.
    """

    def __init__(
        self, path: Path, committed: Callable[[Sequence[Record]], None], logs: bool = True
    ) -> None:
        self.failing: str | None = None
        self._committed = committed
        self._only: Any = None
        super().__init__(path, "OFF")
        self._connect(path).execute("PRAGMA query_only=0")
        self._connect(path).execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES_MAX}")
        if not logs:
            self._connect(path).execute("PRAGMA journal_mode=MEMORY")

    def _connect(self, path: Path) -> Any:  # type: ignore[override]
        """One connection for both purposes: here nothing reads while a transaction is open.

        Alone on its file, it needs no shared memory either, so a node has two files open.
        """
        if self._only is None:
            only = self._only = Store._connect(path)
            only.execute("PRAGMA locking_mode=EXCLUSIVE")
            only.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return self._only

    def _refuse(self, what: str) -> None:
        if self.failing is not None:
            raise ERRORS[self.failing](what)

    @contextmanager
    def _transaction(self, what: str) -> Generator[Any, None, None]:
        self._refuse(what)
        with super()._transaction(what) as db:
            yield db

    def _read(self, where: str, parameters: tuple[object, ...]) -> list[Record]:
        if self.failing == "disk error":
            self._refuse("read records")
        return super()._read(where, parameters)

    def commit(
        self, records: Sequence[Record], ops: Sequence[int], by_hash: Sequence[bool]
    ) -> None:
        super().commit(records, ops, by_hash)
        self._committed(records)

    def records_held(self) -> int:
        """How many records are here, on chains and alone."""
        return int(self._reader.execute("SELECT count(*) FROM record").fetchone()[0])

    def tear(self, rng: Random) -> None:
        """Close as a kill -9 does: nothing is folded, and the log ends in half a write."""
        log = self.path.with_name(self.path.name + "-wal")
        copies = [(each, each.with_name(each.name + ".torn")) for each in (self.path, log)]
        kept = [(each, copy) for each, copy in copies if each.exists()]
        for each, copy in kept:
            shutil.copyfile(each, copy)
        self._only.close()
        for each, copy in kept:
            copy.replace(each)
        if log in [each for each, _ in kept]:
            with log.open("r+b") as file:
                file.seek(0, 2)
                if file.tell() >= LOG_HEADER_BYTES + LOG_FRAME_BYTES:
                    file.seek(-LOG_FRAME_BYTES, 2)
                    half = file.read()[: rng.randrange(LOG_FRAME_BYTES)]
                    file.seek(0, 2)
                    file.write(half)


def lose(path: Path) -> None:
    """The disk is lost: the file is gone, with all that belongs to it."""
    for each in sorted(path.parent.glob(path.name + "*")):
        each.unlink()
