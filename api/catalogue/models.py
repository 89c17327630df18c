"""Models that trainers offer: register, list, look at, and the form of their configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParameter
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from api.catalogue.datasets import TaskFilter
from api.context import Api
from api.freshness import After, note_position, wait_applied
from api.guards import StrictRoute
from api.jobs.responses import time_text
from api.jobs.routes import IdempotencyKey, Limit, Offset
from api.like import like_text
from events.config_check import config_problems
from events.config_schema import general_schema, with_platform_keys
from events.schema_safety import schema_danger
from events.types.models import ModelRegistered
from events.types.vocabulary import JsonObject, StorableObject, TaskType, Text, canonical_task_type
from producers.accept import accept
from producers.callbacks import Body, example
from producers.catalogue import CONFIG_SCHEMA, PARAMETERS, load_models
from producers.commands import RegisterModel, framework_of
from producers.database import Connection, transaction
from producers.errors import FieldProblem, Invalid, NotFound
from producers.queries import load_queries

router = APIRouter(prefix="/api/v1/models", tags=["models"], route_class=StrictRoute)
queries: Final = load_queries(Path(__file__).parent / "queries.sql")
PARAMETERS_MAX: Final = 2**53
MODEL_EXAMPLE: Final[JsonObject] = {
    "name": "yolo11n",
    "framework": "ultralytics",
    "task_types": ["detection"],
    "description": "YOLO11 nano: finds objects",
    "parameters": 2_624_000,
    "capability": {"architecture": "yolo11n.yaml", "metrics": ["mAP50", "mAP50-95"]},
}
SCHEMA_EXAMPLE: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "config": {
            "type": "object",
            "properties": {"imgsz": {"type": "integer", "minimum": 32, "multipleOf": 32, "default": 640}},
            "additionalProperties": False,
        },
        "advanced_config": {
            "type": "object",
            "properties": {"mosaic": {"type": "number", "minimum": 0, "maximum": 1, "default": 1.0}},
            "additionalProperties": False,
        },
    },
}
ModelName = Annotated[str, PathParameter(min_length=1, max_length=255, examples=["yolo11n"])]
FrameworkFilter = Annotated[Text | None, Query(max_length=64)]
ParametersFilter = Annotated[int | None, Query(ge=0, le=PARAMETERS_MAX)]


class ModelAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": MODEL_EXAMPLE | {"registered_at": "2025-11-20T10:00:00Z"}})

    name: str
    framework: str
    task_types: list[str]
    description: str | None
    parameters: int | None
    capability: dict[str, Any]
    registered_at: str | None


class ModelList(BaseModel):
    models: list[ModelAnswer]
    total: int


class NewModel(Body):
    model_config = example({**MODEL_EXAMPLE, "config_schema": SCHEMA_EXAMPLE})

    name: Annotated[Text, Field(min_length=1, max_length=255)]
    framework: Annotated[Text, Field(min_length=1, max_length=64)]
    task_types: Annotated[
        list[Annotated[TaskType, BeforeValidator(canonical_task_type)]], Field(min_length=1, max_length=len(TaskType))
    ]
    description: Text | None = None
    parameters: Annotated[int, Field(ge=0, le=PARAMETERS_MAX, strict=True)] | None = None
    capability: StorableObject = Field(default_factory=dict)
    config_schema: StorableObject | None = Field(
        default=None, description="JSON Schema of {config, advanced_config}; the platform's own keys are added to it."
    )

    @field_validator("capability")
    @classmethod
    def _words_of_ours(cls, capability: JsonObject) -> JsonObject:
        taken = sorted({PARAMETERS, CONFIG_SCHEMA}.intersection(capability))
        if taken:
            raise ValueError(f"{' and '.join(taken)} stand beside capability, not inside it")
        return capability

    @field_validator("config_schema")
    @classmethod
    def _usable(cls, schema: JsonObject | None) -> JsonObject | None:
        if schema is not None:
            check_schema(schema)
        return schema

    def registration(self) -> ModelRegistered:
        more = {PARAMETERS: self.parameters, CONFIG_SCHEMA: self.config_schema}
        given = {name: value for name, value in more.items() if value is not None}
        return ModelRegistered(
            name=self.name,
            framework=self.framework,
            task_types=[str(task_type) for task_type in dict.fromkeys(self.task_types)],
            description=self.description,
            capability={**self.capability, **given},
        )


def check_schema(schema: JsonObject) -> None:
    """Raises ValueError for what is no JSON Schema of ``{config, advanced_config}`` that a job can be checked with."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not isinstance(properties.get("config", {}), dict):
        raise ValueError("must describe an object with the properties config and advanced_config")
    if danger := schema_danger(schema):
        raise ValueError(danger)
    try:
        Draft202012Validator.check_schema(schema)
        whole = with_platform_keys(schema)
    except SchemaError as error:
        place = "/".join(str(step) for step in error.absolute_path)
        raise ValueError(f"is no JSON Schema: {place}: {error.message[:300]}") from error
    except Exception as error:
        raise ValueError(f"is no JSON Schema that can be used: {type(error).__name__}") from error
    for reference in references(schema):
        if not reference.startswith("#"):
            raise ValueError(f"refers to {reference[:200]!r}; a reference may only lead to its own $defs")
    unusable = [found for found in config_problems(whole, {}, {}) if found.location == ("config",)]
    if unusable:
        raise ValueError(str(unusable[0]))


def references(schema: Any) -> list[str]:
    """Every ``$ref`` (and its relatives) of a schema."""
    if isinstance(schema, dict):
        own = [schema[name] for name in ("$ref", "$dynamicRef", "$id") if isinstance(schema.get(name), str)]
        return own + [found for value in schema.values() for found in references(value)]
    return [found for value in schema for found in references(value)] if isinstance(schema, list) else []


@router.get("", summary="List registered models, by name")
async def list_models(
    api: Api,
    framework: FrameworkFilter = None,
    task_type: TaskFilter = None,
    parameters_min: ParametersFilter = None,
    parameters_max: ParametersFilter = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 100,
    offset: Offset = 0,
    after: After = None,
) -> ModelList:
    await wait_applied(api, after)
    filters = {
        "framework": framework,
        "task_type": task_type,
        "parameters_min": parameters_min,
        "parameters_max": parameters_max,
        "search": like_text(search),
    }
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        rows = await queries.list_models(tx, limit=limit, offset=offset, **filters)
        total = await queries.count_models(tx, **filters)
    models = [ModelAnswer(**{**dict(row), "registered_at": time_text(row["registered_at"])}) for row in rows]
    return ModelList(models=models, total=total)


@router.post("", status_code=201, summary="Register a model; the same again changes nothing")
async def register_model(body: NewModel, api: Api, response: Response, key: IdempotencyKey = None) -> ModelAnswer:
    model = body.registration()
    receipt = await accept(api.pool, None, RegisterModel(description=model), key, datetime.now(UTC))
    response.headers["Location"] = f"/api/v1/models/{quote(model.name)}?framework={quote(model.framework, safe='')}"
    note_position(response, receipt)
    return await get_model(model.name, api, model.framework)


# Before the route of a model itself: names may contain slashes.
@router.get("/{name:path}/config-schema", summary="JSON Schema of a model's configuration: defaults, ranges, help")
async def get_config_schema(name: ModelName, api: Api, framework: FrameworkFilter = None) -> JsonObject:
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        model = await _model(tx, name, framework)
    schema = model.capability.get(CONFIG_SCHEMA)
    return with_platform_keys(schema) if isinstance(schema, dict) else general_schema()


@router.get("/{name:path}", summary="A model")
async def get_model(name: ModelName, api: Api, framework: FrameworkFilter = None) -> ModelAnswer:
    async with transaction(api.pool, readonly=True, snapshot=True) as tx:
        model = await _model(tx, name, framework)
        registered_at = await queries.model_registered_at(tx, name=model.name, framework=model.framework)
    hidden = {PARAMETERS, CONFIG_SCHEMA}
    return ModelAnswer(
        name=model.name,
        framework=model.framework,
        task_types=model.task_types,
        description=model.description,
        parameters=model.capability.get(PARAMETERS),
        capability={key: value for key, value in model.capability.items() if key not in hidden},
        registered_at=time_text(registered_at),
    )


async def _model(tx: Connection, name: str, framework: str | None) -> ModelRegistered:
    """Raises NotFound, and Invalid where several frameworks offer it and none is named."""
    models = await load_models(tx, [name])
    meant = framework or framework_of(name, models)
    if meant in models:
        return models[meant]
    if models and framework is None:
        message = f"model {name!r} is offered by {', '.join(sorted(models))}; name one with ?framework="
        raise Invalid(message, [FieldProblem(("query", "framework"), message)])
    raise NotFound(f"there is no model {name!r}" + (f" of framework {framework!r}" if framework else ""))
