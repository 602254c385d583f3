"""Links: a quick liar hides nothing, few are asked, and whoever is silent costs a moment."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from ioe_node.model.action import CreateLink
from ioe_node.model.hashes import dna_hash, entry_hash
from ioe_node.net.messages import LinkPage
from ioe_node.store.store import Store
from ioe_node.workflows import links
from ioe_node.workflows.links import FIRST_PAGES, SECOND_WAIT_S, retrieve_links
from ioe_node.workflows.pages import _links

BASE = bytes(dna_hash(b"a base"))
NETWORK = dna_hash(b"a test network")
HONEST_S = 0.05


class Reader:
    """A space that is no authority; of its peers some lie at once and some never answer."""

    def __init__(self, store: Store, peers: int, liars: int = 0, silent: int = 0) -> None:
        self.agent, self.slow = -1, set[int]()
        self.dna = NETWORK
        self.rng = Random(peers)
        self.store = store
        self.peers = list(range(peers))
        self.liars, self.silent = set(range(liars)), set(range(peers - silent, peers))
        self.asked: list[int] = []

    def withhold(self, _: Any) -> bool:
        return False

    async def ask(self, peer: int, request: Any) -> Any:
        self.asked.append(peer)
        if peer in self.liars:
            return LinkPage((), False)
        await trio.sleep(float("inf") if peer in self.silent else HONEST_S)
        return _links(self, request)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path, new_author: Any) -> Iterator[Store]:
    """A store with a few links at the base."""
    store, author = Store(tmp_path / "cell.sqlite"), new_author(1)
    author.genesis()
    for number in range(3):
        target = bytes(entry_hash(bytes([number])))
        author.draft(CreateLink, base=BASE, target=target, link_type="t", tag=b"")
    author.seal()
    store.commit(author.chain, [3] * len(author.chain), [False] * len(author.chain))
    yield store
    store.close()


@pytest.fixture(autouse=True)
def authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    async def authorities_of(reader: Reader, _base: bytes) -> list[int]:
        return reader.peers

    monkeypatch.setattr(links, "authorities_of", authorities_of)
    monkeypatch.setattr(links, "to_text", str)


async def found(reader: Any) -> int:
    return len(await retrieve_links(reader, BASE))


async def test_who_answers_first_with_nothing_hides_nothing(
    store: Store, autojump_clock: Any
) -> None:
    for lots in range(20):
        reader = Reader(store, 8, liars=1)
        reader.rng = Random(lots)
        assert await found(reader) == 3
        assert len(reader.asked) == FIRST_PAGES


async def test_who_is_silent_costs_a_moment(store: Store, autojump_clock: Any) -> None:
    begun_s = trio.current_time()
    assert await found(Reader(store, 2, silent=1)) == 3
    assert trio.current_time() - begun_s <= HONEST_S + SECOND_WAIT_S + 0.01
    reader = Reader(store, 8, liars=1, silent=5)
    assert await found(reader) == 3


async def test_one_that_answers_is_enough_and_none_is_no_answer(
    store: Store, autojump_clock: Any
) -> None:
    assert await found(Reader(store, 1)) == 3
    assert await found(Reader(store, 0)) == 0
