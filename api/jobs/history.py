"""A job as it was: ``as_of`` names a moment of the log, and what is stored is read up to there.

A moment is when the broker took an event, or the event's place in the log. A job's events of one topic lie in one
partition, so a moment is one offset a topic: whatever stands at or below it was there then. Nothing is replayed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Query, Response

from api.context import Context
from api.freshness import POLL_FIRST_S, POLL_MAX_S, WAIT_MAX_S, NotYet
from api.jobs.best import Opening, Point, best_epoch
from api.jobs.completeness import Visible
from api.jobs.reading import read_job
from api.jobs.responses import BestMetric, JobAnswer, job_answer, time_text
from events.envelope import Position
from events.job import Job
from events.lifecycle import status_of
from events.primary_metric import primary_metric
from producers.database import Connection, transaction
from producers.errors import FieldProblem, Invalid, NotFound
from producers.queries import load_queries
from training_sdk.wire import JOBS, LOGS, METRICS, partition_of

AS_OF_HEADER: Final = "Epochlog-As-Of"
TOPICS_READ: Final = (JOBS, METRICS, LOGS)
NONE_YET: Final = -1
TAKEN: Final = "a time such as 2025-11-20T10:35:00Z, or a place in the log such as training.jobs/3/120"
_POSITION: Final = re.compile(r"([a-z.]{1,60})/(\d{1,4})/(\d{1,18})", re.ASCII)

queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
AsOf = Annotated[
    str | None,
    Query(
        max_length=100,
        description=f"as it was: {TAKEN}. The time is the broker's; all that it had taken by then counts. "
        f"The header {AS_OF_HEADER} says which moment was answered for.",
        examples=["2025-11-20T10:35:00.123Z", "training.jobs/3/120"],
    ),
]


@dataclass(frozen=True, slots=True)
class Moment:
    """One job's part of the log up to a moment: of each topic the last offset, NONE_YET where nothing stood there.

    ``text`` is what ``as_of`` takes for the same moment.
    """

    text: str
    last_offsets: Mapping[str, int]

    @property
    def jobs(self) -> int:
        return self.last_offsets[JOBS]

    @property
    def metrics(self) -> int:
        return self.last_offsets[METRICS]

    @property
    def logs(self) -> int:
        return self.last_offsets[LOGS]


def parse_as_of(text: str) -> datetime | Position:
    """Raises Invalid."""
    if found := _POSITION.fullmatch(text):
        position = Position(found[1], int(found[2]), int(found[3]))
        if position.topic not in TOPICS_READ:
            raise _refused(f"{position.topic} is no topic of a moment; there are {', '.join(TOPICS_READ)}", text)
        return position
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        hint = "; write the + of an offset as %2B" if " " in text else ""
        raise _refused(f"{text!r} is no moment: give {TAKEN}{hint}", text) from error


async def moment_of(context: Context, job_id: int, as_of: str | None) -> Moment | None:
    """The moment that is asked for, once the read models hold all that the log had then; None where none is.

    Raises Invalid, NotFound where there is no such job or it did not exist then, NotYet after WAIT_MAX_S.
    """
    if as_of is None:
        return None
    wanted = parse_as_of(as_of)
    async with transaction(context.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
    partition = partition_of(str(job_id).encode())
    if isinstance(wanted, datetime):
        if wanted > (now := datetime.now(UTC)):
            raise _refused(f"{time_text(wanted)} lies in the future: it is {time_text(now)}", as_of)
        await _wait_until_past(context, partition, wanted, TOPICS_READ)
        return await _moment_at(context, job_id, wanted, str(time_text(wanted)))
    if wanted.partition != partition:
        raise _refused(f"job {job_id} stands in partition {partition} of every topic, not in {wanted.partition}", as_of)
    await _wait_until_read(context, partition, wanted)
    async with transaction(context.pool, readonly=True) as tx:
        last = await queries.last_event_of_topic(tx, job_id=job_id, topic=wanted.topic, offset=wanted.offset)
    if last is None:
        raise _refused(f"job {job_id} has no event at or below {as_of}", as_of)
    others = [topic for topic in TOPICS_READ if topic != wanted.topic]
    await _wait_until_past(context, partition, last["append_time"], others)
    return await _moment_at(context, job_id, last["append_time"], as_of, {wanted.topic: last["log_offset"]})


async def _moment_at(
    context: Context, job_id: int, moment: datetime, text: str, exact: Mapping[str, int] | None = None
) -> Moment:
    async with transaction(context.pool, readonly=True, snapshot=True) as tx:
        rows = await queries.last_events(tx, job_id=job_id, moment=moment)
        last = {row["topic"]: row["log_offset"] for row in rows}
        found = Moment(text, dict.fromkeys(TOPICS_READ, NONE_YET) | last | dict(exact or {}))
        await read_job_at(tx, job_id, found)
    return found


async def _wait_until_read(context: Context, partition: int, position: Position) -> None:
    """Until every read model of the topic has read the place. Raises Invalid where the log does not go that far."""
    ends: Mapping[tuple[str, int], int] | None = None
    async for standing in _looks(context, partition):
        if all(row["next_offset"] > position.offset for row in standing if row["topic"] == position.topic):
            return
        if ends is None:
            ends = await context.tail.end_offsets()
            end = ends.get((position.topic, partition), 0)
            if position.offset >= end:
                place = f"{position.topic}/{partition}"
                raise _refused(f"{place} ends before offset {end}, {position.offset} was asked for", place)


async def _wait_until_past(context: Context, partition: int, moment: datetime, topics: Collection[str]) -> None:
    """Until no read model of the topics lacks what the log took by then."""
    ends: Mapping[tuple[str, int], int] | None = None
    async for standing in _looks(context, partition):
        # Another record may have been taken at the very same time as the last one.
        lacking = [
            row
            for row in standing
            if row["topic"] in topics and (row["append_time"] is None or row["append_time"] <= moment)
        ]
        if lacking and ends is None:
            # One look: what the log takes after it is later than any moment that may be asked for.
            ends = await context.tail.end_offsets()
        if ends is None or all(row["next_offset"] >= ends.get((row["topic"], partition), 0) for row in lacking):
            return


async def _looks(context: Context, partition: int) -> AsyncIterator[list[Any]]:
    """Where the read models stand, again and again. Raises NotYet after WAIT_MAX_S."""
    loop = asyncio.get_running_loop()
    deadline, pause_s = loop.time() + WAIT_MAX_S, POLL_FIRST_S
    while True:
        async with transaction(context.pool, readonly=True) as tx:
            standing = await queries.standing(tx, partition=partition)
        yield standing
        if loop.time() > deadline:
            raise NotYet(f"the read models do not hold all of that moment after {WAIT_MAX_S:.0f} s; ask again")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, POLL_MAX_S)


async def read_job_at(tx: Connection, job_id: int, moment: Moment) -> Job:
    """The fold of the job's events up to the moment. Raises NotFound where the job did not exist yet."""
    row = await queries.job_at(tx, job_id=job_id, offset=moment.jobs)
    job = None if row is None else Job.model_validate(row["job"])
    if job is not None and job.exists:
        return job
    created = await queries.created(tx, job_id=job_id)
    if created is None:
        raise NotFound(f"job {job_id} is accepted, but the log does not have it yet: there is no moment to look at")
    since = f"{time_text(created['append_time'])} ({JOBS}/{created['partition']}/{created['log_offset']})"
    raise NotFound(f"job {job_id} did not exist at {moment.text}: it exists since {since}")


async def read_answer_at(tx: Connection, job_id: int, moment: Moment) -> JobAnswer:
    """The job as a reader of the log would have seen it then. Raises NotFound.

    Its state is the fold's: it does not wait as ``finishing``, because nothing of that moment is still to come. What
    is no part of the log, as the run that the MLflow mirror made, is left out.
    """
    job = await read_job_at(tx, job_id, moment)
    visible = Visible(str(job.state), status_of(job.state), ended_then=job.ended)
    return job_answer(job, visible, None, await _best_metric(tx, job, moment), as_of=moment.text)


async def _best_metric(tx: Connection, job: Job, moment: Moment) -> BestMetric | None:
    primary = primary_metric(job)
    rows = await queries.openings(tx, job_id=job.id, offset=moment.metrics)
    openings = [Opening(**row) for row in rows]
    for name in primary.series:
        found = await queries.epoch_points(
            tx, job_id=job.id, name=name, offset=moment.metrics, whole_epochs_only=name.startswith("train/")
        )
        best = best_epoch([Point(**row) for row in found], openings, least=primary.mode == "min")
        if best is not None:
            return BestMetric(name, best[1], best[0])
    return None


def note_moment(response: Response, moment: Moment | None) -> None:
    """Say in the answer's head which moment it is of."""
    if moment is not None:
        response.headers[AS_OF_HEADER] = moment.text


def _refused(message: str, value: str) -> Invalid:
    return Invalid(message, [FieldProblem(("query", "as_of"), message, value)])
