"""The page in a browser, on real nodes: what an owner does there, and how it looks to everybody."""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

VIEWS = {
    "home": ("Home", "Zuhause"),
    "history": ("History", "Verlauf"),
    "devices": ("Devices", "Geräte"),
    "wallet": ("Wallet", "Konto"),
    "market": ("Market", "Markt"),
    "community": ("Community", "Gemeinschaft"),
    "alerts": ("Alerts", "Meldungen"),
    "origin": ("Origin", "Herkunft"),
    "apps": ("Apps", "Apps"),
}
KETTLE_W = "850 W"
TABS_MAX = 60
TRIES_MAX = 5
DRAWN_MS = 250
NARROWEST = 320  # as WCAG 2.2 asks of a page that scrolls one way only

Open = Callable[..., Page]
Shot = Callable[[Page, str], None]


def go(page: Page, view: str) -> None:
    page.evaluate(f"location.hash = '#/{view}'")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("|".join(VIEWS[view])))


def another(code: str) -> str:
    """A code of the same form."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def claim_kettle(page: Page, household: Any) -> None:
    """Through the page, by a wrong code first, unless an earlier test has."""
    go(page, "devices")
    code = household.wait_for(household.plug.ask, "status")["code"]
    if code is None:
        return
    inbox = page.get_by_role("region", name="Near here")
    item = inbox.get_by_role("listitem").filter(has_text="kettle")
    expect(item).to_contain_text("waits for an owner")
    item.get_by_text("Enter its code").click()
    item.get_by_label("Pairing code").fill(another(code))
    item.get_by_label("Its name").fill("Kettle")
    item.get_by_role("button", name="Claim").click()
    expect(page.get_by_role("alert").filter(has_text="code")).to_be_visible()
    item.get_by_label("Pairing code").fill(code)
    item.get_by_role("button", name="Claim").click()
    expect(page.get_by_role("status").filter(has_text="Kettle is yours.")).to_be_visible()
    household.wait_for(household.plug.owned)


def test_a_plug_is_claimed_by_its_code_and_switched(
    open_page: Open, household: Any, shot: Shot
) -> None:
    page = open_page()
    claim_kettle(page, household)
    ours = page.get_by_role("region", name="Our devices")
    switch = ours.get_by_role("switch", name="Power of Kettle")
    expect(switch).to_be_checked()
    expect(ours.get_by_role("listitem").filter(has_text="Kettle")).to_contain_text(KETTLE_W)
    shot(page, "claimed")
    switch.click()
    expect(page.get_by_text("Kettle is off.")).to_be_visible()
    expect(switch).not_to_be_checked()
    assert not household.machine.on
    expect(switch).to_have_attribute("aria-busy", "false")
    switch.click()
    expect(page.get_by_text("Kettle is on.")).to_be_visible()
    expect(switch).to_be_checked()
    assert household.machine.on


def test_a_battery_says_how_full_it_is_and_obeys_a_limit(open_page: Open) -> None:
    page = open_page()
    go(page, "devices")
    item = page.get_by_role("listitem").filter(has_text="cellar").first
    expect(item).to_contain_text("discharging · 64 % full")
    expect(item).to_contain_text("800 W")
    item.get_by_text("Limit its power").click()
    item.get_by_label("At most").fill("0,3")
    item.get_by_role("button", name="Limit", exact=True).click()
    expect(page.get_by_text("cellar is limited to 300 W.")).to_be_visible()
    expect(item).to_contain_text("300 W")
    item.get_by_role("button", name="Lift the limit").click()
    expect(page.get_by_text("cellar is not limited.")).to_be_visible()
    expect(item).to_contain_text("800 W")


def test_home_shows_power_with_its_sign_in_words_and_the_day(
    open_page: Open, household: Any
) -> None:
    page = open_page()
    claim_kettle(page, household)
    go(page, "home")
    now = page.get_by_role("region", name="Now")
    chart = now.get_by_role("img")
    expect(chart).to_have_attribute("aria-label", re.compile("Solar 3.24 kW, produced"))
    expect(chart).to_have_attribute("aria-label", re.compile("Grid −1.50 kW, export: to the grid"))
    expect(chart).to_have_attribute("aria-label", re.compile("Battery 800 W, discharging"))
    expect(chart).to_contain_text("Kettle")
    now.get_by_text("As a table").click()
    row = now.get_by_role("row").filter(has_text="cellar")
    expect(row).to_contain_text("800 Wdischarging")
    day = page.get_by_role("region", name="Energy of the day", exact=True)
    day.get_by_text("As a table").click()
    expect(day.get_by_role("row").filter(has_text="cellar").first).to_be_visible()
    expect(day.get_by_role("img")).to_contain_text("roof")


def test_units_suit_the_size_and_power_is_never_energy(open_page: Open) -> None:
    page = open_page(locale="de-DE")
    shown = {
        0: "0 W",
        -400: "0 W",
        4_200: "4 W",
        999_400: "999 W",
        999_600: "1,00 kW",
        -1_250_000: "−1,25 kW",
        12_345_678: "12,3 kW",
        123_456_789: "123 kW",
    }
    devices = [
        {"agent": str(power), "name": f"at {power}", "kind": "consumer", "power_milli_w": power}
        for power in shown
    ]
    sums = dict.fromkeys(("solar_milli_w", "battery_milli_w", "home_milli_w", "rest_milli_w"))
    flow = {"at_us": 1, "grid_milli_w": None, **sums, "grid_measured": False, "devices": devices}
    energies = {0: "0 Wh", 4_200: "4,2 Wh", 99_000: "99 Wh", 100_000: "0,10 kWh"}
    energies |= {12_345_678: "12,3 kWh", 1_234_567_890: "1,23 MWh"}
    nodes = [{"id": f"to:{each}", "name": f"of {each}", "kind": "consumer"} for each in energies]
    source = {"id": "rest", "name": "rest of the home", "kind": "generator"}
    links = [{"source": "rest", "target": f"to:{each}", "milli_wh": each} for each in energies]
    day = {"day": "", "nodes": [source, *nodes], "links": links}
    page.route("**/api/v1/flow", lambda route: route.fulfill(json=flow))
    page.route("**/api/v1/sankey**", lambda route: route.fulfill(json=day))
    page.reload()
    page.get_by_role("region", name="Jetzt").get_by_text("Als Tabelle").click()
    for power, text in shown.items():
        row = page.get_by_role("row").filter(has_text=f"at {power}")
        expect(row.get_by_role("cell").nth(1)).to_have_text(text)
    expect(page.get_by_text("Nichts misst den Netzanschluss")).to_be_visible()
    for energy, text in list(energies.items())[1:]:
        expect(page.get_by_text(f"of {energy} {text}", exact=True)).to_be_visible()


def test_estimated_readings_are_marked(open_page: Open) -> None:
    page = open_page()
    at_us = int(datetime.now().replace(hour=0, minute=0, second=0).timestamp()) * 1_000_000
    reading = {"start_us": at_us, "import_milli_wh": 250_000, "export_milli_wh": 0}
    points = {"points": [{**reading, "estimated": True}], "complete": False}
    page.route("**/api/v1/history?**", lambda route: route.fulfill(json=points))
    go(page, "history")
    expect(page.locator(".legend")).to_contain_text("Estimated")
    expect(page.get_by_text("Some readings of this period are not here yet.")).to_be_visible()
    page.get_by_text("As a table").click()
    row = page.get_by_role("row").filter(has_text="00:00")
    expect(row).to_contain_text("0.250")
    expect(row).to_contain_text("Estimated")


def test_history_is_shown_by_periods_and_saved(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    go(page, "history")
    page.get_by_role("combobox", name="Meter").select_option("roof")
    exported = page.locator("dl.figures > div").filter(has_text="Exported")
    expect(exported.locator("strong")).not_to_have_text("0 Wh")
    for span in ("Week", "Month", "Year"):
        page.get_by_role("radio", name=span).check()
        expect(page.get_by_role("img", name=re.compile("Chart of"))).to_be_visible()
    page.get_by_role("button", name="Earlier").click()
    expect(page.get_by_text("There are no readings in this period.")).to_be_visible()
    page.get_by_role("button", name="Later").click()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download CSV").click()
    saved = tmp_path / "energy.csv"
    started.value.save_as(saved)
    head, first, *_ = saved.read_text().splitlines()
    assert "export_milli_wh" in head
    assert first.count(",") == head.count(",")


def test_history_is_compared_with_the_period_before(
    open_page: Open, household: Any, shot: Shot
) -> None:
    """Seen from tomorrow, what was read today is the day before."""
    page = open_page()
    page.clock.set_fixed_time(datetime.now() + timedelta(days=1))
    go(page, "history")
    page.get_by_role("combobox", name="Meter").select_option("roof")
    expect(page.get_by_text("There are no readings in this period.")).to_be_visible()
    page.get_by_label("Compare").check()
    expect(page.get_by_role("img", name=re.compile("Chart of"))).to_be_visible()
    expect(page.locator("dl.figures")).to_contain_text(re.compile(r"period before: [\d.]+ k?Wh"))
    page.get_by_text("As a table").click()
    head = page.get_by_role("columnheader", name="Period before: Export")
    expect(head).to_be_visible()
    shot(page, "history-compared")


def test_a_payment_stands_on_the_statement(open_page: Open) -> None:
    """A busy roof may ask to try again; then a person does."""
    page = open_page()
    go(page, "wallet")
    form = page.get_by_role("form", name="Pay")
    roof = page.get_by_role("option", name=re.compile("^roof"))

    def fill() -> None:
        form.get_by_label("To").select_option(value=str(roof.get_attribute("value")))
        form.get_by_label("Amount").fill("0,25")
        form.get_by_label("Note").fill("for the sun")

    fill()
    paid = page.get_by_text("Paid 0.250 credits to roof.")
    refused = page.get_by_role("alert").filter(has_text="try again")
    for _ in range(TRIES_MAX):
        form.get_by_role("button").click()
        expect(paid.or_(refused).first).to_be_visible()
        if paid.is_visible():
            break
        page.reload()
        fill()
    row = page.get_by_role("region", name="Statement").get_by_role("row")
    expect(row.filter(has_text="−0.250").first).to_be_visible()


def test_an_offer_is_placed_and_taken_back(open_page: Open, shot: Shot) -> None:
    """In each of the sixty intervals of the next minute: they last a second here."""
    page = open_page()
    go(page, "market")
    form = page.get_by_role("form", name="Place an order")
    now = datetime.now()
    begins = now.replace(second=0, microsecond=0) + timedelta(minutes=1 + (now.second > 55))
    form.get_by_label("Energy").fill("0.06")
    form.get_by_label("Price").fill("0.8")
    form.get_by_label("From").fill(begins.strftime("%Y-%m-%dT%H:%M"))
    form.get_by_label("Until").fill((begins + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M"))
    form.get_by_role("button").click()
    offers = page.get_by_role("region", name="Offers").get_by_role("row").filter(has_text="Cancel")
    expect(offers.first).to_contain_text("0.800")
    shot(page, "market")
    count = offers.count()
    offers.last.get_by_role("button", name="Cancel").click()
    expect(offers).not_to_have_count(count)


def test_an_order_is_sent_in_whole_units_and_taken_back(open_page: Open) -> None:
    """What the page sends, whatever market answers."""
    page = open_page()
    hash_ = "uhCkk" + "x" * 48
    placed: list[dict[str, Any]] = []
    removed: list[str] = []

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            placed.append(route.request.post_data_json)
        elif route.request.method == "DELETE":
            removed.append(route.request.url)
        ours = {"hash": hash_, "agent": "uhCAk" + "x" * 48, "ours": True}
        book = [{**ours, **each} for each in placed[len(removed) :]]
        route.fulfill(json={"orders": book, "matches": [], "price_micro_credits_per_kwh": 790_000})

    page.route("**/api/v1/market**", answer)
    page.route("**/api/v1/market/**", answer)
    go(page, "market")
    expect(page.get_by_text("0.790")).to_be_visible()
    form = page.get_by_role("form", name="Place an order")
    form.get_by_role("radio", name="Buy").check()
    form.get_by_label("Energy").fill("1,5")
    form.get_by_label("Price").fill("0.8")
    form.get_by_label("From").fill("2026-07-01T12:00")
    form.get_by_label("Until").fill("2026-07-01T13:00")
    form.get_by_role("button").click()
    row = page.get_by_role("region", name="Bids").get_by_role("row").filter(has_text="1.50 kWh")
    expect(row).to_contain_text("0.800")
    (sent,) = placed
    assert (sent["side"], sent["milli_wh"]) == ("bid", 1_500_000)
    assert sent["price_micro_credits_per_kwh"] == 800_000
    assert sent["end_us"] - sent["start_us"] == 3_600_000_000
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_have_count(0)
    assert removed[0].endswith(hash_)


def test_community_alerts_and_origin_show_what_the_node_knows(
    open_page: Open, household: Any
) -> None:
    page = open_page()
    claim_kettle(page, household)
    go(page, "community")
    members = page.get_by_role("region", name="Members", exact=True).first
    expect(members.get_by_role("row").filter(has_text="roof")).to_contain_text("Device")
    expect(page.get_by_role("region", name="Our communities").first).to_contain_text("street")
    expect(page.get_by_role("region", name="Peers").first).to_contain_text("Good")
    go(page, "alerts")
    expect(page.get_by_role("listitem").filter(has_text="kettle").first).to_contain_text("Appeared")
    go(page, "origin")
    expect(page.get_by_text("does not say what its energy weighs")).to_be_visible()
    go(page, "apps")
    expect(page.get_by_role("region", name="Apps")).to_be_visible()


def test_everything_is_reached_by_keyboard_alone(open_page: Open, household: Any) -> None:
    page = open_page()
    claim_kettle(page, household)
    go(page, "home")
    page.reload()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()

    def tab_to(role: Any, name: str) -> None:
        wanted = page.get_by_role(role, name=name, exact=True)
        for _ in range(TABS_MAX):
            if wanted.evaluate("each => each === document.activeElement"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{name} is not reached")

    tab_to("link", "Devices")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Devices")).to_be_focused()
    tab_to("switch", "Power of Kettle")
    page.keyboard.press("Space")
    expect(page.get_by_role("switch", checked=False)).to_have_attribute("aria-busy", "false")
    page.keyboard.press("Space")
    expect(page.get_by_role("switch", checked=True)).to_have_attribute("aria-busy", "false")
    go(page, "history")
    tab_to("radio", "Day")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Week")).to_be_checked()
    outline = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert page.evaluate(outline) == "solid"


@pytest.mark.parametrize(
    ("width", "height", "scheme", "locale"),
    [(1280, 900, "light", "en-GB"), (390, 844, "dark", "de-DE")],
    ids=["wide and light", "phone and dark"],
)
def test_every_view_fits_and_axe_finds_nothing_serious(
    open_page: Open,
    household: Any,
    grave: Callable[[Page], str],
    shot: Shot,
    width: int,
    height: int,
    scheme: str,
    locale: str,
) -> None:
    page = open_page(width, height, scheme, locale)
    german = locale == "de-DE"
    expect(page.locator("html")).to_have_attribute("lang", "de" if german else "en")
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 3 * 128) == (scheme == "dark")
    for view, names in VIEWS.items():
        go(page, view)
        expect(page.get_by_role("heading", level=1)).to_have_text(names[german])
        expect(page.get_by_text("Wird geladen" if german else "Loading")).to_have_count(0)
        page.wait_for_timeout(DRAWN_MS)
        shot(page, f"{view}-{scheme}-{width}")
        for narrow in (width, NARROWEST):
            page.set_viewport_size({"width": narrow, "height": height})
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, (view, narrow, overflow)
        page.set_viewport_size({"width": width, "height": height})
        assert not grave(page), view


def test_on_a_phone_the_rest_is_behind_more_and_colours_can_be_chosen(
    open_page: Open, shot: Shot
) -> None:
    page = open_page(390, 844)
    market = page.get_by_role("link", name="Market")
    expect(market).not_to_be_visible()
    page.get_by_role("button", name="More").click()
    shot(page, "more")
    page.get_by_label("Colours").select_option("dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_label("Language").select_option("de")
    page.get_by_role("link", name="Markt").click()
    expect(page.get_by_role("heading", level=1, name="Markt")).to_be_visible()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("heading", level=1, name="Markt")).to_be_visible()


def test_after_a_gap_everything_is_asked_again(open_page: Open) -> None:
    page = open_page()
    streams: list[WebSocketRoute] = []
    asked: list[str] = []
    page.route_web_socket("**/api/v1/stream", lambda route: streams.append(route))
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    page.wait_for_timeout(500)
    asked.clear()
    streams[0].send(json.dumps({"kind": "beat", "seq": 1}))
    page.wait_for_timeout(300)
    assert asked == []
    streams[0].send(json.dumps({"kind": "gap", "missed": 3}))
    page.wait_for_timeout(1_500)
    for path in ("status", "flow", "sankey"):
        assert any(f"/api/v1/{path}" in url for url in asked), (path, asked)


def test_a_node_that_is_away_is_said_and_found_again(open_page: Open, household: Any) -> None:
    page = open_page()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    household.wait_for(household.owner.kill)
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    expect(page.get_by_text("The node does not answer.").first).to_be_visible()
    household.owner.start()
    household.wait_for(household.owner.ready)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.get_by_text("Reconnecting…")).to_have_count(0)


def test_without_a_token_the_page_says_how_to_get_one(open_page: Open) -> None:
    page = open_page()
    assert "token" not in page.url
    page.evaluate("sessionStorage.clear()")
    page.reload()
    expect(page.get_by_text("ioe page")).to_be_visible()
    page.get_by_label("Or paste a token").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("ioe page")).to_be_visible()
