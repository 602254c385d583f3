"""Who holds a basis: the closest by XOR, the same for everyone who looks."""

from hypothesis import given
from hypothesis import strategies as st

from ioe_node.core.authority import REDUNDANCY, authorities
from ioe_node.model.hashes import agent_key, entry_hash, key_of

AGENTS = [agent_key(number.to_bytes(32, "big")) for number in range(40)]


@given(st.permutations(AGENTS), st.binary(max_size=8))
def test_the_closest_in_any_order_of_asking(agents: list[bytes], content: bytes) -> None:
    basis = entry_hash(content)
    found = authorities(basis, AGENTS)
    assert found == authorities(basis, agents)  # type: ignore[arg-type]
    assert len(found) == REDUNDANCY
    furthest = max(key_of(agent) ^ key_of(basis) for agent in found)
    others = [agent for agent in AGENTS if agent not in found]
    assert all(key_of(agent) ^ key_of(basis) >= furthest for agent in others)


def test_a_small_network_is_fully_replicated() -> None:
    few = AGENTS[:REDUNDANCY]
    assert sorted(authorities(entry_hash(b"x"), few)) == sorted(few)
    assert authorities(entry_hash(b"x"), []) == []
