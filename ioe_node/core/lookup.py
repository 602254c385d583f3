"""An iterative Kademlia lookup as a state machine: who is closest to a key, found by asking.

Theory, as the Kademlia paper has it and as we run it.  Every peer has a place, a 32-bit number,
and distance is XOR.  A peer knows much of its own neighbourhood and little of the rest, so each
answer (the k peers that the asked one knows closest to the key) about halves the distance, and
the key's neighbourhood is reached in O(log N) hops.

    unasked --Ask--> waiting --on_success--> answered
                        |  \\--on_failure---> failed
                        \\--patience over---> overdue --on_success--> answered

- *The window* is the `count` closest candidates, those failed or overdue left out.  Whoever in it
  is unasked is asked, the closest first, with never more than `alpha` waited for.  There are no
  rounds: a place that falls free is filled at once, so a slow peer slows one lane of three.
- *It ends* when all in the window have answered.  Nobody closer can be learned then, but from a
  peer farther away than all of them.
- *Overdue* is not failed: the lookup goes on past such a peer, and its late answer still counts.

What a peer says costs us little: `PEERS_PER_ANSWER_MAX` names are read of one answer, and one
answer of a peer; `UNASKED_MAX` candidates are kept; after `ASKS_MAX` asks nobody else is asked.
As nobody is asked twice, the lookup ends whatever is answered.  A peer that invents others costs
an ask each until they fail; a crowd that is really there and lies in concert is not for a lookup
to tell from the true neighbourhood: that is what the membrane and the witnesses' places are for.

Whoever runs the lookup computes places (`hashes.key_of`, or a witness place); it never believes
one, and it leaves itself out.
Source: Maymounkov and Mazières, "Kademlia", 2002, 2.3.
"""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice

from ioe_node.model.hashes import CORE, AgentPubKey

ALPHA = 3
"""How many are waited for at once."""
PEERS_PER_ANSWER_MAX = 20
"""k: how many names of one answer are read."""
UNASKED_MAX = 256
ASKS_MAX = 512
PATIENCE_US = 3_000_000


@dataclass(frozen=True)
class Ask:
    """Ask this peer whom it knows closest to the key; then `on_success` or `on_failure`."""

    peer: AgentPubKey


@dataclass(frozen=True)
class Wait:
    """Nothing to do before an answer comes, or before this time."""

    until_us: int


@dataclass(frozen=True)
class Done:
    """Those closest to the key that answered, closest first.

    `hops`: how many peers had to be asked one after another to learn of the farthest-fetched of
    them, itself included; `asks`: how many were asked in all.
    """

    peers: tuple[AgentPubKey, ...]
    hops: int
    asks: int
    took_us: int


class _State(Enum):
    UNASKED = auto()
    WAITING = auto()
    OVERDUE = auto()
    ANSWERED = auto()
    FAILED = auto()


@dataclass
class _Candidate:
    peer: AgentPubKey
    hops: int
    state: _State = _State.UNASKED
    patient_until_us: int = 0


class Lookup:
    """One lookup.  Call `next` until it is `Done`, and after each answer or time it waits for."""

    def __init__(
        self,
        key: int,
        start: Iterable[tuple[AgentPubKey, int]],
        now_us: int,
        *,
        count: int = PEERS_PER_ANSWER_MAX,
        alpha: int = ALPHA,
        patience_us: int = PATIENCE_US,
    ) -> None:
        """Look for the `count` closest to `key`, beginning with the `start` peers and places."""
        assert count > 0
        assert alpha > 0
        self._key = key
        self._count = count
        self._alpha = alpha
        self._patience_us = patience_us
        self._candidates: dict[AgentPubKey, _Candidate] = {}
        self._nearest: list[tuple[int, bytes, AgentPubKey]] = []
        self._asks = 0
        self._done: Done | None = None
        self._began_us = now_us
        for peer, place in islice(start, UNASKED_MAX):
            self._add(peer, place, hops=1)

    def next(self, now_us: int) -> Ask | Wait | Done:
        """What to do now.  A peer in an `Ask` counts as asked; `Done` stays `Done`."""
        if self._done is not None:
            return self._done
        self._pass_time(now_us)
        waiting = self._all(_State.WAITING)
        window = self._window()
        unasked = [one for one in window if one.state is _State.UNASKED and self._asks < ASKS_MAX]
        if unasked and len(waiting) < self._alpha:
            return self._ask(unasked[0], now_us)
        if unasked or any(one.state is _State.WAITING for one in window):
            return Wait(min(one.patient_until_us for one in waiting))
        return self._end(now_us)

    def on_success(
        self, peer: AgentPubKey, closer: Iterable[tuple[AgentPubKey, int]], now_us: int
    ) -> None:
        """A peer answered with those that it knows closest.  Once a peer; never unasked."""
        self._pass_time(now_us)
        candidate = self._asked(peer)
        if candidate is None:
            return
        candidate.state = _State.ANSWERED
        for named, place in islice(closer, PEERS_PER_ANSWER_MAX):
            self._add(named, place, candidate.hops + 1)

    def on_failure(self, peer: AgentPubKey, now_us: int) -> None:
        """A peer cannot be reached, or answered with what is no answer."""
        self._pass_time(now_us)
        candidate = self._asked(peer)
        if candidate is not None:
            candidate.state = _State.FAILED

    def _asked(self, peer: AgentPubKey) -> _Candidate | None:
        """The candidate whose answer is due; None for anyone else."""
        candidate = self._candidates.get(peer)
        due = candidate is not None and candidate.state in (_State.WAITING, _State.OVERDUE)
        return candidate if due and self._done is None else None

    def _add(self, peer: AgentPubKey, place: int, hops: int) -> None:
        if peer in self._candidates:
            return
        self._candidates[peer] = _Candidate(peer, hops)
        insort(self._nearest, (place ^ self._key, peer[CORE], peer))
        if len(self._candidates) - self._asks > UNASKED_MAX:
            self._forget_farthest()

    def _forget_farthest(self) -> None:
        """Drop the farthest candidate that was not asked."""
        for at in range(len(self._nearest) - 1, -1, -1):
            peer = self._nearest[at][2]
            if self._candidates[peer].state is _State.UNASKED:
                del self._nearest[at]
                del self._candidates[peer]
                return

    def _pass_time(self, now_us: int) -> None:
        """Those whose time is over are overdue."""
        for candidate in self._all(_State.WAITING):
            if candidate.patient_until_us <= now_us:
                candidate.state = _State.OVERDUE

    def _all(self, state: _State) -> list[_Candidate]:
        """Every candidate in this state, closest first."""
        ordered = (self._candidates[peer] for _, _, peer in self._nearest)
        return [one for one in ordered if one.state is state]

    def _window(self) -> list[_Candidate]:
        """The `count` closest, those failed or overdue left out."""
        ordered = (self._candidates[peer] for _, _, peer in self._nearest)
        out = (_State.FAILED, _State.OVERDUE)
        return list(islice((one for one in ordered if one.state not in out), self._count))

    def _ask(self, candidate: _Candidate, now_us: int) -> Ask:
        candidate.state = _State.WAITING
        candidate.patient_until_us = now_us + self._patience_us
        self._asks += 1
        return Ask(candidate.peer)

    def _end(self, now_us: int) -> Done:
        found = self._all(_State.ANSWERED)[: self._count]
        self._done = Done(
            peers=tuple(one.peer for one in found),
            hops=max((one.hops for one in found), default=0),
            asks=self._asks,
            took_us=now_us - self._began_us,
        )
        return self._done
