"""How far each read model is behind the log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api.context import Context
from producers.database import search_path
from producers.queries import load_queries

queries: Final = load_queries(Path(__file__).parent / "queries.sql")
WORKER_SILENCE_MAX_S: Final = 10.0
WORKER_OF: Final = {
    "early-stop": "projections-early-stop",
    "mlflow-runs": "projections-mlflow",
    "mlflow-metrics": "projections-mlflow",
}
CORE_WORKER: Final = "projections-core"
# In the schema of one read model, where its tables have these names.
OFFSETS: Final = (
    "SELECT topic, partition, next_offset, append_time, (SELECT count(*) FROM dead_letters) AS dead_letters "
    "FROM projection_offsets"
)


@dataclass(frozen=True, slots=True)
class Lag:
    """``lag`` in records, None when the log cannot be asked. ``age_s``: of the last applied record while behind."""

    projection: str
    live_schema: str
    lag: int | None
    age_s: float | None
    dead_letters: int
    worker_alive: bool

    def as_dict(self) -> dict[str, Any]:
        return {
            "lag": self.lag,
            "age_s": self.age_s,
            "dead_letters": self.dead_letters,
            "live_schema": self.live_schema,
            "worker_alive": self.worker_alive,
        }


async def read_lags(context: Context, ends: dict[tuple[str, int], int] | None, topics: dict[str, str]) -> list[Lag]:
    """One entry a live read model; ``topics`` maps its name to the topic it folds."""
    lags = []
    async with context.pool.acquire(timeout=3) as tx, tx.transaction(readonly=True):
        models = await queries.read_models(tx)
        alive = {row["process"] for row in await queries.workers(tx) if row["age_s"] < WORKER_SILENCE_MAX_S}
        for model in models:
            await tx.execute(search_path([model["schema_name"]]))
            rows = await tx.fetch(OFFSETS)
            lags.append(_lag(model, rows, ends, topics.get(model["projection"]), alive))
    return lags


def _lag(
    model: Any, rows: list[Any], ends: dict[tuple[str, int], int] | None, topic: str | None, alive: set[str]
) -> Lag:
    applied = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
    behind = None
    if ends is not None:
        behind = sum(max(0, end - applied.get(place, 0)) for place, end in ends.items() if place[0] == topic)
    times = [row["append_time"].timestamp() for row in rows if row["append_time"] is not None]
    age_s = round(time.time() - max(times), 3) if behind and times else (None if behind else 0.0)
    worker = WORKER_OF.get(model["projection"], CORE_WORKER)
    return Lag(
        projection=model["projection"],
        live_schema=model["schema_name"],
        lag=behind,
        age_s=age_s,
        dead_letters=rows[0]["dead_letters"] if rows else 0,
        worker_alive=worker in alive,
    )
