"""Bootstrap peers are read from the configuration and never given up."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.bootstrap import (
    BOOTSTRAP_PEERS_MAX,
    DELAY_S_MAX,
    BootstrapPeer,
    Schedule,
    next_delay_s,
    parse_bootstrap,
    peer_id_of,
)
from ioe_node.errors import ConfigError
from ioe_node.model.hashes import agent_key

keys = st.binary(min_size=32, max_size=32).map(agent_key)
AGENT = agent_key(bytes(range(32)))
PEER_ID = peer_id_of(AGENT)
PEERS = parse_bootstrap([f"/ip4/127.0.0.1/tcp/{port}/p2p/{PEER_ID}" for port in (1, 2)])


def test_peer_id_is_libp2ps() -> None:
    # The Ed25519 key of the libp2p peer-id specification's vectors, and py-libp2p's id of it.
    public_key = bytes.fromhex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
    text = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
    assert peer_id_of(agent_key(public_key)) == text
    peer = BootstrapPeer(agent_key(public_key), "/ip4/10.0.0.1/tcp/4001")
    assert parse_bootstrap([f"/ip4/10.0.0.1/tcp/4001/p2p/{text}"]) == (peer,)


@given(keys)
def test_a_parsed_peer_is_the_one_written(agent: bytes) -> None:
    text = f"/dns4/gate.example/tcp/4001/p2p/{peer_id_of(agent_key(agent[3:35]))}"
    assert parse_bootstrap([text]) == (
        BootstrapPeer(agent_key(agent[3:35]), "/dns4/gate.example/tcp/4001"),
    )


BAD = [
    "",
    "/ip4/127.0.0.1/tcp/1",
    "/ip4/127.0.0.1/tcp/1/p2p/",
    f"ip4/127.0.0.1/tcp/1/p2p/{PEER_ID}",
    f"/p2p/{PEER_ID}",
    f"/ip4/127.0.0.1/tcp/1/p2p/{PEER_ID}/",
    f"/ip4/127.0.0.1/tcp/1/p2p/{PEER_ID[:-1]}",
    f"/ip4/127.0.0.1/tcp/1/p2p/{PEER_ID[:-1]}0",
    "/ip4/127.0.0.1/tcp/1/p2p/" + "z" * 52,
    "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_line_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="bootstrap") as caught:
        parse_bootstrap([text])
    assert f"'{text[:120]}'" in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_a_peer_or_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_bootstrap(["/ip4/127.0.0.1/tcp/1/p2p/" + text])


def test_too_many_are_refused() -> None:
    with pytest.raises(ConfigError, match="most"):
        parse_bootstrap([""] * (BOOTSTRAP_PEERS_MAX + 1))


@given(st.integers(1, 10**9), st.integers())
def test_delay_is_bounded_and_half_jitter(failures: int, seed: int) -> None:
    delay_s = next_delay_s(failures, Random(seed))
    full = min(DELAY_S_MAX, 2.0 ** min(failures - 1, 20))
    assert full / 2 <= delay_s <= full


def test_delay_is_repeated_by_its_seed() -> None:
    assert next_delay_s(3, Random(7)) == next_delay_s(3, Random(7))


def test_all_are_due_at_first_then_each_by_its_own_failures() -> None:
    schedule = Schedule(PEERS, Random(1), now_us=5)
    first, second = PEERS
    assert schedule.due(5) == PEERS
    schedule.reached(second)
    schedule.failed(first, 5)
    assert schedule.due(5) == ()
    due_us = schedule.next_due_us()
    assert due_us is not None
    assert schedule.due(due_us) == (first,)
    schedule.lost(second, due_us)
    assert schedule.due(due_us + 1_000_000) == PEERS


def test_a_reached_peer_starts_anew() -> None:
    schedule = Schedule(PEERS[:1], Random(1), now_us=0)
    for _ in range(20):
        schedule.failed(PEERS[0], 0)
    schedule.reached(PEERS[0])
    assert schedule.next_due_us() is None
    schedule.lost(PEERS[0], 0)
    assert (schedule.next_due_us() or 0) <= 1_000_000


@given(st.integers(1, 400))
def test_a_peer_is_never_forgotten(failures: int) -> None:
    schedule = Schedule(PEERS[:1], Random(failures), now_us=0)
    now_us = 0
    for _ in range(failures):
        now_us = schedule.next_due_us() or now_us
        assert schedule.due(now_us) == PEERS[:1]
        schedule.failed(PEERS[0], now_us)
    assert (schedule.next_due_us() or 0) - now_us <= DELAY_S_MAX * 1_000_000
