"""Read models over HTTP: which version is live, what is built beside it and how far, what one can go back to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.context import Api
from api.guards import StrictRoute
from api.jobs.responses import time_text
from producers.database import transaction
from producers.queries import load_queries

router = APIRouter(prefix="/api/v1/operations/read-models", tags=["operations"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


class VersionAnswer(BaseModel):
    """``schema`` holds its tables. ``bytes`` on disk, with indexes."""

    schema_name: str = Field(serialization_alias="schema")
    version: int
    build: int
    created_at: str
    live_since: str | None = Field(description="when it became live last")
    bytes: int
    expired_before: dict[str, int] = Field(
        description="by partition, the offset before which records had expired: their rows were taken over"
    )


class RunningAnswer(BaseModel):
    """A rebuild, verify or flip-back that is at work. Events are records of the log."""

    purpose: str
    phase: str
    events_done: int
    events_total: int
    events_per_second: float | None
    eta_s: float | None = Field(description="of the replay; null while something else is done")
    started_at: str


class EndedAnswer(BaseModel):
    purpose: str
    state: str = Field(description="done, failed or interrupted")
    started_at: str
    ended_at: str
    result: dict[str, Any] | None


class ReadModelAnswer(BaseModel):
    read_model: str
    live: VersionAnswer
    flip_back_to: VersionAnswer | None = Field(description="what was live before; kept until the next build")
    building: VersionAnswer | None = Field(description="begun and not live yet; the next rebuild goes on with it")
    running: RunningAnswer | None
    last: EndedAnswer | None


class ReadModelsAnswer(BaseModel):
    read_models: list[ReadModelAnswer]


@router.get("", summary="Versions of every read model, running and last builds")
async def read_models(api: Api) -> ReadModelsAnswer:
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        versions, runs = await queries.versions(tx), await queries.newest_runs(tx)
    by_state = {(row["projection"], row["state"]): _version(row) for row in versions}
    found = []
    for name in dict.fromkeys(row["projection"] for row in versions):
        if (name, "live") not in by_state:
            continue
        mine = [row for row in runs if row["projection"] == name]
        running = [row for row in mine if row["state"] == "running" and row["held"]]
        # The newer one last: a run that a kill left behind ended when it was seen last.
        ended = sorted((row for row in mine if row not in running), key=lambda row: row["started_at"])
        found.append(
            ReadModelAnswer(
                read_model=name,
                live=by_state[name, "live"],
                flip_back_to=by_state.get((name, "retired")),
                building=by_state.get((name, "building")),
                running=_running(running[0]) if running else None,
                last=_ended(ended[-1]) if ended else None,
            )
        )
    return ReadModelsAnswer(read_models=found)


def _version(row: Any) -> VersionAnswer:
    return VersionAnswer(
        schema_name=row["schema_name"],
        version=row["version"],
        build=row["build"],
        created_at=time_text(row["created_at"]),
        live_since=None if row["flipped_at"] is None else time_text(row["flipped_at"]),
        bytes=row["bytes"],
        expired_before=row["expired_before"],
    )


def _running(row: Any) -> RunningAnswer:
    rate, left = row["events_per_second"], row["events_total"] - row["events_done"]
    return RunningAnswer(
        purpose=row["purpose"],
        phase=row["phase"],
        events_done=row["events_done"],
        events_total=row["events_total"],
        events_per_second=rate,
        eta_s=round(left / rate, 1) if rate and row["phase"] == "replay" else None,
        started_at=time_text(row["started_at"]),
    )


def _ended(row: Any) -> EndedAnswer:
    interrupted = row["state"] == "running"
    return EndedAnswer(
        purpose=row["purpose"],
        state="interrupted" if interrupted else row["state"],
        started_at=time_text(row["started_at"]),
        ended_at=time_text(row["ended_at"] or row["seen_at"]),
        result=row["result"],
    )
