"""Looks for runs that say nothing any more, and says so. Its judgements are in trainers/launcher/silence.py.

It judges only while the read models have all that the log had a moment ago: with a broker, a worker or Postgres down,
silence means nothing.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
from aiokafka.errors import KafkaError

from events.job import Job
from events.lifecycle import JobState
from events.registry import event_type_of
from events.types.checkpoints import CheckpointSaved
from events.types.jobs import JobStarted, ProgressReported
from events.types.logs import LogWritten
from events.types.metrics import MetricsReported
from producers.accept import accept
from producers.database import Pool, transaction
from producers.errors import NotAccepted
from producers.job_state import load_open_jobs
from producers.kafka.log_ends import LogEnds
from producers.queries import load_queries
from trainers.launcher.backend import Backend
from trainers.launcher.leases import read_leases
from trainers.launcher.settings import Settings
from trainers.launcher.silence import Judgement, Patience, Signs, held_elsewhere, judge
from training_sdk.wire import JOBS, SYSTEM

CHECK_INTERVAL_S: Final = 5.0
CATCH_UP_S: Final = 5.0
POLL_INTERVAL_S: Final = 0.25
CALLBACKS: Final = (JobStarted, ProgressReported, CheckpointSaved, MetricsReported, LogWritten)
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
logger = logging.getLogger(__name__)


class Reaper:
    def __init__(self, pool: Pool, backend: Backend, settings: Settings, ends: LogEnds) -> None:
        self._pool = pool
        self._backend = backend
        self._settings = settings
        self._ends = ends
        self._patience = Patience(settings.lost_after_s, settings.lost_after_http_s, settings.give_up_after_s)
        self._watching_since: datetime | None = None

    async def run(self) -> None:
        """Until cancelled. An outage only makes it begin its watch anew."""
        interval_s = min(CHECK_INTERVAL_S, self._settings.lost_after_s / 4)
        while True:
            try:
                await self.look()
            except (KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                logger.info("reaper: nothing can be judged now: %r", error)
                self._watching_since = None
            await asyncio.sleep(interval_s)

    async def look(self) -> list[tuple[int, Judgement]]:
        """Judge every job that goes on, once. Returns what was judged."""
        now = datetime.now(UTC)
        if not await self._up_to_date():
            self._watching_since = None
            return []
        if self._watching_since is None:
            self._watching_since = now
        judged = await self._judge_all(self._watching_since, now)
        for job_id, judgement in judged:
            try:
                await accept(self._pool, job_id, judgement, None, now)
            except NotAccepted as error:
                logger.info("job %d: %s", job_id, error.detail)
        return judged

    async def _up_to_date(self) -> bool:
        """Whether all that the log holds now is applied within a moment."""
        ends = await self._ends.read((JOBS, SYSTEM))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CATCH_UP_S
        while True:
            async with transaction(self._pool, readonly=True) as tx:
                rows = await queries.applied(tx)
            applied = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
            if all(applied.get(place, 0) >= end for place, end in ends.items()):
                return True
            if loop.time() > deadline:
                return False
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _judge_all(self, watching_since: datetime, now: datetime) -> list[tuple[int, Judgement]]:
        runs = {run.job_id for run in self._backend.runs()}
        types = [event_type_of(fact).wire_name for fact in CALLBACKS]
        async with transaction(self._pool, readonly=True, snapshot=True) as tx:
            jobs = await load_open_jobs(tx)
            leases = await read_leases(tx)
            lost = [job.id for job in jobs.values() if job.state is JobState.LOST]
            rows = await queries.signs_of_life(tx, job_ids=list(jobs), lost_ids=lost, types=types)
        judged: list[tuple[int, Judgement]] = []
        for job in jobs.values():
            last = max((row["last_seen"] for row in rows if _speaks_of(row, job)), default=None)
            judgement = judge(
                job,
                Signs(last),
                watching_since,
                self._patience,
                now,
                run_lives=job.id in runs or held_elsewhere(leases.get(job.id), self._settings.name, now),
                how_it_ended=self._backend.how_it_ended(job.id, job.attempt),
            )
            if judgement is not None:
                judged.append((job.id, judgement))
        return judged


def _speaks_of(row: asyncpg.Record, job: Job) -> bool:
    """An older attempt's process that still sends is no sign of the present one's life."""
    return bool(row["job_id"] == job.id and row["attempt"] == max(1, job.attempt))
