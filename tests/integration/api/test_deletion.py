"""A job is deleted: hidden and at rest until it is restored."""

from __future__ import annotations

from typing import Any

import httpx

from tests.running import create_job
from tests.waiting import eventually


async def ended_job(client: httpx.AsyncClient, dataset_id: int, **fields: Any) -> int:
    job_id = await create_job(client, dataset_id, **fields)
    answer = await client.post(f"training/jobs/{job_id}/stop", json={})
    assert answer.status_code == 202, answer.text

    async def ended() -> bool:
        return bool((await client.get(f"training/jobs/{job_id}")).json()["status"] == "stopped")

    await eventually(ended, what="the end is applied")
    return job_id


async def listed(client: httpx.AsyncClient, after: str, **query: Any) -> list[int]:
    answer = await client.get("training/jobs", params={"after": after, **query})
    assert answer.status_code == 200, answer.text
    assert answer.json()["total"] == len(answer.json()["jobs"])
    return [job["id"] for job in answer.json()["jobs"]]


async def test_a_deleted_job_is_hidden_and_at_rest_until_it_is_restored(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await ended_job(client, dataset_id, tags=["doomed"])
    kept = await ended_job(client, dataset_id, tags=["doomed"])
    address = f"training/jobs/{job_id}"
    deleted = await client.delete(address, params={"reason": "wrong data", "requested_by": "ann"})
    assert deleted.status_code == 200, deleted.text
    said = deleted.json()
    assert said["deleted_at"] is not None
    assert (said["deleted_by"], said["delete_reason"], said["status"]) == ("ann", "wrong data", "stopped")
    after = deleted.headers["Epochlog-Position"]
    assert await listed(client, after, tag="doomed") == [kept]
    assert await listed(client, after, tag="doomed", deleted="true") == [job_id]
    assert await listed(client, after, tag="doomed", deleted="include") == [kept, job_id]
    assert (await client.get(address)).json() == said
    again = await client.delete(address)
    assert again.json() == said and again.headers["Epochlog-Position"] == after
    for verb, path, body in (
        ("POST", "/stop", {}),
        ("POST", "/retry", {}),
        ("PATCH", "", {"name": "x"}),
        ("POST", "/callback/log", {"level": "INFO", "message": "m"}),
    ):
        refused = await client.request(verb, address + path, json=body)
        assert refused.status_code == 409 and "restore it first" in refused.json()["detail"], refused.text
    restored = await client.post(f"{address}/restore", json={"requested_by": "ann"})
    assert restored.status_code == 200, restored.text
    assert (restored.json()["deleted_at"], restored.json()["deleted_by"]) == (None, None)
    assert await listed(client, restored.headers["Epochlog-Position"], tag="doomed") == [kept, job_id]
    assert (await client.patch(address, json={"name": "again"})).status_code == 200
    trail = (await client.get(f"{address}/events", params={"limit": 1000})).json()["events"]
    life = [
        event["data"] for event in trail if event["type"] in ("training.job.deleted.v1", "training.job.restored.v1")
    ]
    assert life == [{"requested_by": "ann", "reason": "wrong data"}, {"requested_by": "ann"}]


async def test_what_runs_is_not_deleted(client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await create_job(client, dataset_id)
    await client.post(f"training/jobs/{job_id}/callback/started", json={"pid": 1, "hostname": "pod"})
    refused = await client.delete(f"training/jobs/{job_id}")
    assert refused.status_code == 409 and "stop it first" in refused.json()["detail"]
    assert (await client.delete("training/jobs/999999")).status_code == 404
    assert (await client.post("training/jobs/999999/restore")).status_code == 404
