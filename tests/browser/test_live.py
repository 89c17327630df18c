"""A run watched as it goes: every point once, over a server that is restarted; stopped from the page."""

from __future__ import annotations

import asyncio

import httpx
from playwright.async_api import Page, expect

from tests.browser import runs
from tests.running import Running
from tests.waiting import eventually

LOSSES = """async () => {
  const link = document.querySelector("figure[aria-label^='loss'] button:nth-of-type(2)");
  const blob = await new Promise((done) => {
    const made = URL.createObjectURL;
    URL.createObjectURL = (blob) => { URL.createObjectURL = made; done(blob); return made.call(URL, blob); };
    link.click();
  });
  return (await blob.text()).trim().split("\\r\\n").filter((row) => row.startsWith('"train/loss"'));
}"""
"""The rows that the chart of losses is drawn from, as it saves them itself."""


async def drawn_steps(page: Page) -> list[int]:
    rows: list[str] = await page.evaluate(LOSSES)
    return [int(row.split(",")[2]) for row in rows]


async def shows_steps(page: Page, count: int) -> None:
    async def all_there() -> bool:
        return await page.locator("figure[aria-label^='loss']").count() > 0 and len(await drawn_steps(page)) >= count

    await eventually(all_there, what=f"a chart with {count} steps")
    assert await drawn_steps(page) == list(range(1, count + 1))


async def test_a_run_is_seen_as_it_goes_and_over_a_restart_of_the_server(
    page: Page, running: Running, client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await runs.start(client, dataset_id, name="Watched")
    await runs.epoch(client, job_id, 1)
    await page.goto(f"/jobs/{job_id}")
    await shows_steps(page, 3)
    await runs.epoch(client, job_id, 2)
    await shows_steps(page, 6)
    await expect(page.locator(".facts")).to_contain_text("2/20")
    await expect(page.locator(".title .connection")).to_have_text("live")

    running.kill("api")
    await expect(page.locator(".title .connection")).to_contain_text("connection lost")
    running.start_api()
    await asyncio.to_thread(running.wait_ready)
    for number in (3, 4):
        await runs.epoch(client, job_id, number)
    await expect(page.locator(".title .connection")).to_have_text("live", timeout=20_000)
    await shows_steps(page, 12)

    await page.get_by_role("tab", name="Logs").click()
    await expect(page.get_by_role("log")).to_contain_text("epoch 4 of 20 done")
    await expect(page.locator(".line", has_text="done")).to_have_count(4)

    await runs.complete(client, job_id, 4)
    await expect(page.locator(".title .status")).to_have_text("completed")


async def test_a_run_is_asked_to_stop_from_the_page(page: Page, client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await runs.start(client, dataset_id, name="To be stopped")
    await runs.epoch(client, job_id, 1)
    await page.goto("/")
    await page.get_by_role("searchbox").fill("To be stopped")
    await page.get_by_role("link", name="To be stopped").click()
    await page.get_by_role("button", name="Stop", exact=True).click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(f"Stop job {job_id}?")
    await dialog.get_by_role("button", name="Stop").click()
    await expect(page.locator(".notice")).to_contain_text("Asked to stop")
    commands = (await client.get(f"training/jobs/{job_id}/commands")).json()
    assert commands["stop"] is True, commands
    await runs.post(client, job_id, "completion", {"status": "stopped", "stopped_at_epoch": 1})
    await expect(page.locator(".title .status")).to_have_text("stopped")
    await page.get_by_role("tab", name="Timeline").click()
    await expect(page.locator(".timeline")).to_contain_text("stop.requested")


async def test_a_job_that_is_not_there_is_said_so(page: Page) -> None:
    await page.goto("/jobs/987654")
    await expect(page.get_by_role("alert")).to_have_text("There is no job 987654.")


async def test_the_slider_shows_the_job_as_it_was(page: Page, client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await runs.start(client, dataset_id, name="Of the past")
    for number in (1, 2, 3, 4):
        await runs.epoch(client, job_id, number)
    await runs.complete(client, job_id, 4)
    await page.goto(f"/jobs/{job_id}")
    await shows_steps(page, 12)
    slider = page.get_by_label("Moment")
    await slider.focus()
    for _ in range(5):
        await page.keyboard.press("PageDown")
    await expect(page.locator(".notice")).to_contain_text("as it was at")
    await expect(page.locator(".facts .status").first).to_have_text("running")
    steps = await drawn_steps(page)
    assert 0 < len(steps) < 12 and steps == list(range(1, len(steps) + 1))
    await page.get_by_role("button", name="Back to now").click()
    await shows_steps(page, 12)
    await expect(page.locator(".facts .status").first).to_have_text("completed")
