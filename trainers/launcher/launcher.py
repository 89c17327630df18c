"""The launcher: reads what should run, plans, acts. It listens to nothing but Postgres, so a stop works with the broker
down, and a restarted launcher misses none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from datetime import UTC, datetime
from typing import Final

import asyncpg

from events.job import Job, StopKind
from producers.accept import accept
from producers.callbacks import Body
from producers.commands import LaunchJob, QueueJob, RecordFailure, RecordStopped, RecordStopSignal, RetryJob
from producers.database import Pool, connect, transaction
from producers.errors import NotAccepted
from producers.job_state import load_dataset, load_jobs, load_open_jobs
from trainers.catalogue import FRAMEWORKS
from trainers.launcher.backend import Backend, RunState
from trainers.launcher.environment import InvalidEnvironment
from trainers.launcher.eraser import folders_of_jobs, purged_among
from trainers.launcher.leases import acquire, hold, read_leases
from trainers.launcher.plan import Action, EndStopped, Launch, Queue, Retry, StartAgain, TakeOver, Terminate, plan
from trainers.launcher.settings import Settings
from trainers.launcher.sweep import SWEEP_INTERVAL_S, sweep

TICK_INTERVAL_S: Final = 2.0
BACK_OFF_S: Final = 1.0
logger = logging.getLogger(__name__)


class Launcher:
    def __init__(self, pool: Pool, backend: Backend, settings: Settings) -> None:
        self._pool = pool
        self._backend = backend
        self._settings = settings
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Postgres being down only delays it."""
        while True:
            try:
                await self._run_while_connected()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                logger.warning("launcher: %r; trying again", error)
            await asyncio.sleep(BACK_OFF_S)

    async def _run_while_connected(self) -> None:
        connection = await connect(self._settings.database_url, name="epochlog launcher")
        try:
            await connection.add_listener("outbox", lambda *_: self._wake.set())
            while not connection.is_closed():
                self._wake.clear()
                await self.tick()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), TICK_INTERVAL_S)
        finally:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await connection.close(timeout=5)

    async def sweep_for_ever(self) -> None:
        """Ship spools that nobody looks after. Until cancelled."""
        while True:
            supervised = {run.job_id for run in self._backend.runs()}
            try:
                # What a purged job left here is the eraser's.
                purged = await purged_among(self._pool, folders_of_jobs(self._settings))
                await sweep(self._settings, supervised | purged)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                logger.warning("sweep: %r", error)
            await asyncio.sleep(SWEEP_INTERVAL_S)

    async def tick(self) -> list[Action]:
        """Look once and act. Returns what was planned."""
        runs = self._backend.runs()
        async with transaction(self._pool, readonly=True, snapshot=True) as tx:
            jobs = {job_id: job for job_id, job in (await load_open_jobs(tx)).items() if self._is_for_us(job)}
            leases = await read_leases(tx)
            abandoned = [run.job_id for run in runs if run.state is RunState.ABANDONED]
            of_runs = await load_jobs(tx, abandoned)
        # A job that has not ended as far as anybody can read stays ours, also when its run is over: another launcher
        # could take its news for missing and start it again.
        await hold(self._pool, self._settings.name, [*(run.job_id for run in runs), *jobs])
        actions = plan(
            list(jobs.values()),
            leases,
            runs,
            self._settings.slots,
            self._settings.name,
            datetime.now(UTC),
            self._settings.retry_delay_s,
        )
        for action in actions:
            job = jobs.get(action.job_id) or of_runs.get(action.job_id)
            if job is not None:
                await self._act(action, job)
        return actions

    def _is_for_us(self, job: Job) -> bool:
        """A framework that is not installed here is another launcher's; what nobody knows is anybody's to refuse."""
        return job.framework in self._settings.frameworks or job.framework not in FRAMEWORKS

    async def _act(self, action: Action, job: Job) -> None:
        match action:
            case Queue():
                await self._record(job.id, QueueJob(reason=action.reason))
            case Launch():
                await self._launch(action, job)
            case StartAgain():
                if await self._acquire(action.job_id, action.attempt):
                    await self._start(job, action.attempt)
            case TakeOver():
                if await self._acquire(action.job_id, action.attempt):
                    await self._take_over(job, action.attempt)
            case Terminate():
                if self._backend.terminate(action.job_id, action.attempt, hurry=action.kind is StopKind.CANCEL):
                    signal = RecordStopSignal(kind=action.kind, signal="SIGTERM", reason=action.reason)
                    await self._record(job.id, signal)
            case EndStopped():
                if await self._acquire(action.job_id, action.attempt):
                    await self._record(job.id, RecordStopped(reason=action.reason))
            case Retry():
                asked_by = f"launcher {self._settings.name}"
                await self._record(job.id, RetryJob(reason=action.reason, requested_by=asked_by, automatic=True))

    async def _launch(self, action: Launch, job: Job) -> None:
        if not await self._acquire(job.id, action.attempt):
            return
        launch = LaunchJob(
            attempt=action.attempt,
            launcher=self._settings.name,
            hostname=socket.gethostname(),
            reason=action.reason,
        )
        # The fact first: whoever reads that the attempt was launched and finds no process starts it (see tick).
        if not await self._record(job.id, launch):
            return
        await self._start(job, action.attempt)

    async def _acquire(self, job_id: int, attempt: int) -> bool:
        folder = self._settings.run_folder(job_id, attempt)
        return await acquire(self._pool, job_id, attempt, self._settings.name, folder)

    async def _start(self, job: Job, attempt: int) -> None:
        """Start it, or record why it cannot be."""
        if job.framework not in self._settings.frameworks:
            known = ", ".join(self._settings.frameworks)
            message = f"there is no trainer for framework {job.framework!r}; there are {known}"
            await self._record(job.id, RecordFailure(error_code="INVALID_CONFIG", error_message=message))
            return
        logger.info("starting job %d, attempt %d", job.id, attempt)
        try:
            self._backend.start(await self._with_split_strategy(job), attempt)
        except InvalidEnvironment as error:
            await self._record(job.id, RecordFailure(error_code="INVALID_CONFIG", error_message=str(error)))
        except OSError as error:
            message = f"the trainer could not be started: {error}"
            await self._record(job.id, RecordFailure(error_code="UNKNOWN", error_message=message))

    async def _take_over(self, job: Job, attempt: int) -> None:
        """One run that cannot be taken over now must not hold up the others; the next tick tries again."""
        logger.info("taking over job %d, attempt %d", job.id, attempt)
        try:
            self._backend.take_over(await self._with_split_strategy(job), attempt)
        except (InvalidEnvironment, OSError) as error:
            logger.error("job %d, attempt %d cannot be taken over: %r", job.id, attempt, error)

    async def _with_split_strategy(self, job: Job) -> Job:
        """The job as its trainer reads it: pictures are dealt out as its data set says, unless it says so itself."""
        if job.dataset_id is None or job.config.get("split_strategy") is not None:
            return job
        async with transaction(self._pool, readonly=True) as tx:
            dataset = await load_dataset(tx, job.dataset_id)
        if dataset is None or dataset.split_strategy is None:
            return job
        return job.model_copy(update={"config": {**job.config, "split_strategy": dataset.split_strategy}})

    async def _record(self, job_id: int, command: Body) -> bool:
        """Append a fact; False when the job's state forbids it by now."""
        try:
            await accept(self._pool, job_id, command, None, datetime.now(UTC))
        except NotAccepted as error:
            logger.info("job %d: %s", job_id, error.detail)
            return False
        return True
