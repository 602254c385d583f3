"""Pages: bounded, whole, and read to the end by whoever asks on."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from ioe_node.errors import PeerError, TransportError
from ioe_node.model.action import CreateLink, DeleteLink
from ioe_node.model.hashes import dna_hash, entry_hash
from ioe_node.model.record import Record, open_parcel, open_record
from ioe_node.net.messages import Activity, Chain, Get, LinkPage, Links, Records, answers
from ioe_node.store.store import Store
from ioe_node.workflows import pages
from ioe_node.workflows.bell import run_inline
from ioe_node.workflows.links import retrieve_links
from ioe_node.workflows.pages import LINKS_PER_PAGE_MAX, PAGE_BYTES_MAX, read_answer

BASE = bytes(dna_hash(b"a base"))
NETWORK = dna_hash(b"a test network")


def held(store: Store, records: list[Record], by_hash: bool = False) -> None:
    store.commit(records, [3] * len(records), [by_hash] * len(records))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "cell.sqlite")
    yield store
    store.close()


def space_of(store: Store) -> Any:
    return SimpleNamespace(store=store, withhold=lambda _: False, run=run_inline)


def ask(store: Store, request: Any) -> Any:
    data = read_answer(space_of(store), request)
    return answers.decode(data), len(data)


def link(author: Any, number: int) -> Any:
    target = bytes(entry_hash(number.to_bytes(4, "big")))
    return author.draft(CreateLink, base=BASE, target=target, link_type="t", tag=b"")


def test_a_chain_is_read_in_pages_of_whole_bundles(store: Store, new_author: Any) -> None:
    author = new_author(1)
    held(store, author.genesis())
    for size in (1, 400, 3, 1, 1, 90):
        held(store, author.bundle(size))
    seen: list[Record] = []
    while True:
        chain, _ = ask(store, Activity(author.agent, len(seen)))
        assert isinstance(chain, Chain)
        page = [record for parcel in chain.parcels for record in open_parcel(parcel, author.dna)]
        assert len(page) <= pages.ACTIONS_PER_PAGE_MAX or len(chain.parcels) == 1
        seen += page
        if not chain.more:
            break
    assert [record.hash for record in seen] == [record.hash for record in author.chain]


def test_a_page_of_large_entries_is_bounded_and_never_empty(store: Store, new_author: Any) -> None:
    author = new_author(1)
    held(store, author.genesis())
    for number in range(9):
        held(store, [author.create(bytes([number]) * 1_500_000, "t.Blob")])
    read: list[int] = []
    chain = store.chain

    def counted(*args: Any, **more: Any) -> list[Record]:
        found = chain(*args, **more)
        read.append(len(found))
        return found

    store.chain = counted  # type: ignore[method-assign]
    _, size_bytes = ask(store, Activity(author.agent, 3))
    assert 1_500_000 < size_bytes <= PAGE_BYTES_MAX
    assert sum(read) <= 16
    held(store, [author.create(b"x" * 3_999_999, "t.Blob")])
    last, _ = ask(store, Activity(author.agent, 12))
    assert len(last.parcels) == 1


def test_a_place_inside_a_bundle_is_answered_by_the_whole_bundle(
    store: Store, new_author: Any
) -> None:
    author = new_author(1)
    held(store, author.genesis())
    bundle = author.bundle(5)
    held(store, bundle)
    chain, _ = ask(store, Activity(author.agent, 6))
    assert open_parcel(chain.parcels[0], author.dna)[0].hash == bundle[0].hash


def test_the_records_of_one_large_entry_are_bounded(store: Store, new_author: Any) -> None:
    author = new_author(1)
    held(store, author.genesis())
    for _ in range(5):
        held(store, [author.create(b"x" * 1_500_000, "t.Blob")], by_hash=True)
    found, size_bytes = ask(store, Get(bytes(entry_hash(b"x" * 1_500_000))))
    assert isinstance(found, Records)
    assert len(found.records) == 2
    assert size_bytes < PAGE_BYTES_MAX
    assert ask(store, Get(bytes(entry_hash(b"nothing"))))[0] == Records(())


@pytest.fixture
def linked(store: Store, new_author: Any) -> tuple[Store, list[bytes], list[bytes]]:
    """A store with more links than two pages hold, some of them removed; their hashes."""
    author, made, gone = new_author(1), [], []
    held(store, author.genesis())
    for number in range(2 * LINKS_PER_PAGE_MAX + 7):
        made.append(link(author, number))
    held(store, author.seal())
    for hash_ in made[::3]:
        for _ in range(2):
            author.draft(DeleteLink, base=BASE, create_link=hash_)
        gone.append(hash_)
    held(store, author.seal())
    return store, made, gone


def test_links_come_in_pages(linked: Any) -> None:
    store, made, _ = linked
    after: bytes | None = None
    seen: list[bytes] = []
    for more in (True, True, False):
        page, size_bytes = ask(store, Links(BASE, after))
        assert isinstance(page, LinkPage)
        assert size_bytes < PAGE_BYTES_MAX
        assert page.more is more
        opened = [open_record(wire, NETWORK) for wire in page.records]
        seen += [record.hash for record in opened if isinstance(record.action, CreateLink)]
        after = seen[-1]
    assert seen == made
    with pytest.raises(PeerError, match="begin again"):
        ask(store, Links(BASE, bytes(entry_hash(b"no link"))))


class Reader:
    """A space that is no authority and asks peers, one of which breaks after `breaks` answers."""

    def __init__(self, store: Store, breaks: int) -> None:
        self.agent = b"us"
        self.dna = NETWORK
        self.rng, self.slow = Random(breaks), set[bytes]()
        self.breaks = breaks
        self.answered: list[bytes] = []
        self._store = store

    async def ask(self, peer: bytes, request: Any) -> Any:
        if peer == b"second" and not self.broken():
            raise TransportError("not yet")
        if peer == b"first" and self.broken():
            raise TransportError("gone")
        self.answered.append(peer)
        return ask(self._store, request)[0]

    def broken(self) -> bool:
        return self.answered.count(b"first") >= self.breaks


async def authorities_of(_reader: Any, _base: bytes) -> list[bytes]:
    return [b"first", b"second"]


@pytest.mark.parametrize("breaks", [1, 2, 99])
async def test_a_reader_takes_every_page_from_one_peer_or_begins_again(
    linked: Any, monkeypatch: pytest.MonkeyPatch, breaks: int
) -> None:
    store, made, gone = linked
    monkeypatch.setattr("ioe_node.workflows.links.to_text", lambda _: "peer")
    monkeypatch.setattr("ioe_node.workflows.links.authorities_of", authorities_of)
    reader: Any = Reader(store, breaks)
    records = await retrieve_links(reader, BASE)
    links = [r.hash for r in records if isinstance(r.action, CreateLink)]
    removed = [r.action.create_link for r in records if isinstance(r.action, DeleteLink)]
    assert links == made
    assert removed == gone
    assert set(reader.answered[breaks:]) <= {b"second"}
