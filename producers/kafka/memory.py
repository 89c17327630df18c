"""A log in memory, for tests and for trying things out: it passes the same contract tests as Kafka."""

from __future__ import annotations

import time
from collections.abc import Sequence

from events.envelope import Position, Record
from producers.kafka.publisher import PublishFailed
from training_sdk.wire import PARTITIONS, WireEvent, partition_of


class MemoryPublisher:
    """``records`` holds every partition's records in order. ``broken`` makes the next publish fail."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[Record]] = {}
        self.broken = False

    async def start(self) -> None:
        if self.broken:
            raise PublishFailed("the log in memory is switched off")

    async def publish(self, events: Sequence[WireEvent]) -> list[Position]:
        await self.start()
        return [self._append(event) for event in events]

    def _append(self, event: WireEvent) -> Position:
        partition = partition_of(event.key.encode(), PARTITIONS)
        log = self.records.setdefault((event.topic, partition), [])
        record = Record(
            topic=event.topic,
            partition=partition,
            offset=len(log),
            timestamp_ms=int(time.time() * 1000),
            key=event.key.encode(),
            headers=event.headers(),
            value=event.data,
        )
        log.append(record)
        return record.position

    async def close(self) -> None:
        pass
