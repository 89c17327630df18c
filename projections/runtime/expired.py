"""Records that retention deleted come in no batch: a read model steps over them, or it would look behind for ever.

What is built again takes their rows over from the live version, where a row is all that a record left: log lines and
samples. What adds records up cannot be folded without them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from events.topics import PARTITIONS
from events.types.vocabulary import LOG_LINES_PER_EVENT_MAX
from producers.database import Connection, Pool, search_path
from producers.queries import load_queries
from projections.registry import Projection
from projections.runtime.versions import Version, hold_live
from projections.runtime.versions import queries as registry
from training_sdk.wire import partition_of

logger = logging.getLogger(__name__)
queries: Final = load_queries(Path(__file__).parent / "offsets.sql")

ROW_A_RECORD: Final = frozenset({"logs", "system"})
"""Read models whose rows can be taken over one by one."""
PLACE_COLUMNS: Final = ("partition", "log_offset")
PLACES: Final[Mapping[str, tuple[str, str]]] = {
    # projections/core/logs.py: line_id
    "training_logs": (
        f"(id / {LOG_LINES_PER_EVENT_MAX}) % {PARTITIONS}",
        f"id / {LOG_LINES_PER_EVENT_MAX * PARTITIONS}",
    ),
}
LATEST: Final = frozenset({"heartbeats"})
"""Tables with a row a job that its newest record made."""


class RecordsExpired(RuntimeError):
    """What is to be folded again is not in the log any more, and no archive has it."""


async def step_to(pool: Pool, schema: str, topic: str, reached: Mapping[int, int]) -> None:
    """A version that is being built stands, by partition, at least where it was read to."""
    async with pool.acquire(timeout=30) as tx, tx.transaction():
        await tx.execute(search_path([schema]))
        await _raise(tx, topic, reached)


async def step_over_expired(pool: Pool, projection: Projection, earliest: Mapping[int, int]) -> None:
    """The live version begins no partition before ``earliest``, the first offset that the log still has.

    Raises WrongVersion.
    """
    async with pool.acquire(timeout=30) as tx, tx.transaction():
        await tx.execute(search_path([(await hold_live(tx, projection)).schema_name]))
        rows = await queries.read_offsets(tx, topic=projection.topic)
        for row in rows:
            first = earliest.get(row["partition"], 0)
            if 0 < row["next_offset"] < first:
                logger.error(
                    "%s: %s/%d goes on at offset %d, %d was expected; what lay between is not in the log any more",
                    *(projection.name, projection.topic, row["partition"], first, row["next_offset"]),
                )
        await _raise(tx, projection.topic, earliest)


async def _raise(tx: Connection, topic: str, offsets: Mapping[int, int]) -> None:
    # A missing row says 0 already.
    partitions = sorted(partition for partition, offset in offsets.items() if offset > 0)
    await queries.raise_offsets(
        tx, topic=topic, partitions=partitions, next_offsets=[offsets[partition] for partition in partitions]
    )


async def take_over_expired(
    pool: Pool, projection: Projection, live: Version, built: Version, until: Mapping[int, int]
) -> Mapping[int, int]:
    """Rows of records that cannot be read any more, those before ``until`` by partition, from ``live`` to ``built``.

    Returns ``until``: there ``built`` stands then. Raises RecordsExpired for a read model of which this is not
    possible, unless ``live`` is of an older version, which has to end.
    """
    rows_are_all = projection.name in ROW_A_RECORD and live.version == built.version
    if not rows_are_all and live.version == built.version:
        raise RecordsExpired(
            f"{projection.topic} begins, by partition, at {dict(until)}: older records are deleted, and no archive "
            f"has them; read model {projection.name} cannot be folded from what is left"
        )
    async with pool.acquire(timeout=30) as tx, tx.transaction():
        await tx.execute(search_path([built.schema_name]))
        # Locked: what another builder does here waits, and finds it done.
        await queries.create_offsets(tx, topic=projection.topic, partitions=sorted(until))
        locked = await queries.lock_offsets(tx, topic=projection.topic, partitions=sorted(until))
        begin = {row["partition"]: row["next_offset"] for row in locked if row["next_offset"] < until[row["partition"]]}
        if rows_are_all:
            for table, columns in (await _tables(tx, live)).items():
                place = PLACES.get(table, PLACE_COLUMNS)
                if table in PLACES or set(PLACE_COLUMNS) <= set(columns):
                    for partition, first in begin.items():
                        await tx.execute(_copy(table, columns, live, built, place), partition, first, until[partition])
        else:
            logger.error("%s: what lay before offsets %s of %s is lost", projection.name, until, projection.topic)
        await _raise(tx, projection.topic, until)
        expired = {str(partition): until[partition] for partition in begin}
        await registry.note_expired(tx, schema_name=built.schema_name, expired=expired)
    return until


async def take_over_marks(pool: Pool, projection: Projection, live: Version, built: Version) -> None:
    """What only the whole log tells of partitions that lack records: which numbers of their sessions were seen.

    Both must stand at the same offsets, and ``live`` must stand still.
    """
    async with pool.acquire(timeout=30) as tx, tx.transaction():
        expired = await expired_before(tx, built)
        if not expired:
            return
        for table, columns in (await _tables(tx, built)).items():
            if table == "session_marks" or (table in LATEST and live.version == built.version):
                job_ids = await tx.fetch(f'SELECT DISTINCT job_id FROM "{live.schema_name}".{table}')
                mine = [row["job_id"] for row in job_ids if row["job_id"] is not None]
                mine = [job_id for job_id in mine if partition_of(str(job_id).encode()) in expired]
                if table == "session_marks":
                    await tx.execute(f'DELETE FROM "{built.schema_name}".{table} WHERE job_id = ANY($1)', mine)
                await tx.execute(
                    f'INSERT INTO "{built.schema_name}".{table} ({_names(columns)}) SELECT {_names(columns)} '
                    f'FROM "{live.schema_name}".{table} WHERE job_id = ANY($1) ON CONFLICT DO NOTHING',
                    mine,
                )
        await tx.execute(
            f'UPDATE "{built.schema_name}".projection_offsets AS built SET applied_events = live.applied_events '
            f'FROM "{live.schema_name}".projection_offsets AS live '
            "WHERE live.partition = built.partition AND live.topic = built.topic AND built.partition = ANY($1)",
            list(expired),
        )


async def expired_before(connection: Connection, version: Version) -> dict[int, int]:
    """By partition, the offset before which its records were not there to be read."""
    found = await registry.expired_before(connection, schema_name=version.schema_name)
    return {int(partition): offset for partition, offset in (found or {}).items()}


async def _tables(tx: Connection, version: Version) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    for row in await registry.columns_of(tx, schema_name=version.schema_name):
        tables.setdefault(row["table"], []).append(row["column"])
    return tables


def _names(columns: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _copy(table: str, columns: list[str], live: Version, built: Version, place: tuple[str, str]) -> str:
    partition, offset = place
    return (
        f'INSERT INTO "{built.schema_name}"."{table}" ({_names(columns)}) '
        f'SELECT {_names(columns)} FROM "{live.schema_name}"."{table}" '
        f"WHERE {partition} = $1 AND {offset} >= $2 AND {offset} < $3 ON CONFLICT DO NOTHING"
    )
