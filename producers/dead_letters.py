"""Records that a read model could not apply: find them, look at one, send it again, or give it up.

They stand beside each read model, so one record may be a dead letter of several; what was done with it are facts on
``training.deadletter``, one a read model. Sent again, a record has the same number of its session: it fills the gap
that it left, and a read model that has it already drops it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from events.codec import MalformedEvent, decode
from events.dedupe import SessionMarks
from events.envelope import Position, Record
from events.types.models import DeadLetterDiscarded, DeadLetterRedriven
from producers import outbox
from producers.database import Connection, Pool, transaction
from producers.dead_letter_queries import LetterFilter, find_actions, find_copies, find_letters, find_marks, find_places
from producers.errors import NotFound
from producers.kafka.publisher import Publisher
from training_sdk.wire import REDRIVEN_FROM

BATCH_MAX: Final = 500
"""Records that one call sends again or gives up."""
OPEN: Final = "open"
REDRIVEN: Final = "redriven"
DISCARDED: Final = "discarded"


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody did with the record, as one read model's."""

    read_model: str
    action: str
    reason: str
    by: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """The record in one read model. ``applied``: its number was counted there since; None where it has none."""

    read_model: str
    reason: str
    status: str
    applied: bool | None


@dataclass(frozen=True, slots=True)
class Letter:
    """``bad_again_at``: where the record, sent again, became a dead letter again."""

    record: Record
    append_time: datetime
    standings: tuple[Standing, ...]
    actions: tuple[Action, ...] = ()
    bad_again_at: tuple[Position, ...] = ()

    @property
    def status(self) -> str:
        """Open as long as nobody decided, in one of its read models."""
        if any(standing.status == OPEN for standing in self.standings):
            return OPEN
        return self.standings[-1].status

    @property
    def open_in(self) -> list[str]:
        return [standing.read_model for standing in self.standings if standing.status == OPEN]


@dataclass(slots=True)
class Outcome:
    """``skipped`` were left as they are, each with the reason; ``remaining`` fit into no further batch of this call."""

    done: list[Position] = field(default_factory=list)
    skipped: list[tuple[Position, str]] = field(default_factory=list)
    remaining: int = 0


async def find(tx: Connection, wanted: LetterFilter, limit: int, offset: int = 0) -> tuple[list[Letter], int]:
    """One page, newest first, and how many there are; needs a transaction of producers.database."""
    places, total = await find_places(tx, wanted, limit, offset)
    return await load(tx, places), total


async def show(tx: Connection, read_model: str, place: Position) -> Letter:
    """Raises NotFound."""
    letters = await load(tx, [place])
    if not letters or read_model not in {standing.read_model for standing in letters[0].standings}:
        raise NotFound(f"read model {read_model} has no dead letter at {place_text(place)}")
    return letters[0]


async def load(tx: Connection, places: Sequence[Position]) -> list[Letter]:
    """The dead letters that stand at these places, in their order."""
    rows: dict[Position, list[Mapping[str, Any]]] = {}
    for row in await find_letters(tx, places):
        rows.setdefault(_place(row), []).append(row)
    actions: dict[Position, list[Action]] = {}
    for row in await find_actions(tx, places):
        action = Action(row["read_model"], row["action"], row["reason"], row["by"], row["time"])
        actions.setdefault(_place(row), []).append(action)
    copies: dict[str, list[Position]] = {}
    for row in await find_copies(tx, [place_text(place) for place in rows]):
        copies.setdefault(row["redriven_from"], []).append(_place(row))
    records = {place: _record(found[0]) for place, found in rows.items()}
    seen = await _seen(tx, list(records.values()))
    return [
        Letter(
            records[place],
            rows[place][0]["append_time"],
            tuple(_standing(row, records[place], actions.get(place, []), seen) for row in rows[place]),
            tuple(actions.get(place, [])),
            tuple(copies.get(place_text(place), [])),
        )
        for place in places
        if place in rows
    ]


async def redrive(
    pool: Pool, publisher: Publisher, wanted: Sequence[Position], *, by: str, reason: str, now: datetime, force: bool
) -> Outcome:
    """Append the original records once more, and say so on ``training.deadletter``.

    One that is no event for this code either is left, unless ``force``. The log has the records before the facts are
    committed: interrupted, a record may be sent twice, which changes nothing, and never be said to be sent and not be.

    Raises PublishFailed; then nothing was noted.
    """
    outcome = Outcome()
    async with transaction(pool) as tx:
        await outbox.lock(tx, "dead-letters")
        letters = []
        for letter in await load(tx, wanted):
            problem = None if force else _problem(letter.record)
            if problem is None:
                letters.append(letter)
            else:
                outcome.skipped.append((letter.record.position, f"this code cannot read it either: {problem}"))
        await publisher.append([_again(letter.record) for letter in letters])
        for letter in letters:
            await _note(tx, letter, DeadLetterRedriven, by, reason, now)
            outcome.done.append(letter.record.position)
    return outcome


async def discard(pool: Pool, wanted: Sequence[Position], *, by: str, reason: str, now: datetime) -> Outcome:
    """Give records up: the numbers they had stay missing."""
    outcome = Outcome()
    async with transaction(pool) as tx:
        await outbox.lock(tx, "dead-letters")
        for letter in await load(tx, wanted):
            await _note(tx, letter, DeadLetterDiscarded, by, reason, now)
            outcome.done.append(letter.record.position)
    return outcome


def place_text(place: Position) -> str:
    return f"{place.topic}/{place.partition}/{place.offset}"


async def _note(
    tx: Connection, letter: Letter, kind: type[DeadLetterRedriven], by: str, reason: str, now: datetime
) -> None:
    place = letter.record.position
    for standing in letter.standings:
        fact = kind(
            projection=standing.read_model,
            topic=place.topic,
            partition=place.partition,
            offset=place.offset,
            reason=reason,
            by=by,
        )
        address = outbox.Address(standing.read_model, None, 0)
        await outbox.append(tx, address, [fact], now, outbox.ReceiptNote(None, "", {}))


def _problem(record: Record) -> str | None:
    try:
        decode(record)
    except MalformedEvent as error:
        return str(error)
    return None


def _again(record: Record) -> Record:
    """The record with one header more, so that anybody sees whose copy it is."""
    kept = [(name, value) for name, value in record.headers if name != REDRIVEN_FROM]
    return replace(record, headers=[*kept, (REDRIVEN_FROM, place_text(record.position).encode())])


def _place(row: Mapping[str, Any]) -> Position:
    return Position(row["topic"], row["partition"], row["log_offset"])


def _record(row: Mapping[str, Any]) -> Record:
    # Any: a header without a value is handed on as it came.
    headers: Any = [(name, value if value is None else base64.b64decode(value)) for name, value in row["headers"]]
    return Record(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["log_offset"],
        timestamp_ms=int(row["append_time"].timestamp() * 1000),
        key=row["key"],
        headers=headers,
        value=row["value"],
    )


def number_of(record: Record) -> tuple[str, int] | None:
    """(session, seq) of a record, where it says them in a form that can be read."""
    headers = dict(record.headers)
    session, seq = headers.get("ce_session"), headers.get("ce_seq", b"")
    if not session or not seq.isdigit() or len(seq) > 18:
        return None
    return session.decode("utf-8", "replace").replace("\x00", "\ufffd"), int(seq)


Seen = Mapping[tuple[str, str, str], SessionMarks]
"""(read model, session, topic) to what was counted."""


async def _seen(tx: Connection, records: Sequence[Record]) -> Seen:
    sessions = sorted({number[0] for record in records if (number := number_of(record)) is not None})
    return {
        (row["read_model"], row["session"], row["topic"]): SessionMarks(
            row["high"], tuple((low, high) for low, high in row["gaps"])
        )
        for row in await find_marks(tx, sessions)
    }


def _standing(row: Mapping[str, Any], record: Record, actions: Sequence[Action], seen: Seen) -> Standing:
    model, number = row["read_model"], number_of(record)
    last = next((action.action for action in reversed(actions) if action.read_model == model), OPEN)
    applied = None
    if number is not None:
        session, seq = number
        applied = seen.get((model, session, record.topic), SessionMarks()).seen(seq)
    return Standing(model, row["reason"], last, applied)
