"""Comparing: only what both share, however much that is, and little work for whoever is asked."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from ioe_node.core.chain import Head
from ioe_node.core.share import Range, common
from ioe_node.errors import Malformed
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import action_hash, agent_key, key_of
from ioe_node.net.messages import (
    HEADS_PER_MESSAGE_MAX,
    SPANS_PER_MESSAGE_MAX,
    Compare,
    Compared,
    Differing,
    HeadOf,
    OpName,
    Span,
)
from ioe_node.store.hash_index import SHORT_MIN
from ioe_node.store.store import Store
from ioe_node.workflows import compare
from ioe_node.workflows.compare import (
    NAMED_MAX,
    NAMES_MAX,
    ChainsHeld,
    OpsHeld,
    answer_compare,
    chains_ahead,
    check_answer,
    differing,
    ops_unlike,
    own_spans,
    ranges_of,
    shared_ranges,
    spans_of,
)
from ioe_node.workflows.pages import PAGE_BYTES_MAX
from ioe_node.workflows.publish import OPS_PER_PUBLISH_MAX
from sim.swarm import Swarm, open_swarm
from sim.virtual_clock import run_virtual

EVERYWHERE = (0, 2**32 - 1)
DIGEST = bytes(16)
LATE_US = 2**60
CHAINS = 5 * HEADS_PER_MESSAGE_MAX


class Heads:
    """As much of a store as chains are compared by."""

    def __init__(self, heads: dict[AgentPubKey, Head]) -> None:
        self.heads = heads

    def head(self, author: AgentPubKey) -> Head | None:
        """See `Store`."""
        return self.heads.get(author)


def heads_of(count: int) -> dict[AgentPubKey, Head]:
    agents = [agent_key(number.to_bytes(32, "big")) for number in range(count)]
    return {agent: Head(7, action_hash(b"head", agent), 1_000) for agent in agents}


def held(heads: dict[AgentPubKey, Head]) -> ChainsHeld:
    store: Any = Heads(heads)
    return ChainsHeld(store, heads)


def test_what_came_after_an_end_is_not_compared() -> None:
    """Two who hold more and less of it must not go on comparing for ever."""
    heads = heads_of(3)
    author = sorted(heads)[0]
    store: Any = Heads(heads)
    spans = []
    for ended in ({}, {author: 7}, {author: 5}):
        store.record_at = lambda author, seq: None  # nothing is here before the head
        spans.append(ChainsHeld(store, heads, ended).sums([EVERYWHERE]))
    assert spans[0] == spans[1] != spans[2]
    assert spans[2][0][0] == 2


def compared(
    our: dict[AgentPubKey, Head], their: dict[AgentPubKey, Head]
) -> tuple[int, list[HeadOf], list[HeadOf]]:
    """A conversation: messages each way, heads that the other named, heads that only we have."""
    ours, theirs = held(our), held(their)
    spans = spans_of(ours, [EVERYWHERE])
    named: list[HeadOf] = []
    ahead: list[HeadOf] = []
    steps = 0
    while spans:
        found, heads = differing(theirs, spans, [EVERYWHERE])
        answer = Compared(Differing((), ()), (), found, heads, True, ())
        check_answer(Compare((), spans, DIGEST, (), ()), answer)
        named += heads
        ahead += chains_ahead(held(our), answer, LATE_US)
        own = spans_of(ours, ranges_of(found.spans))
        spans = tuple(a for a, b in zip(own, found.spans, strict=True) if a != b)
        steps += 1
    return steps, named, ahead


def test_any_number_of_chains_is_compared_and_equal_ones_cost_one_message() -> None:
    heads = heads_of(CHAINS)
    assert compared(heads, heads) == (1, [], [])
    behind = dict(heads)
    lost = sorted(heads, key=key_of)[:: CHAINS // 5]
    for author in lost:
        del behind[author]
    steps, _, ahead = compared(heads, behind)
    assert [head.author for head in ahead] == lost
    assert steps <= 4
    _, named, ahead = compared(behind, heads)
    assert {head.author for head in named} >= set(lost)
    assert ahead == []


def test_a_peer_that_holds_no_chain_is_offered_as_many_as_a_message_takes() -> None:
    _, named, ahead = compared(heads_of(CHAINS), {})
    assert named == []
    assert len(ahead) == HEADS_PER_MESSAGE_MAX


def test_spans_beyond_what_is_shared_are_narrowed_and_nothing_is_named_of_them() -> None:
    chains = held(heads_of(100))
    shared = [(10, 2**30), (2**31, 2**31 + 2**30)]
    asked = (Span(0, 2**31 - 1, DIGEST), Span(2**31, 2**31 + 2**20, DIGEST))
    found, heads = differing(chains, asked, shared)
    assert ranges_of(found.spans) == [(10, 2**30)]
    assert found.listed == ((2**31, 2**31 + 2**20),)
    assert all(2**31 <= key_of(AgentPubKey(head.author)) <= 2**31 + 2**20 for head in heads)
    assert differing(chains, asked, []) == (Differing((), ()), ())


class Ops:
    """As much of a store as ops are read by: `size` ops at locations from 0 on."""

    def __init__(self, size: int, record: Any) -> None:
        self.size = size
        self.record = record
        self.read = 0

    def list_ops(
        self, low: int, high: int, limit: int, from_short: int = SHORT_MIN
    ) -> list[tuple[int, int]]:
        """See `Store`."""
        return [(at, 0) for at in range(low, min(high + 1, self.size))][:limit]

    def ops_at(self, location: int, short: int) -> list[Any]:
        """See `Store`."""
        self.read += 1
        return [self.record]


def unlike(store: Any, names: Sequence[OpName], listed: Range) -> tuple[list[OpName], list[Any]]:
    answer = Compared(Differing((), (listed,)), tuple(names), Differing((), ()), (), True, ())
    return ops_unlike(store, answer, LATE_US)


def test_no_more_spare_ops_are_read_than_are_given(new_author: Any) -> None:
    record = new_author(1).create(b"x", "t.Blob")
    store = Ops(5_000, record)
    assert len(unlike(store, (), EVERYWHERE)[1]) == OPS_PER_PUBLISH_MAX
    assert store.read == OPS_PER_PUBLISH_MAX
    large = Ops(5_000, new_author(2).create(bytes(PAGE_BYTES_MAX // 4), "t.Blob"))
    assert len(unlike(large, (), EVERYWHERE)[1]) == 3
    assert large.read == 4


def test_what_lies_beyond_a_list_that_was_cut_is_not_called_lacking(new_author: Any) -> None:
    store = Ops(2 * NAMES_MAX, new_author(1).create(b"x", "t.Blob"))
    theirs = [OpName(at, 0) for at in range(1, 2 * NAMES_MAX, 2)]
    assert unlike(store, theirs, EVERYWHERE)[0] == []


class OneBase:
    """As much of a store as ops at one location are compared by."""

    def __init__(self, shorts: Iterable[int]) -> None:
        self.shorts = sorted(shorts)

    def count_ops(self, ranges: Sequence[Range]) -> list[tuple[int, int, int]]:
        """See `Store`."""
        return [(len(self.shorts), sum(self.shorts), 0) for _ in ranges]

    def list_ops(
        self, low: int, high: int, limit: int, from_short: int = SHORT_MIN
    ) -> list[tuple[int, int]]:
        """See `Store`."""
        return [(low, short) for short in self.shorts if short >= from_short][:limit]

    def ops_at(self, location: int, short: int) -> list[Any]:
        """See `Store`: what is spare is noted."""
        return [
            SimpleNamespace(
                short=short, action=SimpleNamespace(timestamp_us=0), action_bytes=b"", entry=None
            )
        ]


def test_of_one_base_any_number_of_links_is_compared_in_time() -> None:
    rng = Random(1)
    everything = [rng.getrandbits(64) + SHORT_MIN for _ in range(4 * NAMES_MAX)]
    lost = set(rng.sample(everything, 20))
    rich: Any = OneBase(everything)
    poor: Any = OneBase(set(everything) - lost)
    base, asked = [(5, 5)], (Span(5, 5, DIGEST),)
    lacking: set[int] = set()
    spare: set[int] = set()
    for _ in range(40):
        begin = rng.getrandbits(64) + SHORT_MIN
        for one, other, found in ((poor, rich, lacking), (rich, poor, spare)):
            listed, names = differing(OpsHeld(other, begin), asked, base)
            answer = Compared(listed, names, Differing((), ()), (), True, ())
            wanted, given = ops_unlike(one, answer, LATE_US)
            missing = [op.short for op in wanted] + [each.short for each in given]  # type: ignore[attr-defined]
            assert set(missing) <= lost
            found.update(missing)
    assert lacking == spare == lost


class ManyBases:
    """As much of a store as ops are compared by: `each` of them at every location."""

    def __init__(self, each: int) -> None:
        self.each = each

    def count_ops(self, ranges: Sequence[Range]) -> list[tuple[int, int, int]]:
        """See `Store`."""
        return [(self.each * (high - low + 1), 0, 0) for low, high in ranges]

    def list_ops(
        self, low: int, high: int, limit: int, from_short: int = SHORT_MIN
    ) -> list[tuple[int, int]]:
        """See `Store`."""
        found = [(at, short) for at in range(low, high + 1) for short in range(self.each)]
        return [op for op in found if op[0] > low or op[1] >= from_short][:limit]


@pytest.mark.parametrize("each", [NAMED_MAX, NAMES_MAX // 3, 2 * NAMES_MAX])
def test_every_range_that_differs_has_its_turn_though_none_is_ever_mended(each: int) -> None:
    """Whole, unless it alone is more than an answer names; and in order whatever came first."""
    store: Any = ManyBases(each)
    asked = tuple(Span(at, at, DIGEST) for at in range(100))
    listed: set[Range] = set()
    for turn in range(1_000, 1_100):
        found, names = differing(OpsHeld(store), asked, [EVERYWHERE], turn)
        listed.update(found.listed)
        assert list(found.listed) == sorted(found.listed)
        assert [op.location for op in names] == sorted(op.location for op in names)
        assert len(names) == min(NAMES_MAX, each * len(found.listed))
        assert len(found.listed) == 1 or len(names) == each * len(found.listed)
    assert listed == {(at, at) for at in range(100)}


@pytest.mark.parametrize(
    "answered",
    [
        Differing((), ((0, 1),)),
        Differing((Span(5, 21, DIGEST),), ()),
        Differing((Span(12, 15, DIGEST),), ((15, 20),)),
        Differing((), ((20, 10),)),
        Differing((), ((10, 12), (10, 12))),
    ],
)
def test_an_answer_about_what_was_not_asked_is_malformed(answered: Differing) -> None:
    ask = Compare((Span(10, 20, DIGEST),), (Span(10, 20, DIGEST),), DIGEST, (), ())
    nothing = Differing((), ())
    check_answer(ask, Compared(Differing((), ((10, 20),)), (), nothing, (), True, ()))
    for ops, chains in ((answered, nothing), (nothing, answered)):
        with pytest.raises(Malformed):
            check_answer(ask, Compared(ops, (), chains, (), True, ()))


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    def run(story: Callable[[Swarm], Any], homes: int) -> None:
        async def main() -> None:
            async with open_swarm(tmp_path, 5, homes) as swarm:
                assert await swarm.settle()
                await story(swarm)

        run_virtual(main, seed=5)

    return run


@pytest.mark.parametrize(
    "spans",
    [
        (Span(*EVERYWHERE, DIGEST),) * SPANS_PER_MESSAGE_MAX,
        (Span(0, 9, DIGEST), Span(9, 20, DIGEST)),
        (Span(10, 20, DIGEST), Span(0, 9, DIGEST)),
        (Span(9, 0, DIGEST),),
    ],
)
def test_overlapping_spans_are_refused_before_anything_is_read(
    play: Callable[..., None], spans: tuple[Span, ...]
) -> None:
    async def story(swarm: Swarm) -> None:
        space, peer = swarm.homes[0].cell.space, swarm.homes[1].agent
        for ask in (
            Compare(spans, (), DIGEST, (), ()),
            Compare((), spans, DIGEST, (), ()),
        ):
            with pytest.raises(Malformed):
                await answer_compare(space, peer, ask)

    play(story, 3)


def test_an_answer_reads_only_what_is_shared_and_off_the_loop(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Range] = []
    outside = True
    count_ops = Store.count_ops

    def counting(self: Store, ranges: Sequence[Range]) -> list[tuple[int, int, int]]:
        assert not outside
        read.extend(ranges)
        return count_ops(self, ranges)

    async def run(function: Callable[..., Any], *args: Any) -> Any:
        nonlocal outside
        outside = False
        try:
            return function(*args)
        finally:
            outside = True

    async def story(swarm: Swarm) -> None:
        spaces = [home.cell.space for home in swarm.homes]
        one, other = next(
            (one, other)
            for one in spaces
            for other in spaces
            if one is not other and shared_ranges(one, other.agent) != [EVERYWHERE]
        )
        monkeypatch.setattr(Store, "count_ops", counting)
        for space in spaces:
            space.run = run
        ops, chains = await own_spans(one, [EVERYWHERE], [EVERYWHERE])
        wrong = tuple(Span(span.low, span.high, DIGEST) for span in ops)
        read.clear()
        shared = shared_ranges(other, one.agent)
        ask = Compare(wrong, chains, DIGEST, (), ())
        narrowed = (await answer_compare(other, one.agent, ask)).ops
        assert ranges_of(narrowed.spans) == shared
        again = Compare(tuple(Span(low, high, DIGEST) for low, high in shared), (), DIGEST, (), ())
        listed = (await answer_compare(other, one.agent, again)).ops.listed
        assert list(listed) == shared
        assert common(sorted(set(read)), shared) == sorted(set(read))

    play(story, 14)


def test_a_chain_is_missed_though_more_are_shared_than_a_message_names(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in (("NAMED_MAX", 1), ("PARTS", 4), ("HEADS_PER_MESSAGE_MAX", 3)):
        monkeypatch.setattr(compare, name, most)
    monkeypatch.setattr(compare, "NAMES_MAX", 3)

    async def story(swarm: Swarm) -> None:
        poor = swarm.homes[0]
        authors = [agent for agent in poor.store.authors() if agent != poor.agent]
        assert len(authors) > compare.NAMES_MAX
        heads = {agent: poor.store.head(agent) for agent in authors}
        for agent in authors[-3:]:
            poor.store.drop_chain(agent, lambda record: True)
        assert await swarm.settle(most_s=200)
        assert {agent: poor.store.head(agent) for agent in authors} == heads

    play(story, 8)
