"""Who wants which job's updates, and what readers are shown of each job's status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import asyncpg

from api.jobs.completeness import visible_states
from api.live.messages import Update, error_frame, status_frame
from api.live.subscriber import Subscriber
from producers.database import Pool, transaction
from producers.job_state import load_jobs

SUBSCRIBERS_MAX: Final = 5_000
STATUS_POLL_S: Final = 0.05
STATUS_WAIT_MAX_S: Final = 15.0
STATUS_SETTLES_S: Final = 2.0
"""How long after an event the read models are asked whether the job's status changed."""
logger = logging.getLogger(__name__)


class Hub:
    """Updates come in once a process and go to every subscriber's own buffer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._of_job: dict[int, set[Subscriber]] = {}
        self._of_all: set[Subscriber] = set()
        self._listening: dict[int, set[asyncio.Event]] = {}
        self._shown: dict[int, tuple[str, str]] = {}
        self._watched: dict[int, asyncio.Task[None]] = {}
        self._woken_at: dict[int, float] = {}

    @property
    def subscribers(self) -> int:
        return len(self._of_all) + sum(len(found) for found in self._of_job.values())

    def full(self) -> bool:
        return self.subscribers >= SUBSCRIBERS_MAX

    def add(self, subscriber: Subscriber) -> None:
        wanted = self._of_all if subscriber.job_id is None else self._of_job.setdefault(subscriber.job_id, set())
        wanted.add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        self._of_all.discard(subscriber)
        if subscriber.job_id is not None and (found := self._of_job.get(subscriber.job_id)):
            found.discard(subscriber)
            if not found:
                del self._of_job[subscriber.job_id]
                self._shown.pop(subscriber.job_id, None)

    def wants(self, job_id: int) -> bool:
        """Whether anybody listens: records of other jobs need not be decoded."""
        return bool(self._of_all) or job_id in self._of_job or job_id in self._listening

    @property
    def listeners(self) -> int:
        return sum(len(found) for found in self._listening.values())

    @contextlib.contextmanager
    def listening(self, job_id: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever something of the job comes in."""
        happened = asyncio.Event()
        self._listening.setdefault(job_id, set()).add(happened)
        try:
            yield happened
        finally:
            self._listening[job_id].discard(happened)
            if not self._listening[job_id]:
                del self._listening[job_id]

    def publish(self, update: Update) -> None:
        for subscriber in self._subscribers(update.job_id):
            subscriber.offer(update)
        for happened in self._listening.get(update.job_id, ()):
            happened.set()
        if update.may_change_status:
            self.watch(update.job_id)

    def watch(self, job_id: int) -> None:
        """The job's status may change without another event: look until it has settled."""
        # Also while it is watched: what woke us last may be in no read model yet when the task looks.
        self._woken_at[job_id] = asyncio.get_running_loop().time()
        watching = self._watched.get(job_id)
        if watching is None or watching.done():
            task = asyncio.create_task(self._watch_status(job_id), name=f"status of job {job_id}")
            self._watched[job_id] = task
            task.add_done_callback(lambda ended: self._forget_watched(job_id, ended))

    def _forget_watched(self, job_id: int, ended: asyncio.Task[None]) -> None:
        if self._watched.get(job_id) is ended:
            del self._watched[job_id], self._woken_at[job_id]

    def _subscribers(self, job_id: int) -> Iterable[Subscriber]:
        return [*self._of_all, *self._of_job.get(job_id, ())]

    async def _watch_status(self, job_id: int) -> None:
        """Show the job's status when it changed; an end is shown when all of the run can be read, as GET does."""
        loop = asyncio.get_running_loop()
        try:
            while loop.time() < self._woken_at[job_id] + STATUS_WAIT_MAX_S:
                async with transaction(self._pool, readonly=True, snapshot=True) as tx:
                    jobs = await load_jobs(tx, [job_id])
                    visible = (await visible_states(tx, list(jobs.values()), datetime.now(UTC))).get(job_id)
                job = jobs.get(job_id)
                if job is None or visible is None:
                    return
                shown = (visible.status, visible.state)
                if self._shown.get(job_id) != shown and visible.state != "finishing":
                    self._shown[job_id] = shown
                    frames = [status_frame(*shown)]
                    if visible.ended and visible.status == "failed":
                        frames.append(error_frame(job.error_code, job.error_message))
                    for subscriber in self._subscribers(job_id):
                        for frame in frames:
                            subscriber.put(frame)
                if visible.ended:
                    if job_id not in self._of_job:
                        self._shown.pop(job_id, None)  # nobody asks for this job alone: do not keep it for ever
                    return
                # The read models may not have the event yet that woke us; a running job is looked at a few times.
                if not job.ended and loop.time() > self._woken_at[job_id] + STATUS_SETTLES_S:
                    return
                await asyncio.sleep(STATUS_POLL_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            logger.warning("the status of job %d cannot be read now: %r", job_id, error)

    def note_shown(self, job_id: int, status: str, state: str) -> None:
        self._shown.setdefault(job_id, (status, state))
