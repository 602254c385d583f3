"""What is written is there after a crash, a full disk or a damaged file, or is not written."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from ioe_node.core.chain import verify_chain
from ioe_node.errors import ChainBroken, DiskFull, LocalError, StoreError
from ioe_node.model.action import CreateLink, Delete, DeleteLink, Update
from ioe_node.model.codec import encode
from ioe_node.model.hashes import ActionHash, action_hash, entry_hash
from ioe_node.model.record import Record, open_record
from ioe_node.store.hash_index import short_of
from ioe_node.store.limbo import ToPark
from ioe_node.store.schema import migrations
from ioe_node.store.store import Store
from ioe_node.store.witness import WitnessRows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


def write(store: Store, records: list[Record], by_hash: bool = False) -> None:
    store.commit(records, [3] * len(records), [by_hash] * len(records))


def written(store: Store, author: Any, *sizes: int) -> None:
    """Genesis and bundles of these sizes, committed."""
    write(store, author.genesis())
    for size in sizes:
        write(store, author.bundle(size))


def test_a_chain_is_read_as_it_was_written(store: Store, new_author: Any, path: Path) -> None:
    author, other = new_author(1), new_author(2)
    written(store, other, 2)
    written(store, author, 5, 1)
    for opened in (store, Store(path)):
        assert opened.chain(author.agent) == author.chain
        assert opened.chain(author.agent, 4, 2) == author.chain[4:6]
        assert opened.head(author.agent) == author.head
        assert opened.record_at(author.agent, 6) == author.chain[6]
        assert opened.record_at(author.agent, 9) is None
        assert opened.authors() == sorted([author.agent, other.agent])
        for record in author.chain:
            assert opened.record(record.hash) == record
            assert opened.has(record.hash)
        rows = opened.rows(author.agent)
        assert verify_chain(rows, author.agent, author.dna) == author.head
        opened.check_file()
    opened.close()


def test_nothing_is_known_of_strangers(store: Store, new_author: Any) -> None:
    stranger = new_author(9)
    record = stranger.genesis()[0]
    assert store.head(stranger.agent) is None
    assert store.chain(stranger.agent) == []
    assert list(store.rows(stranger.agent)) == []
    assert store.record(record.hash) is None
    assert not store.has(record.hash)
    assert store.authors() == []


def test_a_record_travels_alone_with_its_path(store: Store, new_author: Any) -> None:
    author = new_author(1)
    written(store, author, 7)
    for record in author.chain:
        assert open_record(store.alone(record).wire(), author.dna).hash == record.hash


def test_a_short_name_that_two_hashes_share_is_told_apart(store: Store, new_author: Any) -> None:
    author = new_author(1)
    written(store, author, 2)
    real = author.chain[4].hash
    twin = ActionHash(real[:11] + bytes(24) + real[35:])
    assert short_of(twin) == short_of(real)
    assert store.record(real) is not None
    assert store.record(twin) is None
    assert not store.has(twin)


def test_the_newest_of_a_type_before_a_place(store: Store, new_author: Any) -> None:
    author = new_author(1)
    write(store, author.genesis())
    for name in ("a.One", "a.Two", "a.One", "a.OneMore"):
        author.stage_entry(encode(name), name)
    write(store, author.seal())
    newest = store.newest_of_type(author.agent, "a.One")
    assert newest == author.chain[5]
    assert store.newest_of_type(author.agent, "a.One", 5) == author.chain[3]
    assert store.newest_of_type(author.agent, "a.One", 3) is None
    found = list(store.of_type(author.agent, "a.One"))
    assert found == [author.chain[5], author.chain[3]]


def test_links_amendments_and_entries_are_found(store: Store, new_author: Any) -> None:
    author = new_author(1)
    write(store, author.genesis())
    original = author.create(b"content", "a.B")
    write(store, [original], by_hash=True)
    entry = entry_hash(b"content")
    author.draft(
        Update,
        b"newer",
        original_action=original.hash,
        original_entry=entry,
        entry_type="a.B",
        entry_hash=entry_hash(b"newer"),
    )
    author.draft(Delete, deletes_action=original.hash, deletes_entry=entry)
    link = author.draft(CreateLink, base=entry, target=entry, link_type="a.l", tag=b"")
    author.draft(DeleteLink, base=entry, create_link=link)
    update, delete, created, removed = author.seal()
    write(store, [update, delete, created, removed], by_hash=True)
    assert store.amendments(original.hash) == [update, delete]
    assert store.amendments(link) == [removed]
    assert store.links(entry) == [created]
    assert store.by_entry(entry) == [original]
    assert store.by_entry(entry_hash(b"newer")) == [update]


def test_a_second_action_at_a_place_is_refused_by_the_key(store: Store, new_author: Any) -> None:
    author, double = new_author(1), new_author(1)
    written(store, author, 1)
    double.genesis()
    fork = double.create(b"another", "a.B")
    with pytest.raises(StoreError):
        write(store, [fork])
    assert store.chain(author.agent) == author.chain
    assert store.head(author.agent) == author.head
    write(store, author.bundle(2))
    assert store.chain(author.agent) == author.chain


def test_a_bundle_is_written_whole_or_not_at_all(store: Store, new_author: Any) -> None:
    author = new_author(1)
    written(store, author, 1)
    bundle = author.bundle(3)
    with pytest.raises(StoreError):
        write(store, [*bundle, bundle[0]])
    assert store.chain(author.agent) == author.chain[:4]
    write(store, bundle)
    assert store.chain(author.agent) == author.chain


def test_an_author_whose_first_write_failed_is_written_later(
    store: Store, path: Path, new_author: Any
) -> None:
    """What a rolled back transaction numbered is numbered anew."""
    author, other = new_author(1), new_author(2)
    first = author.genesis()
    with pytest.raises(StoreError):
        write(store, [*first, first[0]])
    written(store, other, 1)
    write(store, first)
    store.close()
    again = Store(path)
    assert again.chain(author.agent) == first
    assert again.chain(other.agent) == other.chain
    again.close()


def test_a_full_disk_writes_nothing_and_says_so(path: Path, new_author: Any) -> None:
    author = new_author(1)
    store = Store(path)
    written(store, author, 2)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages + 1}")
    before = list(author.chain)
    bundle = author.bundle(200)
    with pytest.raises(DiskFull, match="free space"):
        write(store, bundle)
    assert store.chain(author.agent) == before
    assert store.head(author.agent).seq == 4  # type: ignore[union-attr]
    store._db.execute("PRAGMA max_page_count=1000000")
    write(store, bundle)
    store.close()
    again = Store(path)
    assert verify_chain(again.rows(author.agent), author.agent, author.dna) == author.head
    again.close()


def test_a_crash_leaves_whole_bundles(path: Path, tmp_path: Path, new_author: Any) -> None:
    """The files as they are after each commit and in the middle of one, opened elsewhere."""
    author = new_author(1)
    store = Store(path)
    write(store, author.genesis())
    for size in (1, 30, 2):
        before = author.head
        bundle = author.bundle(size)
        with store._transaction("be cut off") as db:
            store._insert(db, bundle, [3] * size, [False] * size)
            assert crashed(path, tmp_path, author) == before
        store._note_heads(bundle)
        assert crashed(path, tmp_path, author) == author.head
    store.close()


def crashed(path: Path, tmp_path: Path, author: Any) -> Any:
    """The verified head of a copy of a store's files, taken now."""
    copy = tmp_path / "copy.sqlite"
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{copy}{end}")
    Path(f"{copy}-shm").unlink(missing_ok=True)
    opened = Store(copy)
    head = verify_chain(opened.rows(author.agent), author.agent, author.dna)
    opened.close()
    return head


def test_a_torn_log_loses_only_its_end(path: Path, tmp_path: Path, new_author: Any) -> None:
    author = new_author(1)
    store = Store(path)
    written(store, author, 3, 3, 3)
    log = Path(f"{path}-wal").read_bytes()
    heads = {author.chain[place].action.action_seq for place in (2, 5, 8, 11)}
    copy = tmp_path / "copy.sqlite"
    for cut in range(len(log), len(log) // 2, -1_771):
        shutil.copy(path, copy)
        Path(f"{copy}-wal").write_bytes(log[:cut])
        opened = Store(copy)
        head = verify_chain(opened.rows(author.agent), author.agent, author.dna)
        assert head is None or head.seq in heads
        opened.close()
    store.close()


def test_threads_take_turns_to_write(store: Store, new_author: Any) -> None:
    """A node runs store calls in worker threads; two at once must not mix."""
    authors = [new_author(number) for number in range(1, 5)]
    bundles = [[author.genesis(), *(author.bundle(2) for _ in range(20))] for author in authors]
    faults: list[Exception] = []

    def run(own: list[list[Record]]) -> None:
        try:
            for bundle in own:
                write(store, bundle)
                store.delivered(bundle[0].action.author, 1)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=(own,)) for own in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    for author in authors:
        assert store.chain(author.agent) == author.chain


def test_migrations_are_applied_once(path: Path, new_author: Any) -> None:
    author = new_author(1)
    store = Store(path)
    written(store, author, 1)
    store.close()
    for _ in range(2):
        store = Store(path)
        names = [row[0] for row in store._db.execute("SELECT name FROM _sqlite_migrations")]
        assert names == [migration.name for migration in migrations.applied(database(store))]
        assert len(names) == len(set(names)) >= 1
        assert store.chain(author.agent) == author.chain
        store.close()


def test_a_file_of_before_the_places_is_brought_up_to_date(path: Path, new_author: Any) -> None:
    author = new_author(1)
    author.genesis()
    records = [author.create(bytes([number]) * 100, "t.Blob") for number in range(2)]
    raw = sqlite3.connect(path, isolation_level=None)
    migrations.apply(Database(raw), stop_before="m005_places")
    for row, record in zip((-1, -2), records, strict=True):
        values = (row, 0, 0, encode(record.proof), record.action_bytes, record.entry)
        raw.execute("INSERT INTO record VALUES (?,?,?,?,?,?)", values)
        raw.execute("INSERT INTO hash_index VALUES (?,?)", (short_of(record.hash), row))
    raw.execute("INSERT INTO record VALUES (-3, 0, 0, x'', x'00', NULL)")
    raw.execute(
        "INSERT INTO limbo (digest, hash, author, seq, sender, bytes, parked_us, wire)"
        " VALUES (x'01', x'02', ?, 0, ?, 7, 8, x'03')",
        (author.agent, author.agent),
    )
    raw.close()
    store = Store(path)
    assert store.alone_at(author.agent, 3, 4) == records
    size_bytes = sum(len(record.action_bytes) + 100 for record in records)
    assert store.alone_load(author.agent) == (2, size_bytes)
    assert [each.row for each in store.unplaced(-(2**63), 9)] == [-2, -1]
    assert store.limbo.load(author.agent) == (1, 7)
    assert store.limbo.load(author.agent, fetched=True) == (0, 0)
    assert [store.limbo.wire(each.row) for each in store.limbo.page(0, 9)] == [b"\3"]
    assert WitnessRows(store).lost_us() is None
    store.drop_alone(records, [True, True])
    assert store.alone_load(author.agent) == (0, 0)
    store.close()


def database(store: Store) -> Any:
    return Database(store._db)


# -- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["action", "entry", "proof"])
def test_a_flipped_bit_in_a_row_is_named(path: Path, new_author: Any, column: str) -> None:
    author = new_author(1)
    store = Store(path)
    written(store, author, 3)
    store.close()
    raw = sqlite3.connect(path, isolation_level=None)
    for row, value in raw.execute(f"SELECT id, {column} FROM record").fetchall():
        for at in range(0, len(value or b""), 7):
            flipped = bytearray(value)
            flipped[at] ^= 1 << at % 8
            raw.execute(f"UPDATE record SET {column}=? WHERE id=?", (bytes(flipped), row))
            store = Store(path)
            with pytest.raises(ChainBroken, match="action"):
                verify_chain(store.rows(author.agent), author.agent, author.dna)
            store.close()
        raw.execute(f"UPDATE record SET {column}=? WHERE id=?", (value, row))
    raw.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE record SET place=place+1 WHERE id=(SELECT min(id)+3 FROM record)",
        "UPDATE record SET place='x' WHERE id=(SELECT min(id)+4 FROM record)",
        "UPDATE record SET proof=NULL WHERE id=(SELECT min(id)+3 FROM record)",
        "UPDATE record SET action='text' WHERE id=(SELECT min(id)+4 FROM record)",
        "UPDATE record SET id=id+40 WHERE id=(SELECT max(id) FROM record)",
        "UPDATE record SET entry=1 WHERE id=(SELECT min(id)+4 FROM record)",
        "DELETE FROM record WHERE id=(SELECT min(id)+4 FROM record)",
    ],
)
def test_damage_by_sql_is_named_by_every_reader(path: Path, new_author: Any, damage: str) -> None:
    author = new_author(1)
    store = Store(path)
    written(store, author, 3)
    store.close()
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute(damage)
    raw.close()
    store = Store(path)
    with pytest.raises(ChainBroken):
        verify_chain(store.rows(author.agent), author.agent, author.dna)
    if not damage.startswith("DELETE"):
        with pytest.raises(ChainBroken, match="ioe chain verify"):
            store.chain(author.agent)
    store.close()


def test_a_flipped_bit_anywhere_in_the_file_is_never_believed(
    path: Path, tmp_path: Path, new_author: Any
) -> None:
    """Either the chain reads as it was, or a typed error says that it does not."""
    author = new_author(1)
    store = Store(path)
    written(store, author, 3, 1)
    store.close()
    whole = path.read_bytes()
    copy = tmp_path / "copy.sqlite"
    refused = 0
    for at in range(0, len(whole), 67):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        copy.write_bytes(damaged)
        refused += not reads_right(copy, author)
        for end in ("-wal", "-shm"):
            Path(f"{copy}{end}").unlink(missing_ok=True)
    assert refused > 50


def reads_right(copy: Path, author: Any) -> bool:
    """Whether a damaged file gives the whole chain; False if it gives a typed error."""
    try:
        store = Store(copy)
    except StoreError:
        return False
    try:
        store.check_file()
        head = verify_chain(store.rows(author.agent), author.agent, author.dna)
        if head is None:
            assert author.agent not in store.authors()
            return False
        assert head == author.head
        assert store.chain(author.agent) == author.chain
    except StoreError:
        return False
    finally:
        store.close()
    return True


def test_a_file_that_is_no_store_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(LocalError):
        Store(path)
    with pytest.raises(LocalError):
        Store(path.parent / "missing" / "cell.sqlite")


# -- limbo, delivery, promises, warrants ------------------------------------------------------


def test_limbo_keeps_order_bounds_and_first_word(store: Store, new_author: Any) -> None:
    author, peer, other = (new_author(number).agent for number in (1, 2, 3))
    hashes = [action_hash(bytes([number]), author) for number in range(4)]
    limbo = store.limbo
    limbo.park([ToPark(each, author, at, b"wire" * at, peer) for at, each in enumerate(hashes)], 7)
    limbo.park([ToPark(hashes[0], author, 0, b"", other)], 8)
    assert limbo.load(peer) == (4, 24)
    assert limbo.load(other) == (0, 0)
    assert limbo.rows() == 4
    page = limbo.page(0, 3)
    assert [limbo.wire(parked.row) for parked in page] == [b"wire" * at for at in range(3)]
    assert [(parked.hash, parked.sender, parked.parked_us) for parked in page] == [
        (hash_, peer, 7) for hash_ in hashes[:3]
    ]
    assert [parked.size_bytes for parked in limbo.page(page[-1].row, 3)] == [12]
    assert limbo.wire(99) == b""


def test_a_copy_with_other_bytes_stands_beside_the_first(store: Store, new_author: Any) -> None:
    author, peer, other = (new_author(number).agent for number in (1, 2, 3))
    hash_ = action_hash(b"action", author)
    store.limbo.park([ToPark(hash_, author, 0, b"corrupted", other)], 1)
    store.limbo.park([ToPark(hash_, author, 0, b"honest", peer)], 2)
    assert [parked.sender for parked in store.limbo.page(0, 9)] == [other, peer]


def test_a_pass_is_closed_at_once(store: Store, new_author: Any) -> None:
    author, peer = new_author(1), new_author(2).agent
    records = author.genesis()
    bad = action_hash(b"bad", author.agent)
    parked = [(records[0].hash, 0, b"good"), (bad, 9, b"bad")]
    store.limbo.park([ToPark(h, author.agent, seq, wire, peer) for h, seq, wire in parked], 1)
    rows = [parked.row for parked in store.limbo.page(0, 9)]
    store.close_pass(records, [3] * 3, [False] * 3, rows)
    assert store.limbo.page(0, 9) == []
    assert store.chain(author.agent) == records
    assert store.head(author.agent) == author.head


def test_delivery_peers_promises_and_warrants(store: Store, new_author: Any) -> None:
    author, peer = new_author(1), new_author(2).agent
    assert store.next_for(peer) == 0
    store.delivered(peer, 7)
    store.delivered(peer, 9)
    assert store.next_for(peer) == 9
    store.save_peer(peer, b"old")
    store.save_peer(peer, b"new")
    assert store.peers() == [b"new"]
    assert store.promised() is None
    store.promise(3, b"body")
    assert store.promised() == (3, b"body")
    with pytest.raises(StoreError):
        store.promise(3, b"another")
    store.release(3)
    assert store.promised() is None
    assert store.add_warrant(b"hash", author.agent, b"signed")
    assert not store.add_warrant(b"hash", author.agent, b"signed")
    assert store.warrants() == [(author.agent, b"signed")]


def test_two_nodes_with_the_same_ops_say_so(tmp_path: Path, new_author: Any) -> None:
    first, second = Store(tmp_path / "a.sqlite"), Store(tmp_path / "b.sqlite")
    author, other = new_author(1), new_author(2)
    bundles = [author.genesis(), other.genesis(), author.bundle(2)]
    for at in (0, 1):
        write(first, bundles[at])
        write(second, bundles[1 - at])
    assert first.ops_digest() == second.ops_digest()
    assert first.ops_digest()[0] == first.ops_held() == 12
    write(first, bundles[2])
    assert first.ops_held() == first.ops_digest()[0]
    assert first.ops_digest() != second.ops_digest()
    write(second, bundles[2])
    assert first.ops_digest() == second.ops_digest()
    first.close()
    second.close()
