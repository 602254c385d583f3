"""A household of real node processes, and headless Chromium on the page that its owner serves."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.web.house import Household

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / ".shots"
DRIVERS = (ROOT / "tests" / "cli" / "drivers", Path(__file__).parent / "drivers")
PATIENCE_MS = 15_000
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The distribution's browser; without it these tests are skipped.

    For no longer than its module: until it is closed, asyncio's loop runs in this thread.
    """
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium: apt install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def household_type() -> type[Household]:
    """Which household a module's tests live in."""
    return Household


@pytest.fixture(scope="module")
def household(
    chromium: Browser, household_type: type[Household], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Household]:
    """One for all tests: what a test changes, it leaves as the others do not mind."""
    found = household_type(tmp_path_factory.mktemp("household"))
    with pytest.MonkeyPatch.context() as patch:
        path = os.pathsep.join([str(ROOT), *map(str, DRIVERS), os.environ.get("PYTHONPATH", "")])
        patch.setenv("PYTHONPATH", path)
        patch.setenv("COLUMNS", "200")
        try:
            found.start()
            yield found
        finally:
            found.stop()


Open = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Browser, household: Household) -> Iterator[Open]:
    """`open_page(width, height, scheme, locale)`: the page in a browser of its own.

    Whatever the page logs as an error fails the test, refused requests excepted: those it shows.
    """
    said: list[str] = []
    contexts = []

    def opened(
        width: int = 1280, height: int = 900, scheme: str = "light", locale: str = "en-GB"
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            locale=locale,
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.goto(household.page_url())
        page.get_by_role("heading", level=1).wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    refused = "Failed to load resource"
    faults = [text for text in said if refused not in text and "WebSocket connection" not in text]
    assert not faults


@pytest.fixture
def shot() -> Callable[[Page, str], None]:
    """`shot(page, name)`: keep a picture, for people to look at."""
    SHOTS.mkdir(exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    return take


@pytest.fixture
def grave(js_packages: Callable[[Path], Path]) -> Callable[[Page], str]:
    """`grave(page)`: what axe finds serious in the page as it is, "" for nothing."""
    axe = js_packages(ROOT / "web") / "node_modules" / "axe-core" / "axe.min.js"

    def find(page: Page) -> str:
        if not page.evaluate("'axe' in window"):
            page.evaluate(axe.read_text("utf-8"))
        found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        bad = [each for each in found if each["impact"] in SERIOUS]
        return json.dumps(bad, indent=1)[:3_000] if bad else ""

    return find
