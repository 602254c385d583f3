"""Every committed action is found by its hash, wherever its hash is kept and however we ended."""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from ioe_node.errors import StoreError
from ioe_node.model.record import Record
from ioe_node.store import hash_index
from ioe_node.store.store import Store

KEPT_MAX = 8


@pytest.fixture(autouse=True)
def few_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_index, "HASHES_UNINDEXED_MAX", KEPT_MAX)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


@pytest.fixture
def crashed(path: Path, tmp_path: Path) -> Callable[[], Store]:
    """A store opened on a copy of the files as they are now, as after kill -9."""
    copy = tmp_path / "copy.sqlite"

    def opened() -> Store:
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{copy}{end}")
        Path(f"{copy}-shm").unlink(missing_ok=True)
        return Store(copy)

    return opened


def write(store: Store, records: list[Record]) -> None:
    store.commit(records, [3] * len(records), [False] * len(records))


def indexed(store: Store) -> int:
    """How many hashes are in the index on disk, as the reading connection sees it."""
    return int(store._reader.execute("SELECT count(*) FROM hash_index").fetchone()[0])


def assert_found(store: Store, chain: list[Record]) -> None:
    for record in chain:
        assert store.record(record.hash) == record
        assert store.has(record.hash)


def test_hashes_are_folded_many_at_a_time(store: Store, new_author: Any) -> None:
    author = new_author(1)
    write(store, author.genesis())
    for count in range(4, 3 * KEPT_MAX):
        write(store, [author.create(bytes([count]), "a.B")])
        assert_found(store, author.chain)
        folded = (count - count % (KEPT_MAX + 1)) if count > KEPT_MAX else 0
        assert indexed(store) == folded
    store.check_file()


def test_a_bundle_too_large_for_memory_is_folded_at_once(store: Store, new_author: Any) -> None:
    author = new_author(1)
    write(store, author.genesis())
    write(store, author.bundle(KEPT_MAX + 1))
    assert indexed(store) == len(author.chain)
    write(store, author.bundle(KEPT_MAX))
    assert indexed(store) == KEPT_MAX + 4
    assert_found(store, author.chain)


def test_a_crash_between_any_two_commits_loses_no_hash(
    store: Store, crashed: Callable[[], Store], new_author: Any
) -> None:
    authors = [new_author(number) for number in (1, 2, 3)]
    for author in authors:
        write(store, author.genesis())
    for at in range(4 * KEPT_MAX):
        author = authors[at % 3 if at % 5 else 0]
        write(store, author.bundle(1 + at % 2))
        with closing(crashed()) as other:
            for each in authors:
                assert_found(other, each.chain)
            other.check_file()


def test_a_crash_inside_a_fold_leaves_what_was_before(
    store: Store, crashed: Callable[[], Store], new_author: Any
) -> None:
    author, other = new_author(1), new_author(2)
    write(store, author.genesis())
    write(store, other.genesis())
    before = list(author.chain)
    bundle = author.bundle(KEPT_MAX)
    with store._transaction("be cut off") as db:
        store._insert(db, bundle, [3] * KEPT_MAX, [False] * KEPT_MAX)
        with closing(crashed()) as cut:
            assert indexed(cut) == 0
            assert_found(cut, before)
            assert_found(cut, other.chain)
            assert not any(cut.has(record.hash) for record in bundle)
            write(cut, bundle)
            assert_found(cut, author.chain)
        assert indexed(store) == 0
    assert indexed(store) == KEPT_MAX + 6
    assert_found(store, author.chain)


def test_a_fold_that_is_rolled_back_is_made_again(store: Store, new_author: Any) -> None:
    author, other = new_author(1), new_author(2)
    write(store, author.genesis())
    write(store, other.genesis())
    bundle = author.bundle(KEPT_MAX)
    with suppress(RuntimeError), store._transaction("fail") as db:
        store._insert(db, bundle, [3] * KEPT_MAX, [False] * KEPT_MAX)
        raise RuntimeError("after the fold")
    assert indexed(store) == 0
    assert not store.has(bundle[0].hash)
    assert_found(store, other.chain)
    write(store, bundle)
    assert indexed(store) == KEPT_MAX + 6
    assert_found(store, author.chain)
    store.check_file()


def test_a_file_that_was_closed_needs_no_fold(path: Path, new_author: Any) -> None:
    author = new_author(1)
    written: list[Record] = []
    for size in (3, 1, 2, 5, 1, KEPT_MAX, 1):
        with closing(Store(path)) as store:
            assert_found(store, written)
            write(store, author.bundle(size) if written else author.genesis())
            written = list(author.chain)
            assert_found(store, written)


def test_two_stores_on_one_file_fold_the_same_rows(path: Path, new_author: Any) -> None:
    author, other = new_author(1), new_author(2)
    with closing(Store(path)) as first:
        write(first, author.genesis())
        write(first, other.genesis())
        with closing(Store(path)) as second:
            write(first, author.bundle(KEPT_MAX))
            write(second, other.bundle(KEPT_MAX))
            for store in (first, second):
                assert_found(store, author.chain)
                assert_found(store, other.chain)
                store.check_file()


def test_readers_find_what_is_written_while_it_is_folded(store: Store, new_author: Any) -> None:
    author = new_author(1)
    bundles = [author.genesis(), *(author.bundle(2) for _ in range(60))]
    committed: list[Record] = []
    faults: list[Record] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            faults.extend(r for r in committed[-3 * KEPT_MAX :] if not store.has(r.hash))

    reader = threading.Thread(target=read)
    reader.start()
    for bundle in bundles:
        write(store, bundle)
        committed.extend(bundle)
    done.set()
    reader.join()
    assert faults == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM hash_index WHERE record = (SELECT min(id) FROM record)",
        "UPDATE hash_index SET short = short + 1 WHERE record = (SELECT min(id) + 4 FROM record)",
        "UPDATE agent SET unindexed = unindexed + 5",
    ],
)
def test_an_index_that_lost_a_hash_is_named(path: Path, new_author: Any, damage: str) -> None:
    author = new_author(1)
    with closing(Store(path)) as store:
        write(store, author.genesis())
        write(store, author.bundle(KEPT_MAX))
        write(store, author.bundle(2))
        store.check_file()
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute(damage)
    with closing(Store(path)) as store, pytest.raises(StoreError, match="not in its index"):
        store.check_file()
