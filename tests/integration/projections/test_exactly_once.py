"""What counts once and what is parked. Any delivery of any events: test_any_delivery.py."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from events.envelope import Event, Record
from events.types.checkpoints import CheckpointSaved
from events.types.vocabulary import Fact
from producers.database import Pool, transaction
from projections.registry import projection_named
from projections.runtime.apply import apply_batch
from projections.runtime.ceiling import BAD_IN_A_ROW_MAX, CeilingReached
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
from tests.given import all_rows, log_of
from training_sdk.wire import JOBS, LOGS, METRICS


def some_runs(source: random.Random) -> list[Event[Fact]]:
    """Two jobs of two attempts each, their events interleaved as a broker might append them."""
    events: list[Event[Fact]] = []
    for job_id in (25, 26):
        for attempt in (1, 2):
            session = f"{job_id}{attempt}".ljust(32, "0")
            opened = session_opened(resume_step=3, resume_epoch=source.choice((None, 0, 2)))
            facts: list[tuple[str, Fact]] = [(topic, opened) for topic in (JOBS, METRICS, LOGS)]
            facts += [(JOBS, job_created()), (JOBS, job_started(pid=attempt))]
            for number in range(source.randint(3, 8)):
                facts.append((METRICS, metrics_reported({"loss": [0.5] * source.randint(1, 400)}, first_step=number)))
                validated = metrics_reported({"mAP50": [0.1]}, phase="val", first_step=None, epoch=number)
                facts.append((METRICS, validated))
                facts.append((METRICS, metrics_reported({"mAP50": [0.2]}, phase="val", first_step=number, epoch=2)))
                facts.append((LOGS, log_written(f"line {number}", "and another")))
            facts.append((JOBS, job_completed()))
            seqs: dict[str, int] = {}
            for topic, fact in facts:
                seqs[topic] = seqs.get(topic, 0) + 1
                moment = NOON + timedelta(seconds=len(events))
                made = event(
                    fact, job_id=job_id, attempt=attempt, session=session, seq=seqs[topic], topic=topic, time=moment
                )
                events.append(made)
    return events


async def test_two_workers_on_the_same_records_at_once_count_them_once(pool: Pool) -> None:
    log = [found for found in log_of(some_runs(random.Random(1))) if found.topic == METRICS]
    metrics = projection_named("metrics")

    async def work(source: random.Random) -> None:
        position = 0
        while position < len(log):
            end = position + source.randint(1, 7)
            await apply_batch(pool, metrics, log[position:end])
            position = end

    await asyncio.gather(*(work(random.Random(worker)) for worker in range(3)))
    async with transaction(pool) as tx:
        stored = await tx.fetchval("SELECT sum(points) FROM metric_series")
        applied = await tx.fetchval("SELECT sum(applied_events) FROM metrics_offsets")
    expected = sum(len(found.data.times) for found in some_runs(random.Random(1)) if hasattr(found.data, "times"))
    assert stored == expected
    assert applied == len(log)


def bad(record: Record) -> Record:
    return replace(record, value=b"no JSON at all")


async def test_a_bad_record_is_parked_with_its_bytes_and_stops_nothing(pool: Pool) -> None:
    log = log_of([event(metrics_reported({"loss": [1.0]}), seq=number) for number in range(1, 6)])
    log[2] = bad(log[2])
    done = await apply_batch(pool, projection_named("metrics"), log)
    assert (done.events, done.parked) == (4, 1)
    again = await apply_batch(pool, projection_named("metrics"), log)
    assert (again.events, again.parked) == (0, 0)
    async with transaction(pool) as tx:
        letter = await tx.fetchrow("SELECT * FROM metrics_dead_letters")
        marks = await tx.fetchrow("SELECT high, gaps FROM metrics_session_marks")
    assert letter is not None
    assert (letter["log_offset"], letter["value"]) == (2, b"no JSON at all")
    assert "is not JSON" in letter["reason"]
    assert marks is not None
    # The number of the parked event stays open: driven again, it fills the gap.
    assert (marks["high"], marks["gaps"]) == (5, [[3, 3]])


async def test_what_postgres_refuses_is_found_and_parked_alone(pool: Pool) -> None:
    def saved(size: int) -> CheckpointSaved:
        return CheckpointSaved(checkpoint_path="s3://c/25/last.pt", file_size_bytes=size)

    log = log_of([event(saved(n if n != 3 else 2**63), seq=n) for n in range(1, 7)])
    done = await apply_batch(pool, projection_named("checkpoints"), log)
    assert (done.events, done.parked) == (5, 1)
    rows = (await all_rows(pool))["training_checkpoints"]
    assert sorted(row["file_size_bytes"] for row in rows) == [1, 2, 4, 5, 6]


async def test_a_nul_and_a_time_without_a_zone_cost_nothing(pool: Pool) -> None:
    value = (
        b'{"lines":[{"level":"INFO","message":"a\\u0000b","timestamp":"2026-01-02T12:00:00",'
        b'"metadata":{"k\\u0000":["\\u0000"]}}]}'
    )
    (record,) = log_of([event(log_written("x"))])
    done = await apply_batch(pool, projection_named("logs"), [replace(record, value=value)])
    assert (done.events, done.parked) == (1, 0)
    (row,) = (await all_rows(pool))["training_logs"]
    assert row["message"] == "a\ufffdb"
    assert row["timestamp"] == NOON
    assert row["metadata"] == {"k\ufffd": ["\ufffd"]}


async def test_too_many_bad_records_in_a_row_stop_the_line_and_lose_nothing(pool: Pool) -> None:
    count = BAD_IN_A_ROW_MAX + 5
    log = log_of([event(metrics_reported({"loss": [1.0]}), seq=number) for number in range(1, count + 1)])
    with pytest.raises(CeilingReached, match="in a row"):
        await apply_batch(pool, projection_named("metrics"), [bad(found) for found in log])
    # Nothing of the batch is applied: with mended code (here: good records) everything is still to be had.
    done = await apply_batch(pool, projection_named("metrics"), log)
    assert (done.events, done.parked) == (count, 0)
