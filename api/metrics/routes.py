"""Metrics of a job: per epoch for people, in columns for charts and analysts."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import numpy
import orjson
import pyarrow
from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict

from api.context import Api
from api.freshness import After, wait_applied
from api.guards import StrictRoute
from api.jobs.history import AS_OF_HEADER, AsOf, moment_of, note_moment
from api.jobs.reading import read_job
from api.jobs.responses import PastMoment
from api.jobs.routes import JobId
from api.metrics.downsample import POINTS_MIN
from api.metrics.series import NAMES_MAX, Series, Window, load_series, numbers, whole_numbers
from events.types.vocabulary import JsonObject, number_text
from producers.database import transaction
from producers.errors import FieldProblem, Invalid
from producers.queries import load_queries

router = APIRouter(prefix="/api/v1/training/jobs", tags=["metrics"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).parent / "history.sql")
HISTORY_EXAMPLE: Final[JsonObject] = {
    "job_id": 25,
    "epochs": [
        {
            "epoch": 1,
            "train_metrics": {"loss": 0.5234, "box_loss": 0.3456, "cls_loss": 0.1778},
            "val_metrics": {"mAP50": 0.234, "mAP50-95": 0.123},
        }
    ],
}
SERIES_EXAMPLE: Final[JsonObject] = {
    "job_id": 25,
    "series": [
        {
            "name": "train/loss",
            "steps": [1, 2],
            "epochs": [1, 1],
            "times": [1763634900.0, 1763634900.2],
            "values": [0.5234, "NaN"],
            "total_points": 2,
            "sampled": False,
        }
    ],
}
ARROW: Final = "application/vnd.apache.arrow.stream"
OFFSET_MAX: Final = 2**62


class Epoch(BaseModel):
    epoch: int
    train_metrics: dict[str, float | str]
    val_metrics: dict[str, float | str]


class History(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": HISTORY_EXAMPLE})

    job_id: int
    epochs: list[Epoch]
    as_of: PastMoment = None


@router.get("/{job_id}/metrics", summary="Metrics history, one entry an epoch")
async def get_history(job_id: JobId, api: Api, response: Response, after: After = None, as_of: AsOf = None) -> History:
    """With ``as_of`` as it was then: what a later attempt did again counts as it counted then."""
    await wait_applied(api, after)
    moment = await moment_of(api, job_id, as_of)
    note_moment(response, moment)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
        rows = await queries.history(tx, job_id=job_id, until=OFFSET_MAX if moment is None else moment.metrics)
    epochs: dict[int, Epoch] = {}
    for row in rows:
        entry = epochs.setdefault(row["epoch"], Epoch(epoch=row["epoch"], train_metrics={}, val_metrics={}))
        phase, _, key = row["name"].partition("/")
        metrics = entry.train_metrics if phase == "train" else entry.val_metrics
        metrics[key] = number_text(row["value"])
    shown = [epochs[epoch] for epoch in sorted(epochs)]
    return History(job_id=job_id, epochs=shown, as_of=None if moment is None else moment.text)


class SeriesColumns(BaseModel):
    name: str
    steps: list[int | None]
    epochs: list[int | None]
    times: list[float]
    values: list[float | str]
    total_points: int
    sampled: bool


class SeriesAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": SERIES_EXAMPLE})

    job_id: int
    series: list[SeriesColumns]
    as_of: PastMoment = None


@router.get(
    "/{job_id}/metrics/series",
    summary="Series in columns: every point unless max_points is given; Arrow on request",
    response_model=SeriesAnswer,
    responses={200: {"content": {ARROW: {}}}},
)
async def get_series(
    job_id: JobId,
    api: Api,
    names: Annotated[str | None, Query(max_length=20_000, description="comma separated; all when missing")] = None,
    max_points: Annotated[int | None, Query(ge=POINTS_MIN, le=1_000_000)] = None,
    since: Annotated[datetime | None, Query(description="points of this time and later")] = None,
    until: Annotated[datetime | None, Query(description="points of this time and earlier")] = None,
    accept: Annotated[str | None, Header()] = None,
    after: After = None,
    as_of: AsOf = None,
) -> Response:
    """``since`` and ``until`` are the trainer's times, inclusive; only what lies between them is sampled."""
    await wait_applied(api, after)
    wanted = None if names is None else list(dict.fromkeys(name for name in names.split(",") if name))
    if wanted is not None and len(wanted) > NAMES_MAX:
        message = f"{len(wanted)} names were asked for, at most {NAMES_MAX} are answered at once"
        raise Invalid(message, [FieldProblem(("query", "names"), message)])
    if wanted is not None and any("\x00" in name for name in wanted):
        message = "a name must not contain the character U+0000"
        raise Invalid(message, [FieldProblem(("query", "names"), message)])
    moment = await moment_of(api, job_id, as_of)
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        await read_job(tx, job_id)
        known = None if moment is None else moment.metrics
        series = await load_series(tx, job_id, wanted, max_points, known, Window(*_bounds(since, until)))
    headers = None if moment is None else {AS_OF_HEADER: moment.text}
    if accept is not None and ARROW in accept:
        return Response(arrow_stream(series), media_type=ARROW, headers=headers)
    document: dict[str, Any] = {"job_id": job_id, "series": [columns(one) for one in series]}
    if moment is not None:
        document["as_of"] = moment.text
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json", headers=headers)


def _bounds(since: datetime | None, until: datetime | None) -> tuple[float, float]:
    """Unix seconds; a time without a zone is UTC."""

    def seconds(moment: datetime | None, missing: float) -> float:
        if moment is None:
            return missing
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    return seconds(since, -math.inf), seconds(until, math.inf)


def columns(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "steps": whole_numbers(series.steps),
        "epochs": whole_numbers(series.epochs),
        "times": numpy.ascontiguousarray(series.times),
        "values": numbers(numpy.ascontiguousarray(series.values)),
        "total_points": series.total_points,
        "sampled": series.sampled,
    }


def arrow_stream(series: list[Series]) -> bytes:
    """One row a point: name, step, epoch, time, value; step and epoch are null where the report named none."""
    joined = {
        column: numpy.concatenate([getattr(one, column) for one in series] or [numpy.empty(0)])
        for column in ("steps", "epochs", "times", "values")
    }
    names = pyarrow.DictionaryArray.from_arrays(
        numpy.repeat(numpy.arange(len(series), dtype=numpy.int32), [len(one.values) for one in series]),
        pyarrow.array([one.name for one in series], pyarrow.string()),
    )
    table = pyarrow.table(
        {
            "name": names,
            "step": _nullable_integers(joined["steps"]),
            "epoch": _nullable_integers(joined["epochs"]),
            "time": joined["times"],
            "value": joined["values"],
        }
    )
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _nullable_integers(column: Any) -> Any:
    missing = numpy.isnan(column)
    return pyarrow.array(numpy.where(missing, 0, column).astype(numpy.int64), mask=missing)
