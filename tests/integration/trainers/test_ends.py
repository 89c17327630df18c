"""Every way a run can end or go on, with real processes: API, projections, a launcher, supervisors, a small trainer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from stack.processes import stop_runs
from tests.running import Running, create_job, register_dataset, running_for_module
from tests.services import Services
from tests.waiting import eventually
from trainers.processes import ProcessMark, read_json, read_mark
from trainers.recorder import EXIT, TRAINER_PID

TRAINERS = '{"epochs": "tests.integration.trainers.epochs_trainer"}'
STEPS = 10
SETTINGS = {
    "EPOCHLOG_TRAINERS": TRAINERS,
    "EPOCHLOG_SLOTS": "2",
    "EPOCHLOG_CANCEL_GRACE_S": "1",
    "EPOCHLOG_RETRY_DELAY_S": "2",
    "EPOCHLOG_LOST_AFTER_S": "15",
}


@dataclass(slots=True)
class Runs:
    """A system with a launcher, and what the tests ask of it."""

    running: Running
    client: httpx.AsyncClient
    dataset_id: int

    async def create(self, epochs: int = 3, step_s: float = 0.02, **config: Any) -> int:
        full = {"epochs": epochs, "steps": STEPS, "step_s": step_s, **config}
        return await create_job(self.client, self.dataset_id, framework="epochs", launch=True, config=full)

    def folder(self, job_id: int, attempt: int = 1) -> Path:
        return self.running.world.folder / "runs" / f"job-{job_id}" / f"attempt-{attempt}"

    async def job(self, job_id: int) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(f"training/jobs/{job_id}")).json()
        return found

    async def becomes(self, job_id: int, *states: str, timeout_s: float = 60) -> dict[str, Any]:
        job: dict[str, Any] = {}

        async def there() -> bool:
            job.update(await self.job(job_id))
            return job["state"] in states

        try:
            await eventually(there, timeout_s=timeout_s, what=f"job {job_id} is {' or '.join(states)}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {job}, {await self.events(job_id)}") from error
        return job

    async def is_in_epoch(self, job_id: int, epoch: int) -> None:
        async def reached() -> bool:
            return ((await self.job(job_id))["current_epoch"] or 0) >= epoch

        await eventually(reached, timeout_s=60, what=f"job {job_id} is in epoch {epoch}")

    async def ask(self, job_id: int, what: str, expected: int = 202, **body: str) -> dict[str, Any]:
        answer = await self.client.post(f"training/jobs/{job_id}/{what}", json=body or None)
        assert answer.status_code == expected, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def steps(self, job_id: int, name: str = "train/loss") -> list[int | None]:
        answer = await self.client.get(f"training/jobs/{job_id}/metrics/series", params={"names": name})
        (series,) = answer.json()["series"]
        found: list[int | None] = series["steps"] if name.startswith("train") else series["epochs"]
        return found

    async def events(self, job_id: int) -> list[dict[str, Any]]:
        answer = await self.client.get(f"training/jobs/{job_id}/events", params={"limit": 1000})
        found: list[dict[str, Any]] = answer.json()["events"]
        return found

    async def event(self, job_id: int, kind: str) -> dict[str, Any]:
        """The last event of a type: a job is shown with what waits in the outbox, its events a moment later."""

        async def last() -> dict[str, Any] | None:
            found = [event for event in await self.events(job_id) if event["type"] == f"training.{kind}.v1"]
            return found[-1] if found else None

        event = await eventually(last, what=f"{kind} is in the log")
        assert event is not None
        return event

    async def exit_of(self, job_id: int) -> dict[str, Any]:
        """How its process ended, which the log has a moment after the trainer's last word."""
        data: dict[str, Any] = (await self.event(job_id, "process.exited"))["data"]
        return data

    def trainer(self, job_id: int, attempt: int = 1) -> ProcessMark:
        found = read_mark(self.folder(job_id, attempt) / TRAINER_PID)
        assert found is not None
        return found

    async def has_every_step_once(self, job_id: int, epochs: int) -> None:
        assert await self.steps(job_id) == list(range(1, epochs * STEPS + 1))
        assert await self.steps(job_id, "val/mAP50") == list(range(1, epochs + 1))


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_for_module(services, tmp_path_factory.mktemp("ends")) as found:
        found.start_launcher(**SETTINGS)
        try:
            yield found
        finally:
            found.stop()
            stop_runs(found.world.folder)


@pytest.fixture(scope="module")
def dataset_id(running: Running) -> int:
    return asyncio.run(register_dataset(running.world))


@pytest_asyncio.fixture
async def runs(running: Running, dataset_id: int) -> AsyncIterator[Runs]:
    async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as client:
        yield Runs(running, client, dataset_id)


async def test_a_run_pauses_and_goes_on_to_the_same_end_as_if_nothing_had_been(runs: Runs) -> None:
    # Enough that it cannot have come to its end before the pause reaches it, however busy the machine is.
    epochs = 16
    job_id = await runs.create(epochs=epochs, step_s=0.05)
    await runs.is_in_epoch(job_id, 2)
    first = await runs.ask(job_id, "pause", requested_by="anna", reason="urgent work")
    again = await runs.ask(job_id, "pause", requested_by="anna", reason="urgent work")
    assert again == first and first["position"] is not None
    assert (await runs.client.get(f"training/jobs/{job_id}/commands")).json()["stop"] is True
    paused = await runs.becomes(job_id, "paused")
    assert (paused["status"], paused["attempt"], paused["error_code"]) == ("running", 1, None)
    done = paused["current_epoch"]
    assert 2 <= done < epochs
    refused = await runs.ask(job_id, "retry", expected=409)
    assert "is paused: only what failed can be tried again" in refused["detail"]
    await runs.ask(job_id, "resume", requested_by="ben", reason="done")
    await runs.ask(job_id, "resume", requested_by="ben", reason="done")
    job = await runs.becomes(job_id, "completed")
    assert (job["attempt"], job["current_epoch"], job["integrity"]) == (2, epochs, "complete")
    await runs.has_every_step_once(job_id, epochs)
    pause, resume = await runs.event(job_id, "pause.requested"), await runs.event(job_id, "resume.requested")
    assert (pause["data"]["requested_by"], pause["data"]["reason"], pause["state"]) == (
        "anna",
        "urgent work",
        "pausing",
    )
    assert (resume["data"]["requested_by"], resume["state"]) == ("ben", "queued")
    launched = await runs.event(job_id, "job.launched")
    assert f"goes on after epoch {done}, from s3://" in launched["data"]["reason"]
    kinds = [event["type"] for event in await runs.events(job_id)]
    assert kinds.count("training.pause.requested.v1") == kinds.count("training.resume.requested.v1") == 1


async def test_a_cancelled_run_that_does_not_listen_is_killed_within_seconds(runs: Runs) -> None:
    job_id = await runs.create(epochs=50, step_s=0.05, deaf=True)
    await runs.is_in_epoch(job_id, 1)
    await runs.ask(job_id, "stop", requested_by="anna", reason="enough")
    await runs.ask(job_id, "cancel", requested_by="anna", reason="now")
    job = await runs.becomes(job_id, "stopped", timeout_s=30)
    assert (job["error_code"], job["exit_signal"]) == ("USER_STOPPED", "SIGKILL")
    assert (await runs.event(job_id, "cancel.requested"))["data"]["reason"] == "now"
    stop = read_json(runs.folder(job_id) / "stop.json")
    hurry = read_json(runs.folder(job_id) / "hurry.json")
    assert stop is not None and hurry is not None
    assert 0.9 < float(str(stop["killed_at"])) - float(str(hurry["asked_at"])) < 10


async def test_a_run_that_was_killed_is_tried_again_from_its_last_checkpoint(runs: Runs) -> None:
    job_id = await runs.create(epochs=4, kills=1, kill_epoch=3)
    job = await runs.becomes(job_id, "completed")
    assert (job["attempt"], job["retries"], job["error_code"]) == (2, 1, None)
    # Not by looking in between: on a busy machine the failure is over before it is seen.
    killed = next(event for event in await runs.events(job_id) if event["type"] == "training.process.exited.v1")
    assert (killed["attempt"], killed["data"]["signal"], killed["state"]) == (1, "SIGKILL", "failed")
    retry = (await runs.event(job_id, "retry.requested"))["data"]
    assert retry["automatic"] is True and retry["reason"] == "PROCESS_DIED may be gone by itself: retry 1 of 3"
    launched = await runs.event(job_id, "job.launched")
    assert "goes on after epoch 2, from s3://" in launched["data"]["reason"]
    await runs.has_every_step_once(job_id, 4)


async def test_a_run_that_dies_every_time_fails_for_good_until_somebody_asks(runs: Runs) -> None:
    job_id = await runs.create(epochs=2, kills=2, kill_epoch=1, max_retries=1)

    async def exhausted() -> bool:
        job = await runs.job(job_id)
        return bool(job["state"] == "failed" and job["attempt"] == 2 and not job["awaits_retry"])

    await eventually(exhausted, timeout_s=60, what="both attempts failed")
    await runs.ask(job_id, "retry", requested_by="anna", reason="the machine was mended")
    job = await runs.becomes(job_id, "completed")
    assert job["attempt"] == 3
    retries = [e["data"] for e in await runs.events(job_id) if e["type"] == "training.retry.requested.v1"]
    assert [retry["automatic"] for retry in retries] == [True, False]
    refused = await runs.ask(job_id, "retry", expected=409)
    assert "is completed: only what failed" in refused["detail"]


@pytest.mark.parametrize(
    ("limits", "takes", "code", "exit_signal"),
    [
        ({"max_seconds": 5}, {}, "TIMEOUT", None),
        ({"max_memory_bytes": 250_000_000}, {"memory_bytes": 300_000_000}, "OOM", "SIGKILL"),
        ({"max_storage_bytes": 20_000_000}, {"storage_bytes": 30_000_000}, "STORAGE_LIMIT", None),
    ],
    ids=["seconds", "memory", "storage"],
)
async def test_a_run_that_uses_more_than_it_may_is_ended_and_fails(
    runs: Runs, limits: dict[str, int], takes: dict[str, int], code: str, exit_signal: str | None
) -> None:
    job_id = await runs.create(epochs=500, limits=limits, **takes)
    job = await runs.becomes(job_id, "failed")
    assert (job["status"], job["error_code"]) == ("failed", code)
    assert (await runs.exit_of(job_id)).get("signal") == exit_signal
    ((limit, allowed),) = limits.items()
    data = (await runs.event(job_id, "limit.exceeded"))["data"]
    assert (data["limit"], data["allowed"], data["error_code"]) == (limit, allowed, code)
    assert data["used"] > allowed and data["reason"] == job["error_message"]
    assert job["attempt"] == 1


async def test_sigterm_from_outside_is_a_graceful_stop(runs: Runs) -> None:
    job_id = await runs.create(epochs=500)
    await runs.is_in_epoch(job_id, 2)
    assert runs.trainer(job_id).send(signal.SIGTERM)
    job = await runs.becomes(job_id, "stopped")
    assert job["error_code"] is None and job["stopped_at_epoch"] >= 2
    assert (await runs.exit_of(job_id))["exit_code"] == 0


@pytest.mark.full
async def test_a_run_that_falls_silent_is_lost_and_found_when_it_speaks_again(runs: Runs) -> None:
    job_id = await runs.create(epochs=500)
    await runs.is_in_epoch(job_id, 1)
    trainer = runs.trainer(job_id)
    os.killpg(trainer.pid, signal.SIGSTOP)
    try:
        lost = await runs.becomes(job_id, "lost")
        assert (lost["status"], lost["completed_at"]) == ("running", None)
    finally:
        os.killpg(trainer.pid, signal.SIGCONT)
    await runs.becomes(job_id, "running")
    assert "a sign of life" in (await runs.event(job_id, "job.found"))["data"]["reason"]
    await runs.ask(job_id, "stop")
    assert (await runs.becomes(job_id, "stopped"))["error_code"] == "USER_STOPPED"


async def test_a_launcher_that_is_told_to_end_leaves_its_runs_to_the_next_one(runs: Runs) -> None:
    job_id = await runs.create(epochs=500)
    await runs.is_in_epoch(job_id, 1)
    trainer = runs.trainer(job_id)
    launcher = runs.running.processes.pop("launcher")
    launcher.terminate()
    assert await asyncio.to_thread(launcher.wait, 30) == 0
    assert trainer.alive()
    await runs.ask(job_id, "stop", reason="nobody is there to pass it on")
    runs.running.start_launcher(**SETTINGS)
    job = await runs.becomes(job_id, "stopped", timeout_s=90)
    assert job["attempt"] == 1 and (await runs.exit_of(job_id))["exit_code"] == 0


@pytest.mark.full
async def test_eight_jobs_on_two_slots_finish_and_never_more_than_two_run(runs: Runs) -> None:
    jobs = [await runs.create(epochs=1, step_s=0.01) for _ in range(8)]
    for job_id in jobs:
        assert (await runs.becomes(job_id, "completed", timeout_s=120))["attempt"] == 1
    moments: list[tuple[float, int]] = []
    for job_id in jobs:
        # The trainer says that it is done before its process ends; only then is the exit written down.
        await runs.exit_of(job_id)
        # From when its process began until its end was written down; the log is told of that a moment later.
        moments.append(((runs.folder(job_id) / TRAINER_PID).stat().st_mtime, 1))
        moments.append(((runs.folder(job_id) / EXIT).stat().st_mtime, -1))
    at_once = running = 0
    for _, change in sorted(moments):
        running += change
        at_once = max(at_once, running)
    assert at_once == 2
