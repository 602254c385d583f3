"""Declared shapes: any bytes are an entry in canonical form, or `Malformed`."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dna.neighbourhood import DNA
from ioe_node.errors import CallError, Malformed
from ioe_node.hdi import ActionHash, AgentPubKey, IntegrityZome
from ioe_node.hdk import arguments
from ioe_node.model.codec import encode
from ioe_node.model.hashes import agent_key

zome = IntegrityZome("shapes")
AGENT = agent_key(bytes(31) + b"\x01")


@dataclass(frozen=True)
class Inner:
    """A shape within a shape."""

    agent: AgentPubKey


@zome.entry_type
@dataclass(frozen=True)
class Shape:
    """One field of each kind that an entry may have."""

    number: int
    text: str
    raw: bytes
    flag: bool
    maybe: int | None
    agent: AgentPubKey
    agents: tuple[AgentPubKey, ...]
    inner: tuple[Inner, ...]


@zome.entry_type
@dataclass(frozen=True)
class Optional:
    """A hash that may be missing."""

    agent: AgentPubKey | None


SHAPE = Shape(-1, "é", b"\0", True, None, AGENT, (AGENT, AGENT), (Inner(AGENT),))
SHAPES = zome.entry_types["shapes.Shape"]


def test_a_shape_comes_back() -> None:
    assert SHAPES.decode(encode(SHAPE)) == SHAPE


@settings(max_examples=300)
@given(st.data())
def test_damage_is_malformed_or_canonical(data: Any) -> None:
    whole = encode(SHAPE)
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    junk = data.draw(st.binary(max_size=40))
    for bad in (bytes(flipped), whole[:at], whole + b"\0", whole[:at] + junk + whole[at:], junk):
        try:
            shape = SHAPES.decode(bad)
        except Malformed:
            continue
        assert encode(shape) == bad


@given(st.sampled_from(sorted(DNA.entry_types)), st.binary(max_size=200))
def test_no_bytes_upset_the_neighbourhoods_types(name: str, junk: bytes) -> None:
    with pytest.raises(Malformed):
        DNA.entry_types[name].decode(junk)


NO_AGENTS = [AGENT[:38], bytes(39), AGENT[:38] + bytes([AGENT[38] ^ 1])]


@pytest.mark.parametrize("bad", NO_AGENTS)
def test_a_hash_must_be_of_its_kind_wherever_it_stands(bad: bytes) -> None:
    whole = {name: getattr(SHAPE, name) for name in SHAPE.__dataclass_fields__}
    assert SHAPES.decode(encode(whole)) == SHAPE
    for wrong in (
        {"agent": bad},
        {"agents": (AGENT, bad)},
        {"inner": (Inner(AgentPubKey(bad)),)},
    ):
        with pytest.raises(Malformed, match="agent"):
            SHAPES.decode(encode({**whole, **wrong}))


@pytest.mark.parametrize("bad", NO_AGENTS)
def test_a_hash_that_may_be_missing_must_be_of_its_kind_too(bad: bytes) -> None:
    optional = zome.entry_types["shapes.Optional"]
    for right in (Optional(None), Optional(AGENT)):
        assert optional.decode(encode(right)) == right
    with pytest.raises(Malformed):
        optional.decode(encode({"agent": bad}))


payloads = st.dictionaries(
    st.sampled_from(["payee", "amount_micro", "memo", "reading", "agent", "limit", "x"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
)


@given(st.sampled_from(DNA.zomes), payloads, st.data())
def test_any_payload_is_converted_or_a_call_error(zome: Any, payload: Any, data: Any) -> None:
    functions = zome.coordinator.functions
    function = functions[data.draw(st.sampled_from(sorted(functions)))]
    try:
        made = arguments(function, payload, skip=1)
    except CallError:
        return
    assert set(made) == set(payload)


def test_hashes_are_told_apart_by_a_type_checker_only() -> None:
    assert ActionHash(AGENT) == AGENT
