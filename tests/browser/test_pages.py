"""Every page with something on it: as a picture, for everybody (axe), without a word in the console."""

from __future__ import annotations

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.browser import runs
from tests.browser.conftest import SCREENSHOTS
from tests.running import Running

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}


async def serious(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using the page."""
    found = await Axe().run(page)
    return [
        f"{one['id']}: {one['help']} ({', '.join(str(node['target']) for node in one['nodes'][:3])})"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.fixture(scope="module")
def shown() -> dict[str, int]:
    """Jobs that the pages of this module show, made by the first test that wants them."""
    return {}


async def some_jobs(client: httpx.AsyncClient, dataset_id: int, shown: dict[str, int]) -> dict[str, int]:
    if not shown:
        for name in ("first", "second"):
            shown[name] = await runs.start(client, dataset_id, name=f"Digits, {name}", tags=["baseline"])
            for number in range(1, 13 if name == "first" else 7):
                await runs.epoch(client, shown[name], number)
        await runs.complete(client, shown["first"], 12)
        shown["failed"] = await runs.start(client, dataset_id, name="Too large a batch")
        await runs.fail(client, shown["failed"])
    return shown


@pytest.mark.parametrize(
    ("look", "options"),
    [
        ("light", {"viewport": DESK, "color_scheme": "light", "locale": "en-GB"}),
        ("dark", {"viewport": DESK, "color_scheme": "dark", "locale": "en-GB"}),
        ("phone", {"viewport": PHONE, "color_scheme": "light", "locale": "en-GB", "is_mobile": True}),
        ("korean", {"viewport": DESK, "color_scheme": "light", "locale": "ko-KR"}),
    ],
)
async def test_every_page_is_complete_and_open_to_everybody(
    look: str,
    options: dict[str, object],
    browser: Browser,
    running: Running,
    client: httpx.AsyncClient,
    dataset_id: int,
    shown: dict[str, int],
) -> None:
    jobs = await some_jobs(client, dataset_id, shown)
    context = await browser.new_context(base_url=running.url, **options)  # type: ignore[arg-type]
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    pages = {
        "jobs": ("/", ".sparkline"),
        "job": (f"/jobs/{jobs['first']}", ".chart canvas"),
        "failed": (f"/jobs/{jobs['failed']}", ".failure"),
        "compare": (f"/compare?jobs={jobs['first']},{jobs['second']}", ".chart canvas"),
        "new": ("/new", "form.new"),
        "datasets": ("/datasets", ".cards .panel"),
        "models": ("/models", "main p.quiet, main table"),
        "system": ("/system", "main table"),
    }
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, (address, landmark) in pages.items():
        await page.goto(address)
        await expect(page.locator(landmark).first).to_be_visible()
        await page.screenshot(path=SCREENSHOTS / f"{name}-{look}.png", full_page=True)
        assert await serious(page) == [], name
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than the screen"
    assert complaints == []
    await context.close()
