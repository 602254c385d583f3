import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto import ed25519
from libp2p.peer.id import ID

from ioe_node.errors import Malformed
from ioe_node.model.hashes import agent_key
from ioe_node.net.peer_id import (
    ALPHABET,
    agent_of_peer_id,
    agent_of_peer_id_bytes,
    circuit_address,
    join_address,
    peer_id_bytes,
    peer_id_of,
    relay_of,
    split_address,
)

RSA_PEER_ID = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"  # a sha2-256 multihash


@given(st.binary(min_size=32, max_size=32))
def test_there_and_back(public_key: bytes) -> None:
    agent = agent_key(public_key)
    assert agent_of_peer_id(peer_id_of(agent)) == agent


@given(st.binary(min_size=32, max_size=32))
def test_libp2p_agrees(seed32: bytes) -> None:
    public_key = ed25519.create_new_key_pair(seed32).public_key
    agent = agent_key(public_key.to_bytes())
    assert peer_id_of(agent) == str(ID.from_pubkey(public_key))
    assert peer_id_bytes(agent) == ID.from_pubkey(public_key).to_bytes()


@given(st.one_of(st.text(max_size=80), st.text(ALPHABET, max_size=80)))
def test_any_text_gives_an_agent_or_malformed(text: str) -> None:
    try:
        agent = agent_of_peer_id(text)
    except Malformed:
        return
    assert peer_id_of(agent) == text


@given(st.binary(max_size=50))
def test_any_bytes_give_an_agent_or_malformed(data: bytes) -> None:
    for candidate in (data, peer_id_bytes(agent_key(bytes(32)))[:6] + data):
        try:
            agent = agent_of_peer_id_bytes(candidate)
        except Malformed:
            continue
        assert peer_id_bytes(agent) == candidate


@pytest.mark.parametrize("change", [lambda t: "1" + t, lambda t: t[1:], lambda t: t + "1"])
def test_near_misses_are_malformed(change) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Malformed):
        agent_of_peer_id(change(peer_id_of(agent_key(bytes(32)))))


def test_another_kind_of_key_is_malformed() -> None:
    with pytest.raises(Malformed):
        agent_of_peer_id(RSA_PEER_ID)


def test_an_address_splits_and_joins() -> None:
    agent = agent_key(bytes(range(32)))
    text = join_address(agent, "/ip4/192.0.2.1/tcp/4001")
    assert text == f"/ip4/192.0.2.1/tcp/4001/p2p/{peer_id_of(agent)}"
    assert split_address(text) == (agent, "/ip4/192.0.2.1/tcp/4001")


@pytest.mark.parametrize(
    "text", ["", "/p2p/", "/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1/p2p/x"]
)
def test_an_address_without_its_parts_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        split_address(text)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_an_address_through_a_relay_splits_as_any_does(relay: bytes, peer: bytes) -> None:
    agents = agent_key(relay), agent_key(peer)
    circuit = circuit_address(agents[0], "/ip4/192.0.2.1/tcp/4001")
    assert split_address(join_address(agents[1], circuit)) == (agents[1], circuit)
    assert relay_of(circuit) == (agents[0], "/ip4/192.0.2.1/tcp/4001")
    assert relay_of(circuit_address(agents[0], "")) == (agents[0], "")
    assert relay_of("/ip4/192.0.2.1/tcp/4001") is None


@pytest.mark.parametrize(
    "text",
    [
        "/p2p-circuit",
        "/ip4/192.0.2.1/tcp/4001/p2p-circuit",
        "/ip4/192.0.2.1/tcp/4001/p2p/junk/p2p-circuit",
        "/p2p/junk/p2p-circuit",
        circuit_address(agent_key(bytes(32)), "/ip4/192.0.2.1/tcp/1") + "/p2p-circuit",
        circuit_address(agent_key(bytes(32)), "/ip4/192.0.2.1/tcp/1") + "/tcp/1",
        circuit_address(
            agent_key(bytes(32)), circuit_address(agent_key(bytes(32)), "/ip4/1/tcp/1")
        ),
    ],
)
def test_a_circuit_whose_relay_is_none_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        relay_of(text)
