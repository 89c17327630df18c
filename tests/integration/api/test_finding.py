"""Jobs are found by what they are called and by how good they are, while they run too."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.api.test_reading import sent
from tests.running import create_job
from tests.waiting import eventually
from training_sdk.wire import METRICS

Reports = list[tuple[int, float | str]]


async def report(
    client: httpx.AsyncClient, job_id: int, values: Reports, *, key: str = "mAP50-95", attempt: int = 1
) -> None:
    """Values per epoch, as an SDK of that attempt sends them."""
    columns = {"phase": "val", "steps": [None] * len(values), "epochs": [epoch for epoch, _ in values]}
    data = {**columns, "times": [1.0] * len(values), "values": {key: [value for _, value in values]}}
    events = [
        {**event, "attempt": attempt, "session": f"{job_id * 10 + attempt:032x}"}
        for event in (
            sent(job_id, METRICS, "session.opened", 1, {"sender": "sdk"}),
            sent(job_id, METRICS, "metrics.reported", 2, data),
        )
    ]
    answer = await client.post(f"training/jobs/{job_id}/events", json={"events": events})
    assert answer.status_code == 200, answer.text


async def found(client: httpx.AsyncClient, **query: Any) -> list[int]:
    answer = await client.get("training/jobs", params=query)
    assert answer.status_code == 200, answer.text
    jobs = answer.json()["jobs"]
    if "limit" not in query:
        assert answer.json()["total"] == len(jobs)
    return [job["id"] for job in jobs]


async def best_of(client: httpx.AsyncClient, job_id: int) -> tuple[Any, Any, Any]:
    job = (await client.get(f"training/jobs/{job_id}")).json()
    return job["best_metric_name"], job["best_metric"], job["best_metric_epoch"]


async def test_jobs_are_found_and_sorted(client: httpx.AsyncClient, dataset_id: int) -> None:
    mark = "find-me"
    good = await create_job(client, dataset_id, name="B good 100%", tags=[mark, "night"], model_name="yolo11s")
    bad = await create_job(client, dataset_id, name="a bad", tags=[mark], notes="too dark")
    lossy = await create_job(
        client, dataset_id, name="C loss", tags=[mark, "night"], config={"primary_metric": "val_loss"}
    )
    new = await create_job(client, dataset_id, name="d silent", tags=[mark], task_type="classification")
    # Readable at once, whatever is applied already.
    assert await found(client, tag=mark) == [new, lossy, bad, good]
    await report(client, good, [(1, 0.2), (2, 0.7), (3, 0.6), (4, "NaN")])
    await report(client, bad, [(1, 0.1)])
    await report(client, lossy, [(1, 3.0), (2, 0.5), (3, 0.9)], key="val_loss")

    async def all_read() -> bool:
        return [(await best_of(client, job_id))[1] for job_id in (good, bad, lossy)] == [0.7, 0.1, 0.5]

    await eventually(all_read, what="the reports are applied")
    assert await best_of(client, good) == ("val/mAP50-95", 0.7, 2)
    assert await best_of(client, lossy) == ("val/val_loss", 0.5, 2)
    assert await best_of(client, new) == (None, None, None)
    assert (await client.get(f"training/jobs/{good}")).json()["status"] == "pending"  # nobody said that it started

    async def projected() -> bool:
        return await found(client, tag=mark, sort="-best_metric") == [good, lossy, bad, new]

    await eventually(projected, what="the jobs are applied")
    assert await found(client, tag=mark, sort="best_metric") == [bad, lossy, good, new]
    assert await found(client, tag=mark, sort="name") == [bad, good, lossy, new]
    assert await found(client, tag=mark, sort="-name") == [new, lossy, good, bad]
    assert await found(client, tag=mark, sort="created") == [good, bad, lossy, new]
    assert await found(client, tag=mark, sort="-best_metric", limit=2, offset=1) == [lossy, bad]
    assert await found(client, tag=mark, limit=10, offset=4) == []
    assert await found(client, tag=[mark, "night"]) == [lossy, good]
    assert await found(client, tag=mark, best_metric_min=0.5) == [lossy, good]
    assert await found(client, tag=mark, best_metric_min=0.1, best_metric_max=0.5) == [lossy, bad]
    assert await found(client, tag=mark, search="100%") == [good]
    assert await found(client, tag=mark, search="TOO DARK") == [bad]
    assert await found(client, tag=mark, search="100_") == []
    assert await found(client, tag=mark, search="yolo11s") == [good]
    assert await found(client, tag=mark, model_name="yolo11s", framework="ultralytics", dataset_id=dataset_id) == [good]
    assert await found(client, tag=mark, task_type="classification", state="pending", status="pending") == [new]
    assert await found(client, tag=mark, status="completed") == []
    assert await found(client, tag="no\x00such") == []


async def test_a_change_is_found_by_when_it_is_waited_for(client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await create_job(client, dataset_id)
    answer = await client.patch(f"training/jobs/{job_id}", json={"tags": ["late"], "notes": "needle"})
    position = answer.headers["Epochlog-Position"]
    assert await found(client, tag="late", after=position) == [job_id]
    assert await found(client, search="NEEDLE") == [job_id]


async def test_the_newest_attempt_says_what_an_epoch_was_worth(client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await create_job(client, dataset_id)
    await report(client, job_id, [(1, 0.3), (2, 0.9)])
    await report(client, job_id, [(2, 0.5)], attempt=2)

    async def second() -> bool:
        return await best_of(client, job_id) == ("val/mAP50-95", 0.5, 2)

    await eventually(second, what="the second attempt is applied")
    history = (await client.get(f"training/jobs/{job_id}/metrics")).json()["epochs"]
    assert [epoch["val_metrics"]["mAP50-95"] for epoch in history] == [0.3, 0.5]


@pytest.mark.parametrize(
    "query",
    [{"sort": "best"}, {"status": "done"}, {"state": "done"}, {"best_metric_min": "x"}, {"tag": "x" * 256}],
)
async def test_a_filter_that_cannot_be_is_refused_by_name(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await client.get("training/jobs", params=query)
    assert answer.status_code == 422 and next(iter(query)) in answer.json()["detail"]
