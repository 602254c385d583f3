"""What is held alone is known by its place, counted by its author, and asked for until placed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ioe_node.model.record import Record
from ioe_node.store.store import Store

FIRST_ROW = -(2**63)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "cell.sqlite")
    yield store
    store.close()


def blobs(author: Any, count: int) -> list[Record]:
    author.genesis()
    return [author.create(bytes([number]) * 100, "t.Blob") for number in range(count)]


def keep(store: Store, records: list[Record]) -> None:
    store.keep_alone(records, [True] * len(records))


def size_of(records: list[Record]) -> int:
    return sum(len(record.action_bytes) + 100 for record in records)


def test_it_is_found_by_its_place_and_counted_by_its_author(store: Store, new_author: Any) -> None:
    author, other = new_author(1), new_author(2)
    records = blobs(author, 4)
    assert store.alone_at(author.agent, 0, 99) == []
    keep(store, records)
    keep(store, blobs(other, 1))
    assert store.alone_at(author.agent, 4, 5) == records[1:3]
    assert store.alone_load(author.agent) == (4, size_of(records))
    store.drop_alone(records[:1], [True])
    assert store.alone_load(author.agent) == (3, size_of(records[1:]))
    assert store.alone_at(author.agent, 0, 99) == records[1:]
    store.close_pass(author.chain, [3] * 7, [True] * 7, [])
    assert store.alone_load(author.agent) == (0, 0)
    assert store.alone_at(author.agent, 0, 99) == []
    assert store.alone_load(other.agent)[0] == 1
    keep(store, blobs(other, 3)[1:])
    assert store.alone_load_most() == store.alone_load(other.agent) != (0, 0)
    store.drop_chain(author.agent, lambda _: True, lambda record: record == records[3])
    assert store.alone_load(author.agent) == (1, size_of(records[3:]))


def test_it_is_unplaced_until_it_was_found_on_its_chain(store: Store, new_author: Any) -> None:
    author = new_author(1)
    records = blobs(author, 5)
    keep(store, records)
    first = store.unplaced(FIRST_ROW, 2)
    assert [each.hash for each in first] == [records[4].hash, records[3].hash]
    rest = store.unplaced(first[-1].row, 9)
    assert [(each.author, each.action_seq) for each in rest] == [
        (author.agent, seq) for seq in (5, 4, 3)
    ]
    store.place([first[0], rest[1]])
    left = [records[3].hash, records[2].hash, records[0].hash]
    assert [each.hash for each in store.unplaced(FIRST_ROW, 9)] == left
    store.drop_alone(records[:1], [True])
    assert [each.hash for each in store.unplaced(FIRST_ROW, 9)] == left[:2]


def test_a_place_on_a_chain_is_answered_without_its_entry(store: Store, new_author: Any) -> None:
    author = new_author(1)
    blobs(author, 2)
    assert store.hash_at(author.agent, 3) is None
    store.close_pass(author.chain, [3] * 5, [True] * 5, [])
    assert [store.hash_at(author.agent, seq) for seq in range(6)] == [
        *(record.hash for record in author.chain),
        None,
    ]


def test_the_ops_of_the_warranted_are_listed_no_more(store: Store, new_author: Any) -> None:
    """Of those who hold them some know the warrant and some not, and the former take none."""

    def listed() -> int:
        return len(store.list_ops(0, 2**32 - 1, 99))

    author, other = new_author(1), new_author(2)
    records, others = blobs(author, 4), blobs(other, 3)
    keep(store, records[3:])
    store.close_pass(author.chain[:6], [3] * 6, [False] * 3 + [True] * 3, [])
    keep(store, others)
    assert listed() == 7
    store.add_warrant(b"hash", author.agent, b"signed")
    assert listed() == 3
    store.drop_chain(author.agent, lambda _: True, lambda record: record in records)
    assert listed() == 3
    assert store.has(records[0].hash)
