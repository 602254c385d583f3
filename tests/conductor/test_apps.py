"""A smart energy app beside a device's node: it switches, claims and is paid (I-122, I-132)."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.conductor import apps, owner_calls
from ioe_node.conductor.owner_calls import AppShown, AppsShown
from ioe_node.conductor.policy import parse_policy
from ioe_node.errors import CallError, LocalError
from ioe_node.model.hashes import to_text
from sim.virtual_clock import EPOCH_US
from tests.conductor.conftest import INTERVAL_US
from tests.conductor.steps import owns
from zomes.demand.decide import Settings

FEED = """
[[app]]
name = "demand"
feed = "ioe_node.drivers.feed_csv:CsvFeed"
[app.options]
path = "{path}"
"""
MARKET = '[[app]]\nname = "demand"\nfeed = "market"\n'
PAY = '[[schedule]]\nzome = "demand"\nfunction = "reward"\nevery_ms = 1000\n'
PEAK = (120, 180)
"""Seconds after the clock's start in which power is dear."""


def iso(seconds: int) -> str:
    return (datetime.fromtimestamp(EPOCH_US // 1_000_000, UTC) + timedelta(0, seconds)).isoformat()


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.csv"
    rows = [(0, PEAK[0], "0.1"), (*PEAK, "0.5"), (PEAK[1], 7_200, "0.1")]
    lines = [f"{iso(start)},{iso(end)},{price}" for start, end, price in rows]
    path.write_text("\n".join(["start,end,price", *lines]))
    return path


@pytest.fixture
def plug(
    founded: Any, street: Any, prices: Path, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """An owner who pays, and its plug with the app beside it."""

    async def make() -> tuple[Any, Any]:
        monkeypatch.setattr("tame_plug.SystemClock", lambda: street.clock)
        owner = await founded()
        owner.text = owner.text.replace("[network]", f"{PAY}[network]")
        await owner.stop()
        await owner.start()
        boxed = street.boxed("roof", driver="tame_plug:TamePlug")
        boxed.text = boxed.text.replace('kind = "generator"', 'kind = "consumer"')
        boxed.text = boxed.text.replace("[device.options]\npower_milli_w = -36000000\n", "")
        boxed.text += FEED.format(path=prices)
        roof = await boxed.start()
        await owner.until(lambda found: found["near"], "device_list")
        await owner.call("device_claim", device="roof", code="1234-5678")
        await owns(owner, "roof")
        return owner, roof

    return make


async def test_a_plug_is_off_at_the_peak_claims_what_it_saved_and_is_paid(
    plug: Any, street: Any, autojump: Any
) -> None:
    owner, roof = await plug()
    assert street.clock.now_us() < EPOCH_US + PEAK[0] * 1_000_000
    now_us = street.clock.now_us()
    offer = {"start_us": now_us, "end_us": now_us + 3_600_000_000}
    offer |= {"micro_per_kwh": 500_000, "budget_micro": 100_000_000}
    call = {"zome": "demand", "function": "offer", "payload": offer}
    await owner.call("zome_call", **call)
    settings = {"min_on_s": 0, "min_off_s": 0, "over_average_percent": 50}
    assert (await owner.call("app_set", name="demand", settings=settings))["version"] == 1
    await trio.sleep(PEAK[1] - (street.clock.now_us() - EPOCH_US) / 1e6 + 60)

    (app,) = await owner.call("app_list")
    assert await roof.call("app_list") == [app]
    assert (app["device"], app["device_name"], app["why"]) == (roof.agent, "roof", "")
    assert app["schema"]["properties"]["over_average_percent"]["maximum"] == 1_000
    assert app["settings"]["over_average_percent"] == 50
    what = [each["what"] for each in app["decisions"]][::-1]
    assert [each for each in what if each != "left"] == ["off", "on", "claimed"]
    claimed = app["decisions"][what[::-1].index("claimed")]
    assert claimed["saved_milli_wh"] > 6 * 10_000
    found = await owner.until(
        lambda balance: balance["balance_micro"],
        "zome_call",
        zome="currency",
        function="balance",
        payload={"agent": roof.agent},
    )
    assert found["balance_micro"] == claimed["earns_micro"] == claimed["saved_milli_wh"] // 2


async def test_an_app_may_live_by_the_prices_of_its_own_market(
    plug: Any, street: Any, prices: Path, autojump: Any
) -> None:
    _, roof = await plug()
    await roof.stop()
    roof.text = roof.text.replace(FEED.format(path=prices), MARKET)
    await roof.start()
    (app,) = await _apps(roof)
    told = await app.prices()
    usual_micro = 1_000_000
    assert {(each["micro_per_kwh"], each["level"]) for each in told} == {(usual_micro, 0)}
    assert told[-1]["start_us"] <= street.clock.now_us() < told[-1]["end_us"] + INTERVAL_US


async def test_what_an_app_keeps_is_there_after_a_restart_and_goes_with_the_life(
    plug: Any, street: Any, autojump: Any
) -> None:
    _, roof = await plug()
    (app,) = await _apps(roof)
    assert app.recall() == {}
    app.remember({"off_us": 7})
    await roof.stop()
    await roof.start()
    (app,) = await _apps(roof)
    assert app.recall() == {"off_us": 7}
    (kept,) = roof.home.path.glob("app-*.json")
    kept.write_bytes(b"{")
    assert app.recall() == {}
    roof.home.wipe()
    assert not kept.exists()


async def _apps(node: Any) -> Any:
    await node.until(lambda found: found, "app_list")
    return node.conductor.apps


async def test_a_device_that_does_not_answer_is_listed_with_why(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed()
    assert await owner.call("app_list") == await roof.call("app_list") == []
    agent = roof.agent
    await roof.stop()
    (row,) = await owner.call("app_list")
    assert (row["device"], row["device_name"], row["name"]) == (agent, "roof", None)
    assert "does not answer" in row["why"]


async def test_what_an_app_says_is_cut_to_what_an_owner_takes(plug: Any, autojump: Any) -> None:
    """An app may be anybody's program, and must not keep its device from answering."""
    owner, roof = await plug()
    (running,) = roof.conductor.apps
    running.name = "n" * 100
    for _ in range(30):
        running.decided({"what": "w" * 99, "why": "y" * 999, "earns_micro": 10**20})
    running.decided({"what": "last", "why": 30, "earns_micro": True})
    (app,) = await owner.call("app_list")
    assert len(app["decisions"]) == owner_calls.DECISIONS_MAX
    assert [each["what"] for each in app["decisions"][:2]] == ["last", "w" * 32]
    assert app["decisions"][1]["earns_micro"] is app["decisions"][0]["earns_micro"] is None
    assert app["schema"] == {}


@pytest.mark.parametrize("text", ["{", '{"a": [1]}', "[" * 4_000, '{"a": 1e999}', "7"])
async def test_settings_that_cannot_be_read_are_said(
    text: str, claimed: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _ = await claimed()
    monkeypatch.setattr(apps, "shown", lambda node: AppsShown((AppShown("demand", text, ()),)))
    (app,) = await owner.call("app_list")
    assert (app["name"], app["settings"]) == ("demand", {})
    assert "cannot be read" in app["why"]


async def test_settings_that_do_not_fit_change_nothing(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner = await founded()
    for name, settings, why in (
        ("demand", {"over_average": 3}, "there are: enabled"),
        ("demand", {"over_average_percent": -1}, "over_average_percent"),
        ("toaster", {}, "there are: demand"),
    ):
        with pytest.raises((CallError, LocalError), match=why):
            await owner.call("app_set", name=name, settings=settings)
    with pytest.raises(CallError, match="a name or a key"):
        await owner.call("app_set", name="demand", settings={"enabled": False}, device="")
    assert (await owner.call("policy_show"))["source"] == "default"


async def test_settings_are_set_for_one_device_or_all_and_the_rest_of_the_policy_stays(
    founded: Any, street: Any, autojump: Any
) -> None:
    owner = await founded()
    await owner.call("policy_set", text='version = 4\n# mine\nvisibility = "private"\n')
    await owner.call("app_set", name="demand", settings={"max_off_s": 60})
    await owner.call("app_set", name="demand", settings={"enabled": False}, device="south roof")
    shown = await owner.call("policy_show")
    assert "# mine" in shown["text"]
    policy = owner.conductor.policy
    assert "version = 6" in policy.text
    read = parse_policy(policy.text)
    south = read.rules_of("south roof", owner.agent)
    assert read.rules.visibility == south.visibility == "private"
    assert apps.read_settings("demand", read.rules.apps, Settings) == Settings(max_off_s=60)
    both = Settings(enabled=False, max_off_s=60)
    assert apps.read_settings("demand", south.apps, Settings) == both
    await owner.call("app_set", name="demand", settings={"max_off_s": None, "min_on_s": None})
    read = parse_policy(owner.conductor.policy.text)
    assert apps.read_settings("demand", read.rules.apps, Settings) == Settings()


async def test_a_device_is_set_where_the_policy_already_names_it(
    claimed: Any, autojump: Any
) -> None:
    """A table of its key would undo that of its name, and the other way round."""
    owner, roof = await claimed()
    key = to_text(roof.agent)
    for named, by in (("roof", key), (key, "roof")):
        text = f'version = {{}}\n[device.{named}]\nvisibility = "private"\n'
        version = parse_policy(owner.conductor.policy.text or "version = 1").version + 1
        await owner.call("policy_set", text=text.format(version))
        await owner.call("app_set", name="demand", settings={"max_off_s": 60}, device=by)
        await roof.until(lambda found: found["rules"]["apps"], "policy_show")
        rules = roof.conductor.policy.rules
        assert (rules.apps, rules.visibility) == ({"demand": {"max_off_s": 60}}, "private")
