"""What stands in for MLflow while its read models are folded again: MLflow has heard it all, and is told nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from events.envelope import Event
from events.types.vocabulary import Fact
from producers.database import Pool, transaction
from projections.mlflow_mirror.mirror import Mlflow, run_queries

UNKNOWN: Final = ("unknown", "unknown")


class Recorded:
    """Knows the runs that the live read model knows. ``mlflow`` is asked for the others; None where nobody may be."""

    def __init__(self, runs: dict[int, tuple[str, str]], mlflow: Callable[[], Mlflow] | None) -> None:
        self._runs = runs
        self._mlflow = mlflow
        self._asked: Mlflow | None = None

    async def run_of(self, job_id: int, created: Event[Fact] | None = None) -> tuple[str, str]:
        """Raises Unavailable."""
        if job_id not in self._runs:
            if self._mlflow is None:
                return UNKNOWN
            self._asked = self._asked or self._mlflow()
            self._runs[job_id] = await self._asked.run_of(job_id, created)
        return self._runs[job_id]

    async def ask(self, call: Callable[..., Any]) -> None:
        return

    async def forget(self, job_id: int) -> str | None:
        return None

    async def keep(self, run_id: str, name: str, content: dict[str, Any]) -> None:
        return


async def recorded(pool: Pool, mlflow: Callable[[], Mlflow] | None) -> Recorded:
    async with transaction(pool, readonly=True) as tx:
        rows = await run_queries.known_runs(tx)
    return Recorded({row["job_id"]: (row["run_id"], row["experiment_id"]) for row in rows}, mlflow)
