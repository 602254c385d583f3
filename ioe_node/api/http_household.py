"""The energy balance of a household, from what its meters say.  Pure.

A household is one home behind one grid connection.  By kind: a `monitor` counts that connection,
a `generator` gives, a `storage` takes and gives, a `consumer` takes.  What the home uses and no
consumer's meter counts is the *rest of the home*; what is used and no meter gives is *not
measured*.  Energy is in whole milli-Wh, and none is lost or counted twice: the links of a node
sum to what its meter counted, each way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ioe_node.api.http_types import (
    Flow,
    FlowDevice,
    Kind,
    Machine,
    Sankey,
    SankeyLink,
    SankeyNode,
)

REST = "rest"
REST_NAME = "rest of the home"
UNMEASURED = "unmeasured"
UNMEASURED_NAME = "not measured"
# Whose energy is used up first, and who is served first.  Export and charging come first, so that
# what the sun gave beyond the home's use is seen to go there, and not what came from the grid.
_GIVES: Mapping[Kind, int] = {"generator": 0, "consumer": 1, "storage": 2, "monitor": 3}
_TAKES: Mapping[Kind, int] = {"monitor": 0, "storage": 1, "consumer": 2, "generator": 3}


@dataclass(frozen=True)
class Meter:
    """A device of the household."""

    agent: str
    name: str
    kind: Kind


@dataclass(frozen=True)
class Counted:
    """What one meter counted in one interval; import is what the device drew.

    A monitor's import is what the home drew from the grid.
    """

    meter: Meter
    start_us: int
    import_milli_wh: int
    export_milli_wh: int


def flow(machines: Sequence[Machine], at_us: int) -> Flow:
    """Power now; see `http_types.Flow`."""
    grid = _power(machines, "monitor")
    used = _power(machines, "consumer")
    solar = _turned(_power(machines, "generator"))
    battery = _turned(_power(machines, "storage"))
    home, rest = used, None
    if grid is not None:
        home = grid + (solar or 0) + (battery or 0)
        rest = home - (used or 0)
    devices = [
        FlowDevice(each.agent, each.name, each.kind, each.power_milli_w) for each in machines
    ]
    return Flow(at_us, solar, battery, grid, home, rest, grid is not None, devices)


def _power(machines: Sequence[Machine], kind: Kind) -> int | None:
    """The sum of those that tell theirs, import positive; None if none does."""
    found = [each.power_milli_w for each in machines if each.kind == kind]
    known = [each for each in found if each is not None]
    return sum(known) if known else None


def _turned(power: int | None) -> int | None:
    return None if power is None else -power


def sankey(counted: Iterable[Counted], day: str) -> Sankey:
    """A day's energy from where it came to where it went, interval by interval."""
    intervals: dict[int, list[Counted]] = {}
    for each in counted:
        intervals.setdefault(each.start_us, []).append(each)
    links: dict[tuple[str, str], int] = {}
    meters: dict[str, SankeyNode] = {}
    for start_us in sorted(intervals):
        found = intervals[start_us]
        for each in found:
            meters.update({node.id: node for node in _nodes(each.meter)})
        for source, target, energy in share(found):
            links[source, target] = links.get((source, target), 0) + energy
    named = {end for pair in links for end in pair}
    extra = [
        SankeyNode(REST, REST_NAME, "rest"),
        SankeyNode(UNMEASURED, UNMEASURED_NAME, "unmeasured"),
    ]
    nodes = [node for node in (*meters.values(), *extra) if node.id in named]
    return Sankey(day, nodes, [SankeyLink(*pair, energy) for pair, energy in links.items()])


def share(counted: Sequence[Counted]) -> list[tuple[str, str, int]]:
    """(source, target, milli-Wh) of one interval; no meter's energy goes to itself."""
    gives = sorted(counted, key=lambda each: (_GIVES[each.meter.kind], each.meter.agent))
    takes = sorted(counted, key=lambda each: (_TAKES[each.meter.kind], each.meter.agent))
    left = {each.meter.agent: _given(each) for each in gives}
    links: list[tuple[str, str, int]] = []
    for taker in takes:
        wanted, target = _taken(taker), target_of(taker.meter)
        for giver in gives:
            energy = min(wanted, left[giver.meter.agent])
            if energy and giver.meter.agent != taker.meter.agent:
                links.append((source_of(giver.meter), target, energy))
                left[giver.meter.agent] -= energy
                wanted -= energy
        if wanted:
            links.append((UNMEASURED, target, wanted))
    links += [
        (source_of(each.meter), REST, left[each.meter.agent])
        for each in gives
        if left[each.meter.agent]
    ]
    return links


def source_of(meter: Meter) -> str:
    """The node of what a device gives to the household."""
    return f"from:{meter.agent}"


def target_of(meter: Meter) -> str:
    """The node of what a device takes from the household."""
    return f"to:{meter.agent}"


def _given(each: Counted) -> int:
    return each.import_milli_wh if each.meter.kind == "monitor" else each.export_milli_wh


def _taken(each: Counted) -> int:
    return each.export_milli_wh if each.meter.kind == "monitor" else each.import_milli_wh


def _nodes(meter: Meter) -> tuple[SankeyNode, SankeyNode]:
    return (
        SankeyNode(source_of(meter), meter.name, meter.kind),
        SankeyNode(target_of(meter), meter.name, meter.kind),
    )
