"""Every trainer, every way a run can end; each time Kafka, Postgres, S3, MLflow, API and WebSocket must agree.

All cells in `make test-full`; in `make test` every way once, with the trainers in turn.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.e2e.frameworks import TINY_JOBS, TinyJob
from tests.e2e.product import RUN_TIMEOUT_S, Product, run_of

pytestmark = pytest.mark.matrix
MANY_EPOCHS = 60
"""More than are trained before a command arrives."""


async def completes(product: Product, tiny: TinyJob) -> None:
    async with run_of(product, tiny.body(epochs=2)) as run:
        job = await product.ends(run.job_id)
        assert (job["status"], job["error_code"], job["attempt"]) == ("completed", None, 1), job
        assert job["training_results"]["total_epochs"] == 2
        assert tiny.metric in job["training_results"]["best_metrics"]
        assert job["training_results"]["gpu_hours"] == 0
        assert await product.epochs_with_validation(run.job_id) == [1, 2]
        await run.everybody_agrees("completed", epochs=2)


async def is_stopped_by_its_user(product: Product, tiny: TinyJob) -> None:
    async with run_of(product, tiny.body(epochs=MANY_EPOCHS)) as run:
        await product.epoch_reached(run.job_id, 1)
        first = await product.ask(run.job_id, "stop")
        again = await product.api.post(f"training/jobs/{run.job_id}/stop")
        assert again.status_code == 202 and again.json()["status"] == first["status"]
        job = await product.ends(run.job_id)
        assert (job["status"], job["error_code"]) == ("stopped", "USER_STOPPED"), job["error_message"]
        epochs = await product.epochs_with_validation(run.job_id)
        assert 1 <= job["stopped_at_epoch"] == epochs[-1] < MANY_EPOCHS
        job = await product.until(run.job_id, lambda job: job["exit_code"] is not None, "its exit is recorded")
        assert job["exit_code"] == 0
        evidence = await run.everybody_agrees("stopped", epochs=len(epochs))
        assert evidence.written.checkpoints >= 1
        types = [event["type"] for event in await product.events(run.job_id)]
        assert types.count("training.stop.requested.v1") == 1
        assert types.count("training.stop.signalled.v1") == 1


async def is_stopped_early_by_the_server(product: Product, tiny: TinyJob) -> None:
    # Nothing improves by 100, so the second epoch without an improvement decides.
    rule = {"enabled": True, "metric": tiny.metric, "mode": "max", "patience": 2, "min_delta": 100}
    async with run_of(product, tiny.body(epochs=MANY_EPOCHS, early_stopping=rule)) as run:
        job = await product.ends(run.job_id)
        assert job["status"] == "stopped", job["error_message"]
        assert job["early_stopping"]["rule"] == "patience"
        decided_at = job["early_stopping"]["epoch"]
        assert decided_at == 3, job["early_stopping"]
        epochs = await product.epochs_with_validation(run.job_id)
        assert decided_at <= job["stopped_at_epoch"] < MANY_EPOCHS
        decided = [e for e in await product.events(run.job_id) if e["type"] == "training.stop.decided.v1"]
        assert len(decided) == 1 and decided[0]["data"]["epoch"] == decided_at
        await run.everybody_agrees("stopped", epochs=len(epochs))


async def is_paused_and_resumed(product: Product, tiny: TinyJob) -> None:
    epochs = 12
    async with run_of(product, tiny.body(epochs=epochs)) as run:
        await product.epoch_reached(run.job_id, 2)
        await product.ask(run.job_id, "pause")
        paused = await product.until(run.job_id, lambda job: job["state"] == "paused", "is paused")
        assert paused["status"] == "running"
        done = await product.epochs_with_validation(run.job_id)
        assert 2 <= len(done) < epochs
        await product.ask(run.job_id, "resume")
        job = await product.ends(run.job_id)
        assert (job["status"], job["attempt"]) == ("completed", 2), job
        assert job["training_results"]["total_epochs"] == epochs
        assert await product.epochs_with_validation(run.job_id) == list(range(1, epochs + 1))
        series = (await product.get(f"training/jobs/{run.job_id}/metrics/series", names="train/loss"))["series"][0]
        steps = [step for step in series["steps"] if step is not None]
        assert steps == list(range(1, len(steps) + 1)), "every step once, over both attempts"
        assert len(steps) % epochs == 0
        await run.everybody_agrees("completed", epochs=epochs)
        assert ("running", "paused") in run.listener.statuses


async def is_killed_and_retried(product: Product, tiny: TinyJob) -> None:
    epochs = 8
    async with run_of(product, tiny.body(epochs=epochs)) as run:
        await product.epoch_reached(run.job_id, 2)
        started = [e for e in await product.events(run.job_id) if e["type"] == "training.job.started.v1"]
        os.kill(started[0]["data"]["pid"], signal.SIGKILL)
        failed = await product.until(run.job_id, lambda job: job["exit_signal"] == "SIGKILL", "the kill is seen")
        assert failed["error_code"] == "PROCESS_DIED" or failed["attempt"] == 2
        job = await product.until(run.job_id, lambda job: job["status"] == "completed", "completes after all")
        assert job["attempt"] == 2 and job["error_code"] is None, job
        assert await product.epochs_with_validation(run.job_id) == list(range(1, epochs + 1))
        retries = [e for e in await product.events(run.job_id) if e["type"] == "training.retry.requested.v1"]
        assert [retry["data"]["automatic"] for retry in retries] == [True]
        await run.everybody_agrees("completed", epochs=epochs)


async def has_a_bad_configuration(product: Product, tiny: TinyJob) -> None:
    """Refused at the door with every problem at once; what the door cannot know, such as GPUs, fails in the trainer."""
    refused = await product.api.post(
        "training/jobs",
        json={"dataset_id": product.dataset_id, **tiny.body(epochs=2, imgsz=3), "advanced_config": {"no_such_name": 1}},
    )
    assert refused.status_code == 422
    places = {".".join(str(part) for part in problem["location"]) for problem in refused.json()["problems"]}
    assert any("imgsz" in place for place in places), places
    assert any("no_such_name" in place for place in places), places
    async with run_of(product, tiny.body(epochs=2, device="7")) as run:
        job = await product.ends(run.job_id)
        assert (job["status"], job["error_code"]) == ("failed", "INVALID_CONFIG"), job
        assert "config.device" in job["error_message"]
        assert job["attempt"] == 1
        await run.everybody_agrees("failed", epochs=0)


WAYS: dict[str, Callable[[Product, TinyJob], Awaitable[None]]] = {
    "completes": completes,
    "user stop": is_stopped_by_its_user,
    "early stop": is_stopped_early_by_the_server,
    "pause and resume": is_paused_and_resumed,
    "kill -9 and retry": is_killed_and_retried,
    "bad config": has_a_bad_configuration,
}
FRAMEWORKS = tuple(TINY_JOBS)
CHOSEN = {(FRAMEWORKS[number % len(FRAMEWORKS)], way) for number, way in enumerate(WAYS)}
"""A pairwise choice of two factors would be all cells: every way once and every trainer twice instead."""


def cells() -> list[Any]:
    return [
        pytest.param(
            framework, way, id=f"{framework}-{way}", marks=() if (framework, way) in CHOSEN else pytest.mark.full
        )
        for framework in FRAMEWORKS
        for way in WAYS
    ]


@pytest.mark.timeout(3 * RUN_TIMEOUT_S)
@pytest.mark.parametrize(("framework", "way"), cells())
async def test_a_run_ends_and_everybody_agrees_how(product: Product, framework: str, way: str) -> None:
    await WAYS[way](product, TINY_JOBS[framework])


@pytest.mark.timeout(2 * RUN_TIMEOUT_S)
@pytest.mark.parametrize(
    "framework",
    [FRAMEWORKS[0], *(pytest.param(framework, marks=pytest.mark.full) for framework in FRAMEWORKS[1:])],
)
async def test_a_data_set_that_is_gone_fails_the_run_by_name(
    product: Product, lost_dataset_id: int, framework: str
) -> None:
    body = {**TINY_JOBS[framework].body(epochs=2, max_retries=0), "dataset_id": lost_dataset_id}
    async with run_of(product, body) as run:
        job = await product.ends(run.job_id)
        assert (job["status"], job["error_code"]) == ("failed", "DATASET_NOT_FOUND"), job
        assert str(lost_dataset_id) in job["error_message"]
        await run.everybody_agrees("failed", epochs=0)
