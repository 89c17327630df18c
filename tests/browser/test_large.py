"""A job with 100,000 points: drawn from what the server sampled, and more of it when somebody looks closer."""

from __future__ import annotations

import asyncio
import time

import httpx
from playwright.async_api import Page, expect

from tests.browser import runs
from tests.running import Running
from tests.waiting import eventually

STEPS, METRICS = 5_000, 20
REPORT = f"""
from training_sdk import TrainerSDK
with TrainerSDK.from_env() as sdk:
    for step in range({STEPS}):
        losses = {{f"part{{number}}_loss": 1 / (1 + step + number) for number in range({METRICS})}}
        sdk.report_metrics(1 + step // 500, "train", losses, step=step)
"""
VIEW_BUDGET_S = 5.0
"""Generous: how long it takes is measured in benchmarks/, here it must not be hopeless."""


async def test_a_job_with_a_hundred_thousand_points(
    page: Page, running: Running, client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await runs.start(client, dataset_id, name="Many points")
    await asyncio.to_thread(
        lambda: running.world.run("-c", REPORT, JOB_ID=str(job_id), BACKEND_URL=running.backend_url)
    )

    async def all_there() -> bool:
        answer = (await client.get(f"training/jobs/{job_id}/metrics/series", params={"max_points": 5})).json()
        return bool(sum(one["total_points"] for one in answer["series"]) == STEPS * METRICS)

    await eventually(all_there, timeout_s=60)
    began = time.monotonic()
    await page.goto(f"/jobs/{job_id}")
    await expect(page.locator(".chart canvas").first).to_be_visible()
    assert time.monotonic() - began < VIEW_BUDGET_S
    await expect(page.get_by_text("of 100,000 points are drawn")).to_be_visible()

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    plot = await page.locator(".chart .u-over").bounding_box()
    assert plot is not None
    middle = plot["y"] + plot["height"] / 2
    await page.mouse.move(plot["x"] + plot["width"] * 0.5, middle)
    await page.mouse.down()
    await page.mouse.move(plot["x"] + plot["width"] * 0.6, middle, steps=5)
    await page.mouse.up()

    async def asked_closer() -> bool:
        return any("since=" in url and "until=" in url for url in asked)

    await eventually(asked_closer, what="a question for the part that is looked at")
