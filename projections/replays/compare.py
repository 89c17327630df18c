"""Two versions of a read model at the same offsets, row by row and point by point, inside Postgres.

Metric points are compared as points: how they are cut into chunks is nobody's business. All statements see one
snapshot, so both versions may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from producers.database import Connection
from producers.queries import load_queries
from projections.registry import Projection
from projections.replays.differences import Comparison
from projections.replays.points import CHUNKS, STATEMENT_TIMEOUT_S, compare_points
from projections.runtime.versions import Version

SHOWN_MAX: Final = 20
"""Rows of a table whose differences are named; all are counted."""
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))

NO_MATTER: Final[Mapping[str, frozenset[str]]] = {
    # What the ceiling on dead letters counts is no part of what anybody reads, and code that was mended counts anew.
    "projection_offsets": frozenset({"bad_in_a_row", "window_records", "window_bad"}),
    # Where the chunks were cut; points.py looks at these.
    "metric_series": frozenset({"tail_chunk", "tail_points"}),
}

NO_MATTER_AFTER_A_PURGE: Final[Mapping[str, frozenset[str]]] = {
    # An archive has the records of purged jobs no more: what they counted is not counted again.
    "projection_offsets": NO_MATTER["projection_offsets"] | {"applied_events", "append_time"},
}


async def differences(
    connection: Connection, projection: Projection, live: Version, rebuilt: Version, *, shown_max: int = SHOWN_MAX
) -> Comparison:
    """What differs; needs a transaction that sees both at the same offsets (repeatable read)."""
    found = Comparison()
    await connection.execute("SET LOCAL work_mem = '64MB'")
    no_matter = NO_MATTER
    if await connection.fetchval(f'SELECT EXISTS (SELECT FROM "{live.schema_name}".purged_jobs)'):
        no_matter = {**NO_MATTER, **NO_MATTER_AFTER_A_PURGE}
    for table in await _tables(connection, rebuilt):
        if table in projection.kept or table == "purged_jobs":
            continue
        if table == CHUNKS:
            await compare_points(connection, live, rebuilt, found, shown_max)
            continue
        columns, key = await _columns(connection, rebuilt, table), await _key(connection, rebuilt, table)
        compared = [name for name in columns if name not in no_matter.get(table, frozenset())]
        rows = await connection.fetch(
            _rows_that_differ(table, key, compared, live, rebuilt), shown_max, timeout=STATEMENT_TIMEOUT_S
        )
        found.add_rows(table, key, rows)
    return found


async def _tables(connection: Connection, version: Version) -> list[str]:
    rows = await queries.tables(connection, schema_name=version.schema_name)
    return [row["name"] for row in rows]


async def _columns(connection: Connection, version: Version, table: str) -> list[str]:
    rows = await queries.columns(connection, schema_name=version.schema_name, table=table)
    return [row["name"] for row in rows]


async def _key(connection: Connection, version: Version, table: str) -> list[str]:
    """Raises ValueError for a table whose rows nothing tells apart."""
    rows = await queries.key_columns(connection, schema_name=version.schema_name, table=table)
    if not rows:
        raise ValueError(f"table {table} has no primary key; rows of two versions cannot be matched")
    return [row["name"] for row in rows]


def _rows_that_differ(table: str, key: Sequence[str], compared: Sequence[str], live: Version, rebuilt: Version) -> str:
    names = ", ".join(f'"{name}"' for name in compared)
    matched = " AND ".join(f'live."{name}" = rebuilt."{name}"' for name in key)
    values = [name for name in compared if name not in key]
    changed = ""
    if values:
        ours, theirs = (", ".join(f'{side}."{name}"' for name in values) for side in ("live", "rebuilt"))
        changed = f" OR ROW({ours}) IS DISTINCT FROM ROW({theirs})"
    order = ", ".join(f'COALESCE(live."{name}", rebuilt."{name}")' for name in key)
    return (
        "SELECT to_jsonb(live) AS live, to_jsonb(rebuilt) AS rebuilt, count(*) OVER () AS total "
        f'FROM (SELECT {names} FROM "{live.schema_name}"."{table}"{_not_purged(table, live)}) AS live '
        f'FULL JOIN (SELECT {names} FROM "{rebuilt.schema_name}"."{table}"{_not_purged(table, live)}) AS rebuilt '
        f"ON {matched} "
        f'WHERE live."{key[0]}" IS NULL OR rebuilt."{key[0]}" IS NULL{changed} '
        f"ORDER BY {order} LIMIT $1"
    )


def _not_purged(table: str, live: Version) -> str:
    """Which numbers of a purged job's senders were seen, an archive does not tell."""
    if table != "session_marks":
        return ""
    return f' WHERE job_id IS NULL OR job_id NOT IN (SELECT job_id FROM "{live.schema_name}".purged_jobs)'
