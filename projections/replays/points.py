"""Metric points of two versions of a read model, whatever chunks they lie in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import aiosql

from producers.database import Connection
from projections.replays.differences import Comparison, Difference
from projections.runtime.versions import Version

CHUNKS: Final = "metric_chunks"
SERIES: Final = ("job_id", "name", "attempt")
STATEMENT_TIMEOUT_S: Final = 3_600.0
queries: Final = aiosql.from_path(Path(__file__).with_suffix(".sql"), "asyncpg", mandatory_parameters=False)


async def compare_points(
    connection: Connection, live: Version, rebuilt: Version, found: Comparison, shown_max: int
) -> None:
    """Chunks as they are first, which is fast; then the points of series whose chunks differ in any way."""

    async def ask(name: str, *values: Any) -> list[Any]:
        sql: str = getattr(queries, name).sql
        for side, version in (("live", live), ("rebuilt", rebuilt)):
            sql = sql.replace(f"{side}_schema.", f'"{version.schema_name}".')
        return await connection.fetch(sql, *values, timeout=STATEMENT_TIMEOUT_S)

    suspects = await ask("series_with_other_chunks")
    if suspects:
        columns = ([row[name] for row in suspects] for name in SERIES)
        found.add_rows(
            "training_metrics", (*SERIES, "log_offset", "nth"), await ask("points_that_differ", *columns, shown_max)
        )
    found.add_rows(CHUNKS, (*SERIES, "chunk"), await ask("chunk_summaries_that_differ", shown_max))
    for row in await ask("wrong_tails", shown_max):
        key = {name: row[name] for name in SERIES}
        one = Difference("metric_series", key, "tail_chunk, tail_points", list(row["tail"]), list(row["last"]))
        found.add("metric_series", 1, [one])
