"""The outbox: facts that were accepted and wait for the log, with the receipts that make repeats harmless."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from events.codec import data_bytes
from events.registry import event_type_of
from events.types.deletion import JobPurged
from events.types.sessions import SessionOpened
from events.types.vocabulary import Fact, utc_text
from producers.database import Connection, Pool, transaction
from producers.errors import FieldProblem, Invalid
from producers.queries import load_queries
from training_sdk.wire import RECORD_BYTES_MAX, WireEvent

BATCH_MAX: Final = 500
BATCH_BYTES_MAX: Final = 4_000_000
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


OPENED: Final = SessionOpened(sender="outbox")
"""How a session begins of which nothing else is known."""
NO_RECEIPT: Final[dict[str, Any]] = {"receipt_key": None, "request_hash": None, "answer": None}


@dataclass(frozen=True, slots=True)
class Address:
    """Whose facts these are: the job (or data set) and the attempt they speak of; ``opened`` begins its sessions."""

    key: str
    job_id: int | None
    attempt: int
    opened: SessionOpened = OPENED


@dataclass(frozen=True, slots=True)
class ReceiptNote:
    """Stands on a command's first row, so that the same command finds it again."""

    key: str | None
    request_hash: str
    answer: dict[str, Any]


async def lock(transaction: Connection, name: str) -> None:
    """Until the transaction ends: whoever appends facts of ``job/25`` waits for the others who do."""
    await queries.lock(transaction, name=name)


async def append(
    transaction: Connection, address: Address, facts: Sequence[Fact], now: datetime, note: ReceiptNote
) -> list[int]:
    """Add facts in order, each topic's session opened first. Returns the outbox ids, ascending.

    The caller holds the lock of the job, so ids of one job are in the order of their commits. Raises Invalid for a
    fact that is too large for the log.
    """
    common = await _common(transaction, address, now)
    receipt: dict[str, Any] = {"receipt_key": note.key, "request_hash": note.request_hash, "answer": note.answer}
    ids: list[int] = []
    for fact, topic in [(one, topic) for one in facts for topic in _topics_of(one)]:
        event_type = event_type_of(type(fact))
        await _open(transaction, {**common, **NO_RECEIPT, "topic": topic}, address.opened)
        data = data_bytes(fact)
        if len(data) > RECORD_BYTES_MAX:
            # Kafka would refuse it, now and on every further try, and all jobs would wait behind it.
            size = f"{event_type.wire_name} would have {len(data)} bytes, at most {RECORD_BYTES_MAX} fit into the log"
            raise Invalid(f"the request is too large: {size}", [FieldProblem(("body",), size)])
        row = {**common, **receipt, "topic": topic, "type": event_type.wire_name, "data": data}
        ids.append(await queries.append(transaction, **row))
        receipt = NO_RECEIPT
    return ids


def _topics_of(fact: Fact) -> tuple[str, ...]:
    """The order of topics is not defined: who folds one of them knows only what stands on it."""
    topics = event_type_of(type(fact)).topics
    # The topic of the job's life last: a reader waits for the last row, and what everybody reads is folded from it.
    return tuple(reversed(topics)) if isinstance(fact, JobPurged) else topics[:1]


async def open_session(transaction: Connection, address: Address, topic: str, now: datetime) -> None:
    """Begin the session on a topic before there is a fact for it: its folds know ``address.opened`` then."""
    common = await _common(transaction, address, now)
    await _open(transaction, {**common, **NO_RECEIPT, "topic": topic}, address.opened)


async def _common(transaction: Connection, address: Address, now: datetime) -> dict[str, Any]:
    """What all rows of the address have in common."""
    installation: uuid.UUID = await queries.installation_id(transaction)
    kind = "job" if address.job_id is not None else "key"
    name = f"outbox/{kind}/{address.key}/{address.attempt}"
    return {
        "key": address.key,
        "job_id": address.job_id,
        "time": now,
        "source": "/epochlog/outbox",
        "attempt": address.attempt,
        "session": uuid.uuid5(installation, name).hex,
    }


async def _open(transaction: Connection, row: dict[str, Any], opened: SessionOpened) -> None:
    if await queries.open_session(transaction, session=row["session"], topic=row["topic"]) is not None:
        opened_type = event_type_of(SessionOpened).wire_name
        await queries.append(transaction, **row, type=opened_type, data=data_bytes(opened))


async def find_receipt(transaction: Connection, key: str) -> dict[str, Any] | None:
    row = await queries.receipt(transaction, receipt_key=key)
    return None if row is None else dict(row)


async def find_last(transaction: Connection, job_id: int, facts: Sequence[type[Fact]]) -> list[int]:
    """The newest of the job's rows that hold one of these facts; none when they are forgotten already."""
    types = [event_type_of(fact).wire_name for fact in facts]
    return [row["id"] for row in await queries.last_of_types(transaction, job_id=job_id, types=types)]


@dataclass(frozen=True, slots=True)
class Unsent:
    id: int
    event: WireEvent


async def take_unsent(pool: Pool, limit: int = BATCH_MAX) -> list[Unsent]:
    """The oldest facts that are not in the log yet, each with its seq, which is committed before anything is sent.

    At most ``limit`` of them, and no more than fit into BATCH_BYTES_MAX (one always does). Only the holder of the
    relay's lock should call this; while that lock passes on, two may, and both get the same numbers.
    """
    async with pool.acquire() as connection, connection.transaction():
        await queries.lock_numbers(connection)
        rows = await queries.unsent(connection, limit=limit, bytes_max=BATCH_BYTES_MAX)
        new = [row for row in rows if row["seq"] is None]
        numbers = await _give_numbers(connection, new) if new else {}
    return [
        Unsent(
            row["id"],
            WireEvent(
                topic=row["topic"],
                key=row["key"],
                type=row["type"],
                time=utc_text(row["time"]),
                source=row["source"],
                attempt=row["attempt"],
                rank=0,
                session=row["session"],
                seq=row["seq"] if row["seq"] is not None else numbers[row["id"]],
                data=row["data"],
            ),
        )
        for row in rows
    ]


async def _give_numbers(connection: Connection, rows: Sequence[Any]) -> dict[int, int]:
    """Count up per session and topic, in the order of the ids. Returns id -> seq."""
    sessions = sorted({row["session"] for row in rows})
    found = await queries.last_numbers(connection, sessions=sessions)
    last = {(row["session"], row["topic"]): row["last_seq"] for row in found}
    given: dict[int, int] = {}
    for row in rows:
        counter = (row["session"], row["topic"])
        last[counter] += 1
        given[row["id"]] = last[counter]
    await queries.give_numbers(connection, ids=list(given), seqs=list(given.values()))
    await queries.note_last_numbers(
        connection,
        sessions=[session for session, _ in last],
        topics=[topic for _, topic in last],
        last_seqs=list(last.values()),
    )
    return given


async def mark_sent(pool: Pool, sent: Sequence[tuple[int, int, int]]) -> None:
    """Note that rows are in the log: (outbox id, partition, offset)."""
    async with pool.acquire() as connection:
        await queries.mark_sent(
            connection,
            ids=[row[0] for row in sent],
            partitions=[row[1] for row in sent],
            log_offsets=[row[2] for row in sent],
        )


async def erase(transaction: Connection, job_id: int) -> int:
    """Take out of the job's rows what a purge erases. Their numbers stay: none is given twice. Returns how many wait.

    A row that is not sent yet keeps its data until it is: erase again later. To be called once the read model of jobs
    has applied the purge: until then, what a job is needs these data.
    """
    purged = event_type_of(JobPurged).wire_name
    await queries.erase(transaction, job_id=job_id, purged=purged)
    unsent: int = await queries.count_unsent(transaction, job_id=job_id)
    return unsent


async def prune(pool: Pool) -> None:
    """Forget what is long in the log and in the read models."""
    async with transaction(pool) as tx:
        await queries.prune(tx)
