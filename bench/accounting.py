"""The arithmetic of the network bench: percentiles, deliveries, lines with their counts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.report import Line


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` (0 to 1) of all do not exceed; 0 of none."""
    if not samples:
        return 0.0
    ordered = sorted(samples)
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(1, min(rank, len(ordered))) - 1]


@dataclass
class Deliveries:
    """Which writes each observer has noticed, and how long after they were made.

    A write is named by (writer, value); one that is noticed again counts once.
    """

    observers: int
    written: set[tuple[bytes, int]] = field(default_factory=set)
    lags_ms: list[float] = field(default_factory=list)
    _seen: list[set[tuple[bytes, int]]] = field(init=False)

    def __post_init__(self) -> None:
        self._seen = [set() for _ in range(self.observers)]

    def write(self, writer: bytes, value: int) -> None:
        """A write was committed."""
        self.written.add((writer, value))

    def notice(self, observer: int, writer: bytes, value: int, lag_ms: float) -> None:
        """An observer has read a write, maybe before its writer hears that it is committed."""
        if (writer, value) not in self._seen[observer]:
            self._seen[observer].add((writer, value))
            self.lags_ms.append(lag_ms)

    def complete(self, observer: int) -> bool:
        """Whether this observer has noticed every write."""
        return self._seen[observer] >= self.written

    @property
    def expected(self) -> int:
        """How many deliveries make it all."""
        return len(self.written) * self.observers

    @property
    def delivered(self) -> int:
        """How many of them have been made."""
        return sum(len(seen & self.written) for seen in self._seen)

    @property
    def lost(self) -> int:
        """How many have not."""
        return self.expected - self.delivered


def count(work: str, value: float, unit: str) -> Line:
    """A raw count, or what was spent: no aim."""
    return Line(work, value, unit, 1)


def at_most(work: str, value: float, unit: str, runs: int, most: float | None) -> Line:
    """A figure that should be small; its ratio is against the aim."""
    if most is None:
        return Line(work, value, unit, runs)
    return Line(work, value, unit, runs, most, None, f"<= {most:g} {unit}", value <= most)


def at_least(work: str, value: float, unit: str, runs: int, least: float | None) -> Line:
    """A figure that should be large; its ratio is against the aim."""
    if least is None:
        return Line(work, value, unit, runs)
    return Line(work, value, unit, runs, least, None, f">= {least:g} {unit}", value >= least)


def times(
    work: str, samples_ms: Sequence[float], p50: float | None = None, p95: float | None = None
) -> list[Line]:
    """p50, p95 and the longest, in milliseconds."""
    runs = len(samples_ms)
    return [
        at_most(f"{work}, p50", percentile(samples_ms, 0.5), "ms", runs, p50),
        at_most(f"{work}, p95", percentile(samples_ms, 0.95), "ms", runs, p95),
        at_most(f"{work}, max", max(samples_ms, default=0.0), "ms", runs, None),
    ]


def deliveries(work: str, made: Deliveries, seconds: float, cpu_s: float) -> list[Line]:
    """The raw counts, the share that arrived, and what it cost."""
    delivered = made.delivered
    share = 100.0 * delivered / made.expected if made.expected else 0.0
    return [
        count(f"{work}, writes", len(made.written), "writes"),
        count(f"{work}, seconds", seconds, "s"),
        count(f"{work}, rate", len(made.written) / seconds, "writes/s"),
        count(f"{work}, deliveries expected", made.expected, "deliveries"),
        count(f"{work}, deliveries made", delivered, "deliveries"),
        count(f"{work}, deliveries lost", made.lost, "deliveries"),
        at_least(f"{work}, delivered", share, "%", made.expected, 100.0),
        count(f"{work}, CPU of all nodes", cpu_s, "s"),
        count(f"{work}, CPU per write", 1_000 * cpu_s / max(1, len(made.written)), "ms"),
        count(f"{work}, CPU per delivery", 1_000 * cpu_s / max(1, delivered), "ms"),
    ]
