"""Presence in virtual time: who has gone is known within a minute, and nobody flaps."""

from collections.abc import Callable
from random import Random

import pytest

from discovery.presence import (
    DOUBT_EVERY_US,
    MISSES_MAX,
    PROBE_EVERY_US,
    PROBE_TIMEOUT_US,
    PROBES_AT_ONCE_MAX,
    SECOND_US,
    Presence,
)
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer

MINUTE_US = 60 * SECOND_US
PLUG = Signer(b"p" * 32).agent


def agents(count: int) -> list[AgentPubKey]:
    return [Signer(place.to_bytes(32, "big")).agent for place in range(count)]


class Street:
    """Agents that answer or not, and an hour in steps of a tenth of a second."""

    def __init__(self, seed: int = 1) -> None:
        self.presence = Presence(Random(seed))
        self.now_us = 0
        self.here: Callable[[AgentPubKey], bool] = lambda agent: True
        self.probed: list[tuple[int, AgentPubKey]] = []
        self.left: list[tuple[int, AgentPubKey]] = []
        self._asked: list[tuple[int, AgentPubKey, bool]] = []

    def run(self, for_us: int, each: Callable[[], None] = lambda: None) -> None:
        until = self.now_us + for_us
        while self.now_us < until:
            each()
            self._settle()
            for agent in self.presence.due(self.now_us):
                self.probed.append((self.now_us, agent))
                answers = self.here(agent)
                ends = self.now_us + (SECOND_US // 10 if answers else PROBE_TIMEOUT_US)
                self._asked.append((ends, agent, answers))
            assert len(self._asked) <= PROBES_AT_ONCE_MAX
            self.now_us += SECOND_US // 10

    def _settle(self) -> None:
        over = [each for each in self._asked if each[0] <= self.now_us]
        self._asked = [each for each in self._asked if each[0] > self.now_us]
        for _, agent, answers in over:
            if answers:
                self.presence.answered(agent, self.now_us)
            elif self.presence.silent(agent, self.now_us):
                self.left.append((self.now_us, agent))


@pytest.fixture
def street() -> Street:
    made = Street()
    made.presence.heard(PLUG, 0)
    made.run(MINUTE_US)
    assert made.presence.answers(PLUG)
    return made


def test_one_that_is_here_stays_and_is_asked_now_and_then(street: Street) -> None:
    street.run(60 * MINUTE_US)
    assert not street.left
    gaps = [b[0] - a[0] for a, b in zip(street.probed, street.probed[1:], strict=False)]
    assert max(gaps) <= PROBE_EVERY_US + SECOND_US
    assert min(gaps[1:]) >= PROBE_EVERY_US // 2


@pytest.mark.parametrize("seed", range(20))
def test_a_power_cut_is_told_within_a_minute(seed: int) -> None:
    street = Street(seed)
    street.presence.heard(PLUG, 0)
    street.run(MINUTE_US + seed * SECOND_US)
    cut_us = street.now_us
    street.here = lambda agent: False
    street.run(MINUTE_US)
    ((left_us, agent),) = street.left
    assert agent == PLUG
    assert left_us - cut_us < 45 * SECOND_US
    assert not street.presence.answers(PLUG)


@pytest.mark.parametrize(("lost", "leaves"), [(1, False), (2, False), (MISSES_MAX, True)])
def test_lost_probes_make_it_leave_only_when_they_are_three_in_a_row(
    street: Street, lost: int, leaves: bool
) -> None:
    losing = [False] * lost
    street.here = lambda agent: losing.pop() if losing else True
    street.run(10 * MINUTE_US)
    assert bool(street.left) is leaves


def test_lost_probes_with_an_answer_between_do_not_add_up(street: Street) -> None:
    turns = [True, False, False] * 100
    street.here = lambda agent: turns.pop()
    street.run(20 * MINUTE_US)
    assert not street.left
    assert len(turns) < 250


def test_a_goodbye_is_believed_within_seconds_once_it_is_true(street: Street) -> None:
    street.here = lambda agent: False
    said_us = street.now_us
    street.presence.doubt(PLUG, said_us)
    street.run(MINUTE_US)
    ((left_us, _),) = street.left
    assert left_us - said_us <= DOUBT_EVERY_US + MISSES_MAX * PROBE_TIMEOUT_US + 7 * SECOND_US


def test_a_flood_of_forged_goodbyes_makes_nobody_leave_and_few_probes(street: Street) -> None:
    street.probed.clear()
    street.run(10 * MINUTE_US, lambda: street.presence.doubt(PLUG, street.now_us))
    assert not street.left
    assert len(street.probed) <= 10 * MINUTE_US / DOUBT_EVERY_US + 1


def test_forged_goodbyes_do_not_hasten_a_judgement_after_a_lost_packet(street: Street) -> None:
    losing = [False, False]
    street.here = lambda agent: losing.pop() if losing else True
    street.run(10 * MINUTE_US, lambda: street.presence.doubt(PLUG, street.now_us))
    assert not street.left


def test_a_goodbye_for_a_stranger_is_nothing() -> None:
    presence = Presence(Random(1))
    presence.doubt(PLUG, 0)
    presence.answered(PLUG, 0)
    assert presence.silent(PLUG, 0) is False
    assert presence.due(MINUTE_US) == []


def test_one_that_never_answered_is_asked_once_a_card_and_does_not_leave_here() -> None:
    street = Street()
    street.here = lambda agent: False
    for _ in range(4):
        street.presence.heard(PLUG, street.now_us)
        street.run(5 * MINUTE_US, lambda: street.presence.doubt(PLUG, street.now_us))
    assert len(street.probed) == 4
    assert not street.left


def test_a_crowd_of_invented_agents_does_not_delay_a_true_absence(street: Street) -> None:
    street.here = lambda agent: False
    for each in agents(1000):
        street.presence.heard(each, street.now_us)
    cut_us = street.now_us
    street.run(2 * MINUTE_US)
    ((left_us, agent),) = street.left
    assert agent == PLUG
    assert left_us - cut_us < MINUTE_US


def test_a_new_card_is_a_sign_of_life(street: Street) -> None:
    street.here = lambda agent: False
    street.run(5 * MINUTE_US, lambda: street.presence.heard(PLUG, street.now_us))
    assert not street.left


def test_who_is_forgotten_is_not_asked(street: Street) -> None:
    street.presence.forget(PLUG)
    street.probed.clear()
    street.run(MINUTE_US)
    assert not street.probed
