"""Dead letters over HTTP: find, look at, send again, give up."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.context import Api
from api.guards import StrictRoute
from api.jobs.responses import time_text
from events.envelope import Position
from events.types.vocabulary import Text
from producers.callbacks import Body
from producers.database import transaction
from producers.dead_letter_queries import LetterFilter, find_places
from producers.dead_letters import BATCH_MAX, OPEN, Letter, Outcome, discard, find, place_text, redrive, show

router = APIRouter(prefix="/api/v1/operations/dead-letters", tags=["operations"], route_class=StrictRoute)
Status = Literal["open", "redriven", "discarded"]
SHOWN_BYTES_MAX: Final = 200


class StandingAnswer(BaseModel):
    read_model: str
    reason: str
    status: str = Field(description="open, redriven or discarded: the latest action counts")
    applied: bool | None = Field(description="its number was counted since; null where the record has none")


class LetterAnswer(BaseModel):
    """A record that could not be applied, wherever it stands. ``position`` is topic/partition/offset."""

    position: str
    topic: str
    partition: int
    offset: int
    append_time: str | None
    key: str | None
    type: str | None
    session: str | None
    seq: str | None
    value_bytes: int | None
    status: str
    read_models: list[StandingAnswer]
    redriven_from: str | None = Field(description="the dead letter that this record is a copy of, sent again")
    bad_again_at: list[str] = Field(description="where it became a dead letter again after it was sent again")


class ActionAnswer(BaseModel):
    read_model: str
    action: str
    reason: str
    by: str
    time: str | None


class Bytes(BaseModel):
    """``text`` is null where the bytes are no UTF-8."""

    base64: str
    text: str | None


class HeaderAnswer(BaseModel):
    name: str
    value: Bytes | None


class LetterDetail(LetterAnswer):
    key_bytes: Bytes | None
    headers: list[HeaderAnswer]
    value: Bytes | None
    actions: list[ActionAnswer]


class LetterList(BaseModel):
    dead_letters: list[LetterAnswer]
    total: int


class Chosen(Body):
    """Which ones: nothing said means all that are open."""

    read_model: Text | None = None
    topic: Text | None = None
    reason_contains: Text | None = None


class Redrive(Body):
    by: Text = "api"
    reason: Text = ""
    force: bool = Field(default=False, description="also what this code cannot read either")


class RedriveMany(Chosen, Redrive):
    # A misspelt filter would choose all.
    model_config = ConfigDict(frozen=True, extra="forbid")


class Discard(Body):
    by: Text = "api"
    reason: Annotated[Text, Field(min_length=1)]


class DiscardMany(Chosen, Discard):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Skipped(BaseModel):
    position: str
    reason: str


class OutcomeAnswer(BaseModel):
    done: list[str]
    skipped: list[Skipped]
    remaining: int = Field(description=f"open ones that are left; a call takes at most {BATCH_MAX}")


def _bytes(raw: bytes | None) -> Bytes | None:
    if raw is None:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = None
    return Bytes(base64=base64.b64encode(raw).decode(), text=text)


def _short(raw: bytes | None) -> str | None:
    return None if raw is None else raw[:SHOWN_BYTES_MAX].decode("utf-8", "replace")


def _answer(letter: Letter) -> dict[str, Any]:
    record = letter.record
    headers = dict(record.headers)
    return {
        "position": place_text(record.position),
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "append_time": time_text(letter.append_time),
        "key": _short(record.key),
        "type": _short(headers.get("ce_type")),
        "session": _short(headers.get("ce_session")),
        "seq": _short(headers.get("ce_seq")),
        "value_bytes": None if record.value is None else len(record.value),
        "status": letter.status,
        "read_models": [
            StandingAnswer(read_model=s.read_model, reason=s.reason, status=s.status, applied=s.applied)
            for s in letter.standings
        ],
        "redriven_from": _short(headers.get("ce_redrivenfrom")),
        "bad_again_at": [place_text(place) for place in letter.bad_again_at],
    }


def _detail(letter: Letter) -> LetterDetail:
    record = letter.record
    return LetterDetail(
        **_answer(letter),
        key_bytes=_bytes(record.key),
        headers=[HeaderAnswer(name=name, value=_bytes(value)) for name, value in record.headers],
        value=_bytes(record.value),
        actions=[
            ActionAnswer(read_model=a.read_model, action=a.action, reason=a.reason, by=a.by, time=time_text(a.time))
            for a in letter.actions
        ],
    )


def _outcome(outcome: Outcome) -> OutcomeAnswer:
    return OutcomeAnswer(
        done=[place_text(place) for place in outcome.done],
        skipped=[Skipped(position=place_text(place), reason=reason) for place, reason in outcome.skipped],
        remaining=outcome.remaining,
    )


@router.get("", summary="Records that a read model could not apply, newest first")
async def list_dead_letters(
    api: Api,
    read_model: Annotated[str | None, Query(max_length=100)] = None,
    topic: Annotated[str | None, Query(max_length=100)] = None,
    reason: Annotated[str | None, Query(max_length=500, description="a part of the reason's text")] = None,
    status: Annotated[Status | None, Query(description="open, redriven or discarded; all without it")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> LetterList:
    wanted = LetterFilter(read_model=read_model, topic=topic, reason=reason, status=status)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        letters, total = await find(tx, wanted, limit, offset)
    return LetterList(dead_letters=[LetterAnswer(**_answer(letter)) for letter in letters], total=total)


ReadModel = Annotated[str, Path(max_length=100, examples=["metrics"])]
Topic = Annotated[str, Path(max_length=100, examples=["training.metrics"])]
Partition = Annotated[int, Path(ge=0, lt=2**31)]
LogOffset = Annotated[int, Path(ge=0, lt=2**63)]
ONE = "/{read_model}/{topic}/{partition}/{offset}"


async def _wanted(api: Api, chosen: Chosen) -> tuple[list[Position], int]:
    wanted = LetterFilter(read_model=chosen.read_model, topic=chosen.topic, reason=chosen.reason_contains, status=OPEN)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        places, total = await find_places(tx, wanted, BATCH_MAX)
    # In the order of the log: what was said first is applied first.
    return sorted(places), total


@router.post("/redrive", summary="Send open dead letters again: all, or those that a filter names")
async def redrive_many(body: RedriveMany, api: Api) -> OutcomeAnswer:
    """Send again after the cause is mended. The records keep their numbers, so nothing is counted twice."""
    places, total = await _wanted(api, body)
    outcome = await redrive(
        api.pool, api.publisher, places, by=body.by, reason=body.reason, now=datetime.now(UTC), force=body.force
    )
    outcome.remaining = total - len(places)
    return _outcome(outcome)


@router.post("/discard", summary="Give open dead letters up: all, or those that a filter names")
async def discard_many(body: DiscardMany, api: Api) -> OutcomeAnswer:
    places, total = await _wanted(api, body)
    outcome = await discard(api.pool, places, by=body.by, reason=body.reason, now=datetime.now(UTC))
    outcome.remaining = total - len(places)
    return _outcome(outcome)


@router.get(ONE, summary="One dead letter, with its original bytes")
async def get_dead_letter(
    read_model: ReadModel, topic: Topic, partition: Partition, offset: LogOffset, api: Api
) -> LetterDetail:
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        return _detail(await show(tx, read_model, Position(topic, partition, offset)))


@router.post(f"{ONE}/redrive", summary="Send one again")
async def redrive_one(
    read_model: ReadModel, topic: Topic, partition: Partition, offset: LogOffset, body: Redrive, api: Api
) -> OutcomeAnswer:
    """What was sent again before may be sent once more: it is counted once."""
    place = Position(topic, partition, offset)
    async with transaction(api.pool, readonly=True) as tx:
        await show(tx, read_model, place)
    now = datetime.now(UTC)
    return _outcome(
        await redrive(api.pool, api.publisher, [place], by=body.by, reason=body.reason, now=now, force=body.force)
    )


@router.post(f"{ONE}/discard", summary="Give one up")
async def discard_one(
    read_model: ReadModel, topic: Topic, partition: Partition, offset: LogOffset, body: Discard, api: Api
) -> OutcomeAnswer:
    place = Position(topic, partition, offset)
    async with transaction(api.pool, readonly=True) as tx:
        await show(tx, read_model, place)
    return _outcome(await discard(api.pool, [place], by=body.by, reason=body.reason, now=datetime.now(UTC)))
