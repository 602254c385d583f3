"""Quota: how much of us a peer may use, and what we remember of what it did wrong.

Two token buckets a peer, one of requests and one of bytes, run into debt by a request that costs
more than is left and are paid off by time.  Whoever is a little ahead is paced (its answer waits
its turn), whoever is far ahead is told to come back.  Misbehaviour is scored in points that decay
by half in `HALF_LIFE_US`: past `SLOWED_POINTS` a peer has an eighth of its rates, past
`SHUNNED_POINTS` its links are refused until the score has decayed below that again.  A score is no
proof and nobody else hears of it; only a warrant is for good.

Invariant: a peer that keeps its rates and sends nothing wrong is never refused, and whoever was
refused is answered again after `shunned_us`, which is ten minutes at most.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from ioe_node.model.hashes import AgentPubKey

REQUESTS_PER_S = 200
BYTES_PER_S = 8_000_000
LIMBO_ROWS_MAX = 10_000
DISK_BYTES_MAX = 8_192_000_000
BURST_S = 4
"""A bucket holds this many seconds of its rate."""
DEBT_S_MAX = 30
PACE_US_MAX = 2_000_000
"""Whoever would wait longer than this for its answer is told to come back instead."""
SLOWED_DIVISOR = 8
PATIENCE_REFUSALS = 64
"""So many requests may come while we say `busy`, and one more a second, before it is charged: a
peer may have as many on their way when it first hears of it."""

MICRO = 1_000_000
HALF_LIFE_US = 5 * 60 * 1_000_000
STEPS_PER_HALF_LIFE = 8
STEP_US = HALF_LIFE_US // STEPS_PER_HALF_LIFE
STEP_FACTOR_MICRO = 917_004
"""2 to the power of -1/8, in millionths."""
SLOWED_POINTS = 50
SHUNNED_POINTS = 150
SCORE_POINTS_MAX = 600
PEERS_MAX = 4_096
REASON_CHARS_MAX = 200


class Fault(IntEnum):
    """What a peer did, in points.

    Bytes that no honest node makes; a record or request that does not stand (a wrong clock may
    explain one); asking on while told to wait.
    """

    MALFORMED = 20
    REFUSED = 5
    HASTE = 1


@dataclass(frozen=True)
class Limits:
    """What each peer may use of a cell, and all of them together of its disk."""

    requests_per_s: int = REQUESTS_PER_S
    bytes_per_s: int = BYTES_PER_S
    limbo_rows: int = LIMBO_ROWS_MAX
    disk_bytes_max: int = DISK_BYTES_MAX


@dataclass(frozen=True)
class Turn:
    """`go` after `us` microseconds; or `wait` or `shunned`: come back after `us`."""

    answer: Literal["go", "wait", "shunned"]
    us: int


@dataclass(slots=True)
class Bucket:
    """Tokens that come back at `per_s` up to `burst`; below zero they are owed.

    A clock that is set back gives nothing and takes nothing.
    """

    per_s: int
    burst: int
    at_us: int
    level_micro: int = field(init=False)

    def __post_init__(self) -> None:
        self.level_micro = self.burst * MICRO

    def refill(self, now_us: int, divisor: int = 1) -> None:
        """Give what came back since; the rate is `per_s // divisor`, at least 1."""
        elapsed_us = max(0, now_us - self.at_us)
        rate = max(1, self.per_s // divisor)
        self.level_micro = min(self.burst * MICRO, self.level_micro + elapsed_us * rate)
        self.at_us = now_us

    def spend(self, tokens: int) -> None:
        """Take tokens, on debt if need be, of `DEBT_S_MAX` seconds at most."""
        floor_micro = -self.per_s * DEBT_S_MAX * MICRO
        self.level_micro = max(floor_micro, self.level_micro - tokens * MICRO)

    def wait_us(self, divisor: int = 1) -> int:
        """How long until nothing is owed."""
        return max(0, -(self.level_micro // max(1, self.per_s // divisor)))


@dataclass(slots=True)
class Standing:
    """One peer: its buckets, when it last asked, its score, and what it was last charged with."""

    requests: Bucket
    bytes: Bucket
    patience: Bucket
    scored_us: int
    asked_us: int = 0
    score_micro: int = 0
    charges: int = 0
    last_reason: str = ""
    last_charge_us: int = 0

    def decay(self, now_us: int) -> None:
        """Take whole steps of decay, so that looking more often changes nothing."""
        steps = (now_us - self.scored_us) // STEP_US
        while steps > 0 and self.score_micro:
            self.score_micro = self.score_micro * STEP_FACTOR_MICRO // MICRO
            self.scored_us += STEP_US
            steps -= 1
        if not self.score_micro or steps < 0:
            self.scored_us = now_us

    def shunned_us(self, now_us: int) -> int:
        """How long until the score is below `SHUNNED_POINTS`; 0 if it is."""
        score_micro, steps = self.score_micro, 0
        while score_micro >= SHUNNED_POINTS * MICRO:
            score_micro = score_micro * STEP_FACTOR_MICRO // MICRO
            steps += 1
        return max(1, self.scored_us + steps * STEP_US - now_us) if steps else 0

    @property
    def points(self) -> int:
        """The score in whole points."""
        return self.score_micro // MICRO

    @property
    def divisor(self) -> int:
        """By what its rates are divided."""
        return SLOWED_DIVISOR if self.score_micro >= SLOWED_POINTS * MICRO else 1

    def spent(self) -> bool:
        """Whether there is anything to remember."""
        full = self.bytes.level_micro == self.bytes.burst * MICRO
        return bool(self.score_micro) or not full


class Quota:
    """The standings of all peers of one cell: `PEERS_MAX` at most, the least to blame go first."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._standings: dict[AgentPubKey, Standing] = {}

    def ask(self, peer: AgentPubKey, size_bytes: int, now_us: int) -> Turn:
        """A request of `size_bytes` has come: when it is answered, and whether at all."""
        standing = self._at(peer, now_us)
        standing.asked_us = now_us
        shunned_us = standing.shunned_us(now_us)
        if shunned_us:
            return Turn("shunned", shunned_us)
        divisor = standing.divisor
        wait_us = max(standing.requests.wait_us(divisor), standing.bytes.wait_us(divisor))
        if wait_us > PACE_US_MAX:
            standing.patience.refill(now_us)
            if standing.patience.level_micro < MICRO:
                self.charge(peer, "it asks on while it is told to wait", Fault.HASTE, now_us)
            else:
                standing.patience.spend(1)
            return Turn("wait", wait_us)
        standing.requests.spend(1)
        standing.bytes.spend(size_bytes)
        return Turn("go", wait_us)

    def spend(self, peer: AgentPubKey, requests: int, size_bytes: int, now_us: int) -> None:
        """What an answer cost beyond the one request and its bytes."""
        standing = self._at(peer, now_us)
        standing.requests.spend(requests)
        standing.bytes.spend(size_bytes)

    def charge(self, peer: AgentPubKey, why: str, fault: Fault, now_us: int) -> None:
        """Score what a peer did."""
        standing = self._at(peer, now_us)
        score_micro = standing.score_micro + fault * MICRO
        standing.score_micro = min(SCORE_POINTS_MAX * MICRO, score_micro)
        standing.charges += 1
        standing.last_reason = why[:REASON_CHARS_MAX]
        standing.last_charge_us = now_us

    def shunned_us(self, peer: AgentPubKey, now_us: int) -> int:
        """How long a peer's links are refused; 0: they are not.  Remembers no stranger."""
        return self._at(peer, now_us).shunned_us(now_us) if peer in self._standings else 0

    def standing(self, peer: AgentPubKey, now_us: int) -> Standing | None:
        """A peer's standing now, to look at; None if nothing is remembered."""
        return self._at(peer, now_us) if peer in self._standings else None

    def slowed(self, now_us: int) -> list[AgentPubKey]:
        """Who is slowed or shunned now, in key order."""
        peers = sorted(self._standings)
        return [peer for peer in peers if self._at(peer, now_us).divisor > 1]

    def peers(self) -> int:
        """Of how many peers anything is remembered."""
        return len(self._standings)

    def charges(self, peer: AgentPubKey) -> int:
        """How often a peer was charged, as far as is remembered."""
        standing = self._standings.get(peer)
        return 0 if standing is None else standing.charges

    def _at(self, peer: AgentPubKey, now_us: int) -> Standing:
        """A peer's standing, brought up to now."""
        standing = self._standings.get(peer)
        if standing is None:
            if len(self._standings) >= PEERS_MAX:
                self._forget(now_us)
            limits = self.limits
            standing = self._standings[peer] = Standing(
                Bucket(limits.requests_per_s, limits.requests_per_s * BURST_S, now_us),
                Bucket(limits.bytes_per_s, limits.bytes_per_s * BURST_S, now_us),
                Bucket(1, PATIENCE_REFUSALS, now_us),
                now_us,
            )
        standing.decay(now_us)
        standing.requests.refill(now_us, standing.divisor)
        standing.bytes.refill(now_us, standing.divisor)
        return standing

    def _forget(self, now_us: int) -> None:
        """Make room: whoever has nothing to remember goes, then the least to blame, a quarter."""
        for peer in list(self._standings):
            if not self._at(peer, now_us).spent():
                del self._standings[peer]
        excess = len(self._standings) - PEERS_MAX * 3 // 4
        if excess > 0:
            least = sorted(self._standings.items(), key=lambda item: item[1].score_micro)
            for peer, _ in least[:excess]:
                del self._standings[peer]
