"""Given events, then rows: each read model on real Postgres, every event delivered twice."""

from __future__ import annotations

import math
from datetime import timedelta

from api.metrics.routes import queries as history_queries
from api.metrics.series import load_series
from events.envelope import Event
from events.types.artifacts import ArtifactSaved
from events.types.checkpoints import CheckpointSaved
from events.types.datasets import DatasetRegistered
from events.types.models import ModelRegistered
from events.types.system import HeartbeatSent, SystemSampled
from events.types.vocabulary import Fact, LogLevel
from producers.database import Pool, transaction
from tests.builders import (
    NOON,
    event,
    job_completed,
    job_created,
    job_started,
    log_written,
    metrics_reported,
    session_opened,
)
from tests.given import all_rows, given
from training_sdk.wire import METRICS


def run_of(*facts: Fact) -> list[Event[Fact]]:
    return [
        event(fact, seq=number, time=NOON + timedelta(seconds=number)) for number, fact in enumerate(facts, start=1)
    ]


async def test_jobs_and_their_audit_trail(pool: Pool) -> None:
    await given(pool, run_of(job_created(), job_started(), job_completed(), job_started(pid=9)))
    rows = await all_rows(pool)
    (job,) = rows["training_jobs"]
    assert (job["id"], job["state"], job["status"]) == (25, "completed", "completed")
    assert job["completed_at"] == NOON + timedelta(seconds=3)
    trail = {row["log_offset"]: (row["type"], row["state"], row["ignored_reason"]) for row in rows["job_events"]}
    assert trail == {
        0: ("training.job.created.v1", "pending", None),
        1: ("training.job.started.v1", "running", None),
        2: ("training.job.completed.v1", "completed", None),
        3: ("training.job.started.v1", "completed", "the job is completed already"),
    }


async def test_checkpoints(pool: Pool) -> None:
    best = CheckpointSaved(epoch=5, checkpoint_path="s3://c/25/best.pt", is_best=True, metrics={"mAP50": math.nan})
    await given(pool, run_of(job_created(), best))
    (row,) = (await all_rows(pool))["training_checkpoints"]
    assert (row["job_id"], row["epoch"], row["is_best"], row["metrics"]) == (25, 5, True, {"mAP50": "NaN"})


async def test_artifacts(pool: Pool) -> None:
    saved = ArtifactSaved(name="a.png", kind="plot", object_uri="s3://c/a", file_size_bytes=3, sha256="00", epoch=2)
    await given(pool, run_of(job_created(), saved))
    rows = await all_rows(pool)
    (row,) = rows["training_artifacts"]
    assert (row["job_id"], row["attempt"], row["name"], row["kind"], row["epoch"]) == (25, 1, "a.png", "plot", 2)
    assert row["log_offset"] == 1 and row["saved_at"] == NOON + timedelta(seconds=2)
    assert rows["job_events"][1]["ignored_reason"] is None


async def test_metrics_keep_gaps_and_non_finite_values(pool: Pool) -> None:
    reported = metrics_reported({"loss": [1.0, math.nan, math.inf], "lr": [0.1, None, 0.3]})
    of_epoch = metrics_reported({"mAP50": [0.5]}, phase="val", first_step=None)
    await given(pool, run_of(reported, of_epoch))
    found = {(row["name"], row["step"]): row["value"] for row in (await all_rows(pool))["training_metrics"]}
    assert found.pop(("train/loss", 2)) == math.inf
    assert math.isnan(found.pop(("train/loss", 1)))
    assert found == {
        ("train/loss", 0): 1.0,
        ("train/lr", 0): 0.1,
        ("train/lr", 2): 0.3,
        ("val/mAP50", None): 0.5,
    }


async def test_points_are_cut_into_chunks_of_a_thousand(pool: Pool) -> None:
    facts = [metrics_reported({"loss": [float(n)] * 700}, first_step=700 * n) for n in range(5)]
    await given(pool, run_of(*facts))
    async with transaction(pool) as tx:
        sizes = [row["points"] for row in await tx.fetch("SELECT points FROM metric_chunks ORDER BY chunk")]
        series = await tx.fetchrow("SELECT points, last_value, value_min, value_max FROM metric_series")
    assert sizes == [1000, 1000, 1000, 500]
    assert series is not None
    assert tuple(series) == (3500, 4.0, 0.0, 4.0)


async def test_the_latest_attempt_wins_from_its_resume_step_on(pool: Pool) -> None:
    opened = session_opened(resume_step=5)
    second = {"attempt": 2, "session": "b" * 32}
    await given(
        pool,
        [
            event(metrics_reported({"loss": [1.0] * 8}), seq=1),
            event(opened, seq=1, topic=METRICS, **second),  # type: ignore[arg-type]
            event(metrics_reported({"loss": [2.0] * 3}, first_step=5), seq=2, **second),  # type: ignore[arg-type]
        ],
    )
    rows = (await all_rows(pool))["training_metrics"]
    kept = {row["step"]: row["value"] for row in rows if not row["superseded"]}
    assert kept == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 2.0, 6: 2.0, 7: 2.0}
    assert len(rows) == 11


async def test_epochs_that_a_later_attempt_never_reached_count_nowhere_also_when_they_come_late(pool: Pool) -> None:
    def validated(epoch: int, attempt: int, seq: int) -> Event[Fact]:
        data = metrics_reported({"mAP50": [epoch / 10]}, phase="val", first_step=None, epoch=epoch)
        return event(data, attempt=attempt, session=f"{attempt}" * 32, seq=seq)

    opened = session_opened(resume_epoch=5)  # its checkpoint names no step
    await given(
        pool,
        [
            *(validated(epoch, 1, epoch) for epoch in range(1, 8)),
            event(metrics_reported({"loss": [1.0]}, epoch=5), session="1" * 32, seq=8),
            event(metrics_reported({"loss": [2.0]}, epoch=6), session="1" * 32, seq=9),
            event(opened, seq=1, topic=METRICS, attempt=2, session="2" * 32),
            validated(8, 1, 10),
            validated(6, 2, 2),
        ],
    )
    rows = await all_rows(pool)
    assert sorted((row["epoch"], row["attempt"]) for row in rows["metric_epochs"]) == [
        *((epoch, 1) for epoch in range(1, 6)),
        (6, 2),
    ]
    kept = [(row["name"], row["epoch"], row["attempt"]) for row in rows["training_metrics"] if not row["superseded"]]
    assert sorted(kept) == [
        ("train/loss", 5, 1),
        *(("val/mAP50", epoch, 1) for epoch in range(1, 6)),
        ("val/mAP50", 6, 2),
    ]
    async with transaction(pool, readonly=True) as tx:
        (loss, series) = await load_series(tx, 25, ["train/loss", "val/mAP50"], None)
        epochs = await history_queries.history(tx, job_id=25, until=2**62)
        history = [row["value"] for row in epochs if row["name"] == "val/mAP50"]
    assert loss.values.tolist() == [1.0]
    assert series.values.tolist() == history == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


async def test_log_lines_get_numbers_that_are_the_same_at_every_replay(pool: Pool) -> None:
    await given(pool, run_of(log_written("one", "two"), log_written("three", level=LogLevel.ERROR)))
    rows = sorted((await all_rows(pool))["training_logs"], key=lambda row: row["id"])
    assert [row["message"] for row in rows] == ["one", "two", "three"]
    assert rows[0]["id"] + 1 == rows[1]["id"] < rows[2]["id"]
    assert rows[2]["level"] == "ERROR"


async def test_system_samples_and_signs_of_life(pool: Pool) -> None:
    await given(pool, run_of(HeartbeatSent(), SystemSampled(cpu_percent=37.5)))
    rows = await all_rows(pool)
    assert [row["data"]["cpu_percent"] for row in rows["system_samples"]] == [37.5]
    assert [row["job_id"] for row in rows["heartbeats"]] == [25]


async def test_data_sets_and_models(pool: Pool) -> None:
    dataset = DatasetRegistered.model_validate(
        {"dataset_id": 42, "name": "v", "task_types": ["detection"], "total_images": 3, "splits": {"train": 3}}
        | {"annotations": {}, "storage_path": "s3://d/42/"}
    )
    model = ModelRegistered(name="yolo11n", framework="ultralytics", task_types=["detection"])
    of_dataset, of_model = event(dataset, job_id=42), event(model)
    await given(pool, [of_dataset, of_model])
    rows = await all_rows(pool)
    assert [(row["id"], row["total_images"]) for row in rows["datasets"]] == [(42, 3)]
    assert [row["name"] for row in rows["models"]] == ["yolo11n"]


async def test_facts_may_come_before_their_job(pool: Pool) -> None:
    await given(pool, run_of(job_started(), metrics_reported({"loss": [1.0]}), log_written("early")))
    rows = await all_rows(pool)
    assert [row["created_at"] for row in rows["training_jobs"]] == [None]
    assert len(rows["training_metrics"]) == 1
    assert len(rows["training_logs"]) == 1
