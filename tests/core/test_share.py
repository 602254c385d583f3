"""Shares: exactly where the R closest are, whatever the keys."""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ioe_node.core.authority import authorities
from ioe_node.core.share import common, share_of, split
from ioe_node.model.hashes import AgentPubKey, agent_key


def agents_of(count: int, seed: int) -> list[AgentPubKey]:
    rng = Random(seed)
    return [agent_key(rng.randbytes(32)) for _ in range(count)]


@given(st.integers(1, 60), st.integers(0, 10_000), st.integers(0, 2**32 - 1))
def test_a_share_is_where_an_agent_is_among_the_closest(
    count: int, seed: int, location: int
) -> None:
    agents = agents_of(count, seed)
    basis = bytes(35) + location.to_bytes(4, "big")
    closest = authorities(basis, agents)
    for agent in agents:
        inside = any(low <= location <= high for low, high in share_of(agent, agents))
        assert inside == (agent in closest)


def test_a_small_network_shares_everything() -> None:
    agents = agents_of(8, 1)
    assert share_of(agents[0], agents) == [(0, 2**32 - 1)]


def test_shares_are_few_ranges_and_cover_the_space_r_times() -> None:
    agents = agents_of(300, 2)
    shares = [share_of(agent, agents) for agent in agents]
    assert sum(high - low + 1 for share in shares for low, high in share) == 8 * 2**32
    assert max(map(len, shares)) < 128


@given(
    st.lists(st.integers(0, 400), max_size=12, unique=True),
    st.lists(st.integers(0, 400), max_size=12, unique=True),
)
def test_the_overlap_is_what_both_have(ours: list[int], theirs: list[int]) -> None:
    def ranges(edges: list[int]) -> list[tuple[int, int]]:
        edges = sorted(edges)[: len(edges) // 2 * 2]
        return list(zip(edges[::2], edges[1::2], strict=True))

    def points(spans: list[tuple[int, int]]) -> set[int]:
        return {point for low, high in spans for point in range(low, high + 1)}

    both = common(ranges(ours), ranges(theirs))
    assert points(both) == points(ranges(ours)) & points(ranges(theirs))


@given(st.integers(0, 1_000), st.integers(0, 1_000), st.integers(1, 20))
def test_parts_make_up_the_whole(low: int, size: int, parts: int) -> None:
    spans = split((low, low + size), parts)
    assert spans[0][0] == low
    assert spans[-1][1] == low + size
    assert all(one[1] + 1 == other[0] for one, other in pairwise(spans))
