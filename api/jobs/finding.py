"""Which jobs a list shows, and in which order: filters over the read models, and over what they do not know yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.jobs.reading import JOB_ID_MAX, read_answers
from api.jobs.responses import JobAnswer
from api.like import like_text
from api.log_ends import Ends
from events.lifecycle import JobState
from producers.database import Connection
from producers.queries import load_queries

queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
Status = Literal["pending", "running", "completed", "stopped", "failed"]
Sort = Literal["created", "-created", "started", "-started", "name", "-name", "best_metric", "-best_metric"]
Deleted = Literal["false", "true", "include"]
Word = Annotated[str, Field(max_length=255)]
TAGS_MAX: Final = 50
WANTED: Final[dict[Deleted, bool | None]] = {"false": False, "true": True, "include": None}


class JobFilters(BaseModel):
    """All that are given must hold."""

    model_config = ConfigDict(frozen=True)

    status: Status | None = None
    state: JobState | None = None
    search: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="in name, description, notes, tags or model, in whatever case"
    )
    model_name: Word | None = None
    framework: Word | None = None
    task_type: Word | None = None
    dataset_id: Annotated[int, Field(ge=1, le=JOB_ID_MAX)] | None = None
    tag: Annotated[list[Word], Field(max_length=TAGS_MAX)] = Field(
        default_factory=list, description="a tag that the job has; given several times: all of them"
    )
    deleted: Deleted = Field(default="false", description="`true`: those that are deleted; `include`: them, too")
    best_metric_min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    best_metric_max: Annotated[float, Field(allow_inf_nan=False)] | None = None


async def find_jobs(
    tx: Connection, filters: JobFilters, sort: Sort, limit: int, offset: int, ends: Ends | None = None
) -> tuple[list[JobAnswer], int]:
    """A page of jobs, and how many there are in all. Needs a snapshot transaction.

    Jobs that no read model knows yet are among them; other changes show in the answers as soon as they are accepted,
    and count for finding and sorting once they are applied.
    """
    unknown = await read_answers(tx, [row["id"] for row in await queries.unapplied_new_jobs(tx)])
    new = [answer for answer in unknown.values() if fits(answer, filters)]
    row = await queries.find_jobs(
        tx,
        status=filters.status,
        state=filters.state,
        search=like_text(filters.search),
        model_name=clean(filters.model_name),
        framework=clean(filters.framework),
        task_type=clean(filters.task_type),
        dataset_id=filters.dataset_id,
        deleted=WANTED[filters.deleted],
        tags=[clean(tag) for tag in filters.tag],
        best_min=filters.best_metric_min,
        best_max=filters.best_metric_max,
        by_best=sort.endswith("best_metric"),
        new_ids=[answer.id for answer in new],
        new_names=[answer.name for answer in new],
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
        limit=limit,
        offset=offset,
    )
    answers = {**unknown, **await read_answers(tx, [job_id for job_id in row["ids"] if job_id not in unknown], ends)}
    return [answers[job_id] for job_id in row["ids"]], row["total"]


def fits(job: JobAnswer, filters: JobFilters) -> bool:
    """The same filters, for a job of which nothing is projected: it was reported nothing, so it has no best metric."""
    if filters.best_metric_min is not None or filters.best_metric_max is not None:
        return False
    exact: tuple[tuple[Any, Any], ...] = (
        (filters.status, job.status),
        (filters.state, job.state),
        (filters.model_name, job.model_name),
        (filters.framework, job.framework),
        (filters.task_type, job.task_type),
        (filters.dataset_id, job.dataset_id),
        (WANTED[filters.deleted], job.deleted_at is not None),
    )
    if any(wanted is not None and wanted != found for wanted, found in exact) or not set(filters.tag) <= set(job.tags):
        return False
    texts = (job.name, job.description, job.notes, job.model_name, *job.tags)
    return filters.search is None or filters.search.lower() in "\n".join(text for text in texts if text).lower()


def clean(text: str | None) -> str | None:
    """Postgres refuses U+0000 in a parameter; no job has it, so nothing is found either way."""
    return None if text is None else text.replace("\x00", "\ufffd")
