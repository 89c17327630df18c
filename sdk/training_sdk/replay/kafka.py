"""The log in Kafka: no group, nothing committed, and an end that stands still.

The client is asynchronous and a notebook has an event loop of its own, so it runs on one in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from training_sdk.replay.event import Record, append_time
from training_sdk.replay.selection import Selection, milliseconds

FETCH_BYTES_MAX: Final = 16 * 1024 * 1024
PARTITION_FETCH_BYTES_MAX: Final = 1024 * 1024
CHUNK_RECORDS_MAX: Final = 200
"""Records are at most 1 MB, most are far smaller; what is fetched ahead waits compressed."""
POLL_TIMEOUT_MS: Final = 500
SILENCE_MAX_S: Final = 30.0

logger = logging.getLogger("training_sdk")
Result = TypeVar("Result")


class LogUnreadable(OSError):
    """The log cannot be read: nobody answers, or what was to be read is gone."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records of one topic, each partition's in log order, and by how many offsets the reading went on."""

    records: list[Record]
    passed: int


@dataclass(frozen=True, slots=True)
class Span:
    """What of a partition is wanted from Kafka: ``start`` up to, not including, ``stop``.

    ``beginning`` is the first offset that Kafka still holds.
    """

    beginning: int
    start: int
    stop: int


class KafkaLog:
    """A consumer on an event loop in a thread of its own; to be closed."""

    def __init__(self, bootstrap_servers: str, topic_prefix: str = "") -> None:
        """Raises LogUnreadable."""
        self._bootstrap_servers = bootstrap_servers
        self._prefix = topic_prefix
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="training-sdk-replay", daemon=True)
        self._thread.start()
        self._consumer: AIOKafkaConsumer | None = None
        try:
            self._consumer = self._run(self._started())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        try:
            if consumer is not None:
                self._run(consumer.stop())
        except LogUnreadable as error:
            logger.debug("leaving a Kafka connection behind: %s", error)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __str__(self) -> str:
        return f"Kafka at {self._bootstrap_servers} (prefix of topics: {self._prefix!r})"

    def has_topic(self, topic: str) -> bool:
        return self._prefix + topic in self._run(self._consumer_now.topics())

    def spans(self, topic: str, selection: Selection) -> dict[int, Span]:
        """By partition, what is to be read, ending where the log ends now. Raises LogUnreadable."""
        return self._run(self._spans(topic, selection))

    def read(self, topic: str, spans: Mapping[int, Span]) -> Iterator[Chunk]:
        """The records of the spans. Raises LogUnreadable, also when the topic's retention overtakes the reading."""
        position = {number: span.start for number, span in spans.items() if span.start < span.stop}
        if not position:
            return
        self._run(self._assign(topic, position))
        heard = time.monotonic()
        while position:
            records, reached = self._run(self._fetch(topic, {number: spans[number].stop for number in position}))
            passed = sum(offset - position[number] for number, offset in reached.items())
            position = {number: offset for number, offset in reached.items() if offset < spans[number].stop}
            if passed:
                heard = time.monotonic()
                yield Chunk(records, passed)
            elif time.monotonic() - heard > SILENCE_MAX_S:
                raise LogUnreadable(
                    f"no record of {topic} from Kafka at {self._bootstrap_servers} for {SILENCE_MAX_S:.0f} s, "
                    "though the log goes on; look at the brokers, then read again"
                )

    @property
    def _consumer_now(self) -> AIOKafkaConsumer:
        assert self._consumer is not None
        return self._consumer

    async def _started(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            client_id="training-sdk-replay",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
            fetch_max_wait_ms=100,
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        return consumer

    async def _assign(self, topic: str, position: Mapping[int, int]) -> None:
        self._consumer_now.assign([TopicPartition(self._prefix + topic, number) for number in position])
        for number, offset in position.items():
            self._consumer_now.seek(TopicPartition(self._prefix + topic, number), offset)

    async def _fetch(self, topic: str, stops: Mapping[int, int]) -> tuple[list[Record], dict[int, int]]:
        """Some records before the stops, and where each partition goes on (past what carries no record, too)."""
        consumer = self._consumer_now
        places = {TopicPartition(self._prefix + topic, number): stop for number, stop in stops.items()}
        fetched = await consumer.getmany(*places, timeout_ms=POLL_TIMEOUT_MS, max_records=CHUNK_RECORDS_MAX)
        records = [
            self._record(topic, message)
            for place, messages in fetched.items()
            for message in messages
            if message.offset < places[place]
        ]
        reached = {}
        for place, stop in places.items():
            reached[place.partition] = min(await consumer.position(place), stop)
            if reached[place.partition] == stop:
                consumer.pause(place)  # what is appended meanwhile is not asked for
        return records, reached

    async def _spans(self, topic: str, selection: Selection) -> dict[int, Span]:
        consumer = self._consumer_now
        places = [TopicPartition(self._prefix + topic, number) for number in selection.partitions(topic)]
        if not places:
            return {}
        beginnings = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        since, until = {}, {}
        if selection.since is not None:
            since = await consumer.offsets_for_times(dict.fromkeys(places, milliseconds(selection.since)))
        if selection.until is not None:
            until = await consumer.offsets_for_times(dict.fromkeys(places, milliseconds(selection.until)))
        spans = {}
        for place in places:
            first, last = selection.range_of(topic, place.partition)
            start, stop = max(first, beginnings[place]), ends[place]
            if last is not None:
                stop = min(stop, last)
            if selection.since is not None:
                found = since.get(place)
                start = max(start, ends[place] if found is None else found.offset)
            if (found := until.get(place)) is not None:
                stop = min(stop, found.offset)
            spans[place.partition] = Span(beginnings[place], start, max(start, stop))
        return spans

    def _record(self, topic: str, message: Any) -> Record:
        return Record(
            topic=topic,
            partition=message.partition,
            offset=message.offset,
            append_time=append_time(message.timestamp),
            key=message.key,
            headers=tuple(message.headers),
            value=message.value,
        )

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            raise LogUnreadable(
                f"the topic's retention deleted records before they were read ({error}); "
                'read again, or with source="auto", which has the archive'
            ) from error
        except (KafkaError, OSError) as error:
            raise LogUnreadable(f"Kafka at {self._bootstrap_servers} cannot be read: {error!r}") from error
        except BaseException:
            future.cancel()
            raise
