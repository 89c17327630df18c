"""Where a build's records come from: the log, or another source that has more of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from events.envelope import Record
from projections.runtime.replay import beginning_offsets, read_topic

Source = Callable[[str, Mapping[int, int], Mapping[int, int]], AsyncIterator[list[Record]]]
"""``source(topic, start, until)``: a topic's records in batches, each partition's in order; ``until`` is exclusive."""

PORTION_BYTES: Final = 4 * 1024 * 1024
PORTION_RECORDS_MAX: Final = 5_000


class RecordsMissing(RuntimeError):
    """A source has a hole where records are wanted."""


@dataclass(frozen=True, slots=True)
class Records:
    """``first(topic)``: by partition, the first offset that ``read`` can deliver; a partition that begins at 0 may be
    missing."""

    read: Source
    first: Callable[[str], Awaitable[Mapping[int, int]]]


def log_records(bootstrap_servers: str, topic_prefix: str) -> Records:
    """What the log still holds; projections.archive.reading adds what it dropped."""

    async def first(topic: str) -> Mapping[int, int]:
        return await beginning_offsets(bootstrap_servers, topic_prefix, topic)

    async def source(topic: str, start: Mapping[int, int], until: Mapping[int, int]) -> AsyncIterator[list[Record]]:
        async for batch in read_topic(bootstrap_servers, topic_prefix, topic, start, until):
            yield batch

    return Records(source, first)


async def in_lanes(
    batches: AsyncIterator[list[Record]], apply: Callable[[list[Record]], Coroutine[Any, Any, None]], *, lanes: int
) -> None:
    """Apply all records, each partition's in order, in portions of about PORTION_BYTES: what is held in memory.

    A partition belongs to one lane; lanes work at the same time. Raises what reading or applying raises.
    """
    portions: list[list[Record]] = [[] for _ in range(lanes)]
    sizes = [0] * lanes
    at_work: dict[int, asyncio.Task[None]] = {}

    async def hand_over(lane: int) -> None:
        if (before := at_work.pop(lane, None)) is not None:
            await before
        at_work[lane] = asyncio.create_task(apply(portions[lane]))
        portions[lane], sizes[lane] = [], 0

    try:
        async for batch in batches:
            for record in batch:
                lane = record.partition % lanes
                portions[lane].append(record)
                sizes[lane] += len(record.value or b"")
                if sizes[lane] >= PORTION_BYTES or len(portions[lane]) >= PORTION_RECORDS_MAX:
                    await hand_over(lane)
        for lane in range(lanes):
            if portions[lane]:
                await hand_over(lane)
            if (last := at_work.pop(lane, None)) is not None:
                await last
    finally:
        for task in at_work.values():
            task.cancel()
        await asyncio.gather(*at_work.values(), return_exceptions=True)
