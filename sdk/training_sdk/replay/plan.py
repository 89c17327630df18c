"""What is read from where: the archive up to where Kafka begins, then Kafka, without a gap and without an overlap."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from training_sdk.replay.archive import Archive, StoredObject, holes, wanted
from training_sdk.replay.kafka import Chunk, KafkaLog, LogUnreadable, Span
from training_sdk.replay.selection import Selection, Source
from training_sdk.settings import RunSettings, SettingsError
from training_sdk.storage.s3 import open_store


class HistoryIncomplete(UserWarning):
    """Records that were asked for are neither in Kafka nor in the archive any more."""


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """One topic: files to read up to the offsets ``below``, then spans of Kafka."""

    topic: str
    objects: Sequence[StoredObject]
    below: dict[int, int]
    spans: dict[int, Span]

    @property
    def offsets(self) -> int:
        """How many offsets will be passed, for the progress bar."""
        parts = {(item.name.partition, item.name.first_offset, item.name.next_offset) for item in self.objects}
        archived = sum(
            max(0, min(after, self.below.get(partition, after)) - first) for partition, first, after in parts
        )
        return archived + sum(span.stop - span.start for span in self.spans.values())


class Sources:
    """Kafka and the archive, as far as they are wanted and there; to be closed."""

    def __init__(self, source: Source, settings: RunSettings) -> None:
        """Raises SettingsError when an address is missing, LogUnreadable when nobody answers there."""
        self.kafka: KafkaLog | None = None
        self.archive: Archive | None = None
        if source == "kafka" and not settings.kafka_bootstrap_servers:
            raise SettingsError("KAFKA_BOOTSTRAP_SERVERS is not set; set it, or read source='archive'")
        if source == "auto" and not (settings.kafka_bootstrap_servers or settings.s3_endpoint):
            raise SettingsError("neither KAFKA_BOOTSTRAP_SERVERS nor S3_ENDPOINT is set; `make env` prints both")
        if source == "archive" or (source == "auto" and settings.s3_endpoint):
            self.archive = Archive(open_store(settings), settings.archive_bucket)
            if source == "archive" and not self.archive.exists():
                raise SettingsError(
                    f"bucket {settings.archive_bucket!r} is not there; EPOCHLOG_ARCHIVE_BUCKET names the archive's"
                )
        if source != "archive" and settings.kafka_bootstrap_servers:
            self.kafka = KafkaLog(settings.kafka_bootstrap_servers, settings.topic_prefix)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.kafka is not None:
            self.kafka.close()

    def plan(self, topic: str, selection: Selection, *, alone: bool) -> TopicPlan:
        """What of a topic is read from where. ``alone``: Kafka was asked for by name, so what it lost is not missed.

        Warns HistoryIncomplete. Raises LogUnreadable.
        """
        spans: dict[int, Span] = {}
        in_kafka = self.kafka is not None and self.kafka.has_topic(topic)
        if self.kafka is not None and in_kafka:
            spans = self.kafka.spans(topic, selection)
        below = {number: span.beginning for number, span in spans.items()}
        # A partition whose first wanted record lies in Kafka wants nothing of the archive.
        older = [number for number in selection.partitions(topic) if _reaches_back(spans.get(number))]
        # The store is asked for nothing as long as Kafka has all of it.
        archive = self.archive if older and self.archive is not None and self.archive.exists() else None
        if self.kafka is not None and not in_kafka and archive is None:
            raise LogUnreadable(f"{self.kafka} has no such topic; is EPOCHLOG_TOPIC_PREFIX right? wanted: {topic}")
        if alone or not older:
            return TopicPlan(topic, [], below, spans)
        found: list[StoredObject] = []
        if archive is not None:
            found = [item for item in archive.objects(topic) if item.name.partition in older]
            # Below where Kafka begins every part is finished; where Kafka is not read, the last may be in the making.
            found = [item for item in found if item.name.partition in below] + archive.finished(
                [item for item in found if item.name.partition not in below]
            )
        _tell_holes(topic, found, older, below, selection)
        chosen = [
            item
            for item in wanted(found, selection, topic)
            if item.name.first_offset < below.get(item.name.partition, item.name.next_offset)
        ]
        return TopicPlan(topic, chosen, below, spans)

    def read(self, plan: TopicPlan, selection: Selection) -> Iterator[Chunk]:
        """The plan's records; some that are not wanted may be among them. Raises LogUnreadable."""
        if self.archive is not None:
            yield from self.archive.read(plan.objects, selection, plan.below)
        if self.kafka is not None:
            yield from self.kafka.read(plan.topic, plan.spans)


def _reaches_back(span: Span | None) -> bool:
    return span is None or (span.beginning > 0 and span.start == span.beginning)


def _tell_holes(
    topic: str, found: list[StoredObject], partitions: list[int], below: dict[int, int], selection: Selection
) -> None:
    of_partition = {number: list(items) for number, items in groupby(found, key=lambda item: item.name.partition)}
    missing = []
    for number in partitions:
        start, stop = selection.range_of(topic, number)
        stop = min([end for end in (stop, below.get(number)) if end is not None], default=None)
        missing += [
            f"{low} to {high - 1} of partition {number}"
            for low, high in holes(of_partition.get(number, []), start, stop, selection)
        ]
    if missing:
        more = f" (and {len(missing) - 3} more ranges)" if len(missing) > 3 else ""
        warnings.warn(
            f"{topic}: offsets {', '.join(missing[:3])}{more} are neither in Kafka nor in the archive any more",
            HistoryIncomplete,
            stacklevel=2,
        )


def progress_bar(total: int, progress: bool | None) -> tqdm[Any]:
    """A bar on standard error; None: where somebody looks, on a terminal or in a notebook."""
    shown = (sys.stderr.isatty() or "ipykernel" in sys.modules) if progress is None else progress
    bar: tqdm[Any] = tqdm(total=total, unit=" records", unit_scale=True, disable=not shown, dynamic_ncols=True)
    return bar
