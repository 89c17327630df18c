"""Ask for a part of the log: its events, its metric points, its log lines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Literal, TypedDict, TypeVar, Unpack

import polars as pl
from polars.io.plugins import register_io_source

from training_sdk import wire
from training_sdk.replay.event import Event, MalformedRecord, Seen, event_of
from training_sdk.replay.frame import Frame
from training_sdk.replay.kafka import Chunk
from training_sdk.replay.plan import Sources, TopicPlan, progress_bar
from training_sdk.replay.rows import (
    EVENT_SCHEMA,
    LINE_SCHEMA,
    POINT_SCHEMA,
    batches,
    event_rows,
    joined,
    line_rows,
    point_batch,
)
from training_sdk.replay.scan import scanned
from training_sdk.replay.selection import SOURCES, Moment, Offsets, Selection, Source, select
from training_sdk.settings import RunSettings

Duplicates = Literal["drop", "keep"]
Errors = Literal["raise", "keep"]
Result = TypeVar("Result")
Settings = RunSettings | Mapping[str, str] | None


class Reading(TypedDict, total=False):
    """What ``metrics`` and ``logs`` take beside their own arguments: as in ``read_events``."""

    since: Moment | None
    until: Moment | None
    offsets: Offsets | None
    source: Source
    duplicates: Duplicates
    errors: Errors
    progress: bool | None
    settings: Settings


class Replay(Frame):
    """A part of the log, read when it is used. Iterating gives Events; as a Frame it has one row an event.

    Each partition's events come in log order; between partitions there is none. With one job there is one partition a
    topic. Reading ends where the log ended when it began.
    """

    def __init__(
        self,
        selection: Selection,
        settings: RunSettings,
        source: Source,
        duplicates: Duplicates,
        errors: Errors,
        progress: bool | None,
    ) -> None:
        super().__init__(EVENT_SCHEMA, lambda: batches(map(event_rows, self), EVENT_SCHEMA))
        self.selection = selection
        self.settings = settings
        self.source = source
        self.duplicates = duplicates
        self.errors = errors
        self.progress = progress

    def __iter__(self) -> Iterator[Event]:
        """Raises LogUnreadable, SettingsError, and MalformedRecord unless they are kept. Warns HistoryIncomplete."""
        with self.open() as sources:
            plans = self.plans(sources)
            with progress_bar(sum(plan.offsets for plan in plans), self.progress) as bar:
                for plan in plans:
                    bar.set_description(plan.topic)
                    seen = Seen()
                    for chunk in sources.read(plan, self.selection):
                        yield from self.events_of(chunk, seen)
                        bar.update(chunk.passed)

    def scan(self) -> pl.LazyFrame:
        """As of every Frame; conditions on columns of the archive's files also decide which of them are read.

        Where no column of the data is used, data of the archive are not looked at: whether they are JSON is not said.
        """

        def source(
            columns: list[str] | None, predicate: pl.Expr | None, rows_max: int | None, batch_rows: int | None
        ) -> Iterator[pl.DataFrame]:
            return scanned(self, columns, predicate, rows_max)

        return register_io_source(source, schema=self.polars_schema)

    def open(self) -> Sources:
        return Sources(self.source, self.settings)

    def plans(self, sources: Sources) -> list[TopicPlan]:
        """Every topic's, made at once: the log ends for all of them where it ends now."""
        alone = self.source == "kafka"
        return [sources.plan(topic, self.selection, alone=alone) for topic in self.selection.topics]

    def events_of(self, chunk: Chunk, seen: Seen) -> Iterator[Event]:
        """Those of the records that are wanted, each once."""
        for record in chunk.records:
            if not self.selection.wants_record(record):
                continue
            event = event_of(record)
            if event.problem is not None and self.errors == "raise":
                raise malformed(event, event.problem)
            if (
                self.duplicates == "keep"
                or event.session is None
                or event.seq is None
                or seen.is_new(event.session, event.topic, event.seq)
            ):
                yield event


def malformed(event: Event, problem: str) -> MalformedRecord:
    return MalformedRecord(
        f'{event.topic}/{event.partition} at offset {event.offset}: {problem}; errors="keep" reads on'
    )


def read_events(
    topics: str | Iterable[str] | None = None,
    *,
    job_ids: int | Iterable[int] | None = None,
    types: str | Iterable[str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    offsets: Offsets | None = None,
    source: Source = "auto",
    duplicates: Duplicates = "drop",
    errors: Errors = "raise",
    progress: bool | None = None,
    settings: Settings = None,
) -> Replay:
    """A part of the log; nothing is read before it is used.

    ``topics``: by default those of jobs where ``job_ids`` are given, else all. ``types``: with a version, or without
    one for all of them. ``since`` (inclusive) and ``until`` (exclusive) are times at which the broker took the events:
    a datetime, or text like ``2026-11-24`` or ``2026-11-24T10:30:00Z``; without a zone it is UTC. ``offsets``:
    ``{topic: {partition: (first, next)}}``, and no other partitions of that topic.

    ``source``: ``auto`` reads from the archive what Kafka does not hold any more, then from Kafka. ``duplicates``:
    what a sender sent twice is handed out once, unless they are kept. ``errors``: a record that is no event raises
    MalformedRecord, or is kept with its bytes. ``progress``: a bar on standard error, by default on a terminal and in
    a notebook. ``settings``: addresses, as RunSettings or as variables; by default those of the environment
    (``KAFKA_BOOTSTRAP_SERVERS``, ``S3_ENDPOINT`` ...).

    Raises ValueError for an argument that makes no sense.
    """
    for name, given, allowed in (
        ("source", source, SOURCES),
        ("duplicates", duplicates, ("drop", "keep")),
        ("errors", errors, ("raise", "keep")),
    ):
        if given not in allowed:
            raise ValueError(f"{name} is {given!r}, wanted {' or '.join(map(repr, allowed))}")
    found = settings if isinstance(settings, RunSettings) else RunSettings.from_env(settings)
    return Replay(select(topics, job_ids, types, since, until, offsets), found, source, duplicates, errors, progress)


def metrics(
    job_ids: int | Iterable[int] | None = None, names: str | Collection[str] | None = None, **reading: Unpack[Reading]
) -> Frame:
    """Every metric point there is, a row each: of all attempts, also what a later attempt trained again.

    ``names``: with or without their phase (``loss``, ``train/loss``). The rest is as in ``read_events``; with
    ``errors="keep"`` an event whose columns make no sense is left out, and a warning says how many were.
    """
    chosen = None if names is None else frozenset([names] if isinstance(names, str) else names)
    kinds = wire.METRICS_REPORTED.rpartition(".v")[0]
    replay = read_events(wire.METRICS, job_ids=job_ids, types=kinds, **reading)
    points = partial(point_batch, names=chosen)
    return Frame(POINT_SCHEMA, lambda: joined(_of_each(replay, points)))


def logs(job_ids: int | Iterable[int] | None = None, **reading: Unpack[Reading]) -> Frame:
    """Every log line there is, a row each. The arguments are those of ``read_events``."""
    replay = read_events(wire.LOGS, job_ids=job_ids, types=wire.LOG_WRITTEN.rpartition(".v")[0], **reading)
    return Frame(LINE_SCHEMA, lambda: batches(_of_each(replay, line_rows), LINE_SCHEMA))


def _of_each(replay: Replay, rows_of: Callable[[Event], Result]) -> Iterator[Result]:
    left_out = 0
    for event in replay:
        try:
            if event.problem is not None:
                raise ValueError(event.problem)
            yield rows_of(event)
        except ValueError as error:
            if replay.errors == "raise":
                raise malformed(event, str(error)) from error
            left_out += 1
    if left_out:
        warnings.warn(f"{left_out} records hold no such rows and were left out", UserWarning, stacklevel=2)
