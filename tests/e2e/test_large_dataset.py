"""A data set of 3,000 pictures: registered, listed and trained on, while others go on using the API."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import statistics
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from stack.processes import stop_runs
from tests.dice_stored import DETECTION, document, image, picture
from tests.running import create_job, running_in
from tests.services import World
from tests.waiting import eventually

PICTURES = 3_000
QUIET_REQUESTS = 100
SLOWER_MAX = 15
"""How many times slower the median request may become: the machine has two processors, and both are wanted."""


def put_dataset(world: World) -> str:
    content = document("detection")
    content["images"] = [image(number, "val" if number % 10 == 0 else "train") for number in range(1, PICTURES + 1)]
    store, data = world.store(), picture()
    files = {DETECTION: json.dumps(content).encode()}
    files |= {f"images/{entry['split']}/{entry['file_name']}": data for entry in content["images"]}

    def put(name: str) -> None:
        store.put_object(world.datasets_bucket, f"large/{name}", io.BytesIO(files[name]), len(files[name]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files))
    return f"s3://{world.datasets_bucket}/large/"


async def one_request(client: httpx.AsyncClient) -> float:
    began = time.perf_counter()
    answer = await client.get("training/jobs", params={"limit": 20})
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - began


@contextlib.asynccontextmanager
async def timed(client: httpx.AsyncClient) -> AsyncIterator[list[float]]:
    """Durations of requests that are made one after the other as long as the block lasts."""
    durations: list[float] = []

    async def ask() -> None:
        while True:
            durations.append(await one_request(client))
            await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    try:
        yield durations
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


@pytest.mark.full
@pytest.mark.timeout(600)
async def test_the_api_answers_others_while_a_large_data_set_is_registered_and_trained_on(world: World) -> None:
    uri = await asyncio.to_thread(put_dataset, world)
    async with (
        running_in(world) as running,
        httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=120) as client,
    ):
        quiet = statistics.median([await one_request(client) for _ in range(QUIET_REQUESTS)])

        began = time.perf_counter()
        async with timed(client) as registering:
            answer = await client.post("datasets", json={"name": "large", "s3_uri": uri})
        spent = time.perf_counter() - began
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made["splits"] == {"train": PICTURES * 9 // 10, "val": PICTURES // 10, "test": 0}
        # Every picture was opened, or it is said how many were.
        assert all("pictures were opened" in warning for warning in made["warnings"])
        assert statistics.median(registering) < SLOWER_MAX * quiet
        assert max(registering) < spent / 2, "nobody waits for the registration of somebody else"

        found = await client.get("datasets", params={"after": answer.headers["Epochlog-Position"]})
        assert found.json() == {"datasets": [made], "total": 1}

        running.start_launcher()
        config = {"imgsz": 32, "epochs": 1, "batch": 64, "workers": 0}
        plain = {"plots": False, "mosaic": 0.0}
        try:
            job_id = await create_job(client, made["id"], launch=True, config=config, advanced_config=plain)

            async def ended() -> dict[str, object] | None:
                job: dict[str, object] = (await client.get(f"training/jobs/{job_id}")).json()
                return job if job["status"] in ("completed", "failed", "stopped") else None

            async with timed(client) as training:
                job = await eventually(ended, timeout_s=400, what="the job ends")
            assert job is not None and job["status"] == "completed", job
            assert statistics.median(training) < SLOWER_MAX * quiet
            lines = (await client.get(f"training/jobs/{job_id}/logs", params={"limit": 1000})).json()["logs"]
            assert any(f"{PICTURES + 1:,} files" in line["message"] for line in lines)
        finally:
            running.kill("launcher")
            await asyncio.to_thread(stop_runs, world.folder)
