"""What lies in the archive, as Postgres knows it: the only progress there is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from producers.database import Connection, Pool
from producers.queries import load_queries
from projections.archive.ranges import Ranges, count_of

LOCK_POLL_INTERVAL_S: Final = 0.2
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))

Place = tuple[str, int]
"""Logical topic and partition."""

State = Literal["writing", "done", "lost"]


class Busy(RuntimeError):
    """Another process writes into this partition's archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A range of a partition. ``records`` is how many lay in it when it was written."""

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    records: int
    state: State

    @property
    def place(self) -> Place:
        return self.topic, self.partition

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition} from {self.first_offset} to {self.next_offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One object of a part."""

    key: str
    rows: int
    bytes: int
    sha256: str
    job_ids: list[int]
    forgotten: Ranges

    @property
    def records(self) -> int:
        """With those that were forgotten."""
        return self.rows + count_of(self.forgotten)


@contextlib.asynccontextmanager
async def held(pool: Pool, place: Place, *, timeout_s: float = 0.0) -> AsyncIterator[Connection]:
    """The connection that alone may write into this partition's archive. Raises Busy after ``timeout_s``.

    Postgres gives the lock back when the connection ends; a part is marked done over the same connection, so by nobody
    who lost the lock.
    """
    topic, partition = place
    async with pool.acquire(timeout=30) as connection:
        deadline = time.monotonic() + timeout_s
        while not await queries.try_lock(connection, topic=topic, partition=partition):
            if time.monotonic() > deadline:
                raise Busy(f"somebody else writes into the archive of {topic}/{partition}")
            await asyncio.sleep(LOCK_POLL_INTERVAL_S)
        try:
            yield connection
        finally:
            if not connection.is_closed():
                await queries.unlock(connection, topic=topic, partition=partition)


async def next_offsets(connection: Connection) -> dict[Place, int]:
    """Where the archive goes on, by place; places of which nothing is archived are missing."""
    rows = await queries.next_offsets(connection)
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def next_offset(connection: Connection, place: Place) -> int | None:
    """Where the next part begins; None where there is none yet."""
    topic, partition = place
    found: int | None = await queries.next_offset(connection, topic=topic, partition=partition)
    return found


async def open_part(connection: Connection, place: Place) -> Part | None:
    """A part that was begun and is not done."""
    topic, partition = place
    row = await queries.open_part(connection, topic=topic, partition=partition)
    return None if row is None else Part(**row)


async def open_places(connection: Connection) -> set[Place]:
    return {(row["topic"], row["partition"]) for row in await queries.open_places(connection)}


async def parts(connection: Connection, place: Place, first_offset: int = 0) -> list[Part]:
    """In order, those that hold offsets from ``first_offset`` on."""
    topic, partition = place
    rows = await queries.parts(connection, topic=topic, partition=partition, first_offset=first_offset)
    return [Part(**row) for row in rows]


async def objects(connection: Connection, part: Part) -> list[Kept]:
    rows = await queries.objects(connection, topic=part.topic, partition=part.partition, first_offset=part.first_offset)
    return [Kept(**row) for row in rows]


async def begin(connection: Connection, part: Part, kept: Sequence[Kept]) -> list[str]:
    """Write down what will be written. Returns the names that an earlier try had and this one has not."""
    async with connection.transaction():
        await queries.begin_part(
            connection,
            topic=part.topic,
            partition=part.partition,
            first_offset=part.first_offset,
            next_offset=part.next_offset,
            records=part.records,
            state=part.state,
        )
        before = {found.key for found in await objects(connection, part)}
        # Names of an earlier try stay until they are removed from the store.
        await save_objects(connection, part, kept)
    return sorted(before - {found.key for found in kept})


async def save_objects(connection: Connection, part: Part, kept: Sequence[Kept]) -> None:
    rows = [
        {
            "key": found.key,
            "topic": part.topic,
            "partition": part.partition,
            "first_offset": part.first_offset,
            "rows": found.rows,
            "bytes": found.bytes,
            "sha256": found.sha256,
            "job_ids": found.job_ids,
            "forgotten": found.forgotten,
        }
        for found in kept
    ]
    await queries.save_objects(connection, rows)


async def finish(connection: Connection, part: Part, removed: Sequence[str] = ()) -> None:
    """All its objects are there."""
    async with connection.transaction():
        await queries.drop_objects(connection, keys=list(removed))
        await queries.finish_part(
            connection, topic=part.topic, partition=part.partition, first_offset=part.first_offset
        )
