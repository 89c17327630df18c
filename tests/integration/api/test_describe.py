"""A job is given another name, tags and notes, while it runs and after its end."""

from __future__ import annotations

import httpx

from tests.running import create_job
from tests.waiting import eventually


async def test_a_description_changes_at_any_time_and_every_change_is_in_the_audit_trail(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id, name="first", tags=["baseline"], notes="as it was")
    address = f"training/jobs/{job_id}"
    created = (await client.get(address)).json()
    assert (created["name"], created["tags"], created["notes"]) == ("first", ["baseline"], "as it was")
    await client.post(f"{address}/callback/started", json={"pid": 1, "hostname": "pod"})
    running = await client.patch(address, json={"name": "second", "requested_by": "ann"})
    assert running.status_code == 200, running.text
    assert (running.json()["name"], running.json()["tags"]) == ("second", ["baseline"])
    await client.post(f"{address}/callback/completion", json={"status": "completed", "training_results": {}})

    async def completed() -> bool:
        return bool((await client.get(address)).json()["integrity"] == "complete")

    await eventually(completed, what="the job is completed")
    # Back to an older name, which is no repeat of a request; then the same once more, which changes nothing.
    positions = []
    for name in ("first", "first"):
        answer = await client.patch(address, json={"name": name, "notes": None})
        assert (answer.json()["name"], answer.json()["notes"]) == ("first", None)
        assert (answer.json()["status"], answer.json()["integrity"]) == ("completed", "complete")
        positions.append(answer.headers.get("Epochlog-Position"))
    assert positions[0] is not None and positions[1] is None

    async def trail() -> list[dict[str, object]]:
        query = {"type": "training.job.described.v1"}
        found = (await client.get(f"{address}/events", params=query)).json()["events"]
        return [event["data"] for event in found] if len(found) == 3 else []

    assert await eventually(trail, what="three changes in the audit trail") == [
        {"tags": ["baseline"], "notes": "as it was", "requested_by": "api"},
        {"name": "second", "requested_by": "ann"},
        {"name": "first", "notes": "", "requested_by": "api"},
    ]


async def test_a_repeat_under_a_key_is_the_same_change_and_bad_bodies_change_nothing(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id, name="first")
    address, key = f"training/jobs/{job_id}", {"Idempotency-Key": "once"}
    first = await client.patch(address, json={"name": "second"}, headers=key)
    await client.patch(address, json={"name": "third"})
    again = await client.patch(address, json={"name": "second"}, headers=key)
    assert again.json()["name"] == "third"
    assert again.headers["Epochlog-Position"] == first.headers["Epochlog-Position"]
    bad = await client.patch(address, json={"tags": ["x" * 65, ""], "name": 7})
    assert bad.status_code == 422 and len(bad.json()["problems"]) == 3
    assert (await client.patch("training/jobs/999999", json={"name": "x"})).status_code == 404
    assert (await client.get(address)).json()["name"] == "third"
