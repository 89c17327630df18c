"""A log in memory, for tests and for trying things out: it passes the same contract tests as Kafka."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from events.envelope import Position, Record
from producers.kafka.publisher import PublishFailed, record_of_event
from training_sdk.wire import WireEvent


class MemoryPublisher:
    """``records`` holds every partition's records in order. ``broken`` makes the next publish fail."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[Record]] = {}
        self.broken = False

    async def start(self) -> None:
        if self.broken:
            raise PublishFailed("the log in memory is switched off")

    async def publish(self, events: Sequence[WireEvent]) -> list[Position]:
        return await self.append([record_of_event(event) for event in events])

    async def append(self, records: Sequence[Record]) -> list[Position]:
        await self.start()
        return [self._append(record) for record in records]

    def _append(self, record: Record) -> Position:
        log = self.records.setdefault((record.topic, record.partition), [])
        log.append(replace(record, offset=len(log), timestamp_ms=int(time.time() * 1000)))
        return log[-1].position

    async def close(self) -> None:
        pass
