"""The design's own JSON samples: every request is taken, every response and WebSocket message is what we send.

``tests/spec_samples/*.json`` hold them as the design prints them (comments and ``...`` left out).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets

from events.types.dice import parse_document, problems
from tests.running import Running, create_job, register_dataset, running_for_module
from tests.services import Services
from tests.waiting import eventually

SAMPLES = Path(__file__).resolve().parent.parent / "spec_samples"


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text())


def assert_shape(found: Any, wanted: Any, path: str = "$") -> None:
    """``found`` has every field of the sample, of the same JSON type; more fields are allowed."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), path
        for name, value in wanted.items():
            assert name in found, f"{path}.{name} is missing"
            assert_shape(found[name], value, f"{path}.{name}")
    elif isinstance(wanted, list):
        assert isinstance(found, list), path
        if wanted:
            assert found, f"{path} is empty"
            assert_shape(found[0], wanted[0], f"{path}[0]")
    elif isinstance(wanted, bool) or wanted is None:
        assert type(found) is type(wanted), path
    elif isinstance(wanted, int | float):
        assert isinstance(found, int | float), f"{path} is {found!r}"
        assert not isinstance(found, bool), path
    else:
        assert isinstance(found, str), f"{path} is {found!r}"


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_for_module(services, tmp_path_factory.mktemp("samples")) as found:
        yield found


@pytest.fixture(scope="module")
def dataset_id(running: Running) -> int:
    """The samples speak of data set 42: it is registered as that."""
    import asyncpg

    async def register() -> int:
        connection = await asyncpg.connect(running.world.database_url)
        await connection.execute("SELECT setval('write.dataset_ids', 41)")
        await connection.close()
        return await register_dataset(running.world)

    found = asyncio.run(register())
    assert found == 42
    return found


@pytest_asyncio.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as found:
        yield found


async def test_create_job(client: httpx.AsyncClient, dataset_id: int) -> None:
    request = sample("create_job.request")
    answer = await client.post("training/jobs", json={**request, "launch": False})
    assert answer.status_code == 201
    assert_shape(answer.json(), sample("create_job.response"))
    for name in ("name", "model_name", "framework", "task_type", "dataset_id", "config"):
        assert answer.json()[name] == request[name]
    assert answer.json()["status"] == "pending"
    with_advanced = sample("create_job_with_advanced_config.request")
    assert (await client.post("training/jobs", json={**with_advanced, "launch": False})).status_code == 201
    curl = sample("curl_create_job.request")
    assert (await client.post("training/jobs", json={**curl, "dataset_id": 42, "launch": False})).status_code == 201


async def test_a_run_in_the_designs_own_words(running: Running, client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await create_job(client, dataset_id)
    callback = f"training/jobs/{job_id}/callback"
    steps = [
        ("started", "started", {"status": "ok", "job_id": job_id}),
        ("progress", "progress", {"status": "ok", "job_id": job_id}),
        ("metrics", "metrics_train", {"status": "ok", "job_id": job_id}),
        ("metrics", "metrics_val", {"status": "ok", "job_id": job_id}),
        ("checkpoint", "checkpoint", {"status": "ok", "job_id": job_id}),
        ("checkpoint", "checkpoint_best", {"status": "ok", "job_id": job_id}),
        ("log", "log", {"status": "ok", "received": 1}),
        ("log", "log_batch", sample("log_batch.response")),
        ("completion", "completion_completed", {"status": "ok", "job_id": job_id}),
    ]
    async with websockets.connect(f"{running.socket_url}?job_id={job_id}") as connection:
        for endpoint, name, expected in steps:
            answer = await client.post(f"{callback}/{endpoint}", json=sample(f"{name}.request"))
            assert (answer.status_code, answer.json()) == (200, expected), name
        frames: dict[str, Any] = {}
        while frames.get("job_status", {}).get("status") != "completed":
            frame = json.loads(await asyncio.wait_for(connection.recv(), 20))
            frames[frame["type"]] = frame["data"]
    for message in sample("websocket_messages"):
        if message["type"] != "error":
            assert_shape(frames[message["type"]], message["data"], message["type"])

    async def completed() -> dict[str, Any] | None:
        job = (await client.get(f"training/jobs/{job_id}")).json()
        return job if job["status"] == "completed" else None

    job = await eventually(completed, what="completed")
    wanted = sample("job.response")
    for mirrored in ("mlflow_run_id", "mlflow_experiment_id"):
        assert mirrored in job  # null here: no MLflow in this world; the demo looks at real ones
        del wanted[mirrored]
    assert_shape(job, wanted)
    assert job["training_results"]["gpu_hours"] == wanted["training_results"]["gpu_hours"]
    assert job["checkpoints"] == wanted["checkpoints"]
    history = (await client.get(f"training/jobs/{job_id}/metrics")).json()
    assert_shape(history, {**sample("metrics_history.response"), "job_id": job_id})
    assert history["epochs"][0]["val_metrics"]["mAP50"] == 0.756
    query: dict[str, str | int] = {"level": "INFO", "limit": 100, "offset": 0}
    assert_shape((await client.get(f"training/jobs/{job_id}/logs", params=query)).json(), sample("logs.response"))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("completion_failed", {"status": "failed", "error_code": "OOM", "last_successful_epoch": 42}),
        ("completion_stopped", {"status": "stopped", "stopped_at_epoch": 50}),
    ],
)
async def test_the_other_two_ends(
    client: httpx.AsyncClient, dataset_id: int, name: str, fields: dict[str, Any]
) -> None:
    job_id = await create_job(client, dataset_id)
    callback = f"training/jobs/{job_id}/callback"
    await client.post(f"{callback}/started", json=sample("started.request"))
    assert (await client.post(f"{callback}/completion", json=sample(f"{name}.request"))).status_code == 200

    async def ended() -> dict[str, Any] | None:
        job = (await client.get(f"training/jobs/{job_id}")).json()
        return job if job["status"] == fields["status"] else None

    job = await eventually(ended, what=name)
    assert {field: job[field] for field in fields} == fields


async def test_the_list_of_data_sets(client: httpx.AsyncClient, dataset_id: int) -> None:
    wanted = sample("datasets.response")

    async def listed() -> dict[str, Any] | None:
        answer = (await client.get("datasets", params={"task_type": "detection"})).json()
        return answer if answer["total"] else None

    found = await eventually(listed, what="the data set is listed")
    assert_shape(found, wanted)
    (expected,) = wanted["datasets"]
    (dataset,) = found["datasets"]
    for name in ("id", "name", "task_types", "total_images", "splits", "annotations", "storage_path"):
        assert dataset[name] == expected[name], name
    assert (await client.get("datasets/42")).json() == dataset
    assert (await client.get("datasets", params={"task_type": "object_detection"})).json()["total"] == 1
    assert (await client.get("datasets", params={"task_type": "pose"})).json()["total"] == 0


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_dice_samples_are_read_and_their_contradictions_are_warnings(task: str) -> None:
    name = f"dice_annotations_{task}"
    document, found = parse_document(f"annotations_{task}.json", sample(name))
    assert document is not None
    assert found == []
    remarks = problems(f"annotations_{task}.json", document)
    assert remarks
    assert not any(problem.fatal for problem in remarks)
