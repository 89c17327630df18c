"""Is the process alive, and can it do its work?"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg
import urllib3
from aiokafka.errors import KafkaError
from fastapi import APIRouter, Response

from api.context import Api, Context
from api.operations.archive import read_archive
from api.operations.lag import CORE_WORKER, WORKER_OF, Lag, read_lags
from training_sdk.wire import DATASETS, DEAD_LETTER, JOBS, LOGS, METRICS, MODELS, SYSTEM

router = APIRouter(tags=["operations"])
TOPIC_OF: Final = {
    "jobs": JOBS,
    "checkpoints": JOBS,
    "artifacts": JOBS,
    "metrics": METRICS,
    "logs": LOGS,
    "system": SYSTEM,
    "datasets": DATASETS,
    "models": MODELS,
    "dead-letters": DEAD_LETTER,
    "early-stop": METRICS,
    "mlflow-runs": JOBS,
    "mlflow-metrics": METRICS,
}
CORE_READ_MODELS: Final = tuple(name for name in TOPIC_OF if WORKER_OF.get(name, CORE_WORKER) == CORE_WORKER)


@router.get("/healthz", summary="The process answers")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


async def look_around(context: Context) -> tuple[dict[str, dict[str, Any]], list[Lag]]:
    """Each dependency's state, and the read models' lags as far as they can be known."""
    dependencies: dict[str, dict[str, Any]] = {}
    ends: dict[tuple[str, int], int] | None = None
    try:
        ends = await context.tail.end_offsets()
        dependencies["kafka"] = {"ok": True, "detail": None}
    except (KafkaError, OSError, TimeoutError) as error:
        dependencies["kafka"] = {"ok": False, "detail": str(error) or repr(error)}
    lags: list[Lag] = []
    try:
        lags = await read_lags(context, ends, TOPIC_OF)
        dependencies["postgres"] = {"ok": True, "detail": None}
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        dependencies["postgres"] = {"ok": False, "detail": str(error) or repr(error)}
    problem = await asyncio.to_thread(_s3_problem, context.settings.s3_endpoint)
    dependencies["s3"] = {"ok": problem is None, "detail": problem}
    return dependencies, lags


def _s3_problem(endpoint: str) -> str | None:
    """Any answer will do, also a refusal: the store is there."""
    try:
        with urllib3.PoolManager(timeout=urllib3.Timeout(2), retries=False) as http:
            http.request("GET", endpoint)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        return str(error)
    return None


@router.get("/readyz", summary="Every dependency, and every read model's lag")
async def readyz(api: Api, response: Response) -> dict[str, Any]:
    dependencies, lags = await look_around(api)
    found = {lag.projection: lag for lag in lags}
    problems = [f"{name}: {state['detail']}" for name, state in dependencies.items() if not state["ok"]]
    for name in CORE_READ_MODELS:
        if name not in found:
            problems.append(f"read model {name} does not exist; run: python -m projections migrate")
        elif not found[name].worker_alive:
            problems.append(f"no worker of read model {name} gave a sign of life")
    # Nobody waits for it: records stay in Kafka until they are archived.
    archived = await read_archive(api) if dependencies["postgres"]["ok"] else None
    response.status_code = 503 if problems else 200
    return {
        "status": "not ready" if problems else "ready",
        "problems": problems,
        "dependencies": dependencies,
        "archive": {"worker_alive": archived.worker_alive, "lag": {t.topic: t.lag for t in archived.topics}}
        if archived is not None
        else None,
        "projections": {lag.projection: lag.as_dict() for lag in lags},
    }
