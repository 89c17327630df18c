"""A run for the page to show, reported over HTTP as a trainer without the SDK does."""

from __future__ import annotations

import math
from typing import Any

import httpx

from tests.running import create_job


async def post(client: httpx.AsyncClient, job_id: int, callback: str, body: dict[str, Any]) -> None:
    answer = await client.post(f"training/jobs/{job_id}/callback/{callback}", json=body)
    assert answer.status_code == 200, answer.text


async def start(client: httpx.AsyncClient, dataset_id: int, **changes: Any) -> int:
    job_id = await create_job(client, dataset_id, **changes)
    await post(client, job_id, "started", {"pid": 4321, "hostname": "browser-test"})
    return job_id


async def epoch(client: httpx.AsyncClient, job_id: int, number: int, total: int = 20) -> None:
    """One epoch: progress, three steps, validation, a log line."""
    await post(client, job_id, "progress", {"epoch": number, "total_epochs": total, "phase": "train"})
    for step in range(3):
        loss = 2.0 * math.exp(-0.15 * (number + step / 3)) + 0.05 * math.sin(7 * number + step)
        body = {
            "epoch": number,
            "step": (number - 1) * 3 + step + 1,
            "phase": "train",
            "metrics": {"loss": loss, "lr": 0.01 / number},
        }
        await post(client, job_id, "metrics", body)
    quality = 0.9 * (1 - math.exp(-0.2 * number))
    metrics = {
        "mAP50": quality,
        "mAP50-95": quality * 0.7,
        "precision": quality * 0.95,
        "val_loss": 2.2 * math.exp(-0.14 * number),
    }
    await post(client, job_id, "metrics", {"epoch": number, "phase": "val", "metrics": metrics})
    await post(
        client, job_id, "log", {"level": "INFO", "message": f"epoch {number} of {total} done", "source": "trainer"}
    )


async def complete(client: httpx.AsyncClient, job_id: int, epochs: int) -> None:
    results = {
        "total_epochs": epochs,
        "best_epoch": epochs,
        "best_metrics": {"mAP50": 0.85},
        "training_time_seconds": 60,
    }
    await post(client, job_id, "completion", {"status": "completed", "training_results": results})


async def fail(client: httpx.AsyncClient, job_id: int) -> None:
    body = {
        "status": "failed",
        "error_code": "OOM",
        "error_message": "CUDA out of memory: batch 64 at 1280 pixels",
        "last_successful_epoch": 3,
    }
    await post(client, job_id, "completion", body)
