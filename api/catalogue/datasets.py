"""Data sets: list, look at, register."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.context import Api
from api.freshness import After, note_position, wait_applied
from api.guards import StrictRoute
from api.jobs.reading import JOB_ID_MAX
from api.jobs.responses import time_text
from api.jobs.routes import IdempotencyKey, Limit, Offset
from api.like import like_text
from events.types.datasets import DatasetRegistered
from events.types.vocabulary import JsonObject, StorableObject, TaskType, Text, canonical_task_type
from producers.accept import accept
from producers.callbacks import Body, example
from producers.commands import RegisterDataset
from producers.database import transaction
from producers.datasets.registration import Store, describe
from producers.errors import NotFound
from producers.job_state import load_dataset
from producers.queries import load_queries

router = APIRouter(prefix="/api/v1/datasets", tags=["data sets"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).parent / "queries.sql")
DATASET_EXAMPLE: Final[JsonObject] = {
    "id": 42,
    "name": "vehicles_v1",
    "description": "Vehicle detection dataset",
    "task_types": ["detection"],
    "total_images": 5000,
    "splits": {"train": 4000, "val": 800, "test": 200},
    "annotations": {
        "detection": {
            "file": "annotations_detection.json",
            "classes": ["car", "truck", "bus", "motorcycle"],
            "total_annotations": 15000,
        }
    },
    "storage_path": "s3://training-datasets/42/",
    "warnings": [],
    "created_at": "2025-11-20T10:00:00Z",
}
DatasetId = Annotated[int, PathParameter(ge=1, le=JOB_ID_MAX, examples=[42])]
TaskFilter = Annotated[TaskType | None, BeforeValidator(canonical_task_type), Query()]


class DatasetAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": DATASET_EXAMPLE})

    id: int
    name: str
    description: str | None
    task_types: list[str]
    total_images: int
    splits: dict[str, int]
    annotations: dict[str, dict[str, Any]]
    storage_path: str
    external_id: str | None
    version: int | None
    split_strategy: JsonObject | None
    warnings: list[str]
    created_at: str | None


class DatasetList(BaseModel):
    datasets: list[DatasetAnswer]
    total: int


class NewDataset(Body):
    model_config = example({"name": "vehicles_v1", "s3_uri": "s3://training-datasets/42/"})

    name: Annotated[Text, Field(min_length=1, max_length=255)]
    s3_uri: Annotated[Text, Field(pattern=r"^s3://[^/\s]+/\S*$", examples=["s3://training-datasets/42/"])]
    description: Text | None = None
    task_type: Annotated[TaskType | None, BeforeValidator(canonical_task_type)] = None
    split_strategy: Annotated[
        StorableObject | None,
        Field(
            description="How pictures are dealt out: ratio or stratified with ratios, k_fold with folds and fold.",
            examples=[{"type": "ratio", "ratios": {"train": 0.8, "val": 0.2}, "seed": 0}],
        ),
    ] = None


def dataset_answer(dataset: DatasetRegistered, created_at: datetime | None) -> DatasetAnswer:
    document = dataset.model_dump(mode="json", exclude={"dataset_id"})
    return DatasetAnswer(id=dataset.dataset_id, created_at=time_text(created_at), **document)


@router.get("", summary="List registered data sets")
async def list_datasets(
    api: Api,
    task_type: TaskFilter = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 100,
    offset: Offset = 0,
    after: After = None,
) -> DatasetList:
    await wait_applied(api, after)
    filters = {"task_type": task_type, "search": like_text(search)}
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        rows = await queries.list_datasets(tx, limit=limit, offset=offset, **filters)
        total = await queries.count_datasets(tx, **filters)
    found = [dataset_answer(DatasetRegistered.model_validate(row["document"]), row["created_at"]) for row in rows]
    return DatasetList(datasets=found, total=total)


@router.get("/{dataset_id}", summary="A data set")
async def get_dataset(dataset_id: DatasetId, api: Api) -> DatasetAnswer:
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        dataset = await load_dataset(tx, dataset_id)
        if dataset is None:
            raise NotFound(f"there is no data set {dataset_id}")
        created_at = await queries.dataset_created_at(tx, dataset_id=dataset_id)
    return dataset_answer(dataset, created_at)


@router.post("", status_code=201, summary="Register a data set that lies in S3, after reading and checking it")
async def register_dataset(body: NewDataset, api: Api, response: Response, key: IdempotencyKey = None) -> DatasetAnswer:
    settings = api.settings
    store = Store(settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key)
    description = await describe(
        store,
        body.s3_uri,
        name=body.name,
        description=body.description,
        task_type=body.task_type,
        split_strategy=body.split_strategy,
    )
    receipt = await accept(api.pool, None, RegisterDataset(description=description), key, datetime.now(UTC))
    response.headers["Location"] = f"/api/v1/datasets/{receipt.id}"
    note_position(response, receipt)
    return await get_dataset(receipt.id, api)
