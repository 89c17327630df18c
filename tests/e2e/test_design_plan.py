"""Section 12 of the training pipeline design, steps 1 to 7, per trainer, with its own curl commands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect

from stack.demo.digits import make_dataset
from stack.demo.evidence import gather
from stack.demo.store import dataset_uri, open_store, upload_dataset
from tests.e2e.product import Product

PLAN_TIMEOUT_S = 900.0

# As they stand in section 12.2; the port, the numbers and (for the other trainers) the model are filled in.
CREATE = """curl -X POST http://localhost:8000/api/v1/training/jobs \\
  -H "Content-Type: application/json" \\
  -d '{
    "model_name": "yolo11n",
    "framework": "ultralytics",
    "task_type": "detection",
    "dataset_id": 1,
    "config": {
      "imgsz": 640,
      "epochs": 5,
      "batch": 8
    },
    "name": "E2E Test Training"
  }'"""
WATCH = "ws://localhost:8000/api/v1/ws/training?job_id=26"
RESULTS = "curl http://localhost:8000/api/v1/training/jobs/26"
HISTORY = "curl http://localhost:8000/api/v1/training/jobs/26/metrics"

CLASSIFIES = {"detection": "classification", "640": "64"}
PLANS: dict[str, dict[str, str]] = {
    # framework: what is put in the place of the design's example
    "ultralytics": {},
    "timm": {"yolo11n": "resnet10t", "ultralytics": "timm", "detection": "classification", "640": "64"},
    "transformers": {
        "yolo11n": "vit-micro-patch8",
        "ultralytics": "transformers",
        "detection": "classification",
        "640": "64",
    },
}
METRIC = {"ultralytics": "mAP50", "timm": "accuracy", "transformers": "accuracy"}


async def shell(command: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"{command} --silent --show-error --fail-with-body"), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output
    found: dict[str, Any] = json.loads(output)
    return found


async def heard_until_the_end(url: str) -> list[dict[str, Any]]:
    """Every message that a plain client gets, up to the job's end."""
    messages: list[dict[str, Any]] = []
    async with connect(url) as socket:
        async for text in socket:
            messages.append(orjson.loads(text))
            if messages[-1]["type"] == "job_status" and messages[-1]["data"]["status"] in ("completed", "failed"):
                break
    return messages


@pytest.mark.full
@pytest.mark.timeout(PLAN_TIMEOUT_S)
@pytest.mark.parametrize("framework", tuple(PLANS))
async def test_the_designs_plan(product: Product, tmp_path: Path, framework: str) -> None:
    settings, port = product.settings, str(product.settings.ports["api"])

    # 1. Register models from the trainer: the stack did it when it came up.
    create = CREATE
    for example, ours in PLANS[framework].items():
        create = create.replace(f'"{example}"', f'"{ours}"').replace(f" {example},", f" {ours},")
    body = json.loads(create.partition("-d '")[2].removesuffix("'"))
    models = (await product.get("models", framework=framework, task_type=body["task_type"]))["models"]
    assert body["model_name"] in {model["name"] for model in models}

    # 2. Upload a small data set, about 100 images.
    dataset = make_dataset(tmp_path / "digits", name=f"plan-{framework}", train=80, val=20, test=4)
    uri = dataset_uri("training-datasets", dataset)
    await asyncio.to_thread(upload_dataset, open_store(settings), uri, dataset)
    answer = await product.api.post("datasets", json={"name": dataset.name, "s3_uri": uri})
    assert answer.status_code == 201, answer.text

    # 3. Create a training job with minimal config (epochs=5).
    create = create.replace("localhost:8000", f"localhost:{port}")
    created = await shell(create.replace('"dataset_id": 1', f'"dataset_id": {answer.json()["id"]}'))
    assert (created["status"], created["name"]) == ("pending", "E2E Test Training")
    job_id = str(created["id"])

    def filled_in(text: str) -> str:
        return text.replace("localhost:8000", f"localhost:{port}").replace("26", job_id)

    # 5. The WebSocket's messages.
    messages = await heard_until_the_end(filled_in(WATCH))
    kinds = {message["type"] for message in messages}
    assert {"job_status", "progress", "metrics", "checkpoint", "log"} <= kinds
    assert kinds <= {"job_status", "progress", "metrics", "checkpoint", "log", "error"}

    # 4. Every callback's fact: started, progress per epoch, metrics of both phases, checkpoints, completion.
    events = await product.events(int(job_id))
    assert [event["type"] for event in events].count("training.job.started.v1") == 1
    progress = [event["data"] for event in events if event["type"] == "training.progress.reported.v1"]
    assert {row["epoch"] for row in progress if row["phase"] == "train"} == {1, 2, 3, 4, 5}
    saved = [event["data"] for event in events if event["type"].startswith("training.checkpoint.saved")]
    assert {True, False} <= {checkpoint["is_best"] for checkpoint in saved}
    assert [event["type"] for event in events].count("training.job.completed.v1") == 1

    # 7. The final results, and the metrics history.
    job = await shell(filled_in(RESULTS))
    assert (job["status"], job["training_results"]["total_epochs"]) == ("completed", 5), job
    assert METRIC[framework] in job["training_results"]["best_metrics"]
    assert job["checkpoints"]["best"] and job["checkpoints"]["last"]
    history = await shell(filled_in(HISTORY))
    assert [row["epoch"] for row in history["epochs"]] == [1, 2, 3, 4, 5]
    assert all("loss" in row["train_metrics"] and METRIC[framework] in row["val_metrics"] for row in history["epochs"])

    # 6. The MLflow run, with the same metrics.
    async with httpx.AsyncClient(base_url=f"{settings.backend_url}/", timeout=60) as api:
        evidence = await gather(settings, api, int(job_id), 5, [])
    assert evidence.mlflow_status == "FINISHED"
    assert {name: len(points) for name, points in evidence.series.items()} == {
        name: len(points) for name, points in evidence.mlflow_series.items()
    }
