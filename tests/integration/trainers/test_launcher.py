"""The launcher's decisions on real Postgres; runs in memory where it does not matter what runs."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest_asyncio

from events.job import Job
from events.types.datasets import DatasetRegistered
from producers.accept import accept
from producers.commands import CreateJob, LaunchJob, RegisterDataset, StopJob
from producers.database import Pool, open_pool, transaction
from producers.job_state import load_jobs
from stack.processes import stop_runs
from tests.running import DATASET, JOB
from tests.services import World
from tests.waiting import eventually
from trainers.launcher.backend import Backend, Run, RunState
from trainers.launcher.launcher import Launcher
from trainers.launcher.local import LocalProcesses
from trainers.launcher.memory import MemoryBackend
from trainers.launcher.plan import EndStopped, Launch, StartAgain
from trainers.launcher.settings import Settings
from trainers.processes import mark_of, write_mark
from trainers.recorder import EXIT
from trainers.supervisor import SUPERVISOR_PID

TRAINERS = '{"steady": "tests.chaos.steady_trainer"}'


@dataclass(slots=True)
class System:
    """A database with a data set in it, and launchers on it."""

    world: World
    pool: Pool
    dataset_id: int
    launchers: list[Launcher] = field(default_factory=list)

    async def create(self, **changes: Any) -> int:
        command = CreateJob.model_validate({**JOB, "dataset_id": self.dataset_id, "launch": True, **changes})
        return (await accept(self.pool, None, command, None, datetime.now(UTC))).id

    async def tell(self, job_id: int, command: Any) -> None:
        await accept(self.pool, job_id, command, None, datetime.now(UTC))

    async def job(self, job_id: int) -> Job:
        async with transaction(self.pool) as tx:
            return (await load_jobs(tx, [job_id]))[job_id]

    async def lease_of(self, job_id: int) -> str | None:
        async with self.pool.acquire() as connection:
            found: str | None = await connection.fetchval("SELECT launcher FROM write.leases WHERE job_id = $1", job_id)
            return found

    async def let_leases_run_out(self) -> None:
        async with self.pool.acquire() as connection:
            await connection.execute("UPDATE write.leases SET expires_at = now() - interval '1 second'")

    def settings(self, name: str, slots: int = 1) -> Settings:
        read = Settings.from_env({**self.world.environment(), "EPOCHLOG_TRAINERS": TRAINERS})
        return dataclasses.replace(read, name=name, slots=slots)

    def launcher(self, name: str, backend: Backend, slots: int = 1) -> Launcher:
        return Launcher(self.pool, backend, self.settings(name, slots))


@pytest_asyncio.fixture
async def system(migrated_world: World) -> AsyncIterator[System]:
    pool = await open_pool(migrated_world.database_url, size_max=10)
    try:
        description = DatasetRegistered.model_validate(DATASET)
        dataset = await accept(pool, None, RegisterDataset(description=description), None, datetime.now(UTC))
        yield System(migrated_world, pool, dataset.id)
    finally:
        await pool.close()
        await asyncio.to_thread(stop_runs, migrated_world.folder)


async def test_launchers_that_look_at_once_start_every_job_once(system: System) -> None:
    jobs = [await system.create() for _ in range(12)]
    backends = [MemoryBackend() for _ in range(3)]
    launchers = [system.launcher(f"host/{n}", backend, slots=12) for n, backend in enumerate(backends)]
    for _ in range(3):
        await asyncio.gather(*(launcher.tick() for launcher in launchers))
    started = [pair for backend in backends for pair in backend.started]
    assert sorted(started) == [(job_id, 1) for job_id in jobs]


class Noting(MemoryBackend):
    """Remembers the configuration that each job was started with."""

    def __init__(self) -> None:
        super().__init__()
        self.configs: dict[int, dict[str, Any]] = {}

    def start(self, job: Job, attempt: int) -> Run:
        self.configs[job.id] = job.config
        return super().start(job, attempt)


async def test_the_split_strategy_of_a_data_set_counts_where_a_job_has_none(system: System) -> None:
    own, of_dataset = {"type": "ratio", "ratios": [0.5, 0.5]}, {"type": "k_fold", "folds": 5, "fold": 1, "seed": 3}
    description = DatasetRegistered.model_validate({**DATASET, "split_strategy": of_dataset})
    dataset = await accept(system.pool, None, RegisterDataset(description=description), None, datetime.now(UTC))
    config = {"epochs": 2}
    without = await system.create(dataset_id=dataset.id, config=config)
    with_one = await system.create(dataset_id=dataset.id, config={**config, "split_strategy": own})
    plain = await system.create(config=config)
    backend = Noting()
    await system.launcher("host/1", backend, slots=3).tick()
    assert backend.configs == {
        without: {**config, "split_strategy": of_dataset},
        with_one: {**config, "split_strategy": own},
        plain: config,
    }


async def test_jobs_wait_for_a_slot_in_the_order_of_their_creation(system: System) -> None:
    first, second, third = [await system.create() for _ in range(3)]
    backend = MemoryBackend()
    launcher = system.launcher("host/1", backend, slots=1)
    await launcher.tick()
    assert [str((await system.job(job_id)).state) for job_id in (first, second, third)] == [
        "starting",
        "queued",
        "queued",
    ]
    await launcher.tick()
    assert backend.started == [(first, 1)]
    backend.set_state(first, 1, RunState.DONE)
    await launcher.tick()
    assert backend.started == [(first, 1), (second, 1)]


async def test_a_second_launcher_takes_over_what_a_dead_one_left(system: System) -> None:
    job_id = await system.create()
    dead, living = MemoryBackend(), MemoryBackend()
    await system.launcher("host/1", dead).tick()
    heir = system.launcher("host/2", living)
    assert await heir.tick() == []
    await system.let_leases_run_out()
    assert await heir.tick() == [StartAgain(job_id, 1)]
    assert (dead.started, living.started) == ([(job_id, 1)], [(job_id, 1)])
    assert await system.lease_of(job_id) == "host/2"


async def test_the_lease_of_a_run_that_is_over_is_held_until_everybody_can_read_that(system: System) -> None:
    job_id = await system.create()
    backend = MemoryBackend()
    launcher = system.launcher("host/1", backend)
    await launcher.tick()
    backend.set_state(job_id, 1, RunState.DONE)
    await launcher.tick()
    assert await system.lease_of(job_id) == "host/1"
    assert await system.launcher("host/2", MemoryBackend()).tick() == []


async def test_a_stop_is_passed_on_once(system: System) -> None:
    job_id = await system.create()
    backend = MemoryBackend()
    launcher = system.launcher("host/1", backend)
    await launcher.tick()
    await system.tell(job_id, StopJob(reason="enough"))
    for _ in range(3):
        await launcher.tick()
    assert backend.terminated == [(job_id, 1)]
    job = await system.job(job_id)
    assert job.stop is not None and job.stop.signalled_at is not None


async def test_a_stop_before_any_process_was_there_ends_the_job(system: System) -> None:
    job_id = await system.create()
    # A launcher that recorded the launch, and died.
    await system.tell(job_id, LaunchJob(attempt=1, launcher="host/0", reason="a slot is free"))
    await system.tell(job_id, StopJob(reason="enough"))
    launcher = system.launcher("host/1", MemoryBackend())
    (action,) = await launcher.tick()
    assert isinstance(action, EndStopped)
    assert str((await system.job(job_id)).state) == "stopped"
    assert await launcher.tick() == []


async def test_a_job_that_cannot_be_started_fails_with_the_reason_and_holds_up_no_other(system: System) -> None:
    strange = await system.create(framework="strange")
    large = await system.create(framework="steady", config={"custom_prompts": ["x" * 200_000]})
    well = await system.create(framework="steady", config={"epochs": 1, "steps": 1, "step_s": 0.0})
    backend = LocalProcesses(system.settings("host/1"))
    launcher = system.launcher("host/1", backend, slots=3)
    actions = await launcher.tick()
    assert [action.job_id for action in actions if isinstance(action, Launch)] == [strange, large, well]
    for job_id, words in ((strange, "no trainer for framework 'strange'"), (large, "CONFIG has 200")):
        job = await system.job(job_id)
        assert (str(job.state), job.error_code) == ("failed", "INVALID_CONFIG")
        assert words in (job.error_message or "")
    assert [run.job_id for run in backend.runs()] == [well]
    await eventually(lambda: backend.runs() == [], timeout_s=60, what="the well one ends")
    assert await launcher.tick() == [StartAgain(well, 1)], "nobody has read yet that it ran"
    assert backend.runs() == [], "and still it is not started again"


async def test_a_framework_that_is_not_installed_here_is_left_to_another_launcher(system: System) -> None:
    timm = await system.create(framework="timm", task_type="classification", model_name="resnet10t")
    here = {name: found for name, found in system.settings("host/1").frameworks.items() if name != "timm"}
    backend = MemoryBackend()
    launcher = Launcher(system.pool, backend, dataclasses.replace(system.settings("host/1"), frameworks=here))
    assert await launcher.tick() == []
    assert await system.lease_of(timm) is None, "nor is it held against the other"
    assert [action.job_id for action in await system.launcher("host/2", backend).tick()] == [timm]


async def test_a_run_that_ended_is_shipping_until_its_supervisor_is_done(system: System) -> None:
    settings = system.settings("host/1", slots=1)
    backend = LocalProcesses(settings)
    folder = settings.run_folder(1, 1)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    mine = mark_of(os.getpid())
    assert mine is not None
    write_mark(folder / SUPERVISOR_PID, mine)
    assert [run.state for run in backend.runs()] == [RunState.SUPERVISED]
    (folder / EXIT).write_text("{}")
    assert [run.state for run in backend.runs()] == [RunState.SHIPPING]
    (folder / SUPERVISOR_PID).unlink()
    assert [run.state for run in backend.runs()] == [RunState.ABANDONED]


async def test_a_run_that_cannot_be_taken_over_now_holds_up_no_other(system: System) -> None:
    lost = await system.create(framework="steady", config={"epochs": 1, "steps": 1, "step_s": 0.0})
    settings = system.settings("host/1", slots=2)
    backend = LocalProcesses(settings)
    launcher = system.launcher("host/1", backend, slots=2)
    folder = settings.run_folder(lost, 1)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    # In the way of the file that its output goes to.
    (folder / "supervisor.log").mkdir()
    await system.tell(lost, LaunchJob(attempt=1, launcher="host/1", reason="a slot is free"))
    well = await system.create(framework="steady", config={"epochs": 1, "steps": 1, "step_s": 0.0})
    await launcher.tick()
    assert {run.job_id: run.state for run in backend.runs()} == {lost: RunState.ABANDONED, well: RunState.SUPERVISED}
    (folder / "supervisor.log").rmdir()
    (folder / "done.json").write_text("{}")
    await eventually(lambda: backend.runs() == [], timeout_s=60, what="the well one ends")
