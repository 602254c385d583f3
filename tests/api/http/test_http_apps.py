"""The apps beside devices over REST: what runs, what it did, its settings."""

from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.api import http_live
from ioe_node.conductor.policy import parse_policy
from ioe_node.model.hashes import to_text

APP = """
[[app]]
name = "demand"
feed = "ioe_node.drivers.feed_csv:CsvFeed"
[app.options]
path = "{path}"
"""
PRICES = "start,end,price\n2020-01-01T00:00:00Z,2090-01-01T00:00:00Z,0.25\n"
SETTINGS = "/api/v1/apps/demand/settings"


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "prices.csv"
    path.write_text(PRICES)
    return APP.format(path=path)


async def test_an_owner_sees_and_sets_the_apps_of_its_devices(
    owner: Any, claimed: Any, prices: str
) -> None:
    kettle = await claimed(more=prices)
    await claimed("toaster")
    (app,) = await owner.until("/api/v1/apps", lambda found: found and found[0]["decisions"])
    assert (app["name"], app["device"], app["device_name"]) == ("demand", kettle.agent, "kettle")
    assert (app["settings"]["over_average_percent"], app["why"]) == (20, "")
    described = app["schema"]["properties"]["over_average_percent"]
    assert (described["minimum"], described["maximum"]) == (0, 1_000)
    assert described["title"]
    (decision,) = app["decisions"]
    assert (decision["what"], decision["micro_per_kwh"]) == ("left", 250_000)
    assert "not more than 20 %" in decision["why"]
    mine = await kettle.get("/api/v1/apps")
    assert [each["device"] for each in mine] == [kettle.agent]

    settings = {"over_average_percent": 35, "enabled": False}
    kept = await owner.post(SETTINGS, settings=settings, device=kettle.agent)
    assert kept == {"version": 1}
    (app,) = await owner.until(
        "/api/v1/apps", lambda found: found[0]["settings"]["over_average_percent"] == 35
    )
    assert app["settings"]["enabled"] is False
    policy = parse_policy(owner.conductor.policy.text)
    assert policy.rules.apps == {}
    assert (await owner.post(SETTINGS, settings={"max_off_s": 60}))["version"] == 2


async def test_a_device_that_is_away_is_listed_with_why(
    owner: Any, claimed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kettle = await claimed()
    owner.conductor.transport._network.leave(kettle.conductor.signer().agent)
    (row,) = await owner.get("/api/v1/apps")
    assert (row["name"], row["device_name"], row["settings"]) == (None, "kettle", {})
    assert "does not answer" in row["why"]


async def test_many_who_look_cost_devices_no_more_than_one(
    owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def app_list(node: Any) -> list[dict[str, Any]]:
        asked.append(node)
        await trio.sleep(0.05)
        return []

    monkeypatch.setattr(http_live, "app_list", app_list)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(owner.get, "/api/v1/apps")
    assert len(asked) == 1
    await owner.post(SETTINGS, settings={"max_off_s": 60})
    await owner.get("/api/v1/apps")
    assert len(asked) == 2


async def test_what_does_not_fit_is_said_and_changes_nothing(
    owner: Any, claimed: Any, prices: str
) -> None:
    kettle = await claimed(more=prices)
    nobody = to_text(owner.conductor.signer().agent)
    for status, path, body in (
        (422, SETTINGS, {"settings": {"over_average_percent": -1}}),
        (422, SETTINGS, {"settings": {"over_average_percent": True}}),
        (422, SETTINGS, {"settings": {"toast": 1}}),
        (422, SETTINGS, {"settings": {"enabled": [True]}}),
        (422, SETTINGS, {"settings": {}}),
        (404, SETTINGS, {"settings": {"enabled": False}, "device": nobody}),
        (404, "/api/v1/apps/toast/settings", {"settings": {"enabled": False}}),
    ):
        told = await owner.post(path, status, **body)
        assert told["text"], body
    assert owner.conductor.policy.text == ""
    await kettle.post(SETTINGS, 409, settings={"enabled": False})


async def test_who_may_only_read_sets_nothing(owner: Any) -> None:
    reader = owner.client(owner.make_token("reader", ("read",)))
    async with reader:
        assert (await reader.get("/api/v1/apps")).json() == []
        found = await reader.post(SETTINGS, json={"settings": {"enabled": False}})
    assert found.status_code == 403
