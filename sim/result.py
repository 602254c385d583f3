"""What a run came to: figures, and what the checkers found."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from sim.trace import Trace

if TYPE_CHECKING:
    from sim.swarm import Swarm
    from sim.watch import Watch


class Metric(NamedTuple):
    """A figure, its unit, and the virtual second at which it was taken."""

    name: str
    value: float
    unit: str
    at_s: float = 0.0


ENDS = "the run comes to its end"
"""The checker that finds crashes."""


class Finding(NamedTuple):
    """What a checker found wrong, and the virtual second of the run at which it did."""

    checker: str
    at_s: float
    text: str


@dataclass
class Result:
    """One run's figures and findings; `checks` are the names of the checkers that looked.

    `series` are the counts at each look, over virtual time; a unit of "so far" only grows.
    `crash` is the traceback of a run that an exception ended.
    """

    scenario: str
    nodes: int
    seed: int
    trace: Trace | None
    trace_hash: str = ""
    virtual_s: float = 0.0
    wall_s: float = 0.0
    metrics: list[Metric] = field(default_factory=list)
    series: list[Metric] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    crash: str = ""

    @property
    def passed(self) -> bool:
        """Whether no checker found anything."""
        return not self.findings

    def measure(self, name: str, value: float, unit: str, at_s: float = 0.0) -> None:
        """Put down a figure."""
        self.metrics.append(Metric(name, value, unit, at_s))

    def spread(self, name: str, seconds: Sequence[float]) -> None:
        """Put down how many there were, the median, the 95th percentile and the longest."""
        ordered = sorted(seconds)
        self.measure(f"{name}, count", len(ordered), "")
        if ordered:
            self.measure(f"{name}, p50", ordered[len(ordered) // 2], "s")
            self.measure(f"{name}, p95", ordered[(len(ordered) - 1) * 95 // 100], "s")
            self.measure(f"{name}, longest", ordered[-1], "s")

    def figure(self, name: str) -> float:
        """The newest figure of a name; raises `KeyError`."""
        for metric in reversed(self.metrics):
            if metric.name == name:
                return metric.value
        raise KeyError(name)

    def take(self, watch: "Watch") -> None:
        """The checkers' names and findings, and what was counted at each look."""
        self.checks = watch.names()
        self.findings = list(watch.findings)
        self.series = watch.series

    def fail(self, error: BaseException) -> None:
        """Put down that an exception ended the run, as its finding."""
        self.crash = "".join(traceback.format_exception(error))
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.checks = [ENDS]
        text = " ".join(f"crashed: {type(error).__name__}: {error}".split())
        self.findings = [Finding(ENDS, self.virtual_s, text)]

    def without_trace(self) -> "Result":
        """The same, fit to leave this process."""
        return replace(self, trace=None)

    def count(self, swarm: "Swarm") -> None:
        """The figures that every run has."""
        trace = swarm.trace
        self.trace_hash = trace.hash()
        running = swarm.running()
        ops = sum(home.store.ops_digest()[0] for home in running)
        self.measure("nodes running in the end", len(running), "")
        self.measure("messages", trace.messages, "")
        self.measure("messages lost", trace.lost, "")
        self.measure("bytes sent", trace.message_bytes, "B")
        self.measure("bundles committed", trace.commits, "")
        self.measure("ops held, all nodes", ops, "")
