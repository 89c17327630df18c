"""A job's audit trail as it grows, for server-sent events.

Events are read from the read models, in log order per topic, so that there is no seam between what is stored and what
happens: nothing is told twice or left out. The tail of the log only says when to look. A client that reads slowly makes
the next look late; nothing piles up for it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson
from fastapi.responses import StreamingResponse

from api.context import Context
from api.jobs.trail import Filters, event_answer, read_topic_after
from producers.database import transaction
from producers.errors import FieldProblem, Invalid, NotAccepted
from training_sdk.wire import JOB_TOPICS

STREAMS_MAX: Final = 500
ROWS_AT_ONCE: Final = 200
LOOK_AGAIN_FIRST_S: Final = 0.025
"""The tail is told of an event before the read models have it."""
LOOK_AGAIN_MAX_S: Final = 5.0
HEARTBEAT_INTERVAL_S: Final = 15.0
RECONNECT_MS: Final = 1_000
Key = tuple[datetime, str, int]
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class TooManyStreams(NotAccepted):
    status = 503
    title = "Temporarily unavailable"


@dataclass(frozen=True, slots=True)
class Stand:
    """The last offset of each topic that a client was told; -1 for none. Encoded, it is the ``id`` of an event."""

    offsets: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(JOB_TOPICS, -1))

    def after(self, topic: str, offset: int) -> Stand:
        return Stand({**self.offsets, topic: offset})

    def encode(self) -> str:
        return ".".join(str(self.offsets[topic] + 1) for topic in JOB_TOPICS)

    @classmethod
    def decode(cls, text: str) -> Stand:
        """Raises Invalid."""
        parts = text.split(".")
        if len(parts) != len(JOB_TOPICS) or not all(
            part.isascii() and part.isdecimal() and len(part) <= 18 for part in parts
        ):
            message = "this is not the id of an event of this stream; leave it out to begin at the first one"
            raise Invalid(message, [FieldProblem(("header", "Last-Event-ID"), message, text[:120])])
        return cls({topic: int(part) - 1 for topic, part in zip(JOB_TOPICS, parts, strict=True)})


def sse_stream(context: Context, job_id: int, filters: Filters, stand: Stand) -> StreamingResponse:
    """Raises TooManyStreams."""
    if context.hub.listeners >= STREAMS_MAX:
        raise TooManyStreams(f"{STREAMS_MAX} streams are open; try again later")
    return StreamingResponse(_texts(context, job_id, filters, stand), media_type="text/event-stream", headers=HEADERS)


async def _texts(context: Context, job_id: int, filters: Filters, stand: Stand) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    with context.hub.listening(job_id) as happened:
        yield b"retry: %d\n\n" % RECONNECT_MS
        told_at, pause_s = loop.time(), LOOK_AGAIN_FIRST_S
        while True:
            happened.clear()
            rows, following = await next_rows(context, job_id, filters, stand)
            for row in rows:
                stand = stand.after(row["topic"], row["log_offset"])
                if filters.fit(row):
                    yield sse_event(row, stand)
                    told_at = loop.time()
            if rows:
                stand, pause_s = following, LOOK_AGAIN_FIRST_S
                continue
            if loop.time() - told_at >= HEARTBEAT_INTERVAL_S:
                yield b": the connection lives\n\n"
                told_at = loop.time()
            try:
                await asyncio.wait_for(happened.wait(), pause_s)
                pause_s = LOOK_AGAIN_FIRST_S
            except TimeoutError:
                pause_s = min(pause_s * 2, LOOK_AGAIN_MAX_S)


def sse_event(row: Mapping[str, Any], stand: Stand) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (stand.encode().encode(), orjson.dumps(event_answer(row).model_dump()))


async def next_rows(context: Context, job_id: int, filters: Filters, stand: Stand) -> tuple[list[Any], Stand]:
    """What follows, by append time as far as each topic's log order allows, and the stand after it. Empty at the end.

    Raises what Postgres raises: the stream breaks off, and the client comes again with its last id.
    """
    placed: list[tuple[Key, Any]] = []
    horizons = []
    async with transaction(context.pool, readonly=True, snapshot=True) as tx:
        for topic in stand.offsets:
            if topic not in filters.topics:
                continue
            rows = _in_log_order(await read_topic_after(tx, job_id, topic, stand.offsets[topic], ROWS_AT_ONCE))
            placed += rows
            if len(rows) == ROWS_AT_ONCE:
                horizons.append(rows[-1][0])
    # Of a topic with many events only a part was read: the others wait for the rest of it.
    horizon = min(horizons, default=None)
    taken = sorted((pair for pair in placed if horizon is None or pair[0] <= horizon), key=lambda pair: pair[0])
    for _, row in taken:
        stand = stand.after(row["topic"], row["log_offset"])
    return [row for _, row in taken], stand


def _in_log_order(rows: list[Any]) -> list[tuple[Key, Any]]:
    """Each row with what it is sorted by, which grows with the offset also where a broker's clock was set back."""
    placed: list[tuple[Key, Any]] = []
    for row in rows:
        moment = max(row["append_time"], placed[-1][0][0]) if placed else row["append_time"]
        placed.append(((moment, row["topic"], row["log_offset"]), row))
    return placed
