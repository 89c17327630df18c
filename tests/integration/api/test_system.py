"""Samples of two processes of one job, read through the real API."""

from __future__ import annotations

from typing import Any

import httpx

from tests.integration.api.test_reading import sent
from tests.running import create_job
from tests.waiting import eventually
from training_sdk.wire import SYSTEM


async def test_samples_of_every_rank_are_read_as_series_and_as_the_newest_of_each(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    assert (await client.get(f"training/jobs/{job_id}/system")).json() == {"job_id": job_id, "latest": [], "series": []}
    events: list[dict[str, Any]] = []
    for rank in (0, 1):
        for seq in range(1, 41):
            data = {"cpu_percent": float(seq), "gpus": [{"index": rank, "utilization_percent": 50.0 + seq}]}
            event = sent(job_id, SYSTEM, "system.sampled", seq, data)
            moment = f"2026-01-02T12:00:{seq:02d}Z"
            events.append({**event, "rank": rank, "session": f"{job_id * 2 + rank:032x}", "time": moment})
    answer = await client.post(f"training/jobs/{job_id}/events", json={"events": events})
    assert answer.status_code == 200, answer.text

    async def read() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get(f"training/jobs/{job_id}/system")).json()
        return found if [one["total_points"] for one in found["series"]] == [40] * 4 else None

    found = await eventually(read, what="the samples are applied")
    assert [(one["rank"], one["gpu"], one["name"]) for one in found["series"]] == [
        (0, None, "cpu_percent"),
        (0, 0, "gpu_utilization_percent"),
        (1, None, "cpu_percent"),
        (1, 1, "gpu_utilization_percent"),
    ]
    assert [(one["rank"], one["time"], one["sample"]["cpu_percent"]) for one in found["latest"]] == [
        (0, "2026-01-02T12:00:40Z", 40.0),
        (1, "2026-01-02T12:00:40Z", 40.0),
    ]
    few = (await client.get(f"training/jobs/{job_id}/system", params={"max_points": 5, "rank": 1})).json()["series"]
    assert [len(one["values"]) <= 5 and one["sampled"] and one["rank"] == 1 for one in few] == [True, True]
    assert (await client.get(f"training/jobs/{job_id}/system", params={"attempt": 2})).json()["series"] == []
    assert (await client.get("training/jobs/999999/system")).status_code == 404
