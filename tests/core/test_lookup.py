"""Lookups over networks in memory: who is found, in how many hops, and that they end."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.core.authority import REDUNDANCY
from ioe_node.core.lookup import (
    ALPHA,
    ASKS_MAX,
    PATIENCE_US,
    PEERS_PER_ANSWER_MAX,
    UNASKED_MAX,
    Ask,
    Done,
    Lookup,
    Wait,
)
from ioe_node.model.hashes import CORE, AgentPubKey, agent_key, key_of

PLACE_BITS = 32
LATENCY_US_MAX = 400_000
Peers = list[tuple[AgentPubKey, int]]


def agent(number: int) -> AgentPubKey:
    return agent_key(number.to_bytes(32, "big"))


def placed(agents: Iterable[AgentPubKey]) -> Peers:
    return [(one, key_of(one)) for one in agents]


def nearest(key: int, peers: Iterable[AgentPubKey], count: int) -> list[AgentPubKey]:
    return sorted(peers, key=lambda one: (key_of(one) ^ key, one[CORE]))[:count]


class Network:
    """Agents whose tables hold up to k of the others at each distance, as Kademlia's do."""

    def __init__(self, rng: Random, size: int) -> None:
        self.rng = rng
        self.agents = [agent(rng.getrandbits(128)) for _ in range(size)]
        self.tables = {one: self._table(one) for one in self.agents}
        self.dead: set[AgentPubKey] = set()
        self.liars: dict[AgentPubKey, Callable[[int], Peers]] = {}

    def _table(self, us: AgentPubKey) -> list[AgentPubKey]:
        buckets: defaultdict[int, list[AgentPubKey]] = defaultdict(list)
        for other in self.rng.sample(self.agents, len(self.agents)):
            if other != us:
                buckets[(key_of(us) ^ key_of(other)).bit_length()].append(other)
        return [one for bucket in buckets.values() for one in bucket[:PEERS_PER_ANSWER_MAX]]

    def alive(self) -> list[AgentPubKey]:
        return [one for one in self.agents if one not in self.dead]

    def honest(self) -> list[AgentPubKey]:
        return [one for one in self.alive() if one not in self.liars]

    def answer(self, peer: AgentPubKey, key: int) -> Peers | None:
        """What a peer answers; None if it never does."""
        if peer not in self.tables or peer in self.dead:
            return None
        if peer in self.liars:
            return self.liars[peer](key)
        return placed(nearest(key, self.tables[peer], PEERS_PER_ANSWER_MAX))

    def start(self) -> Peers:
        """What an honest newcomer knows: three honest members."""
        honest = self.honest()
        return placed(self.rng.sample(honest, min(3, len(honest))))


@dataclass
class Run:
    """A lookup on virtual time: each ask is answered, refused or never heard of again."""

    network: Network
    key: int
    refused_per_cent: int = 50
    """Of the dead: the others are silent."""
    now_us: int = 0
    asked: list[AgentPubKey] = field(default_factory=list)
    in_flight_max: int = 0

    def to_the_end(self, lookup: Lookup) -> Done:
        rng, arriving = self.network.rng, list[tuple[int, int, AgentPubKey]]()
        waited_for: dict[AgentPubKey, int] = {}
        for step in range(20 * ASKS_MAX):
            match lookup.next(self.now_us):
                case Done() as done:
                    assert lookup.next(self.now_us) == done
                    return done
                case Ask(peer):
                    assert peer not in self.asked
                    self.asked.append(peer)
                    waited_for[peer] = self.now_us + PATIENCE_US
                    silent = self.network.answer(peer, self.key) is None
                    if not silent or rng.randrange(100) < self.refused_per_cent:
                        arriving.append((self.now_us + rng.randrange(LATENCY_US_MAX), step, peer))
                    due = [one for one in waited_for.values() if one > self.now_us]
                    self.in_flight_max = max(self.in_flight_max, len(due))
                case Wait(until_us):
                    assert until_us > self.now_us
                    self.now_us = min([until_us, *(at for at, _, _ in arriving)])
                    for at, number, peer in sorted(arriving):
                        if at <= self.now_us:
                            arriving.remove((at, number, peer))
                            waited_for.pop(peer)
                            self._arrive(lookup, peer)
        raise AssertionError("the lookup does not end")

    def _arrive(self, lookup: Lookup, peer: AgentPubKey) -> None:
        peers = self.network.answer(peer, self.key)
        if peers is None:
            lookup.on_failure(peer, self.now_us)
        else:
            lookup.on_success(peer, peers, self.now_us)


def run(network: Network, key: int, count: int = REDUNDANCY) -> tuple[Done, Run]:
    walk = Run(network, key)
    done = walk.to_the_end(Lookup(key, network.start(), 0, count=count))
    assert walk.in_flight_max <= ALPHA
    assert done.asks == len(walk.asked) <= ASKS_MAX
    assert done.took_us == walk.now_us
    return done, walk


keys = st.integers(0, 2**PLACE_BITS - 1)
seeds = st.integers(0, 2**32)


@settings(max_examples=40)
@given(seeds, st.integers(1, 400), keys, st.sampled_from([1, REDUNDANCY, PEERS_PER_ANSWER_MAX]))
def test_it_finds_the_truly_closest(seed: int, size: int, key: int, count: int) -> None:
    network = Network(Random(seed), size)
    done, _ = run(network, key, count)
    assert list(done.peers) == nearest(key, network.agents, count)


@settings(max_examples=40)
@given(seeds, st.integers(20, 400), keys)
def test_it_finds_them_past_the_dead(seed: int, size: int, key: int) -> None:
    rng = Random(seed)
    network = Network(rng, size)
    network.dead = set(rng.sample(network.agents, size * 30 // 100))
    done, _ = run(network, key)
    assert list(done.peers) == nearest(key, network.alive(), REDUNDANCY)


def invent(rng: Random, key: int, how: str, liar: AgentPubKey, count: int = 1_000) -> Peers:
    """What a liar answers."""
    match how:
        case "nobody":
            return []
        case "itself":
            return [(liar, key)] * count
        case "anybody":
            return placed(agent(rng.getrandbits(250)) for _ in range(count))
    return [(agent(rng.getrandbits(250)), key ^ rng.getrandbits(8)) for _ in range(count)]


@settings(max_examples=40)
@given(
    seeds,
    st.integers(40, 300),
    keys,
    st.sampled_from(["nobody", "itself", "anybody", "closer than all"]),
)
def test_it_finds_them_past_liars(seed: int, size: int, key: int, how: str) -> None:
    """One in seven lies; the liars, who do answer, are found like anybody."""
    rng = Random(seed)
    network = Network(rng, size)
    for liar in rng.sample(network.agents, size // 7):
        network.liars[liar] = lambda key, liar=liar: invent(rng, key, how, liar)
    done, walk = run(network, key)
    assert list(done.peers) == nearest(key, network.alive(), REDUNDANCY)
    lied_to = sum(peer in network.liars for peer in walk.asked)
    invented = sum(peer not in network.tables for peer in walk.asked)
    assert invented <= PEERS_PER_ANSWER_MAX * lied_to


@settings(max_examples=20)
@given(seeds, keys)
def test_a_crowd_that_invents_itself_ends_too(seed: int, key: int) -> None:
    """Each invented peer answers, with a thousand that are closer still."""
    rng = Random(seed)

    class Crowd(Network):
        def answer(self, peer: AgentPubKey, key: int) -> Peers:
            return invent(self.rng, key, "closer than all", peer)

    done, _ = run(Crowd(rng, 3), key)
    assert done.asks <= ASKS_MAX
    assert len(done.peers) == REDUNDANCY


@settings(max_examples=40)
@given(st.data())
def test_it_ends_whatever_is_said_and_when(data: st.DataObject) -> None:
    """Answers out of turn, twice, from nobody asked, after the end, on any clock."""
    numbers = st.integers(0, 60)
    lookup = Lookup(data.draw(keys), placed(agent(n) for n in range(3)), 0, count=4)
    now_us, asks = 0, 0
    for said in range(1_000):
        match lookup.next(now_us):
            case Ask():
                asks += 1
            case Wait(until_us):
                assert until_us > now_us
            case Done() as done:
                assert done.asks == asks <= 61
                lookup.on_success(agent(0), placed([agent(99)]), now_us)
                assert lookup.next(now_us) == done
                return
        if said >= 20:  # and then silence
            now_us += PATIENCE_US
            continue
        now_us += data.draw(st.integers(0, PATIENCE_US))
        peer = agent(data.draw(numbers))
        if data.draw(st.booleans()):
            named = data.draw(st.lists(numbers, max_size=5))
            lookup.on_success(peer, placed(map(agent, named)), now_us)
        else:
            lookup.on_failure(peer, now_us)
    raise AssertionError("the lookup does not end")


@pytest.mark.parametrize("size", [100, 1_000])
def test_hops_grow_with_the_logarithm(size: int) -> None:
    rng = Random(size)
    network = Network(rng, size)
    ends = [run(network, rng.getrandbits(PLACE_BITS))[0] for _ in range(100)]
    hops = sorted(done.hops for done in ends)
    asks = sorted(done.asks for done in ends)
    print(f"N={size}: hops median {hops[50]} max {hops[-1]}; asks median {asks[50]} max {asks[-1]}")
    assert hops[50] <= math.log2(size) / 2
    assert hops[-1] <= math.log2(size)
    assert asks[-1] <= REDUNDANCY + 2 * ALPHA * math.log2(size)


def test_the_overdue_stand_in_nobodys_way_and_still_count() -> None:
    slow, quick = agent(1), agent(2)
    lookup = Lookup(0, placed([slow, quick]), 0, alpha=1)
    first = lookup.next(0)
    assert isinstance(first, Ask)
    assert lookup.next(0) == Wait(PATIENCE_US)
    second = lookup.next(PATIENCE_US)
    assert isinstance(second, Ask)
    assert {first.peer, second.peer} == {slow, quick}
    lookup.on_success(first.peer, placed([agent(3)]), PATIENCE_US + 1)  # late
    lookup.on_success(second.peer, [], PATIENCE_US + 2)
    assert lookup.next(PATIENCE_US + 2) == Ask(agent(3))
    lookup.on_failure(agent(3), PATIENCE_US + 3)
    done = lookup.next(PATIENCE_US + 3)
    assert isinstance(done, Done)
    assert set(done.peers) == {slow, quick}
    assert (done.hops, done.asks, done.took_us) == (1, 3, PATIENCE_US + 3)


def test_ties_of_place_are_broken_by_the_core() -> None:
    here = [(agent(n), 7) for n in (5, 3, 4)]
    lookup = Lookup(7, here, 0, count=2, alpha=9)
    assert [lookup.next(0), lookup.next(0)] == [Ask(agent(3)), Ask(agent(4))]


def test_nobody_to_ask_is_an_end() -> None:
    assert Lookup(0, [], 5).next(5) == Done((), 0, 0, 0)


def test_what_is_remembered_is_bounded() -> None:
    lookup = Lookup(0, ((agent(n), n) for n in range(10**9)), 0)
    assert len(lookup._candidates) == UNASKED_MAX
    for _ in range(30):
        asked = lookup.next(0)
        if isinstance(asked, Ask):
            named = [(agent(10**6 + n), n) for n in range(1_000)]
            lookup.on_success(asked.peer, named, 0)
        assert len(lookup._candidates) <= UNASKED_MAX + ASKS_MAX
        assert len(lookup._nearest) == len(lookup._candidates)
