"""A chain whose newest action was undone is as if that had never come."""

from pathlib import Path
from typing import Any

import pytest

from ioe_node.core.chain import verify_chain
from ioe_node.hdi import AgentPubKey
from ioe_node.model.action import Create, InitZomesComplete
from ioe_node.model.record import Record
from ioe_node.store import hash_index
from ioe_node.store.store import Store
from ioe_node.store.undo import undo

EVERYWHERE = (0, 2**32 - 1)


def put(store: Store, records: list[Record]) -> None:
    store.close_pass(records, [3] * len(records), [True] * len(records), [])


def seen(store: Store, author: AgentPubKey, record: Record) -> Any:
    assert isinstance(record.action, Create)
    store.check_file()
    return (
        store.head(author),
        store.ops_held(),
        store.ops_digest(),
        store.has(record.hash),
        store.record_at(author, record.action.action_seq),
        store.by_entry(record.action.entry_hash),
        store.count_ops([EVERYWHERE]),
    )


@pytest.mark.parametrize("unindexed_max", [0, 1_000])
def test_another_action_takes_its_place(
    tmp_path: Path, new_author: Any, monkeypatch: pytest.MonkeyPatch, unindexed_max: int
) -> None:
    monkeypatch.setattr(hash_index, "HASHES_UNINDEXED_MAX", unindexed_max)
    author = new_author(1)
    put(store := Store(tmp_path / "cell.db"), author.genesis())
    head = author.head
    half = author.create(b"one", "test.Blob")
    before = seen(store, author.agent, half)
    put(store, [half])
    assert seen(store, author.agent, half) != before
    undo(store, half, True)
    assert seen(store, author.agent, half) == before
    monkeypatch.setattr(hash_index, "HASHES_UNINDEXED_MAX", 1_000)
    author.head = head
    author.draft(InitZomesComplete)
    void, after = author.seal()[0], author.create(b"two", "test.Blob")
    put(store, [void, after])
    for _ in range(2):
        assert [store.has(each.hash) for each in (half, void, after)] == [False, True, True]
        assert verify_chain(store.rows(author.agent), author.agent, author.dna) == author.head
        store.check_file()
        store.close()
        store = Store(tmp_path / "cell.db")
    undo(store, void, True)
    assert store.head(author.agent) == author.head
    store.close()
