"""Measurements as a table for people or, for programs, one JSON object a line.

A line has `work`, `value`, `unit`, `runs`, `limit` or `peer` (what it is held against, in the
same unit), `ratio` (value / that) and `aim` (the ratio or value wanted, or null).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

TABLE_WIDTH = 118


@dataclass(frozen=True)
class Line:
    """One measured figure: the median of `runs` runs.

    `limit` is the least that any program must spend on this machine, `peer` a figure of other
    software; at most one of them is given.  `aim` is written as people say it: `ratio >= 0.6`,
    `<= 2 s`.  `reached` is whether it holds, None without an aim.
    """

    work: str
    value: float
    unit: str
    runs: int
    limit: float | None = None
    peer: float | None = None
    aim: str | None = None
    reached: bool | None = None

    @property
    def ratio(self) -> float | None:
        """`value` over `limit` or `peer`."""
        against = self.limit if self.limit is not None else self.peer
        return None if not against else self.value / against


def against_limit(
    work: str, unit: str, ours: list[float], limits: list[float], ratio_min: float | None = None
) -> Line:
    """The line of interleaved runs; the aim bounds the ratio of the medians from below."""
    value, limit = median(ours), median(limits)
    if ratio_min is None:
        return Line(work, value, unit, len(ours), limit)
    aim = f"ratio >= {ratio_min:g}"
    return Line(work, value, unit, len(ours), limit, None, aim, value / limit >= ratio_min)


def as_json(line: Line) -> str:
    """One JSON object, without line breaks."""
    shown: dict[str, object] = {
        "work": line.work,
        "value": _rounded(line.value),
        "unit": line.unit,
        "runs": line.runs,
    }
    if line.limit is not None:
        shown["limit"] = _rounded(line.limit)
    if line.peer is not None:
        shown["peer"] = _rounded(line.peer)
    ratio = line.ratio
    shown["ratio"] = None if ratio is None else round(ratio, 3)
    shown["aim"] = line.aim
    return json.dumps(shown)


def _rounded(value: float) -> float:
    """Four significant digits are more than any of this is worth."""
    return float(f"{value:.4g}")


def show(title: str, lines: Iterable[Line], in_json: bool) -> bool:
    """Print every line; True if no aim was missed."""
    lines = list(lines)
    if in_json:
        for line in lines:
            print(as_json(line))
    else:
        table = Table(title=title, title_justify="left")
        table.add_column("work")
        for name in ("value", "limit or peer", "ratio"):
            table.add_column(name, justify="right")
        table.add_column("aim")
        for line in lines:
            table.add_row(line.work, *_cells(line))
        Console(width=TABLE_WIDTH).print(table)
    return all(line.reached is not False for line in lines)


def _cells(line: Line) -> tuple[str, str, str, str]:
    against = line.limit if line.limit is not None else line.peer
    verdict = {None: "", True: " ✓", False: " ✗ missed"}[line.reached]
    return (
        f"{_plain(line.value)} {line.unit}",
        "" if against is None else _plain(against),
        "" if line.ratio is None else f"{line.ratio:.2f}",
        (line.aim or "") + verdict,
    )


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
