"""A job's audit trail: what happened, who said so, what it changed. Every topic's events, merged when they are read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from api.jobs.finding import clean
from api.jobs.responses import time_text
from events.describing import describe
from events.types.vocabulary import JsonObject
from producers.database import Connection
from producers.errors import FieldProblem, Invalid
from producers.queries import load_queries
from training_sdk.wire import DEAD_LETTER, JOB_TOPICS, JOBS, partition_of

queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
Way = Literal["after", "before"]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EVENT_EXAMPLE: Final[JsonObject] = {
    "position": "training.jobs/3/120",
    "topic": "training.jobs",
    "type": "training.stop.decided.v1",
    "summary": "early stopping: patience on val/mAP50 = 0.61 at epoch 12 (best 0.65 at epoch 4): none better",
    "time": "2025-11-20T10:35:00.120000Z",
    "append_time": "2025-11-20T10:35:00.123000Z",
    "attempt": 1,
    "rank": 0,
    "session": "3f2504e04f8941d39a0c0305e82c3301",
    "seq": 7,
    "source": "/epochlog/outbox",
    "data": {
        "rule": "patience",
        "metric": "val/mAP50",
        "epoch": 12,
        "value": 0.61,
        "best_epoch": 4,
        "best_value": 0.65,
    },
    "state_before": "running",
    "state": "stopping",
    "ignored_reason": None,
    "seconds_after_request": 0.0,
    "cursor": "MTc2MzYzNDkwMDEyMzAwMC90cmFpbmluZy5qb2JzLzEyMA",
}


class EventAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": EVENT_EXAMPLE})

    position: str = Field(description="topic/partition/offset; `as_of` takes it")
    topic: str
    type: str = Field(description="`unreadable` for a record that no event could be read from")
    summary: str = Field(description="what happened, in a line for people")
    time: str | None = Field(description="when it happened, by the sender's clock")
    append_time: str | None = Field(description="when the broker took it")
    attempt: int | None
    rank: int | None
    session: str | None
    seq: int | None
    source: str | None = Field(description="who says so")
    data: dict[str, Any] = Field(description="of metrics, log lines and samples only what they are about")
    state_before: str | None = Field(description="of the job; null for what does not concern its state")
    state: str | None = Field(description="of the job after the event")
    ignored_reason: str | None = Field(description="why it changed nothing; null where it counted")
    seconds_after_request: float | None = Field(
        description="since somebody, a rule or a limit asked the run to end, while that is open: when it obeyed"
    )
    cursor: str = Field(description="its place in the trail; `after` and `before` take it")


@dataclass(frozen=True, slots=True)
class Filters:
    """All that are given must hold. ``types`` and ``source`` are beginnings."""

    topics: Sequence[str] = (JOBS,)
    types: Sequence[str] | None = None
    attempt: int | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        return {
            "topics": list(self.topics),
            "types": None if self.types is None else [clean(start) for start in self.types],
            "attempt": self.attempt,
            "source": clean(self.source),
            "since": self.since,
            "until": self.until,
        }

    def fit(self, row: Mapping[str, Any]) -> bool:
        """The same, for a row that was read by its offset."""
        return (
            (self.types is None or row["type"].startswith(tuple(self.types)))
            and (self.attempt is None or row["attempt"] == self.attempt)
            and (self.source is None or (row["source"] or "").startswith(self.source))
            and (self.since is None or row["append_time"] >= self.since)
            and (self.until is None or row["append_time"] <= self.until)
        )


class Place(NamedTuple):
    """Where an event stands among all of a job's events."""

    append_time: datetime
    topic: str
    offset: int

    def encode(self) -> str:
        microseconds = (self.append_time - _EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(f"{microseconds}/{self.topic}/{self.offset}".encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, parameter: str) -> Place:
        """Raises Invalid."""
        try:
            raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode("ascii")
            microseconds, topic, offset = raw.split("/")
            place = cls(_EPOCH + timedelta(microseconds=int(microseconds)), topic, int(offset))
            if place.topic not in (*JOB_TOPICS, DEAD_LETTER) or not -1 <= place.offset < 2**62:
                raise ValueError("no place of a trail")
        except (binascii.Error, UnicodeError, ValueError, OverflowError) as error:
            message = "this is not the cursor of an event; leave it out to begin at the first one"
            raise Invalid(message, [FieldProblem(("query", parameter), message, text[:120])]) from error
        return place


FIRST: Final = Place(_EPOCH, "", -1)
LAST: Final = Place(datetime(9999, 12, 31, tzinfo=UTC), "~", 2**62)


def place_of(row: Mapping[str, Any]) -> Place:
    return Place(row["append_time"], row["topic"], row["log_offset"])


async def read_trail(
    tx: Connection, job_id: int, filters: Filters, way: Way, place: Place, limit: int
) -> tuple[list[EventAnswer], bool]:
    """At most ``limit`` events next to a place, in the order of the trail, and whether there are more that way."""
    rows = await queries.trail(
        tx,
        job_id=job_id,
        partition=partition_of(str(job_id).encode()),
        way=way,
        append_time=place.append_time,
        topic=place.topic,
        log_offset=place.offset,
        limit=limit + 1,
        **filters.parameters(),
    )
    answers = [event_answer(row) for row in sorted(rows[:limit], key=place_of)]
    return answers, len(rows) > limit


async def read_topic_after(tx: Connection, job_id: int, topic: str, offset: int, limit: int) -> list[Any]:
    """Rows of one topic after an offset, in log order; the job's others are not looked at."""
    rows: list[Any] = await queries.trail(
        tx,
        job_id=job_id,
        partition=partition_of(str(job_id).encode()),
        way="offset",
        append_time=_EPOCH,
        topic=topic,
        log_offset=offset,
        limit=limit,
        **Filters().parameters(),
    )
    return rows


async def place_of_offset(tx: Connection, job_id: int, offset: int) -> Place:
    """The place of the job's last event on training.jobs up to an offset: what ``after`` was before it was a cursor."""
    row = await queries.place_of_offset(tx, job_id=job_id, offset=offset)
    return FIRST if row is None else Place(row["append_time"], JOBS, row["log_offset"])


def event_answer(row: Mapping[str, Any]) -> EventAnswer:
    asked = row["stop_requested_at"]
    waited = None if asked is None else (row["time"] - datetime.fromisoformat(asked)).total_seconds()
    return EventAnswer(
        position=f"{row['topic']}/{row['partition']}/{row['log_offset']}",
        topic=row["topic"],
        type=row["type"],
        summary=describe(row["type"], row["data"]),
        time=time_text(row["time"]),
        append_time=time_text(row["append_time"]),
        attempt=row["attempt"],
        rank=row["rank"],
        session=row["session"],
        seq=row["seq"],
        source=row["source"],
        data=row["data"],
        state_before=row["state_before"],
        state=row["state"],
        ignored_reason=row["ignored_reason"],
        seconds_after_request=waited,
        cursor=place_of(row).encode(),
    )
