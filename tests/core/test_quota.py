"""Quota: who keeps its rates is never refused, who does not is, and nobody for good."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.core import quota as module
from ioe_node.core.quota import (
    BURST_S,
    HALF_LIFE_US,
    MICRO,
    PATIENCE_REFUSALS,
    SCORE_POINTS_MAX,
    SHUNNED_POINTS,
    SLOWED_DIVISOR,
    SLOWED_POINTS,
    Fault,
    Limits,
    Quota,
)
from ioe_node.model.signing import Signer

PEER = Signer(b"a" * 32).agent
OTHER = Signer(b"b" * 32).agent
NOW_US = 1_700_000_000_000_000
LIMITS = Limits(requests_per_s=10, bytes_per_s=1_000)


def charged(points: int) -> Quota:
    quota = Quota(LIMITS)
    for _ in range(points):
        quota.charge(PEER, "something", Fault.HASTE, NOW_US)
    return quota


@given(st.lists(st.integers(100_000, 3_000_000), min_size=1, max_size=200))
def test_who_keeps_its_rates_goes_at_once(gaps_us: list[int]) -> None:
    """Ten requests a second of a hundred bytes each, however they come together."""
    quota, now_us = Quota(LIMITS), NOW_US
    for gap_us in gaps_us:
        now_us += gap_us
        assert quota.ask(PEER, 100, now_us) == module.Turn("go", 0)


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 2_000)), max_size=300))
def test_no_more_passes_than_the_rates_and_a_burst(asked: list[tuple[int, int]]) -> None:
    quota, now_us, passed, size = Quota(LIMITS), NOW_US, 0, 0
    for gap_us, size_bytes in asked:
        now_us += gap_us
        if quota.ask(PEER, size_bytes, now_us).answer == "go":
            passed += 1
            size += size_bytes
    # Whoever goes last may be paced, on debt; and one message of any size may tip the bucket.
    elapsed_s = (now_us - NOW_US) / MICRO + BURST_S + module.PACE_US_MAX / MICRO
    assert passed <= 10 * elapsed_s + 1
    assert size <= 1_000 * elapsed_s + 2_000


@given(st.integers(1, SCORE_POINTS_MAX * 2), st.lists(st.integers(0, HALF_LIFE_US), max_size=20))
def test_looking_changes_no_score(points: int, gaps_us: list[int]) -> None:
    watched, alone = charged(points), charged(points)
    now_us = NOW_US
    for gap_us in gaps_us:
        now_us += gap_us
        watched.standing(PEER, now_us)
    seen, unseen = watched.standing(PEER, now_us), alone.standing(PEER, now_us)
    assert seen is not None
    assert unseen is not None
    assert seen.score_micro == unseen.score_micro


def test_a_score_halves() -> None:
    standing = charged(80).standing(PEER, NOW_US + HALF_LIFE_US)
    assert standing is not None
    assert standing.points in (39, 40)


@given(st.integers(0, 3 * SCORE_POINTS_MAX))
def test_nobody_is_shunned_for_good(points: int) -> None:
    """Whoever is told to come back is answered when it does, and not before."""
    quota = charged(points)
    wait_us = quota.shunned_us(PEER, NOW_US)
    assert (wait_us > 0) == (points >= SHUNNED_POINTS)
    assert wait_us <= 12 * 60 * MICRO
    if wait_us:
        assert quota.ask(PEER, 1, NOW_US + wait_us - 1).answer == "shunned"
        assert quota.ask(PEER, 1, NOW_US + wait_us).answer == "go"


def test_a_slowed_peer_has_an_eighth_of_its_rates() -> None:
    quick, slow = Quota(LIMITS), charged(SLOWED_POINTS)
    assert slow.slowed(NOW_US) == [PEER]
    for quota in (quick, slow):
        while quota.ask(PEER, 0, NOW_US).us == 0:
            pass
    ahead_us = [quota.ask(PEER, 0, NOW_US).us for quota in (quick, slow)]
    assert ahead_us[1] >= (SLOWED_DIVISOR - 1) * ahead_us[0]


def test_asking_on_while_told_to_wait_is_forgiven_for_a_while_and_then_charged() -> None:
    quota = Quota(LIMITS)
    while quota.ask(PEER, 0, NOW_US).answer == "go":
        pass
    for _ in range(PATIENCE_REFUSALS - 1):
        quota.ask(PEER, 0, NOW_US)
    assert quota.charges(PEER) == 0
    for _ in range(SHUNNED_POINTS):
        quota.ask(PEER, 0, NOW_US)
    assert quota.ask(PEER, 0, NOW_US).answer == "shunned"
    assert quota.ask(OTHER, 0, NOW_US).answer == "go"
    standing = quota.standing(PEER, NOW_US)
    assert standing is not None
    assert "told to wait" in standing.last_reason


def test_an_answer_that_was_dear_is_paid_off_by_waiting() -> None:
    quota = Quota(LIMITS)
    assert quota.ask(PEER, 0, NOW_US).answer == "go"
    quota.spend(PEER, 0, 1_000_000, NOW_US)
    turn = quota.ask(PEER, 0, NOW_US)
    assert turn.answer == "wait"
    assert turn.us <= module.DEBT_S_MAX * MICRO
    assert quota.ask(PEER, 0, NOW_US + turn.us) == module.Turn("go", 0)


def test_a_clock_that_is_set_back_starves_nobody() -> None:
    quota = Quota(LIMITS)
    for _ in range(10 * BURST_S):
        quota.ask(PEER, 0, NOW_US)
    back_us = NOW_US - 3_600 * MICRO
    quota.ask(PEER, 0, back_us)
    assert quota.ask(PEER, 0, back_us + 2 * MICRO) == module.Turn("go", 0)
    guilty = charged(SHUNNED_POINTS)
    assert guilty.shunned_us(PEER, back_us) <= 12 * 60 * MICRO


def test_the_table_is_bounded_and_the_least_to_blame_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PEERS_MAX", 16)
    quota = charged(40)
    for number in range(200):
        peer: Any = bytes(Signer(number.to_bytes(32, "big")).agent)
        quota.charge(peer, "a little", Fault.HASTE, NOW_US)
    assert len(quota._standings) <= 16
    assert quota.charges(PEER) == 40


def test_a_stranger_that_is_only_looked_up_is_not_remembered() -> None:
    quota = Quota(LIMITS)
    assert quota.shunned_us(PEER, NOW_US) == 0
    assert quota.standing(PEER, NOW_US) is None
    assert quota.charges(PEER) == 0
    assert not quota._standings
