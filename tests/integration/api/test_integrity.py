"""Completeness is proved or denied, number by number, and the job says the same as its account."""

from __future__ import annotations

from typing import Any

import httpx

from tests.running import create_job
from tests.waiting import eventually
from training_sdk.wire import JOBS, LOGS, METRICS, partition_of


def sent(job_id: int, topic: str, kind: str, seq: int, data: dict[str, Any]) -> dict[str, Any]:
    envelope = {"topic": topic, "key": str(job_id), "type": f"training.{kind}.v1", "time": "2026-01-02T12:00:00Z"}
    sender = {"source": "/test", "attempt": 1, "rank": 0, "session": f"{job_id:032x}", "seq": seq}
    return {**envelope, **sender, "data": data}


def point(job_id: int, seq: int) -> dict[str, Any]:
    columns = {"phase": "train", "steps": [seq], "epochs": [1], "times": [1.0], "values": {"loss": [0.5]}}
    return sent(job_id, METRICS, "metrics.reported", seq, columns)


async def post(client: httpx.AsyncClient, job_id: int, *events: dict[str, Any]) -> None:
    answer = await client.post(f"training/jobs/{job_id}/events", json={"events": list(events)})
    assert answer.status_code == 200, answer.text


async def run(client: httpx.AsyncClient, dataset_id: int, points: set[int], **more: Any) -> int:
    """A run that is over: it sent the points 2 to 6 on training.metrics, of which the log got ``points``."""
    job_id = await create_job(client, dataset_id)
    opened = [sent(job_id, topic, "session.opened", 1, {"sender": "sdk"}) for topic in (JOBS, METRICS, LOGS)]
    dropped = [sent(job_id, LOGS, "events.dropped", 2, {"topic": LOGS, "count": 7, "reason": "the disk is full"})]
    results = {"results": {"total_epochs": 1, "best_epoch": 1, "best_metrics": {}}}
    last = {"session": f"{job_id:032x}", "closed_by": "sdk", "last_seq": {JOBS: 4, METRICS: 6, LOGS: 1}}
    if more.get("dropped"):
        last["last_seq"] = {JOBS: 4, METRICS: 6, LOGS: 2}
    await post(
        client,
        job_id,
        *opened,
        *(dropped if more.get("dropped") else []),
        sent(job_id, JOBS, "job.started", 2, {}),
        *(point(job_id, seq) for seq in sorted(points)),
        sent(job_id, JOBS, "job.completed", 3, results),
        *([] if more.get("unclosed") else [sent(job_id, JOBS, "session.closed", 4, last)]),
    )
    return job_id


ALL = {2, 3, 4, 5, 6}


async def test_the_account_of_a_run_and_the_run_itself_say_the_same(client: httpx.AsyncClient, dataset_id: int) -> None:
    wanted = {
        await run(client, dataset_id, ALL): "complete",
        await run(client, dataset_id, ALL - {4}): "incomplete",
        await run(client, dataset_id, {2, 3}): "incomplete",
        await run(client, dataset_id, ALL, dropped=True): "incomplete",
        await run(client, dataset_id, ALL, unclosed=True): "not provable",
    }
    complete, gap, tail, dropped, unclosed = wanted

    async def settled() -> bool:
        jobs = [(await client.get(f"training/jobs/{job_id}")).json() for job_id in wanted]
        return all(job["integrity"] is not None and job["integrity"] != "pending" for job in jobs)

    await eventually(settled, timeout_s=40, what="all are judged")
    listed = {job["id"]: job["integrity"] for job in (await client.get("training/jobs")).json()["jobs"]}
    accounts = {}
    for job_id, integrity in wanted.items():
        accounts[job_id] = account = (await client.get(f"training/jobs/{job_id}/integrity")).json()
        job = (await client.get(f"training/jobs/{job_id}")).json()
        assert (account["integrity"], job["integrity"], listed[job_id]) == (integrity,) * 3, account
        assert account["state"] == job["state"] == "completed"
        counting = [line for attempt in account["attempts"] for line in attempt["lines"] if line["counts"]]
        assert integrity in {line["verdict"] for line in counting} <= {integrity, "complete"}

    lines = {line["topic"]: line for line in accounts[complete]["attempts"][-1]["lines"] if line["sender"] == "sdk"}
    assert {topic: (line["sent"], line["in_log"], line["missing"]) for topic, line in lines.items()} == {
        JOBS: (4, 4, []),
        METRICS: (6, 6, []),
        LOGS: (1, 1, []),
    }
    assert {one["read_model"]: one["applied"] for one in lines[JOBS]["read_models"]}["checkpoints"] == 4
    outbox = [
        line for attempt in accounts[complete]["attempts"] for line in attempt["lines"] if line["sender"] == "outbox"
    ]
    assert [(line["topic"], line["sent"], line["in_log"]) for line in outbox] == [(JOBS, 2, 2)], "created"
    place = partition_of(str(complete).encode())
    metrics = next(topic for topic in accounts[complete]["topics"] if topic["topic"] == METRICS)
    reader = next(one for one in metrics["read_models"] if one["read_model"] == "metrics")
    assert (metrics["partition"], reader["next_offset"], reader["caught_up"]) == (place, metrics["log_end"], True)

    def of_metrics(job_id: int) -> dict[str, Any]:
        lines = accounts[job_id]["attempts"][-1]["lines"]
        return next(line for line in lines if line["topic"] == METRICS and line["sender"] == "sdk")

    assert (of_metrics(gap)["missing"], of_metrics(gap)["in_log"]) == ([[4, 4]], 5)
    assert of_metrics(tail)["missing"] == [[4, 6]]
    assert of_metrics(tail)["reasons"] == ["numbers 4 to 6 are not in the log, which was read to its end"]
    assert of_metrics(unclosed)["sent"] is None
    (log,) = [line for line in accounts[dropped]["attempts"][-1]["lines"] if line["topic"] == LOGS]
    assert [(drop["count"], drop["reason"]) for drop in log["dropped"]] == [(7, "the disk is full")]

    # What was late comes: it is whole.
    await post(client, gap, point(gap, 4))

    async def healed() -> bool:
        answers = [await client.get(f"training/jobs/{gap}"), await client.get(f"training/jobs/{gap}/integrity")]
        return all(answer.json()["integrity"] == "complete" for answer in answers)

    await eventually(healed, what="the gap is filled")


async def test_a_run_that_goes_on_is_pending_and_an_unknown_one_is_not_found(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    account = (await client.get(f"training/jobs/{job_id}/integrity")).json()
    assert (account["integrity"], account["state"]) == ("pending", "pending")
    assert (await client.get("training/jobs/999999/integrity")).status_code == 404
