"""A job as it is, and the cursor from which the log goes on: both of one moment."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from api.jobs.reading import read_answer
from api.jobs.responses import JobAnswer
from api.live.cursor import Cursor
from api.live.messages import Frame
from events.dedupe import SessionMarks
from events.types.vocabulary import json_bytes
from producers.database import Pool, transaction
from producers.queries import load_queries
from training_sdk.wire import partition_of

queries: Final = load_queries(Path(__file__).parent / "queries.sql")


async def take_snapshot(pool: Pool, job_id: int) -> tuple[JobAnswer, Frame, Cursor]:
    """Raises NotFound, Gone."""
    async with transaction(pool, readonly=True, snapshot=True) as tx:
        answer = await read_answer(tx, job_id)
        offsets = await queries.offsets(tx, partition=partition_of(str(job_id).encode()))
        marks = await queries.marks(tx, job_id=job_id)
        latest = await queries.latest(tx, job_id=job_id)
    cursor = Cursor(
        job_id,
        {row["topic"]: row["next_offset"] for row in offsets},
        {(row["topic"], row["session"]): SessionMarks(row["high"], tuple(map(tuple, row["gaps"]))) for row in marks},
    )
    metrics = {
        row["name"]: {
            "step": _whole(row["last_step"]),
            "epoch": _whole(row["last_epoch"]),
            "time": row["last_time"],
            "value": row["last_value"],
        }
        for row in latest
    }
    data: dict[str, Any] = {"job": answer.model_dump(), "metrics": metrics}
    return answer, Frame("snapshot", json_bytes(data)), cursor


def _whole(value: float) -> int | None:
    return None if math.isnan(value) else int(value)
