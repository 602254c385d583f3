from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from libp2p.peer.id import ID

from ioe_node.model.hashes import AgentPubKey, agent_key
from ioe_node.net.foreign_peers import (
    FOREIGN_PEERS_MAX,
    PASSED_ON_FOR_US,
    ForeignPeers,
    closest_to,
)
from ioe_node.net.peer_id import peer_id_bytes, peer_id_of

HERE = ("/ip4/127.0.0.1/tcp/4001",)


def agent(number: int) -> AgentPubKey:
    return agent_key(number.to_bytes(32, "big"))


@given(st.binary(max_size=64), st.integers(0, 60), st.integers(0, 25))
def test_the_measure_is_kad_dhts(key: bytes, size: int, count: int) -> None:
    known = [(agent(n), HERE) for n in range(size)]

    def distance(peer: AgentPubKey) -> bytes:
        theirs = sha256(ID.from_base58(peer_id_of(peer)).to_bytes()).digest()
        return bytes(a ^ b for a, b in zip(theirs, sha256(key).digest(), strict=True))

    expected = sorted(known, key=lambda located: distance(located[0]))[:count]
    assert closest_to(key, known, count) == expected


def test_whoever_is_asked_for_comes_first() -> None:
    known = [(agent(n), HERE) for n in range(100)]
    for wanted in known[::9]:
        assert closest_to(peer_id_bytes(wanted[0]), known, 20)[0] == wanted


def test_a_peer_is_passed_on_for_an_hour_after_it_spoke() -> None:
    foreign = ForeignPeers()
    foreign.seen(agent(1), HERE, 0)
    foreign.seen(agent(2), HERE, 5)
    foreign.seen(agent(1), HERE, 10)
    assert foreign.known(PASSED_ON_FOR_US) == [(agent(2), HERE), (agent(1), HERE)]
    assert foreign.known(PASSED_ON_FOR_US + 5) == [(agent(1), HERE)]
    assert foreign.known(PASSED_ON_FOR_US + 10) == []


def test_a_peer_that_no_longer_serves_is_forgotten() -> None:
    foreign = ForeignPeers()
    foreign.seen(agent(1), HERE, 0)
    foreign.seen(agent(1), (), 1)
    assert foreign.known(1) == []


def test_the_longest_silent_makes_room() -> None:
    foreign = ForeignPeers()
    for number in range(FOREIGN_PEERS_MAX):
        foreign.seen(agent(number), HERE, number)
    foreign.seen(agent(0), HERE, FOREIGN_PEERS_MAX)
    foreign.seen(agent(1_000), HERE, FOREIGN_PEERS_MAX)
    known = [peer for peer, _ in foreign.known(FOREIGN_PEERS_MAX)]
    assert len(known) == FOREIGN_PEERS_MAX
    assert agent(0) in known
    assert agent(1) not in known
