"""The newest signed word of each agent is kept, and no more than fit."""

import pytest

from ioe_node.core import peer_book
from ioe_node.core.peer_book import PeerBook
from ioe_node.model.agent_info import AgentInfo, SignedInfo
from ioe_node.model.hashes import agent_key, dna_hash

NETWORK = dna_hash(b"network")
US, *OTHERS = (agent_key(number.to_bytes(32, "big")) for number in range(6))


def info(agent: bytes, issued_us: int, *addresses: str) -> tuple[AgentInfo, SignedInfo]:
    made = AgentInfo(agent, NETWORK, bytes(32), True, addresses, issued_us, issued_us + 1)
    return made, SignedInfo(b"", bytes(64))


def test_newer_word_replaces_older_and_never_the_reverse() -> None:
    book = PeerBook(US)
    assert book.merge(*info(OTHERS[0], 5, "a"))
    assert not book.merge(*info(OTHERS[0], 5, "b"))
    assert not book.merge(*info(OTHERS[0], 4, "b"))
    assert book.addresses(OTHERS[0]) == ("a",)
    assert book.merge(*info(OTHERS[0], 6, "b"))
    assert book.addresses(OTHERS[0]) == ("b",)
    assert book.addresses(OTHERS[1]) == ()


def test_we_are_not_in_it_and_order_is_by_key() -> None:
    book = PeerBook(US)
    assert not book.merge(*info(US, 5))
    for agent in OTHERS[::-1]:
        assert book.merge(*info(agent, 1))
    assert book.agents() == sorted(OTHERS)
    assert all(book.signed_of(each) for each in OTHERS)


def test_the_oldest_word_goes_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_book, "PEERS_MAX", 2)
    book = PeerBook(US)
    for age, agent in enumerate(OTHERS[:3]):
        book.merge(*info(agent, age))
    assert book.agents() == sorted(OTHERS[1:3])
