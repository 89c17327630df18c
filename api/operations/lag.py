"""How far each read model is behind the log, how fast it goes, and what it could not apply."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from api.context import Context
from api.log_ends import Ends
from events.envelope import Position
from producers.database import Connection, search_path, set_live_search_path
from producers.dead_letter_queries import count_open
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
OFFSETS: Final = "SELECT topic, partition, next_offset, applied_events FROM projection_offsets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """``lag`` in records. ``oldest_unapplied_age_s``: since the log took the first record that is not applied, 0 where
    all is. Both are None when the log cannot say. ``dead_letters``: those that nobody decided about.
    """

    projection: str
    live_schema: str
    lag: int | None
    oldest_unapplied_age_s: float | None
    applied_events: int
    events_per_second: float | None
    dead_letters: int
    builds_running: int
    worker_alive: bool

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "projection"}


async def read_lags(context: Context, ends: Ends | None, topics: Mapping[str, str]) -> list[Lag]:
    """One entry a live read model; ``topics`` maps its name to the topic it folds."""
    async with context.pool.acquire(timeout=3) as tx, tx.transaction(readonly=True):
        models = await queries.read_models(tx)
        alive = {row["process"] for row in await queries.workers(tx) if row["age_s"] < WORKER_SILENCE_MAX_S}
        builds = {row["projection"]: row["builds"] for row in await queries.builds(tx)}
        offsets = {model["projection"]: await _offsets(tx, model["schema_name"]) for model in models}
        await set_live_search_path(tx)
        dead = await count_open(tx) if models else {}
    # The log is asked without a transaction: it may take seconds.
    behind = {
        model["projection"]: _first_unapplied(offsets[model["projection"]], ends or {}, topics.get(model["projection"]))
        for model in models
    }
    times = await context.oldest.append_times(place for places in behind.values() for place in places)
    now_s = time.time()
    return [
        Lag(
            projection=name,
            live_schema=model["schema_name"],
            lag=None if ends is None else sum(behind[name].values()),
            oldest_unapplied_age_s=None if ends is None else _age_s(behind[name], times, now_s),
            applied_events=sum(row["applied_events"] for row in offsets[name]),
            events_per_second=context.throughput.per_second(name),
            dead_letters=dead.get(name, 0),
            builds_running=builds.get(name, 0),
            worker_alive=WORKER_OF.get(name, CORE_WORKER) in alive,
        )
        for model in models
        for name in [model["projection"]]
    ]


async def _offsets(tx: Connection, schema_name: str) -> list[Any]:
    await tx.execute(search_path([schema_name]))
    return await tx.fetch(OFFSETS)


def _first_unapplied(rows: Sequence[Any], ends: Ends, topic: str | None) -> dict[Position, int]:
    """The first record of each partition that is not applied, and how many there are from it on."""
    applied = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
    return {
        Position(*place, applied.get(place, 0)): end - applied.get(place, 0)
        for place, end in ends.items()
        if place[0] == topic and end > applied.get(place, 0)
    }


def _age_s(behind: Mapping[Position, int], times: Mapping[Position, float], now_s: float) -> float | None:
    """None when any of the records is not known: it may be the oldest."""
    if not behind:
        return 0.0
    if not behind.keys() <= times.keys():
        return None
    return round(max(0.0, now_s - min(times[place] for place in behind)), 3)
