"""A real browser at a real API: Debian's Chromium, led by Playwright."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from tests.running import Running, register_dataset, running_for_module
from tests.services import ROOT, Services

CHROMIUM = shutil.which("chromium")
SCREENSHOTS = ROOT / "build" / "screenshots"
"""Of every page, kept for people to look at."""


@pytest.fixture(scope="session")
def built_page() -> Path:
    folder = ROOT / "dashboard" / "dist"
    assert (folder / "index.html").exists(), "the page is not built; run: make dashboard"
    return folder


@pytest.fixture(scope="module")
def running(services: Services, built_page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_for_module(services, tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def dataset_id(running: Running) -> int:
    return asyncio.run(register_dataset(running.world))


@pytest_asyncio.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as found:
        yield found


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("there is no Chromium, and `make test` could not install it: apt-get install chromium")
    async with async_playwright() as playwright:
        # As root Chromium has no sandbox of its own; the page it opens is ours.
        found = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        await found.close()


@pytest_asyncio.fixture
async def context(browser: Browser, running: Running) -> AsyncIterator[BrowserContext]:
    found = await browser.new_context(base_url=running.url, locale="en-GB", viewport={"width": 1280, "height": 800})
    yield found
    await found.close()


@pytest_asyncio.fixture
async def page(context: BrowserContext, running: Running) -> AsyncIterator[Page]:
    """A page that may say nothing in its console, and ask nobody but the API."""
    found = await context.new_page()
    complaints: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith((running.url, "blob:", "data:")):
            complaints.append(f"asked {request.url}")

    found.on("console", said)
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on("request", asked)
    yield found
    # A server that is restarted is a complaint of the network, which tests of that expect.
    unexpected = [text for text in complaints if "ERR_CONNECTION_REFUSED" not in text]
    assert unexpected == []
