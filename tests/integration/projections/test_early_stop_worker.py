"""Early stopping with its real process on the real broker, of runs that only use HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest_asyncio

from events.types.vocabulary import Fact
from producers.database import Pool, open_pool
from producers.kafka.publisher import KafkaPublisher
from projections.runtime.replay import read_topic
from tests.builders import event, metrics_reported, session_opened, wire
from tests.running import JOB, Running, create_job, register_dataset, running_in
from tests.services import World
from tests.waiting import eventually
from training_sdk.wire import JOBS, METRICS

CONFIG = {"imgsz": 64, "epochs": 50, "early_stopping": {"metric": "mAP50", "patience": 2}}
OPENED = """
SELECT data FROM write.outbox
WHERE job_id = $1 AND topic = 'training.metrics' AND type = 'training.session.opened.v2'
"""
WAITING_FOR_A_LOCK = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = $1 AND wait_event_type = 'Lock' AND datname = current_database()
"""


@dataclass(slots=True)
class Runs:
    running: Running
    client: httpx.AsyncClient
    pool: Pool
    dataset_id: int

    async def start(self, **config: Any) -> int:
        job_id = await create_job(self.client, self.dataset_id, config={**CONFIG, **config})
        await self.post(job_id, "started", {"pid": 1, "hostname": "pod"})
        return job_id

    async def post(self, job_id: int, callback: str, body: dict[str, Any]) -> None:
        answer = await self.client.post(f"training/jobs/{job_id}/callback/{callback}", json=body)
        assert answer.status_code == 200, answer.text

    async def validate(self, job_id: int, epoch: int, value: float) -> None:
        await self.post(job_id, "metrics", {"epoch": epoch, "phase": "val", "metrics": {"mAP50": value}})

    async def get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(path)).json()
        return found

    async def told_to_stop(self, job_id: int) -> dict[str, Any]:
        async def stop() -> dict[str, Any] | None:
            commands = await self.get(f"training/jobs/{job_id}/commands")
            return commands if commands["stop"] else None

        return await eventually(stop, timeout_s=40, what=f"job {job_id} is told to stop")

    async def trail(self, job_id: int) -> list[tuple[str, str | None]]:
        events = (await self.get(f"training/jobs/{job_id}/events?limit=1000"))["events"]
        return [(one["type"], one["ignored_reason"]) for one in events if one["type"].startswith("training.stop")]


@pytest_asyncio.fixture
async def runs(world: World) -> AsyncIterator[Runs]:
    async with running_in(world) as running:
        pool = await open_pool(world.database_url, size_max=3)
        try:
            running.start_early_stop()
            async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as client:
                yield Runs(running, client, pool, await register_dataset(world))
        finally:
            await pool.close()


async def test_a_run_over_http_is_told_and_ends_as_stopped(runs: Runs) -> None:
    worse, diverging, well = await runs.start(), await runs.start(), await runs.start()
    for epoch, value in enumerate((0.5, 0.9, 0.8, 0.7), start=1):
        await runs.validate(worse, epoch, value)
        await runs.validate(well, epoch, epoch / 10)
    loss = {"epoch": 1, "step": 7, "phase": "train", "metrics": {"loss": "NaN", "lr": 0.1}}
    await runs.post(diverging, "metrics", loss)
    commands = await runs.told_to_stop(worse)
    opened = await runs.pool.fetchval(OPENED, worse)
    assert orjson.loads(opened)["early_stopping"] == CONFIG["early_stopping"]
    assert orjson.loads(opened)["total_epochs"] == CONFIG["epochs"]
    assert commands["reason"] == (
        "val/mAP50 has not become better for 2 epochs: it was best at epoch 2 with 0.9 and is 0.7 at epoch 4"
    )
    assert (await runs.told_to_stop(diverging))["reason"] == "train/loss became nan at epoch 1, step 7"
    job = await runs.get(f"training/jobs/{worse}")
    assert (job["status"], job["state"]) == ("running", "stopping")
    assert job["early_stopping"] == {
        "rule": "patience",
        "metric": "val/mAP50",
        "mode": "max",
        "epoch": 4,
        "value": 0.7,
        "best_epoch": 2,
        "best_value": 0.9,
        "reason": commands["reason"],
    }
    assert (await runs.get(f"training/jobs/{diverging}"))["early_stopping"]["value"] == "NaN"
    results = {"total_epochs": 4, "best_epoch": 2, "best_metrics": {"mAP50": 0.9}, "training_time_seconds": 5}
    body = {"status": "stopped", "stopped_at_epoch": 4, "training_results": results}
    await runs.post(worse, "completion", body)

    async def stopped() -> dict[str, Any] | None:
        found = await runs.get(f"training/jobs/{worse}")
        return found if found["status"] == "stopped" else None

    job = await eventually(stopped, what="stopped")
    assert job is not None
    assert (job["stopped_at_epoch"], job["early_stopping"]["rule"]) == (4, "patience")
    assert job["training_results"]["best_metrics"] == {"mAP50": 0.9}
    assert await runs.trail(worse) == [("training.stop.decided.v1", None)]
    assert not (await runs.get(f"training/jobs/{well}/commands"))["stop"]
    ready = await runs.get(f"{runs.running.url}/readyz")
    assert ready["projections"]["early-stop"]["worker_alive"]
    assert (
        'epochlog_projection_lag{projection="early-stop"}'
        in (await runs.client.get(f"{runs.running.url}/metrics")).text
    )


async def test_a_worker_killed_between_an_event_and_its_decision_decides_once(runs: Runs) -> None:
    """The trainer writes to Kafka; the worker waits for the job's lock with its decision in hand when it is killed."""
    world = runs.running.world
    job_id = await runs.start()
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    facts: list[Fact] = [session_opened(early_stopping=CONFIG["early_stopping"])]
    for epoch, value in enumerate((0.9, 0.8, 0.7), start=1):
        facts.append(metrics_reported({"mAP50": [value]}, phase="val", first_step=None, epoch=epoch))
    events = [wire(event(fact, job_id=job_id, seq=seq, topic=METRICS)) for seq, fact in enumerate(facts, start=1)]
    try:
        async with runs.pool.acquire() as other, other.transaction():
            await other.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"job/{job_id}")
            await publisher.publish(events)

            async def waits() -> bool:
                return bool(await runs.pool.fetchval(WAITING_FOR_A_LOCK, "epochlog projections-early-stop"))

            await eventually(waits, timeout_s=40, what="the worker has decided and waits")
            runs.running.kill("early-stop")
        assert not (await runs.get(f"training/jobs/{job_id}/commands"))["stop"]
        runs.running.start_early_stop()
        await runs.told_to_stop(job_id)
        # Sent again under the same numbers, as after an acknowledgement that was not heard.
        await publisher.publish(events)
    finally:
        await publisher.close()

    async def read() -> bool:
        rows = await runs.pool.fetchval("SELECT count(*) FROM write.outbox WHERE sent_at IS NULL")
        return rows == 0 and len(await runs.trail(job_id)) > 0

    await eventually(read, what="the decision is in the log and applied")
    assert await runs.trail(job_id) == [("training.stop.decided.v1", None)]
    records = [
        record
        async for batch in read_topic(world.kafka_bootstrap_servers, world.topic_prefix, JOBS)
        for record in batch
        if ("ce_type", b"training.stop.decided.v1") in record.headers
    ]
    assert len(records) == 1


async def test_every_wrong_setting_is_named_when_the_job_is_created(runs: Runs) -> None:
    wrong = {"enabled": "yes", "mode": "up", "patience": 0, "min_delta": -1, "warmup_epochs": 1.5, "target": "high"}
    body = {**JOB, "dataset_id": runs.dataset_id, "config": {"early_stopping": {**wrong, "patiance": 3}}}
    answer = await runs.client.post("training/jobs", json=body)
    assert answer.status_code == 422
    named = {problem["location"][-1] for problem in answer.json()["problems"]}
    assert named == {*wrong, "patiance"}
    nulls = dict.fromkeys(wrong)
    body["config"] = {"early_stopping": nulls}
    assert (await runs.client.post("training/jobs", json=body)).status_code == 201
