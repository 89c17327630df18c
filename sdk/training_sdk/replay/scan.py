"""A LazyFrame over the log: what Polars asks of it goes down into the archive's files.

Conditions on what the files name or note (type, version, partition, append time; job, session, offset ...) decide which
files and row groups are read at all; conditions on the data are asked of what was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final

import polars as pl
import pyarrow as pa

from training_sdk.replay.archive import StoredObject
from training_sdk.replay.columns import ARCHIVE_SCHEMA, UNREADABLE
from training_sdk.replay.event import Record, Seen, split_type
from training_sdk.replay.frame import narrowed, polars_of
from training_sdk.replay.kafka import Chunk
from training_sdk.replay.plan import Sources, TopicPlan
from training_sdk.replay.rows import EVENT_SCHEMA, batches, event_rows
from training_sdk.replay.selection import Selection
from training_sdk.settings import RunSettings
from training_sdk.storage.s3 import endpoint_of

if TYPE_CHECKING:
    from training_sdk.replay.read import Replay

SHARED: Final = frozenset(ARCHIVE_SCHEMA.names) & frozenset(EVENT_SCHEMA.names) - {"headers", "value"}
"""Columns that mean the same in a file and in the frame of events."""

FRAME: Final = polars_of(pa.RecordBatch.from_pylist([], EVENT_SCHEMA)).schema

_RECORD: Final = ("topic", "partition", "offset", "append_time", "key", "headers", "value")
_NUMBERS: Final = ("session", "topic", "seq")
_BY_NAME: Final = frozenset({"topic", "type", "version", "partition"})
TIMES: Final = pl.Datetime("us", "UTC")


def scanned(
    replay: Replay, columns: list[str] | None, predicate: pl.Expr | None, rows_max: int | None
) -> Iterator[pl.DataFrame]:
    """The frames of a scan, as Polars asks for them. Raises and warns as iterating does."""
    with replay.open() as sources:
        yield from narrowed(_frames(replay, sources, columns, predicate), columns, predicate, rows_max)


def _frames(
    replay: Replay, sources: Sources, columns: list[str] | None, predicate: pl.Expr | None
) -> Iterator[pl.DataFrame]:
    conditions = [] if predicate is None else conjuncts(predicate)
    shared = [condition for condition in conditions if _goes_down(condition)]
    used = set(EVENT_SCHEMA.names if columns is None else columns)
    used.update(*(condition.meta.root_names() for condition in conditions))
    for plan in replay.plans(sources):
        seen = Seen()
        readable = [item for item in plan.objects if item.name.event != UNREADABLE]
        for frame in _file_frames(readable, plan, replay, shared, whole=not SHARED.issuperset(used)):
            if SHARED.issuperset(used):
                yield _once(frame, seen) if replay.duplicates == "drop" else frame
            else:
                yield from _events_frames(replay, [_chunk(frame)], seen)
        # Kafka has no columns to choose from, and a file of what was unreadable notes nothing.
        rest = TopicPlan(plan.topic, [i for i in plan.objects if i.name.event == UNREADABLE], plan.below, plan.spans)
        yield from _events_frames(replay, sources.read(rest, replay.selection), seen)


def _file_frames(
    objects: Sequence[StoredObject], plan: TopicPlan, replay: Replay, conditions: list[pl.Expr], *, whole: bool
) -> Iterator[pl.DataFrame]:
    """Rows of the files that pass the conditions: the records, or the columns that the events share with them."""
    chosen = named(objects, conditions)
    if not chosen:
        return
    bucket = replay.settings.archive_bucket
    rows = pl.scan_parquet(
        [f"s3://{bucket}/{item.name.key}" for item in chosen],
        storage_options=storage_options(replay.settings),
        hive_partitioning=False,  # the names were looked at already
    )
    wanted = _selected(replay.selection, plan, chosen)
    rows = rows.filter(*wanted, *conditions).select(_RECORD if whole else sorted(SHARED))
    yield from rows.collect_batches(maintain_order=True)


def _goes_down(condition: pl.Expr) -> bool:
    """Whether it may be asked of a file's rows.

    A row that its headers call an event may be none when its data are read, and then says nothing of itself: what holds
    for such a row is asked when the data were read.
    """
    nothing = pl.DataFrame({name: [None] for name in SHARED}, schema={name: FRAME[name] for name in SHARED})
    return SHARED.issuperset(condition.meta.root_names()) and nothing.filter(condition).is_empty()


def storage_options(settings: RunSettings) -> dict[str, str]:
    """The object store as Polars wants to hear of it. Raises SettingsError."""
    return {
        "aws_endpoint_url": endpoint_of(settings),
        "aws_access_key_id": settings.s3_access_key or "",
        "aws_secret_access_key": settings.s3_secret_key or "",
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
    }


def conjuncts(condition: pl.Expr) -> list[pl.Expr]:
    """The conditions that all must hold for this one to hold."""
    parts = condition.meta.pop()
    if len(parts) == 2 and any((one & other).meta.eq(condition) for one, other in (parts, reversed(parts))):
        return [part for both in parts for part in conjuncts(both)]
    if len(parts) == 3:
        for low, high, of in ((parts[1], parts[2], parts[0]), (parts[1], parts[0], parts[2])):
            if of.is_between(low, high).meta.eq(condition):
                return [of >= low, of <= high]
    return [condition]


def named(objects: Sequence[StoredObject], conditions: Sequence[pl.Expr]) -> list[StoredObject]:
    """The files that may hold rows that pass, by their names alone: a file has one topic, type, partition and day."""
    first = _names(objects, time.min)
    last = _names(objects, time.max)
    left = set(range(len(objects)))
    for condition in conditions:
        if _BY_NAME.issuperset(condition.meta.root_names()):
            left &= set(first.filter(condition)["number"])
        elif _orders_times(condition):
            # What orders times and holds neither at the first nor at the last moment of a day holds at none of it.
            left &= {*first.filter(condition)["number"], *last.filter(condition)["number"]}
    return [objects[number] for number in sorted(left)]


def _names(objects: Sequence[StoredObject], moment: time) -> pl.DataFrame:
    """What the names of the files say, in the columns of an event at that moment of the file's day."""
    names = [item.name for item in objects]
    return pl.DataFrame(
        {
            "number": pl.Series(range(len(names)), dtype=pl.UInt32),
            "topic": pl.Series([name.topic for name in names], dtype=pl.String),
            "type": pl.Series([split_type(name.event)[0] for name in names], dtype=pl.String),
            "version": pl.Series([split_type(name.event)[1] for name in names], dtype=pl.Int32),
            "partition": pl.Series([name.partition for name in names], dtype=pl.Int32),
            "append_time": pl.Series([datetime.combine(name.day, moment, UTC) for name in names], dtype=TIMES),
        }
    )


def _orders_times(condition: pl.Expr) -> bool:
    """Whether it compares the append time with one moment by an order."""
    parts = condition.meta.pop()
    if len(parts) != 2 or condition.meta.root_names() != ["append_time"]:
        return False
    if not any(part.meta.eq(pl.col("append_time")) for part in parts):
        return False
    return any(
        made.meta.eq(condition)
        for one, other in (parts, reversed(parts))
        for made in (one >= other, one > other, one <= other, one < other)
    )


def _selected(selection: Selection, plan: TopicPlan, objects: Sequence[StoredObject]) -> list[pl.Expr]:
    """The selection's ranges and jobs, and where Kafka takes over, as conditions on a file's columns."""
    found = []
    if selection.job_ids is not None:
        found.append(pl.col("job_id").is_in(sorted(selection.job_ids)))
    if selection.since is not None:
        found.append(pl.col("append_time") >= selection.since)
    if selection.until is not None:
        found.append(pl.col("append_time") < selection.until)
    for number in sorted({item.name.partition for item in objects}):
        start, stop = selection.range_of(plan.topic, number)
        ends = [end for end in (stop, plan.below.get(number)) if end is not None]
        elsewhere = pl.col("partition") != number
        if start > 0:
            found.append(elsewhere | (pl.col("offset") >= start))
        if ends:
            found.append(elsewhere | (pl.col("offset") < min(ends)))
    return found


def _once(frame: pl.DataFrame, seen: Seen) -> pl.DataFrame:
    new = [seen.is_new(session, topic, seq) for session, topic, seq in frame.select(_NUMBERS).iter_rows()]
    return frame.filter(pl.Series(new, dtype=pl.Boolean))


def _chunk(frame: pl.DataFrame) -> Chunk:
    records = [
        Record(
            topic=topic,
            partition=partition,
            offset=offset,
            append_time=append_time.astimezone(UTC),
            key=key,
            headers=tuple((header["name"], header["value"]) for header in headers),
            value=value,
        )
        for topic, partition, offset, append_time, key, headers, value in frame.iter_rows()
    ]
    return Chunk(records, 0)


def _events_frames(replay: Replay, chunks: Iterator[Chunk] | list[Chunk], seen: Seen) -> Iterator[pl.DataFrame]:
    events = (event for chunk in chunks for event in replay.events_of(chunk, seen))
    return map(polars_of, batches(map(event_rows, events), EVENT_SCHEMA))
