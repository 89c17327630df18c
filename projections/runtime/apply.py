"""The fold transaction: fence, decode, dedupe, fold, save. Every runner and every test calls this one."""

from __future__ import annotations

import base64
import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from events.codec import MalformedEvent, decode
from events.dedupe import SessionMarks, TooManyGaps
from events.envelope import Event, Record
from events.types.deletion import JobPurged
from events.types.vocabulary import Fact
from producers.database import Connection, Pool, search_path
from producers.queries import load_queries
from projections.registry import Projection
from projections.runtime.ceiling import Ceiling, CeilingReached
from projections.runtime.failures import Failure, classify
from projections.runtime.purge import forget, forget_in_retired, job_of, load_purged, note_last_records
from projections.runtime.versions import hold_live
from training_sdk.wire import JOB_TOPICS, REDRIVEN_FROM

logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).parent / "offsets.sql")


@dataclass(frozen=True, slots=True)
class Applied:
    """What one batch did: events that counted, records seen before, records parked."""

    events: int = 0
    repeated: int = 0
    parked: int = 0


@dataclass(slots=True)
class _Batch:
    """The fresh records of a batch, sorted into what they are."""

    events: list[Event[Fact]] = field(default_factory=list)
    parked: list[tuple[Record, str]] = field(default_factory=list)
    marks: dict[str, tuple[int | None, SessionMarks]] = field(default_factory=dict)
    ceilings: dict[int, Ceiling] = field(default_factory=dict)
    next_offsets: dict[int, int] = field(default_factory=dict)
    append_times: dict[int, datetime] = field(default_factory=dict)
    applied: dict[int, int] = field(default_factory=dict)
    repeated: int = 0
    purged: set[int] = field(default_factory=set)
    last_records: dict[int, datetime] = field(default_factory=dict)
    """Of purged jobs: when the log took their last record."""


async def apply_batch(
    pool: Pool, projection: Projection, records: Sequence[Record], *, outside: Any = None, schema: str | None = None
) -> Applied:
    """Apply records of the projection's topic, each partition's in log order, in one transaction.

    Rows, offsets and session marks change together or not at all; a record below the saved offset is dropped, so two
    workers at once do no harm. ``outside`` is handed to the handlers of a projection that reaches beyond Postgres.
    ``schema`` names a version that is being built; without it the live one is written.

    A record that cannot be applied is parked as a dead letter. Raises CeilingReached when that happens too often,
    WrongVersion when the live read model is another version's, and whatever classify() calls transient or unknown.
    """
    if not records:
        return Applied()
    try:
        return await _transaction(pool, projection, records, outside, schema, bad={})
    except CeilingReached:
        raise
    except Exception as error:
        if classify(error) is not Failure.BAD_EVENT:
            raise
    return await _one_by_one(pool, projection, records, outside, schema)


async def _one_by_one(
    pool: Pool, projection: Projection, records: Sequence[Record], outside: Any, schema: str | None
) -> Applied:
    """Find the record that Postgres refuses: everything else of the batch must not suffer for it."""
    total = Applied()
    for record in records:
        try:
            done = await _transaction(pool, projection, [record], outside, schema, bad={})
        except CeilingReached:
            raise
        except Exception as error:
            if classify(error) is not Failure.BAD_EVENT:
                raise
            reason = f"{type(error).__name__}: {error}"
            done = await _transaction(pool, projection, [record], outside, schema, bad={record.offset: reason})
        total = Applied(total.events + done.events, total.repeated + done.repeated, total.parked + done.parked)
    return total


async def _transaction(
    pool: Pool,
    projection: Projection,
    records: Sequence[Record],
    outside: Any,
    schema: str | None,
    bad: dict[int, str],
) -> Applied:
    async with pool.acquire(timeout=30) as tx, tx.transaction():
        name = schema if schema is not None else (await hold_live(tx, projection)).schema_name
        await tx.execute(search_path([name]))
        batch = await _fresh(tx, projection, records, bad)
        for purges, events in itertools.groupby(batch.events, key=lambda event: isinstance(event.data, JobPurged)):
            if purges:
                await forget(tx, projection, purged := list(events), outside)
                if schema is None:
                    await forget_in_retired(tx, projection, purged)
                    await tx.execute(search_path([name]))
                continue
            for handler, run in itertools.groupby(events, key=lambda event: projection.handlers[type(event.data)]):
                await handler(tx, list(run), *(() if outside is None else (outside,)))
        await _save(tx, projection.topic, batch)
    return Applied(sum(batch.applied.values()), batch.repeated, len(batch.parked))


async def _fresh(tx: Connection, projection: Projection, records: Iterable[Record], bad: dict[int, str]) -> _Batch:
    """Lock the offsets, then drop what was applied, park what cannot be read, skip what was sent twice."""
    topic, batch = projection.topic, _Batch()
    ordered = sorted(records, key=lambda record: (record.partition, record.offset))
    partitions = sorted({record.partition for record in ordered})
    await queries.create_offsets(tx, topic=topic, partitions=partitions)
    locked = {row["partition"]: row for row in await queries.lock_offsets(tx, topic=topic, partitions=partitions)}
    fresh = [record for record in ordered if record.offset >= locked[record.partition]["next_offset"]]
    _tell_gaps(projection, fresh, {partition: row["next_offset"] for partition, row in locked.items()})
    decoded = [(record, _decoded(record, bad)) for record in fresh]
    sessions = list({event.session for _, event in decoded if isinstance(event, Event)})
    for row in await queries.load_marks(tx, topic=topic, sessions=sessions):
        batch.marks[row["session"]] = (None, SessionMarks(row["high"], tuple((low, high) for low, high in row["gaps"])))
    batch.purged = await load_purged(tx, fresh)
    for record, event in decoded:
        row = locked[record.partition]
        ceiling = batch.ceilings.get(
            record.partition, Ceiling(row["bad_in_a_row"], row["window_records"], row["window_bad"])
        )
        reason = event if isinstance(event, str) else _accept(projection, batch, event)
        if (job_id := job_of(record)) in batch.purged:
            batch.last_records[job_id] = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
            reason = None  # not even what cannot be read is kept
        if reason is not None:
            batch.parked.append((record, reason))
        if not any(name == REDRIVEN_FROM for name, _ in record.headers):
            # Whoever sends dead letters again before the fix must not stop the line.
            ceiling = ceiling.after(bad=reason is not None)
        batch.ceilings[record.partition] = ceiling
        batch.next_offsets[record.partition] = record.offset + 1
        batch.append_times[record.partition] = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    return batch


def _tell_gaps(projection: Projection, fresh: Sequence[Record], next_offsets: dict[int, int]) -> None:
    """Offsets that are missing were deleted by the topic's retention before they were read here: that must be seen."""
    expected = dict(next_offsets)
    for record in fresh:
        wanted = expected[record.partition]
        if record.offset > wanted > 0:
            logger.error(
                "%s: %s/%d goes on at offset %d, %d was expected; what lay between is not in the log any more",
                *(projection.name, record.topic, record.partition, record.offset, wanted),
            )
        expected[record.partition] = record.offset + 1


def _decoded(record: Record, bad: dict[int, str]) -> Event[Fact] | str:
    """The event, or why the record is none."""
    if record.offset in bad:
        return bad[record.offset]
    try:
        return decode(record)
    except MalformedEvent as error:
        return str(error)


def _accept(projection: Projection, batch: _Batch, event: Event[Fact]) -> str | None:
    """Count the event unless its number was seen. Returns a reason only when the sender's numbers make no sense."""
    assert event.seq is not None
    assert event.position is not None
    _, marks = batch.marks.get(event.session, (None, SessionMarks()))
    try:
        marks, new = marks.accept(event.seq)
    except TooManyGaps as error:
        return str(error)
    if not new:
        batch.repeated += 1
        return None
    batch.marks[event.session] = (int(event.key) if event.key.isdigit() else None, marks)
    if isinstance(event.data, JobPurged):
        if event.job_id not in batch.purged:
            batch.events.append(event)
            batch.purged.add(event.job_id)
    elif type(event.data) in projection.handlers and not (event.topic in JOB_TOPICS and event.job_id in batch.purged):
        batch.events.append(event)
    partition = event.position.partition
    batch.applied[partition] = batch.applied.get(partition, 0) + 1
    return None


async def _save(tx: Connection, topic: str, batch: _Batch) -> None:
    partitions = sorted(batch.next_offsets)
    if not partitions:
        return
    await queries.save_offsets(
        tx,
        topic=topic,
        partitions=partitions,
        next_offsets=[batch.next_offsets[partition] for partition in partitions],
        append_times=[batch.append_times[partition] for partition in partitions],
        applied_events=[batch.applied.get(partition, 0) for partition in partitions],
        bad_in_a_row=[batch.ceilings[partition].bad_in_a_row for partition in partitions],
        window_records=[batch.ceilings[partition].window_records for partition in partitions],
        window_bad=[batch.ceilings[partition].window_bad for partition in partitions],
    )
    marks = [
        {"session": session, "topic": topic, "job_id": job_id, "high": mark.high, "gaps": [list(g) for g in mark.gaps]}
        for session, (job_id, mark) in sorted(batch.marks.items())
    ]
    if marks:
        await queries.save_marks(tx, marks)
    if batch.last_records:
        await note_last_records(tx, batch.last_records)
    # Also of a job that was purged later in this batch nothing is kept.
    parked = [(record, reason) for record, reason in batch.parked if job_of(record) not in batch.purged]
    if parked:
        await queries.park(tx, [_dead_letter(record, reason) for record, reason in parked])


def _dead_letter(record: Record, reason: str) -> dict[str, Any]:
    """The original bytes, so that the record can be looked at and sent again as it was."""
    headers: Sequence[tuple[str, bytes | None]] = record.headers
    return {
        "topic": record.topic,
        "partition": record.partition,
        "log_offset": record.offset,
        "append_time": datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
        "key": record.key,
        # Kafka allows a header without a value, whatever the client's types say.
        "headers": [[name, base64.b64encode(value).decode() if value is not None else None] for name, value in headers],
        "value": record.value,
        "reason": reason.replace("\x00", "\\0")[:4_000],
    }
