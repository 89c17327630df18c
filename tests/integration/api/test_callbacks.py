"""A run that is reported over HTTP only, from creation to its results."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import httpx

from api.jobs.completeness import visible_states
from events.types.jobs import StopDecided
from producers.database import open_pool, transaction
from producers.decisions import append_decision
from producers.job_state import load_jobs
from tests.running import Running, create_job
from tests.waiting import eventually


async def state_of(client: httpx.AsyncClient, job_id: int) -> dict[str, Any]:
    answer = await client.get(f"training/jobs/{job_id}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def completed(client: httpx.AsyncClient, job_id: int) -> dict[str, Any] | None:
    job = await state_of(client, job_id)
    return job if job["status"] == "completed" else None


async def test_a_job_can_be_read_and_reported_on_right_after_it_was_created(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    assert (await state_of(client, job_id))["status"] == "pending"
    started = await client.post(f"training/jobs/{job_id}/callback/started", json={"pid": 1, "hostname": "pod"})
    assert (started.status_code, started.json()) == (200, {"status": "ok", "job_id": job_id})
    job = await state_of(client, job_id)
    assert (job["status"], job["state"], job["total_epochs"]) == ("running", "running", 100)
    listed = (await client.get("training/jobs", params={"limit": 1000})).json()
    assert job_id in [found["id"] for found in listed["jobs"]]
    assert listed["total"] == len(listed["jobs"])


async def test_whoever_sees_completed_sees_every_metric_and_every_log_line(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    for _ in range(3):
        job_id = await create_job(client, dataset_id)
        callback = f"training/jobs/{job_id}/callback"
        await client.post(f"{callback}/started", json={"pid": 1, "hostname": "pod"})
        for step in range(1, 31):
            body = {"epoch": 1, "step": step, "phase": "train", "metrics": {"loss": 1 / step}}
            assert (await client.post(f"{callback}/metrics", json=body)).status_code == 200
        lines = [{"level": "INFO", "message": f"line {number}"} for number in range(50)]
        assert (await client.post(f"{callback}/log", json={"logs": lines})).json()["received"] == 50
        done = {"status": "completed", "training_results": {"total_epochs": 1, "training_time_seconds": 5}}
        assert (await client.post(f"{callback}/completion", json=done)).status_code == 200
        job = await eventually(lambda job_id=job_id: completed(client, job_id), what="completed")  # type: ignore[misc]
        assert job["integrity"] == "complete"
        series = (await client.get(f"training/jobs/{job_id}/metrics/series")).json()["series"]
        assert [(one["name"], len(one["values"])) for one in series] == [("train/loss", 30)]
        logs = (await client.get(f"training/jobs/{job_id}/logs", params={"limit": 1000})).json()
        assert [line["message"] for line in logs["logs"]] == [f"line {number}" for number in range(50)]


async def test_two_hundred_shuffled_metrics_come_back_in_order_of_epoch_and_step(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    bodies = [
        {"epoch": epoch, "step": epoch * 100 + step, "phase": "train", "metrics": {"loss": epoch + step / 100}}
        for epoch in range(1, 11)
        for step in range(20)
    ]
    expected = [body["step"] for body in bodies]
    random.Random(7).shuffle(bodies)
    answers = await asyncio.gather(
        *(client.post(f"training/jobs/{job_id}/callback/metrics", json=body) for body in bodies)
    )
    assert {answer.status_code for answer in answers} == {200}

    async def all_there() -> dict[str, Any] | None:
        answer = await client.get(f"training/jobs/{job_id}/metrics/series", params={"names": "train/loss"})
        (series,) = answer.json()["series"]
        return series if series["total_points"] == len(bodies) else None

    series = await eventually(all_there, what="200 points")
    assert series is not None
    assert series["steps"] == expected
    assert series["epochs"] == [epoch for epoch in range(1, 11) for _ in range(20)]
    history = (await client.get(f"training/jobs/{job_id}/metrics")).json()
    assert [entry["epoch"] for entry in history["epochs"]] == list(range(1, 11))
    assert [entry["train_metrics"]["loss"] for entry in history["epochs"]] == [epoch + 0.19 for epoch in range(1, 11)]


async def test_the_same_callback_twice_counts_once_and_is_answered_the_same(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    callback = f"training/jobs/{job_id}/callback"
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("started", {"pid": 1, "hostname": "pod"}),
        ("progress", {"epoch": 1, "total_epochs": 2, "phase": "train"}),
        ("metrics", {"epoch": 1, "step": 1, "phase": "train", "metrics": {"loss": 0.5}}),
        ("checkpoint", {"epoch": 1, "checkpoint_path": "s3://c/25/best.pt", "is_best": True}),
        ("log", {"level": "INFO", "message": "one", "timestamp": "2025-11-20T10:35:00.123Z"}),
        ("completion", {"status": "completed", "training_results": {"total_epochs": 2}}),
    ]
    for name, body in bodies:
        first = await client.post(f"{callback}/{name}", json=body)
        second = await client.post(f"{callback}/{name}", json=body)
        assert first.status_code == 200, (name, first.text)
        assert (second.status_code, second.json()) == (200, first.json()), name
    await eventually(lambda: completed(client, job_id), what="completed")
    events = (await client.get(f"training/jobs/{job_id}/events")).json()["events"]
    kinds = [event["type"] for event in events if "session" not in event["type"]]
    assert kinds == [
        "training.job.created.v1",
        "training.job.started.v1",
        "training.progress.reported.v1",
        "training.checkpoint.saved.v2",
        "training.job.completed.v1",
    ]
    series = (await client.get(f"training/jobs/{job_id}/metrics/series")).json()["series"]
    assert [one["values"] for one in series] == [[0.5]]
    assert (await client.get(f"training/jobs/{job_id}/logs")).json()["total"] == 1


async def test_log_lines_without_a_timestamp_are_never_taken_for_a_repeat(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    for _ in range(2):
        await client.post(f"training/jobs/{job_id}/callback/log", json={"level": "INFO", "message": "again"})

    async def total() -> bool:
        return bool((await client.get(f"training/jobs/{job_id}/logs")).json()["total"] == 2)

    await eventually(total, what="both lines")


async def test_what_contradicts_the_state_is_refused_with_a_reason(client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await create_job(client, dataset_id)
    callback = f"training/jobs/{job_id}/callback"
    await client.post(f"{callback}/started", json={"pid": 1, "hostname": "pod"})
    other = await client.post(f"{callback}/started", json={"pid": 2, "hostname": "pod"})
    assert (other.status_code, other.headers["content-type"]) == (409, "application/problem+json")
    assert "running already, as process 1 on pod" in other.json()["detail"]
    await client.post(f"{callback}/completion", json={"status": "stopped", "stopped_at_epoch": 3})
    late: list[tuple[str, dict[str, Any]]] = [
        ("started", {"pid": 1, "hostname": "pod"}),
        ("progress", {"epoch": 4, "total_epochs": 100}),
        ("metrics", {"epoch": 4, "metrics": {"loss": 1}}),
        ("checkpoint", {"checkpoint_path": "s3://c/25/last.pt"}),
        ("completion", {"status": "completed", "training_results": {}}),
        ("completion", {"status": "stopped", "stopped_at_epoch": 4}),
    ]
    for name, body in late:
        answer = await client.post(f"{callback}/{name}", json=body)
        # The very first `started` again is a repeat, everything else contradicts the end.
        expected = 200 if name == "started" else 409
        assert answer.status_code == expected, (name, answer.text)
    assert (await client.post(f"{callback}/log", json={"message": "tidied up"})).status_code == 200


async def test_stop_of_a_job_that_nobody_runs_ends_it_and_counts_once(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    first = await client.post(f"training/jobs/{job_id}/stop")
    second = await client.post(f"training/jobs/{job_id}/stop")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["position"] is not None
    commands = (await client.get(f"training/jobs/{job_id}/commands")).json()
    assert commands["stop"] is True

    async def stopped() -> bool:
        return bool((await state_of(client, job_id))["status"] == "stopped")

    await eventually(stopped, what="stopped")


async def test_a_running_job_is_told_to_stop(client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await create_job(client, dataset_id)
    await client.post(f"training/jobs/{job_id}/callback/started", json={"pid": 1, "hostname": "pod"})
    await client.post(f"training/jobs/{job_id}/stop", json={"reason": "enough"})
    assert (await client.get(f"training/jobs/{job_id}/commands")).json()["reason"] == "enough"
    assert (await state_of(client, job_id))["state"] == "stopping"
    # While it stops, what the trainer still has to say is taken.
    metrics = {"epoch": 1, "step": 9, "metrics": {"loss": 0.1}}
    assert (await client.post(f"training/jobs/{job_id}/callback/metrics", json=metrics)).status_code == 200


async def test_an_idempotency_key_makes_creation_harmless_to_repeat(client: httpx.AsyncClient, dataset_id: int) -> None:
    from tests.running import JOB

    body = {**JOB, "dataset_id": dataset_id}
    headers = {"Idempotency-Key": f"key-{random.random()}"}
    answers = await asyncio.gather(*(client.post("training/jobs", json=body, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    changed = await client.post("training/jobs", json={**body, "name": "another"}, headers=headers)
    assert changed.status_code == 422
    assert "was used for another request" in changed.json()["detail"]


async def test_a_reader_may_wait_for_what_was_written(client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await create_job(client, dataset_id)
    path = f"training/jobs/{job_id}"
    for step in range(1, 6):
        body = {"epoch": 1, "step": step, "metrics": {"loss": 0.5}}
        written = await client.post(f"{path}/callback/metrics", json=body)
        after = written.headers["Epochlog-Position"]
        (series,) = (await client.get(f"{path}/metrics/series", params={"after": after})).json()["series"]
        assert series["steps"] == list(range(1, step + 1))
    line = await client.post(f"{path}/callback/log", json={"message": "hello"})
    logs = await client.get(f"{path}/logs", params={"after": line.headers["Epochlog-Position"]})
    assert logs.json()["total"] == 1
    # A position that was never given waits for nothing.
    assert (await client.get(f"{path}/logs", params={"after": 2**60})).status_code == 200


async def test_a_decision_to_stop_that_comes_after_the_end_changes_nothing_that_is_shown(
    client: httpx.AsyncClient, dataset_id: int, running: Running
) -> None:
    job_id = await create_job(client, dataset_id)
    callback = f"training/jobs/{job_id}/callback"
    await client.post(f"{callback}/started", json={"pid": 1, "hostname": "pod"})
    await client.post(f"{callback}/completion", json={"status": "completed", "training_results": {}})

    async def is_complete() -> bool:
        return bool((await state_of(client, job_id))["integrity"] == "complete")

    await eventually(is_complete, what="the job is completed")
    pool = await open_pool(running.world.database_url, size_max=1)
    try:
        # An attempt without a session of its own gets one; while the transaction is open no relay can be faster.
        for attempt in (1, 2):
            async with transaction(pool) as tx:
                decided = StopDecided(
                    decision_id=f"late {attempt}", rule="patience", metric="mAP50", reason="no better"
                )
                now = datetime.now(UTC)
                assert await append_decision(tx, job_id, attempt, decided, now)
                shown = (await visible_states(tx, list((await load_jobs(tx, [job_id])).values()), now))[job_id]
                assert (shown.state, shown.status, shown.integrity) == ("completed", "completed", "complete")
    finally:
        await pool.close()
