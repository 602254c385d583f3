"""Membership: who is kept, who counts, and the authorities that follow from it."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ioe_node.core.authority import REDUNDANCY, authorities
from ioe_node.core.membership import (
    BUCKET_PEERS_MAX,
    FAILURES_MAX,
    FORGET_AFTER_US,
    NEAREST,
    Membership,
)
from ioe_node.model.hashes import AgentPubKey, agent_key, key_of, proof_digest, witness_place


def agents_of(count: int, seed: int = 1) -> list[AgentPubKey]:
    rng = Random(seed)
    return [agent_key(rng.randbytes(32)) for _ in range(count)]


def place_of(agent: AgentPubKey) -> int:
    return witness_place(agent, proof_digest(None))


def joined(agents: list[AgentPubKey]) -> Membership:
    """The first of these, having met all the others."""
    membership = Membership(agents[0], place_of(agents[0]))
    for agent in agents[1:]:
        membership.welcome(agent, place_of(agent), True, 0)
    return membership


def test_some_dozens_are_known_whole() -> None:
    agents = agents_of(BUCKET_PEERS_MAX)
    membership = joined(agents)
    assert membership.alive() == sorted(agents[1:])
    assert membership.knows_all()


@given(st.integers(0, 1_000))
def test_of_many_the_near_are_all_kept_and_the_far_are_few(seed: int) -> None:
    agents = agents_of(300, seed)
    membership = joined(agents)
    us = agents[0]
    assert len(membership.alive()) < 250
    nearest = authorities(us, agents, 2 * REDUNDANCY)
    assert [us, *membership.closest(key_of(us), 2 * REDUNDANCY - 1)] == nearest


@given(st.integers(0, 1_000))
def test_what_is_in_our_share_is_known_exactly(seed: int) -> None:
    """And the others who hold it, but for one far away and full of members now and then."""
    agents = agents_of(200, seed)
    membership = joined(agents)
    rng = Random(seed)
    for _ in range(200):
        basis = bytes(35) + rng.randbytes(4)
        closest = authorities(basis, agents)
        known = membership.authorities(key_of(basis))
        assert (agents[0] in closest) == (agents[0] in known)
        if agents[0] in closest:
            assert len(set(known) & set(closest)) >= REDUNDANCY - 2
    assert list(membership.authorities(key_of(agents[0]))) == authorities(agents[0], agents)


@given(st.integers(0, 1_000))
def test_of_few_holders_among_many_the_nearest_are_all_kept(seed: int) -> None:
    """Else those whose share it is would not agree on that."""
    agents = agents_of(300, seed)
    holders = agents[::10]
    for us in (agents[0], agents[1]):
        membership = Membership(us, place_of(us), us in holders)
        for agent in agents:
            membership.welcome(agent, place_of(agent), agent in holders, 0)
        assert list(membership.authorities(key_of(us))) == authorities(us, holders)
        others = [holder for holder in holders if holder != us]
        assert membership.closest(key_of(us), NEAREST, True) == authorities(us, others, NEAREST)


def test_a_holder_is_near_though_many_who_hold_nothing_are_nearer() -> None:
    agents = agents_of(300)
    us, ours = agents[0], key_of(agents[0])
    in_order = sorted(agents[1:], key=lambda agent: key_of(agent) ^ ours)
    holder = in_order[2 * NEAREST]
    membership = Membership(us, place_of(us))
    for agent in in_order:
        membership.welcome(agent, place_of(agent), agent == holder, 0)
    assert membership.is_near(key_of(holder), True)
    assert not membership.is_near(key_of(holder), False)
    before = membership.near_version
    for _ in range(FAILURES_MAX):
        membership.failed(holder)
    assert membership.near_version == before + 1


def test_who_was_turned_away_stays_unknown_when_others_are_forgotten() -> None:
    agents = agents_of(60)
    membership = joined(agents)
    assert len(membership.alive()) < len(agents) - 1
    assert not membership.knows_all()
    for agent in membership.alive()[::2]:
        membership.forget(agent)
        assert not membership.knows_all()


def test_who_does_not_answer_counts_no_more_until_heard() -> None:
    agents = agents_of(12)
    membership = joined(agents)
    silent = membership.authorities(key_of(agents[0]))[1]
    for attempt in range(FAILURES_MAX):
        assert silent in membership.alive()
        assert membership.failed(silent) == (attempt == FAILURES_MAX - 1)
    assert silent not in membership.authorities(key_of(agents[0]))
    assert membership.dead() == [silent]
    assert membership.heard(silent, 5)
    assert silent in membership.authorities(key_of(agents[0]))


def test_an_answer_takes_back_a_failure() -> None:
    agents = agents_of(3)
    membership = joined(agents)
    for moment in range(10):
        membership.failed(agents[1])
        assert not membership.heard(agents[1], moment)
    assert agents[1] in membership.alive()


def test_the_dead_make_room() -> None:
    agents = agents_of(400)
    membership = joined(agents)
    left_out = next(agent for agent in agents[1:] if membership.get(agent) is None)
    assert not membership.welcome(left_out, place_of(left_out), True, 0)
    for agent in membership.alive():
        for _ in range(FAILURES_MAX):
            membership.failed(agent)
    assert membership.welcome(left_out, place_of(left_out), True, 1)


def test_the_silent_are_forgotten_after_a_week() -> None:
    agents = agents_of(5)
    membership = joined(agents)
    for _ in range(FAILURES_MAX):
        membership.failed(agents[1])
    assert membership.forget_silent(FORGET_AFTER_US) == []
    assert membership.forget_silent(FORGET_AFTER_US + 1) == [agents[1]]
    assert membership.get(agents[1]) is None
    assert len(membership.alive()) == 3


def test_who_holds_nothing_is_no_authority() -> None:
    agents = agents_of(6)
    membership = joined(agents)
    membership.welcome(agents[1], place_of(agents[1]), False, 0)
    membership.set_holds(False)
    assert set(membership.authorities(0)) == set(agents[2:])
    assert set(membership.holders()) == set(agents[2:])


def test_the_living_are_found_by_place() -> None:
    agents = agents_of(30)
    membership = joined(agents)
    place = place_of(agents[7])
    expected = sorted(agents, key=lambda agent: (place_of(agent) ^ place, agent[3:35]))[:8]
    assert membership.closest_by_place(place, 8) == expected
    dead = expected[1]
    for _ in range(FAILURES_MAX):
        membership.failed(dead)
    assert dead not in membership.closest_by_place(place, 8)


def test_who_is_far_away_changes_nothing_near() -> None:
    agents = agents_of(200)
    membership = joined(agents)
    near = membership.closest(key_of(agents[0]), NEAREST)
    far = next(agent for agent in membership.alive() if agent not in near)
    for agent, changes in ((far, 0), (near[-1], 1)):
        before = membership.version, membership.near_version
        for _ in range(FAILURES_MAX):
            membership.failed(agent)
        assert membership.version == before[0] + 1
        assert membership.near_version == before[1] + changes
