"""Who is still here: a state machine that says whom to probe, and who has gone.  (I-026, I-119)

Pure; times are microseconds of one monotonic clock.  A probe is a question that only the agent
itself can answer, so its answer proves that it is here, and nothing else proves that it is not:
a goodbye, which nobody signs, only brings the next probe forward.  An agent is probed at least
every `PROBE_EVERY_US`; `MISSES_MAX` unanswered probes in a row, and it has gone.  With probes that
give up after `PROBE_TIMEOUT_US` that is 41 s after a power cut at the latest, and no packet lost
alone, nor a second one, makes anyone leave.

An agent that never answered cannot be missed by its silence (it may stand behind a firewall): it
is tried once per card of its, and leaves when its last card expires.  So a flood of invented cards
costs a probe each and no more.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from ioe_node.model.hashes import AgentPubKey

SECOND_US = 1_000_000
PROBE_EVERY_US = 20 * SECOND_US
PROBE_TIMEOUT_US = 5 * SECOND_US
RETRY_US = 3 * SECOND_US
DOUBT_EVERY_US = 5 * SECOND_US
"""Goodbyes bring a probe of the same agent forward no oftener than this."""
MISSES_MAX = 3
PROBES_AT_ONCE_MAX = 32
CLAIMED_MAX = 256
LEFT_MAX = 1_024


@dataclass
class _Watched:
    next_us: int | None
    """When to probe it; None: not until its next card."""
    probed_us: int
    answered: bool = False
    misses: int = 0
    asking: bool = False


class Presence:
    """The agents that are watched; bounded by who calls `heard`."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._watched: dict[AgentPubKey, _Watched] = {}

    def heard(self, agent: AgentPubKey, now_us: int) -> None:
        """A new card of `agent` came: it was here a moment ago."""
        one = self._watched.get(agent)
        if one is None:
            one = self._watched[agent] = _Watched(now_us, now_us - DOUBT_EVERY_US)
        if not one.asking:
            one.misses = 0
            one.next_us = self._later(now_us) if one.answered else now_us

    def doubt(self, agent: AgentPubKey, now_us: int) -> None:
        """Somebody says that `agent` has gone, or its card has expired: ask it soon."""
        one = self._watched.get(agent)
        if one is not None and one.answered and one.next_us is not None:
            one.next_us = min(one.next_us, max(now_us, one.probed_us + DOUBT_EVERY_US))

    def forget(self, agent: AgentPubKey) -> None:
        """Watch `agent` no more."""
        self._watched.pop(agent, None)

    def answers(self, agent: AgentPubKey) -> bool:
        """Whether `agent` has answered and is watched, so that its silence means something."""
        one = self._watched.get(agent)
        return one is not None and one.answered

    def due(self, now_us: int) -> list[AgentPubKey]:
        """Whom to probe now; tell each one's outcome by `answered` or `silent`.

        Those that answered before go first: a crowd that never did cannot hold them up.
        """
        free = PROBES_AT_ONCE_MAX - sum(one.asking for one in self._watched.values())
        due = [
            (not one.answered, one.misses, one.next_us, agent)
            for agent, one in self._watched.items()
            if not one.asking and one.next_us is not None and one.next_us <= now_us
        ]
        chosen = [agent for *_, agent in sorted(due)[: max(free, 0)]]
        for agent in chosen:
            self._watched[agent].asking = True
            self._watched[agent].probed_us = now_us
        return chosen

    def answered(self, agent: AgentPubKey, now_us: int) -> None:
        """The probe was answered: `agent` is here."""
        one = self._watched.get(agent)
        if one is not None:
            one.answered, one.asking, one.misses = True, False, 0
            one.next_us = self._later(now_us)

    def silent(self, agent: AgentPubKey, now_us: int) -> bool:
        """The probe was not answered; True if `agent` has gone now, and is forgotten."""
        one = self._watched.get(agent)
        if one is None:
            return False
        one.asking = False
        one.misses += 1
        if not one.answered:
            one.next_us = None
            return False
        if one.misses >= MISSES_MAX:
            del self._watched[agent]
            return True
        one.next_us = now_us + RETRY_US
        return False

    def _later(self, now_us: int) -> int:
        """Spread over the second half, so that a street's probes do not keep step."""
        return now_us + PROBE_EVERY_US // 2 + self._rng.randrange(PROBE_EVERY_US // 2)


class Gone:
    """Whose cards outlive them: keys that were claimed, and agents that we have missed.

    A card is good for minutes, and others hold it and pass it on meanwhile, so it says nothing of
    who has left since.  A claimed key never comes back, as its device lives on under another.
    """

    def __init__(self) -> None:
        self._claimed: dict[AgentPubKey, None] = {}
        self._left: dict[AgentPubKey, tuple[int, int]] = {}

    def claimed(self, agent: AgentPubKey) -> None:
        """The device that waited under this key has an owner."""
        self._claimed[agent] = None
        _bound(self._claimed, CLAIMED_MAX)

    def left(self, agent: AgentPubKey, issued_us: int, now_us: int) -> None:
        """`agent`, whose newest card was issued then, is here no more."""
        self._left.pop(agent, None)
        self._left[agent] = (issued_us, now_us)
        _bound(self._left, LEFT_MAX)

    def is_past(self, agent: AgentPubKey, issued_us: int, by_itself: bool) -> bool:
        """Whether a card says nothing about now.

        One that its agent told `by_itself` counts once it is newer than the last, whatever that
        agent's clock says; others' word has to be of later than its leaving.
        """
        if agent in self._claimed:
            return True
        last_us, left_us = self._left.get(agent, (-1, -1))
        return issued_us <= (last_us if by_itself else left_us)


def _bound(kept: dict[AgentPubKey, Any], most: int) -> None:
    """Let the oldest go where there are too many."""
    if len(kept) > most:
        del kept[next(iter(kept))]
