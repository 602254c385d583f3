"""Energy over REST: what meters recorded is what history, the balance and the sources tell."""

import csv
from datetime import datetime
from typing import Any

import pytest

US = 1_000_000


async def test_history_sums_what_was_recorded(owner: Any, claimed: Any) -> None:
    kettle = await claimed()
    agent = kettle.conductor.signer().agent
    cell = owner.conductor.cell()
    span = {"device": kettle.agent, "from_us": 0, "to_us": 2 * 10**15}
    await owner.until(
        "/api/v1/history",
        lambda each: sum(point["import_milli_wh"] for point in each["points"]) >= 40_000,
        **span,
    )
    kettle.conductor.poller.record = refuse
    listed = await cell.call("metering", "history", {"device": agent, "limit": 1_000})
    drawn = sum(each["import_milli_wh"] for each in listed)
    for step in ("15m", "hour", "day", "month"):
        found = await owner.get("/api/v1/history", step=step, **span)
        assert found["complete"]
        assert sum(point["import_milli_wh"] for point in found["points"]) == drawn
    first, last = listed[-1]["start"], listed[0]["start"]
    text = (await owner.http.get("/api/v1/history.csv", params=span)).text
    rows = list(csv.DictReader(text.splitlines()))
    assert sum(int(row["import_milli_wh"]) for row in rows) == drawn
    day = datetime.fromtimestamp(first // US).strftime("%Y-%m-%d")
    made = await owner.get("/api/v1/sankey", day=day)
    if datetime.fromtimestamp(last // US).strftime("%Y-%m-%d") == day:
        assert sum(link["milli_wh"] for link in made["links"]) == drawn
    assert {each["name"] for each in made["nodes"]} == {"kettle", "not measured"}


async def refuse(intervals: Any) -> None:
    """A chain that takes nothing more."""


async def test_flow_and_sources(owner: Any, claimed: Any) -> None:
    await claimed("roof", "generator", -7_200_000)
    meter = await claimed("grid", "monitor", 3_600_000)
    found = await owner.until("/api/v1/flow", lambda each: each["grid_milli_w"] is not None)
    assert (found["solar_milli_w"], found["grid_milli_w"]) == (7_200_000, 3_600_000)
    assert (found["home_milli_w"], found["rest_milli_w"]) == (10_800_000, 10_800_000)
    span = {"from_us": 0, "to_us": 2 * 10**15}
    carbon = await owner.until("/api/v1/carbon", lambda each: len(each["by_source"]) == 2, **span)
    assert (carbon["g_co2"], carbon["clean_bp"]) == (None, None)
    grid = next(each for each in carbon["by_source"] if each["kind"] == "monitor")
    assert grid["milli_wh"] == carbon["import_milli_wh"] > 0
    assert meter.agent != owner.agent


async def test_what_a_machine_makes_weighs_what_the_community_says(
    owner: Any, claimed: Any
) -> None:
    roof = await claimed("roof", "generator", -7_200_000)
    await roof.conductor.cell().call("origin", "declare", {"source": "pv_roof"})

    def weighed(carbon: Any) -> bool:
        return [each["g_co2"] is not None for each in carbon["by_source"]] == [True]

    span = {"from_us": 0, "to_us": 2 * 10**15}
    carbon = await owner.until("/api/v1/carbon", weighed, **span)
    (source,) = carbon["by_source"]
    assert source["g_co2"] == -(-source["milli_wh"] * 41 // 1_000_000)
    assert carbon["g_co2"] is None, "nothing came in"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/v1/sankey", {"day": "2026-02-30"}),
        ("/api/v1/sankey", {"day": "today"}),
        ("/api/v1/carbon", {"from_us": 2, "to_us": 2}),
        ("/api/v1/carbon", {"from_us": 0, "to_us": 10**17}),
        ("/api/v1/history", {"device": "uhCAk", "from_us": 0, "to_us": 1}),
        ("/api/v1/history", {"from_us": 0, "to_us": 1}),
    ],
)
async def test_what_is_no_span_no_day_and_no_device_is_unfit(
    owner: Any, path: str, query: dict[str, Any]
) -> None:
    assert (await owner.get(path, 422, **query))["error"] == "Unfit"
