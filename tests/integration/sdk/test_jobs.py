"""The jobs client against the API that really runs: created, followed over a restart, steered, read."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator

import pytest

from tests.running import Running, register_dataset, running_for_module
from tests.services import Services
from training_sdk import ApiError, Job, RunSettings, TrainerSDK, create_job, find_jobs, get_job
from training_sdk.service.follow import Update
from training_sdk.service.requests import Service

STEPS = 300


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_for_module(services, tmp_path_factory.mktemp("jobs")) as found:
        yield found


@pytest.fixture(autouse=True)
def environment(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLBACK_URL", raising=False)
    monkeypatch.setenv("BACKEND_URL", running.backend_url)


def train(running: Running, job_id: int, go_on: threading.Event) -> None:
    """A run by hand that waits in its middle."""
    with TrainerSDK(RunSettings.from_env(running.environment(JOB_ID=str(job_id)))) as sdk:
        sdk.report_started(total_epochs=2)
        for step in range(STEPS):
            if step == STEPS // 2:
                go_on.wait(60)
            sdk.report_metrics(1 + step // 150, "train", {"loss": 1 / (step + 1)}, step=step)
        sdk.report_metrics(2, "val", {"mAP50-95": float("nan")})
        sdk.report_metrics(1, "val", {"mAP50-95": 0.5})
        sdk.report_completed({"total_epochs": 2})


def steps_of(updates: list[Update]) -> list[int]:
    columns = [update.data["steps"] for update in updates if update.type == "metrics"]
    return [step for column in columns for step in column if step is not None]


async def test_a_job_is_three_lines_and_every_update_comes_once_over_a_restart_of_the_api(running: Running) -> None:
    dataset_id = await register_dataset(running.world, task_types=["detection"])
    config = {"epochs": 2}
    job = await asyncio.to_thread(
        lambda: create_job(model_name="yolo11n", dataset_id=dataset_id, config=config, name="three lines", launch=False)
    )
    assert (job.status, job.data["task_type"], job.data["config"]) == ("pending", "detection", config)
    seen_half, go_on = threading.Event(), threading.Event()
    updates: list[Update] = []
    trainer = threading.Thread(target=train, args=(running, job.id, go_on))

    def follow() -> None:
        for update in job.follow(timeout_s=120):
            assert str(update)
            updates.append(update)
            if len(updates) == 1:
                trainer.start()
            if STEPS // 2 - 1 in steps_of(updates):
                seen_half.set()

    def break_it() -> None:
        assert seen_half.wait(60)
        running.kill("api")
        running.start_api()
        go_on.set()

    breaker = threading.Thread(target=break_it)
    breaker.start()
    await asyncio.to_thread(follow)
    await asyncio.to_thread(trainer.join)
    await asyncio.to_thread(breaker.join)
    assert (job.status, job.ended, job.data["best_metric"]) == ("completed", True, 0.5)
    assert updates[0].type == "snapshot" and updates[-1].type == "job_status"
    assert updates[-1].data["status"] == "completed"
    assert "gap" not in {update.type for update in updates}
    assert steps_of(updates) == list(range(STEPS))

    def read() -> None:
        series = job.metrics("train/loss", "val/mAP50-95")
        assert series["train/loss"].values == [1 / (step + 1) for step in range(STEPS)]
        assert [math.isnan(value) for value in series["val/mAP50-95"].values] == [False, True]
        assert len(job.metrics(max_points=10)["train/loss"].steps) <= 10
        assert [epoch["epoch"] for epoch in job.history()] == [1, 2]
        assert (job.checkpoints(), job.artifacts("plot")) == ([], [])
        assert get_job(job.id).wait(timeout_s=30).status == "completed"
        assert [found.id for found in find_jobs(search="three LINES", sort="-best_metric")] == [job.id]
        assert job.describe(tags=["a"], name=None).data["tags"] == ["a"]

    await asyncio.to_thread(read)


async def test_commands_and_refusals(running: Running) -> None:
    dataset_id = await register_dataset(running.world)

    def steer() -> None:
        with pytest.raises(ValueError, match=r"know detection, classification: name the task_type"):
            create_job(model_name="yolo11n", dataset_id=dataset_id)
        with pytest.raises(ApiError, match="dataset_id") as caught:
            create_job(model_name="yolo11n", dataset_id=999, task_type="detection", config={"epochs": 0})
        assert caught.value.status == 422 and len(caught.value.problems) >= 1
        with pytest.raises(ApiError, match="there is no training job 999") as caught:
            get_job(999)
        assert caught.value.status == 404
        with pytest.raises(ApiError, match="there is no training job 999"):
            list(Job(Service(running.backend_url), {"id": 999}).follow())
        job = create_job(model_name="yolo11n", dataset_id=dataset_id, task_type="detection", launch=False)
        with pytest.raises(TimeoutError, match="has not ended in time"):
            job.wait(timeout_s=0.5)
        with pytest.raises(ApiError) as caught:
            job.resume()
        assert caught.value.status == 409
        assert job.stop("enough").wait(timeout_s=30).status == "stopped"
        assert job.ended
        with pytest.raises(ApiError, match=f"job {job.id} is stopped") as caught:
            job.pause()
        assert caught.value.status == 409

    await asyncio.to_thread(steer)
