"""Processors, memory and GPUs of a job's processes: the newest sample of each, and series for charts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from api.context import Api
from api.guards import StrictRoute
from api.jobs.reading import read_job
from api.jobs.responses import time_text
from api.jobs.routes import JobId
from api.metrics.downsample import POINTS_MIN
from api.system.series import latest_of, series_of
from events.types.vocabulary import JsonObject
from producers.database import transaction
from producers.queries import load_queries

router = APIRouter(prefix="/api/v1/training/jobs", tags=["system"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).parent / "queries.sql")
SAMPLES_MAX: Final = 50_000
"""Read for one answer: two days and more of one process at a sample every five seconds."""
SYSTEM_EXAMPLE: Final[JsonObject] = {
    "job_id": 25,
    "latest": [
        {
            "rank": 0,
            "attempt": 1,
            "time": "2025-11-20T10:35:00Z",
            "sample": {"cpu_percent": 61.5, "gpus": [{"index": 0, "utilization_percent": 98.0}]},
        }
    ],
    "series": [
        {
            "name": "gpu_utilization_percent",
            "rank": 0,
            "gpu": 0,
            "times": [1763634900.0, 1763634905.0],
            "values": [97.0, 98.0],
            "total_points": 2,
            "sampled": False,
        }
    ],
}


class LatestSample(BaseModel):
    rank: int
    attempt: int
    time: str | None
    sample: dict[str, Any]


class SystemSeries(BaseModel):
    name: str
    rank: int
    gpu: int | None
    times: list[float]
    values: list[float]
    total_points: int
    sampled: bool


class SystemAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": SYSTEM_EXAMPLE})

    job_id: int
    latest: list[LatestSample]
    series: list[SystemSeries]


@router.get("/{job_id}/system", summary="Processor, memory and GPUs over time, each process (rank) by itself")
async def get_system(
    job_id: JobId,
    api: Api,
    max_points: Annotated[int, Query(ge=POINTS_MIN, le=SAMPLES_MAX, description="of each series")] = 1_000,
    rank: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
    attempt: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
) -> SystemAnswer:
    """Samples are kept as long as the log keeps them: seven days."""
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
        samples = await queries.samples(tx, job_id=job_id, rank=rank, attempt=attempt, limit=SAMPLES_MAX)
    latest = [
        LatestSample(
            rank=row["rank"],
            attempt=row["attempt"],
            time=time_text(datetime.fromtimestamp(row["time"], UTC)),
            sample=row["data"],
        )
        for row in latest_of(samples)
    ]
    series = [SystemSeries(**one) for one in series_of(samples, max_points)]
    return SystemAnswer(job_id=job_id, latest=latest, series=series)
