"""The household's balance: nothing lost, nothing counted twice, whatever meters say."""

from collections import Counter
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.api.http_history import day_span
from ioe_node.api.http_household import (
    REST,
    UNMEASURED,
    Counted,
    Meter,
    flow,
    sankey,
    share,
    source_of,
    target_of,
)
from ioe_node.api.http_types import Kind, Machine

KINDS: tuple[Kind, ...] = ("consumer", "generator", "storage", "monitor")
ENERGY = st.integers(0, 10**9)
SUN, CELL, GRID, OVEN = (
    Meter("sun", "roof", "generator"),
    Meter("cell", "battery", "storage"),
    Meter("grid", "meter", "monitor"),
    Meter("oven", "oven", "consumer"),
)
HOUR_US = 3_600_000_000


@st.composite
def days(draw: st.DrawFn) -> list[Counted]:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=7))
    meters = [Meter(f"agent{number}", f"name{number}", kind) for number, kind in enumerate(kinds)]
    return [
        Counted(meter, start, draw(ENERGY), draw(ENERGY))
        for start in range(draw(st.integers(1, 4)))
        for meter in meters
        if draw(st.booleans())
    ]


@given(days())
def test_the_links_of_a_node_sum_to_what_its_meter_counted(day: list[Counted]) -> None:
    given_, taken = Counter[str](), Counter[str]()
    for each in day:
        in_, out = each.import_milli_wh, each.export_milli_wh
        gave, took = (in_, out) if each.meter.kind == "monitor" else (out, in_)
        given_[source_of(each.meter)] += gave
        taken[target_of(each.meter)] += took
    made = sankey(day, "2026-01-01")
    sources, targets = Counter[str](), Counter[str]()
    for link in made.links:
        assert link.milli_wh > 0
        assert link.source.partition(":")[2] != link.target.partition(":")[2] or "unmeasured" in (
            link.source,
        )
        sources[link.source] += link.milli_wh
        targets[link.target] += link.milli_wh
    assert +given_ == Counter({k: v for k, v in sources.items() if k != UNMEASURED})
    assert +taken == Counter({k: v for k, v in targets.items() if k != REST})
    assert {node.id for node in made.nodes} == set(sources) | set(targets)
    assert not set(sources) & set(targets)


def test_a_battery_flows_both_ways() -> None:
    at_noon = [Counted(SUN, 0, 0, 10), Counted(CELL, 0, 6, 0), Counted(GRID, 0, 0, 1)]
    at_night = [Counted(CELL, 1, 0, 4), Counted(OVEN, 1, 7, 0), Counted(GRID, 1, 3, 0)]
    assert share(at_noon) == [
        ("from:sun", "to:grid", 1),
        ("from:sun", "to:cell", 6),
        ("from:sun", "rest", 3),
    ]
    assert share(at_night) == [("from:cell", "to:oven", 4), ("from:grid", "to:oven", 3)]
    assert len(sankey([*at_noon, *at_night], "d").nodes) == 7


def test_a_battery_may_be_charged_from_the_grid() -> None:
    assert share([Counted(CELL, 0, 5, 0), Counted(GRID, 0, 5, 0)]) == [("from:grid", "to:cell", 5)]


def test_what_no_meter_gives_is_named() -> None:
    assert share([Counted(OVEN, 0, 5, 0)]) == [("unmeasured", "to:oven", 5)]


def test_a_grid_that_took_and_gave_in_one_interval_does_not_feed_itself() -> None:
    assert share([Counted(GRID, 0, 5, 2)]) == [
        ("unmeasured", "to:grid", 2),
        ("from:grid", "rest", 5),
    ]


def machine(kind: Kind, power: int | None) -> Machine:
    return Machine(
        *(kind, kind, kind, "street", "ok", "public", "readings", power),
        *(None, None, None, [], None, None, ""),
    )


def test_flow_has_one_sign_for_all_that_gives() -> None:
    found = flow(
        [
            machine("generator", -3_000),
            machine("storage", 1_000),
            machine("monitor", -500),
            machine("consumer", 1_200),
        ],
        7,
    )
    assert (found.solar_milli_w, found.battery_milli_w, found.grid_milli_w) == (3_000, -1_000, -500)
    assert (found.home_milli_w, found.rest_milli_w, found.grid_measured) == (1_500, 300, True)


def test_flow_without_a_meter_at_the_grid_counts_what_it_can() -> None:
    found = flow([machine("consumer", 1_200), machine("generator", None)], 7)
    assert (found.home_milli_w, found.rest_milli_w, found.grid_measured) == (1_200, None, False)
    assert (found.solar_milli_w, found.grid_milli_w) == (None, None)
    assert flow([], 7).home_milli_w is None


def test_a_day_is_the_zones_day() -> None:
    east = timezone(timedelta(hours=1))
    assert day_span("1970-01-02", 0, east) == ("1970-01-02", 23 * HOUR_US, 47 * HOUR_US)
    assert day_span("", 23 * HOUR_US, east)[0] == "1970-01-02"
    with pytest.raises(ValueError, match="day"):
        day_span("2026-02-30", 0, east)
