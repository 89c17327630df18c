"""Where a build's records come from: the log, or another source that has more of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from events.envelope import Record
from projections.runtime.replay import beginning_offsets, read_topic

Source = Callable[[str, Mapping[int, int], Mapping[int, int]], AsyncIterator[list[Record]]]
"""``source(topic, start, until)``: a topic's records in batches, each partition's in order; ``until`` is exclusive."""

BATCH_BYTES_MAX: Final = 4 * 1024 * 1024


class RecordsMissing(RuntimeError):
    """A source has a hole where records are wanted."""


@dataclass(frozen=True, slots=True)
class Records:
    """``first(topic)``: by partition, the first offset that ``read`` can deliver; a partition that begins at 0 may be
    missing."""

    read: Source
    first: Callable[[str], Awaitable[Mapping[int, int]]]


def log_records(bootstrap_servers: str, topic_prefix: str) -> Records:
    """What the log still holds; projections.archive.source adds what it dropped."""

    async def first(topic: str) -> Mapping[int, int]:
        return await beginning_offsets(bootstrap_servers, topic_prefix, topic)

    async def source(topic: str, start: Mapping[int, int], until: Mapping[int, int]) -> AsyncIterator[list[Record]]:
        async for batch in read_topic(bootstrap_servers, topic_prefix, topic, start, until):
            yield batch

    return Records(source, first)


def pieces(batch: list[Record]) -> list[list[Record]]:
    """A batch cut into parts of bounded size: what is decoded at once is what costs memory."""
    parts: list[list[Record]] = []
    part: list[Record] = []
    size = 0
    for record in batch:
        part.append(record)
        size += len(record.value or b"")
        if size >= BATCH_BYTES_MAX:
            parts.append(part)
            part, size = [], 0
    return [*parts, part] if part else parts
