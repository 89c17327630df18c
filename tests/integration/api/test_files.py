"""What a run left in the store, listed and fetched through the real API."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.api.test_reading import sent
from tests.running import Running, create_job
from tests.waiting import eventually
from training_sdk import RunSettings, TrainerSDK
from training_sdk.wire import JOBS

LARGE = bytes(range(256)) * 20_000


@pytest.fixture
async def job_id(running: Running, client: httpx.AsyncClient, dataset_id: int, tmp_path: Path) -> int:
    """A run by hand that uploaded a plot, a page, a large file and a checkpoint."""
    made = await create_job(client, dataset_id)
    settings = RunSettings.from_env(running.environment(JOB_ID=str(made)))

    def train() -> None:
        with TrainerSDK(settings) as sdk:
            sdk.report_started()
            for name, data in (("plot.png", b"PNG"), ("page.html", b"<script>"), ("large.bin", LARGE)):
                (tmp_path / name).write_bytes(data)
            sdk.upload_artifact(str(tmp_path / "plot.png"), "plot", epoch=2)
            sdk.upload_artifact(str(tmp_path / "page.html"), "file", name="r\u00e9port.html")
            sdk.upload_artifact(str(tmp_path / "large.bin"), "model")
            sdk.upload_checkpoint(str(tmp_path / "large.bin"), is_best=True, epoch=2)
            sdk.report_completed({"total_epochs": 2})

    await asyncio.to_thread(train)

    async def completed() -> bool:
        return bool((await client.get(f"training/jobs/{made}")).json()["status"] == "completed")

    await eventually(completed, what="the job is completed")
    return made


async def test_artifacts_are_listed_when_the_job_is_completed_and_fetched(
    client: httpx.AsyncClient, job_id: int
) -> None:
    everything = (await client.get(f"training/jobs/{job_id}/artifacts")).json()
    assert everything["total"] == 3
    found = {item["name"]: item for item in everything["artifacts"]}
    assert list(found) == ["plot.png", "r\u00e9port.html", "large.bin"]
    assert (found["plot.png"]["kind"], found["plot.png"]["epoch"], found["plot.png"]["file_size_bytes"]) == (
        "plot",
        2,
        3,
    )
    plots = (await client.get(f"training/jobs/{job_id}/artifacts", params={"kind": "plot"})).json()
    assert (plots["total"], [item["name"] for item in plots["artifacts"]]) == (1, ["plot.png"])
    page = (await client.get(f"training/jobs/{job_id}/artifacts", params={"limit": 1, "offset": 1})).json()
    assert (page["total"], [item["name"] for item in page["artifacts"]]) == (3, ["r\u00e9port.html"])

    plot = await client.get(f"training/jobs/{job_id}/artifacts/{found['plot.png']['id']}/content")
    assert (plot.status_code, plot.content, plot.headers["content-type"]) == (200, b"PNG", "image/png")
    page_itself = await client.get(httpx.URL(str(client.base_url)).join(found["r\u00e9port.html"]["content_url"]))
    assert page_itself.content == b"<script>" and page_itself.headers["content-disposition"].startswith("attachment")
    assert page_itself.headers["x-content-type-options"] == "nosniff"
    large = await client.get(f"training/jobs/{job_id}/artifacts/{found['large.bin']['id']}/content")
    assert hashlib.sha256(large.content).hexdigest() == found["large.bin"]["sha256"]


async def test_a_checkpoint_is_fetched_whole_and_in_ranges(client: httpx.AsyncClient, job_id: int) -> None:
    (checkpoint,) = (await client.get(f"training/jobs/{job_id}/checkpoints")).json()["checkpoints"]
    address = f"training/jobs/{job_id}/checkpoints/{checkpoint['id']}/content"
    assert (await client.get(address)).content == LARGE
    part = await client.get(address, headers={"Range": "bytes=1000000-1000999"})
    assert (part.status_code, part.content) == (206, LARGE[1_000_000:1_001_000])
    assert part.headers["content-range"] == f"bytes 1000000-1000999/{len(LARGE)}"
    beyond = await client.get(address, headers={"Range": f"bytes={len(LARGE)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(LARGE)}")
    assert beyond.json()["status"] == 416


async def test_what_is_not_there_or_not_the_jobs_own_is_refused(
    running: Running, client: httpx.AsyncClient, dataset_id: int
) -> None:
    made = await create_job(client, dataset_id)
    bucket = running.world.checkpoints_bucket
    artifact: dict[str, Any] = {"name": "x", "kind": "file", "file_size_bytes": 1, "sha256": "00"}
    events = [
        sent(made, JOBS, "session.opened", 1, {"sender": "sdk"}),
        sent(made, JOBS, "artifact.saved", 2, {**artifact, "object_uri": f"s3://{bucket}/artifacts/{made}/nothing"}),
        sent(made, JOBS, "artifact.saved", 3, {**artifact, "object_uri": f"s3://{bucket}/artifacts/1/foreign"}),
    ]
    assert (await client.post(f"training/jobs/{made}/events", json={"events": events})).status_code == 200

    async def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await client.get(f"training/jobs/{made}/artifacts")).json()["artifacts"]
        return found if len(found) == 2 else []

    gone, foreign = await eventually(listed, what="both artifacts")
    answers = [
        await client.get(f"training/jobs/{made}/artifacts/{number}/content")
        for number in (gone["id"], foreign["id"], 999_999)
    ]
    assert [answer.status_code for answer in answers] == [404, 409, 404]
    assert "is not in the store" in answers[0].json()["detail"]
    assert "lies outside of" in answers[1].json()["detail"]
    assert (await client.get("training/jobs/999999/artifacts")).status_code == 404
    assert (await client.get(f"training/jobs/{made}/artifacts", params={"kind": "picture"})).status_code == 422
