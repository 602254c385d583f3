"""A chain that was let go and comes again is as if it never had been away."""

from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.core.chain import verify_chain
from ioe_node.errors import Busy
from ioe_node.model.action import CreateLink, Delete
from ioe_node.model.hashes import key_of
from ioe_node.model.record import Record
from ioe_node.store import hash_index
from ioe_node.store.store import Store

EVERYWHERE = (0, 2**32 - 1)


def grow(author: Any, other: Any, sizes: list[int]) -> list[Record]:
    """A chain of bundles, each with a link to the other's chain and a removal after it."""
    author.genesis()
    for size in sizes:
        author.bundle(size)
        base = bytes(other.agent)
        author.draft(CreateLink, base=base, target=base, link_type="test.Link", tag=b"")
        author.seal()
        first = author.chain[2]
        author.draft(Delete, deletes_action=first.hash, deletes_entry=first.action.entry_hash)
        author.seal()
    return list(author.chain)


def seen(store: Store, chains: list[list[Record]]) -> Any:
    """All that can be asked of a store."""
    records = [record for chain in chains for record in chain]
    for chain in chains:
        author = chain[0].action.author
        if store.head(author) is not None:
            verify_chain(store.rows(author), author, chain[0].action.dna_hash)
    store.check_file()
    return (
        store.authors(),
        store.ops_held(),
        store.ops_digest(),
        [store.record(record.hash) for record in records],
        [store.has(record.hash) for record in records],
        [store.by_entry(getattr(r.action, "entry_hash", r.hash)) for r in records],
        [store.amendments(record.hash) for record in records],
        [store.links(chain[0].action.author) for chain in chains],
        store.count_ops([EVERYWHERE]),
        [store.head(chain[0].action.author) for chain in chains],
    )


def put(store: Store, records: list[Record]) -> None:
    store.close_pass(records, [3] * len(records), [True] * len(records), [])


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 4), max_size=3),
    hashes_max=st.sampled_from([2, 8, 1_024]),
    reopened=st.booleans(),
    kept=st.booleans(),
)
def test_a_chain_dropped_and_added_again_leaves_no_trace(
    sizes: list[int], hashes_max: int, reopened: bool, kept: bool, new_author: Any
) -> None:
    author, other = new_author(1), new_author(2)
    chains = [grow(author, other, sizes), grow(other, author, [1])]
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as directory:
        patch.setattr(hash_index, "HASHES_UNINDEXED_MAX", hashes_max)
        store = Store(Path(directory) / "cell.sqlite", "OFF")
        put(store, chains[1])
        without = seen(store, chains)
        put(store, chains[0])
        before = seen(store, chains)

        def is_link(record: Record) -> bool:
            return kept and isinstance(record.action, CreateLink)

        assert store.drop_chain(author.agent, lambda record: True, is_link) == len(chains[0])
        if reopened:
            store.close()
            store = Store(Path(directory) / "cell.sqlite", "OFF")
        if kept:
            links = [record for record in chains[0] if is_link(record)]
            assert [store.record(record.hash) for record in links] == links
            assert store.links(other.agent) == links[::-1]
        else:
            assert seen(store, chains) == without
        assert store.chain(author.agent) == []
        put(store, chains[0])
        assert seen(store, chains) == before
        assert store.drop_chain(author.agent, lambda record: True) == len(chains[0])
        assert seen(store, chains) == without
        store.close()


def test_nothing_is_lost_when_the_disk_refuses(tmp_path: Path, new_author: Any) -> None:
    author, other = new_author(1), new_author(2)
    store = Store(tmp_path / "cell.sqlite")
    put(store, grow(author, other, [2]))
    before = seen(store, [author.chain])

    def refuse(record: Record) -> bool:
        raise Busy("now")

    with pytest.raises(Busy):
        store.drop_chain(author.agent, lambda record: True, refuse)
    assert seen(store, [author.chain]) == before
    store.close()


def test_readers_see_a_chain_or_none_while_it_comes_and_goes(
    tmp_path: Path, new_author: Any
) -> None:
    author, other = new_author(1), new_author(2)
    store = Store(tmp_path / "cell.sqlite", "OFF")
    put(store, grow(other, author, [2]))
    chain = grow(author, other, [3, 3])
    failures: list[BaseException] = []
    ended = False

    def read() -> None:
        while not ended:
            try:
                found = store.chain(author.agent)
                assert found in ([], chain)
                for record in found:
                    store.alone(record)
            except Busy:
                pass
            except BaseException as error:
                failures.append(error)
                return

    reader = Thread(target=read)
    reader.start()
    for _ in range(60):
        put(store, chain)
        store.drop_chain(author.agent, lambda record: True)
    ended = True
    reader.join()
    assert failures == []
    assert store.chain(other.agent) == other.chain
    assert key_of(author.agent) != key_of(other.agent)
    store.check_file()
    store.close()
