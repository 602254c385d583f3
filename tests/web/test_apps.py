"""The page's apps on real nodes: a plug that an owner lets switch itself, and that earns by it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from ioe_node.clock import SystemClock
from sim.street import Node, claim
from tests.web.house import INTERVAL_US, Household, make

APP = """
[[app]]
name = "demand"
feed = "ioe_node.drivers.feed_csv:CsvFeed"
[app.options]
path = "{path}"
"""
HOURS = 12
HOUR_US = 3_600_000_000
LOOKED_MS = 40_000
"""An app looks every ten seconds, a page asks every five."""


def prices() -> str:
    """Cheap until now, dear from now on."""
    now = datetime.now(UTC)
    times = [(now + timedelta(hours=hours)).isoformat() for hours in (-HOURS, 0, HOURS)]
    return f"start,end,price\n{times[0]},{times[1]},0.1\n{times[1]},{times[2]},0.5\n"


class WithApp(Household):
    """An owner who pays for what is saved, and a plug with the demand app beside it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.meters = []
        self.plug = Node("heater", "consumer", directory / "heater", {}, "tame_plug:TamePlug")
        self.prices = directory / "prices.csv"

    async def _set_up(self, port: int) -> None:
        self.prices.write_text(prices())
        await make(self.owner, [])
        self.owner.start()
        addresses = (await self.owner.ready())["addresses"]
        amend = {"interval_us": INTERVAL_US}
        await self.owner.ask("community_create", name="street", amend=amend)
        now_us = SystemClock().now_us()
        offer = {"start_us": now_us, "end_us": now_us + HOURS * HOUR_US}
        await self.owner.zome(
            "demand", "offer", **offer, micro_per_kwh=500_000, budget_micro=100_000_000
        )
        settings = {"enabled": False, "min_on_s": 0, "min_off_s": 5}
        await self.owner.ask("app_set", name="demand", settings=settings)
        await make(self.plug, addresses)
        with (self.plug.home / "config.toml").open("a") as config:
            config.write(APP.format(path=self.prices))
        self.plug.start()
        await self.plug.ready()
        await claim(self.owner, self.plug)


@pytest.fixture(scope="module")
def household_type() -> type[Household]:
    return WithApp


def test_a_plug_is_let_switch_itself_and_shows_what_it_did_why_and_earns(
    open_page: Callable[..., Page],
    household: Any,
    grave: Callable[[Page], str],
    shot: Callable[[Page, str], None],
) -> None:
    page = open_page()
    page.evaluate("location.hash = '#/apps'")
    card = page.get_by_role("region", name="heater: off while power is dear")
    made = card.get_by_role("listitem")
    expect(made.filter(has_text="the app may not switch")).to_be_visible(timeout=LOOKED_MS)
    form = card.get_by_role("form", name="Settings of heater")
    may = form.get_by_label("The app may switch")
    expect(may).not_to_be_checked()
    rest = form.get_by_label("Seconds off at least")
    expect(rest).to_have_value("5")
    percent = form.get_by_label("Percent above the average")
    expect(percent).to_have_attribute("max", "1000")
    expect(form).to_contain_text("0 to 1000.")

    percent.fill("1001")
    form.get_by_role("button", name="Save").click()
    assert percent.evaluate("each => each.matches(':user-invalid')")
    page.wait_for_timeout(6_000)  # so that a baseline is metered while it is on
    percent.fill("30")
    rest.fill("0")
    may.check()
    form.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="The settings are saved.")).to_be_visible()
    off = made.filter(has_text=re.compile("Switched off"))
    expect(off).to_contain_text("more than 30 % above the average", timeout=LOOKED_MS)
    expect(off).to_contain_text("0.500 credits per kWh · dear above 0.3")
    expect(off.locator("time")).to_have_text(re.compile(r"\d:\d\d"))

    may.uncheck()
    form.get_by_role("button", name="Save").click()
    claimed = made.filter(has_text="Claimed what it saved")
    expect(claimed).to_contain_text(
        re.compile(r"kWh|Wh not used · earns 0\.\d+ credits"), timeout=LOOKED_MS
    )
    expect(card).to_contain_text(re.compile(r"What is listed here earns 0\.\d+ credits"))
    expect(made.filter(has_text=re.compile("Switched on"))).to_be_visible()
    shown = household.wait_for(household.owner.ask, "policy_show")["text"]
    assert "over_average_percent = 30" in shown
    assert not grave(page)
    shot(page, "apps-running")


def test_on_a_phone_in_german_it_fits_and_away_is_said(
    open_page: Callable[..., Page],
    household: Any,
    grave: Callable[[Page], str],
    shot: Callable[[Page, str], None],
) -> None:
    page = open_page(390, 844, "dark", "de-DE")
    page.evaluate("location.hash = '#/apps'")
    card = page.get_by_role("region", name="heater: aus, solange Strom teuer ist")
    expect(card).to_contain_text("Sekunden mindestens aus")
    shot(page, "apps-running-phone")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert not grave(page)
    household.wait_for(household.plug.kill)
    page.reload()
    away = page.get_by_role("region", name="heater")
    expect(away).to_contain_text("its node does not answer", timeout=LOOKED_MS)
    assert not grave(page)
