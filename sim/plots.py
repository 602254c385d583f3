"""Pictures of what happened in a run, and of how figures grow over many (matplotlib)."""

import importlib.util
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import Any

from ioe_node.errors import LocalError
from sim.result import Metric
from sim.results import must_write

GROWTH = (
    "hops for a lookup",
    "requests for a read",
    "messages for an action",
    "messages for an action, upkeep left out",
    "messages at rest",
    "messages to begin",
    "ops held",
    "records of others held",
    "storage",
    "memory at its peak",
)
FORMATS = (".png", ".svg", ".pdf")
NO_PLOTS = "plots need matplotlib: pip install 'ioe-node[plots]'"
INCHES_WIDE, INCHES_A_PANEL = 8.0, 2.4


def must_draw(path: Path) -> None:
    """Raise `LocalError` if no picture could be drawn there, before there is what to draw."""
    must_write(path)
    if path.suffix.lower() not in FORMATS:
        raise LocalError(f"{path.name} is no picture: its name must end in {', '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise LocalError(NO_PLOTS)


def _panels(count: int) -> tuple[Any, list[Any]]:
    """A figure and its panels, one above the other; raises `LocalError` without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise LocalError(NO_PLOTS) from None
    figure = Figure(figsize=(INCHES_WIDE, INCHES_A_PANEL * count), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(count, 1, place + 1) for place in range(count)]


LOG_FROM = 20
"""A figure that grows so many times over is drawn to a logarithmic scale; any other from zero, so
that what stays the same looks so."""
LABEL_CHARS = 24


def plot_run(path: Path, title: str, series: Sequence[Metric]) -> None:
    """Each series of one run over virtual time; what only grows is shown as its rate."""
    by_name: defaultdict[str, list[Metric]] = defaultdict(list)
    for metric in series:
        by_name[metric.name].append(metric)
    if not by_name:
        raise LocalError("this run took no series: nothing to plot")
    figure, panels = _panels(len(by_name))
    for panel, (name, taken) in zip(panels, by_name.items(), strict=True):
        times, values = [each.at_s for each in taken], [each.value for each in taken]
        if taken[0].unit == "so far":
            steps = list(pairwise(taken))
            times = [later.at_s for _, later in steps]
            values = [
                (later.value - sooner.value) / max(later.at_s - sooner.at_s, 1e-9)
                for sooner, later in steps
            ]
            name += " per second"
        panel.plot(times, values)
        panel.set_ylabel(name)
        panel.set_ylim(bottom=0)
    panels[0].set_title(title)
    panels[-1].set_xlabel("virtual seconds")
    figure.savefig(path)


def plot_growth(path: Path, rows: Iterable[dict[str, Any]], names: Sequence[str]) -> None:
    """Figures over the number of nodes: the mean of all seeds, and how far they spread."""
    rows = list(rows)
    found: dict[str, defaultdict[str, defaultdict[int, list[float]]]] = {}
    units: dict[str, str] = {}
    for row in rows:
        if row["name"] in names:
            lines = found.setdefault(row["name"], defaultdict(lambda: defaultdict(list)))
            lines[row["scenario"]][row["nodes"]].append(row["value"])
            units[row["name"]] = row["unit"]
    if not found:
        known = "".join(f"\n  {name}" for name in dict.fromkeys(row["name"] for row in rows))
        wanted = "these figures" if names != GROWTH else "the usual figures"
        raise LocalError(
            f"no run has any of {wanted}; choose with --metric of those that there are:{known}"
            if known
            else "no run has any figure"
        )
    figure, panels = _panels(len(found))
    for panel, (name, lines) in zip(panels, found.items(), strict=True):
        for scenario, by_nodes in lines.items():
            nodes = sorted(by_nodes)
            means = [sum(by_nodes[each]) / len(by_nodes[each]) for each in nodes]
            below = [mean - min(by_nodes[each]) for mean, each in zip(means, nodes, strict=True)]
            above = [max(by_nodes[each]) - mean for mean, each in zip(means, nodes, strict=True)]
            panel.errorbar(nodes, means, yerr=[below, above], marker="o", label=scenario)
        panel.set_xscale("log")
        values = [
            value for by_nodes in lines.values() for each in by_nodes.values() for value in each
        ]
        if 0 < LOG_FROM * min(values) <= max(values):
            panel.set_yscale("log")
        elif min(values) >= 0:
            panel.set_ylim(0, 1.1 * max(values) or 1)
        panel.set_ylabel(fill(f"{name}, {units[name]}".removesuffix(", "), LABEL_CHARS))
        if len(lines) > 1:
            panel.legend()
    panels[-1].set_xlabel("nodes")
    figure.savefig(path)
