"""Where a build's records come from: the log, and before what the log still holds the archive, where there is one."""

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


def records_from(bootstrap_servers: str, topic_prefix: str, archived: Source | None = None) -> Records:
    """``archived`` is asked for what lies before the log's first offsets.

    Reading raises RecordsMissing when it does not have all of that.
    """

    async def first(topic: str) -> Mapping[int, int]:
        return {} if archived is not None else await beginning_offsets(bootstrap_servers, topic_prefix, topic)

    async def source(topic: str, start: Mapping[int, int], until: Mapping[int, int]) -> AsyncIterator[list[Record]]:
        begin = dict(start)
        if archived is not None:
            in_log = await beginning_offsets(bootstrap_servers, topic_prefix, topic)
            gone = {p: min(in_log.get(p, 0), end) for p, end in until.items()}
            wanted = {p: end for p, end in gone.items() if end > begin.get(p, 0)}
            if wanted:
                async for batch in archived(topic, {p: begin.get(p, 0) for p in wanted}, wanted):
                    for record in batch:
                        if record.offset != begin.get(record.partition, 0):
                            raise RecordsMissing(
                                f"the archive of {topic}/{record.partition} goes on at offset {record.offset}, "
                                f"{begin.get(record.partition, 0)} was expected"
                            )
                        begin[record.partition] = record.offset + 1
                    yield batch
                short = {p: end for p, end in wanted.items() if begin.get(p, 0) < end}
                if short:
                    raise RecordsMissing(f"the archive of {topic} ends too early, by partition: {short} were expected")
        async for batch in read_topic(bootstrap_servers, topic_prefix, topic, begin, until):
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
