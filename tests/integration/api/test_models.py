"""Models through the real API: registered once, found, their forms served, jobs checked by them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from tests.running import JOB, Running
from trainers.catalogue import FRAMEWORKS, offered_models
from training_sdk.settings import PLATFORM_KEYS

SAMPLES = Path(__file__).resolve().parent.parent.parent / "spec_samples"
MODELS = {body["name"]: body for body in offered_models(FRAMEWORKS["ultralytics"])}


def changed(**changes: Any) -> dict[str, Any]:
    return {**MODELS["yolo11n"], **changes}


@pytest_asyncio.fixture
async def registered(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.post("models", json=MODELS["yolo11n"])
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def rows_in_the_outbox(running: Running, name: str) -> int:
    from producers.database import open_pool

    pool = await open_pool(running.world.database_url, size_max=1)
    try:
        count: int = await pool.fetchval(
            "SELECT count(*) FROM write.outbox WHERE topic = 'training.models' AND key = $1", name
        )
        return count
    finally:
        await pool.close()


async def test_registering_the_same_again_changes_nothing(running: Running, client: httpx.AsyncClient) -> None:
    body = changed(name="same/twice")
    first = await client.post("models", json=body)
    # At once, when no read model can have it, and when it has it.
    second = await client.post("models", json=body)
    await client.get("models", params={"after": first.headers["Epochlog-Position"]})
    third = await client.post("models", json=body)
    assert first.status_code == second.status_code == third.status_code == 201
    assert first.json() == second.json() == third.json()
    assert await rows_in_the_outbox(running, "same/twice") == 2, "the session's opening and one registration"
    assert "Epochlog-Position" not in third.headers
    both = await asyncio.gather(*(client.post("models", json=changed(name="at once")) for _ in range(4)))
    assert {answer.status_code for answer in both} == {201}
    assert await rows_in_the_outbox(running, "at once") == 2
    assert (await client.get(first.headers["Location"].removeprefix("/api/v1/"))).json() == first.json()
    other = await client.post("models", json=changed(name="same/twice", description="another one"))
    assert (await client.get("models/same/twice")).json()["description"] == "another one" == other.json()["description"]
    assert await rows_in_the_outbox(running, "same/twice") == 3


async def test_models_are_found_by_framework_task_size_and_words(client: httpx.AsyncClient) -> None:
    for name, task in (("yolo11n", "detection"), ("yolo11s", "detection"), ("yolo11n-seg", "segmentation")):
        last = await client.post("models", json={**MODELS[name], "framework": "shop", "task_types": [task]})
    await client.get("models", params={"after": last.headers["Epochlog-Position"]})

    async def names(**filters: Any) -> list[str]:
        answer = (await client.get("models", params={"framework": "shop", **filters})).json()
        assert answer["total"] == len(answer["models"])
        return [model["name"] for model in answer["models"]]

    assert await names() == ["yolo11n", "yolo11n-seg", "yolo11s"]
    assert await names(task_type="segmentation") == ["yolo11n-seg"]
    assert await names(task_type="object_detection") == ["yolo11n", "yolo11s"]
    assert await names(parameters_max=3_000_000) == ["yolo11n", "yolo11n-seg"]
    assert await names(parameters_min=3_000_000) == ["yolo11s"]
    assert await names(search="OUTLINES") == ["yolo11n-seg"]
    assert await names(search="nothing of the kind") == []
    found = (await client.get("models", params={"framework": "shop", "search": "11s"})).json()["models"][0]
    assert found["parameters"] == 9_459_000
    assert "config_schema" not in found["capability"]
    assert found["capability"]["architecture"] == "yolo11s.yaml"


async def test_two_frameworks_may_offer_the_same_name(client: httpx.AsyncClient, dataset_id: int) -> None:
    for framework in ("one", "two"):
        assert (await client.post("models", json=changed(name="twin", framework=framework))).status_code == 201
    ambiguous = await client.get("models/twin")
    assert ambiguous.status_code == 422
    assert "offered by one, two" in ambiguous.json()["detail"]
    assert (await client.get("models/twin", params={"framework": "two"})).json()["framework"] == "two"
    assert (await client.get("models/twin", params={"framework": "three"})).status_code == 404
    body = {**JOB, "model_name": "twin", "framework": None, "dataset_id": dataset_id}
    refused = await client.post("training/jobs", json=body)
    assert refused.status_code == 422
    assert refused.json()["problems"][0]["location"] == ["body", "framework"]
    assert (await client.post("training/jobs", json={**body, "framework": "one"})).status_code == 201


async def test_the_form_of_a_model_has_defaults_ranges_and_help(
    client: httpx.AsyncClient, registered: dict[str, Any]
) -> None:
    schema = (await client.get("models/yolo11n/config-schema")).json()
    Draft202012Validator.check_schema(schema)
    config, advanced = (schema["properties"][part]["properties"] for part in ("config", "advanced_config"))
    assert config["imgsz"]["default"] == 640
    assert (config["imgsz"]["minimum"], config["imgsz"]["multipleOf"]) == (32, 32)
    assert "SGD" in config["optimizer"]["enum"]
    assert set(config) >= {*PLATFORM_KEYS, "epochs", "batch", "lr0", "optimizer", "augment", "pretrained", "cache"}
    assert set(config) >= {"workers", "project", "name", "save_period"}
    spec = json.loads((SAMPLES / "create_job_with_advanced_config.request.json").read_text())["advanced_config"]
    assert set(advanced) >= {*spec, "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr"}
    assert all(value.get("description") for value in (*config.values(), *advanced.values()))
    assert (await client.get("models/nobody/config-schema")).status_code == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "a\x00b"},
        {"framework": None},
        {"task_types": []},
        {"task_types": ["cooking"]},
        {"parameters": -1},
        {"capability": {"parameters": 1}},
        {"config_schema": []},
        {"config_schema": {"type": "object"}},
        {"config_schema": {"properties": {"config": {"properties": {"x": {"type": "number!"}}}}}},
        {"config_schema": {"properties": {"config": {"$ref": "https://example.com/schema.json"}}}},
        {"config_schema": {"properties": {"config": {"$ref": "file:///etc/passwd"}}}},
        {"config_schema": {"properties": {"config": {"$ref": "#/nowhere"}}}},
        {"config_schema": {"properties": {"config": {"$ref": "#/properties/config"}}}},
        {"config_schema": {"properties": {"config": 7}}},
        {"config_schema": {"properties": {"config": {"properties": {"x": {"pattern": "^(a+)+$"}}}}}},
    ],
    ids=str,
)
async def test_a_model_that_nobody_could_use_is_refused(client: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    answer = await client.post("models", json=changed(**changes))
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["problems"][0]["location"][:2] == ["body", next(iter(changes))]


@pytest.mark.parametrize(
    "sample", ["create_job", "create_job_with_advanced_config", "curl_create_job"], ids=lambda name: str(name)
)
@pytest.mark.parametrize("inside", [False, True], ids=["as written", "advanced_config inside config"])
@pytest.mark.usefixtures("registered")
async def test_the_designs_bodies_fit_the_registered_model(
    client: httpx.AsyncClient, dataset_id: int, sample: str, inside: bool
) -> None:
    body = {**json.loads((SAMPLES / f"{sample}.request.json").read_text()), "dataset_id": dataset_id}
    if inside:
        body["config"]["advanced_config"] = body.pop("advanced_config", {})
    answer = await client.post("training/jobs", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["framework"] == "ultralytics"
    assert answer.json()["config"] == body["config"]


@pytest.mark.usefixtures("registered")
async def test_a_job_is_refused_with_every_problem_of_its_configuration(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    body = {
        **JOB,
        "model_name": "yolo11n-seg.pt",
        "framework": None,
        "dataset_id": dataset_id,
        "task_type": "classification",
        "config": {
            "image_size": 100,
            "epochs": "5",
            "mosaic": 1.0,
            "early_stopping": {"patiance": 3},
            "split_strategy": {"type": "ratio", "ratios": {"train": 0.5, "val": 0.1}},
            "advanced_config": {"mixup": 2, "mosaik": 1.0, "degrees": "left"},
        },
    }
    answer = await client.post("training/jobs", json=body)
    assert answer.status_code == 422
    found = {"/".join(map(str, problem["location"][1:])): problem for problem in answer.json()["problems"]}
    assert set(found) == {
        *("task_type", "config/image_size", "config/epochs", "config/mosaic", "config/early_stopping/patiance"),
        "config/split_strategy/ratios",
        *("config/advanced_config/mixup", "config/advanced_config/mosaik", "config/advanced_config/degrees"),
    }
    assert found["config/advanced_config/mosaik"]["message"].endswith("did you mean mosaic?")
    assert found["config/advanced_config/mixup"] == {
        "location": ["body", "config", "advanced_config", "mixup"],
        "message": "must be at most 1",
        "value": 2,
    }
    assert found["config/image_size"]["message"] == "must be a multiple of 32"
    assert found["config/epochs"]["value"] == "5"


@pytest.mark.usefixtures("registered")
async def test_only_models_of_a_known_catalogue_are_known(client: httpx.AsyncClient, dataset_id: int) -> None:
    body = {**JOB, "dataset_id": dataset_id, "config": {"strange": 1}}
    answer = await client.post("training/jobs", json={**body, "model_name": "yolo11m5", "launch": True})
    assert answer.status_code == 422
    assert "ultralytics offers no model 'yolo11m5'; did you mean yolo11" in answer.json()["detail"]
    # Somebody who runs the trainer himself, and a trainer of one's own.
    assert (await client.post("training/jobs", json={**body, "model_name": "yolo11m5"})).status_code == 201
    own = {**body, "model_name": "mine", "framework": "nobody registered", "launch": True}
    assert (await client.post("training/jobs", json=own)).status_code == 201
    wrong = await client.post("training/jobs", json={**own, "config": {"epochs": 0, "max_retries": 99}})
    assert [problem["location"][-1] for problem in wrong.json()["problems"]] == ["epochs", "max_retries"]


SECRET = "Tr0ub4dor-and-3"


@pytest.mark.parametrize(
    ("part", "value", "place"),
    [
        ("config", {"hf_token": SECRET}, ["hf_token"]),
        ("config", {"early_stopping": {"api_key": SECRET}}, ["early_stopping", "api_key"]),
        ("config", {"custom_prompts": [f"https://me:{SECRET}@example.com/x"]}, ["custom_prompts", 0]),
        ("advanced_config", {"wandb": [{"Password": SECRET}]}, ["wandb", 0, "Password"]),
        ("advanced_config", {"s3_secret_key": SECRET}, ["s3_secret_key"]),
        ("advanced_config", {"tracker": f"postgresql://me:{SECRET}@db/x"}, ["tracker"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("framework", ["ultralytics", "nobody registered"])
@pytest.mark.usefixtures("registered")
async def test_a_secret_in_a_job_is_refused_and_not_repeated(
    client: httpx.AsyncClient, dataset_id: int, part: str, value: Any, place: list[Any], framework: str
) -> None:
    body = {**JOB, "dataset_id": dataset_id, "framework": framework, part: value}
    answer = await client.post("training/jobs", json=body)
    assert answer.status_code == 422, answer.text
    assert SECRET not in answer.text
    problem = next(found for found in answer.json()["problems"] if "secret" in found["message"])
    assert problem["location"] == ["body", part, *place]
    assert "environment of the launcher" in problem["message"]
