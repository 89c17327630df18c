"""Series in columns and as Arrow, down-sampling, filters of log lines, readiness and Prometheus metrics."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pyarrow
import pytest

from events.asyncapi import asyncapi_document
from tests.running import create_job
from training_sdk.wire import LOGS, METRICS

ROWS = 500


def sent(job_id: int, topic: str, kind: str, seq: int, data: dict[str, Any]) -> dict[str, Any]:
    """An event as the SDK's HTTP transport sends it."""
    envelope = {"topic": topic, "key": str(job_id), "type": f"training.{kind}.v1", "time": "2026-01-02T12:00:00Z"}
    sender = {"source": "/test", "attempt": 1, "rank": 0, "session": f"{job_id:032x}", "seq": seq}
    return {**envelope, **sender, "data": data}


@pytest.fixture
async def job_id(client: httpx.AsyncClient, dataset_id: int) -> int:
    """A job with a long series that has a spike and gaps, a short one per epoch, and log lines of every level."""
    made = await create_job(client, dataset_id)
    losses: list[Any] = [1.0 / (row + 1) for row in range(ROWS)]
    losses[123], losses[300] = 99.0, "NaN"
    steps = {"phase": "train", "steps": list(range(ROWS)), "epochs": [1 + row // 100 for row in range(ROWS)]}
    columns = {**steps, "times": [1_000.0 + row for row in range(ROWS)], "values": {"loss": losses}}
    per_epoch = {"phase": "val", "steps": [None, None], "epochs": [1, 2], "times": [1.0, 2.0]}
    levels = ["DEBUG", "INFO", "WARNING", "ERROR"]
    lines = [
        {"level": level, "message": f"100% {level}", "timestamp": f"2026-01-02T12:00:0{number}Z", "source": "trainer"}
        for number, level in enumerate(levels)
    ]
    events = [
        sent(made, METRICS, "session.opened", 1, {"sender": "sdk"}),
        sent(made, METRICS, "metrics.reported", 2, columns),
        sent(made, METRICS, "metrics.reported", 3, {**per_epoch, "values": {"mAP50": [0.25, 0.5]}}),
        sent(made, LOGS, "session.opened", 1, {"sender": "sdk"}),
        sent(made, LOGS, "log.written", 2, {"lines": lines}),
    ]
    answer = await client.post(f"training/jobs/{made}/events", json={"events": events})
    assert answer.status_code == 200, answer.text
    from tests.waiting import eventually

    async def read() -> bool:
        logs = (await client.get(f"training/jobs/{made}/logs")).json()
        series = (await client.get(f"training/jobs/{made}/metrics/series")).json()["series"]
        return bool(logs["total"] == 4 and len(series) == 2)

    await eventually(read, what="the events are applied")
    return made


async def test_every_point_comes_unless_fewer_are_asked_for(client: httpx.AsyncClient, job_id: int) -> None:
    path = f"training/jobs/{job_id}/metrics/series"
    whole = (await client.get(path)).json()
    assert [series["name"] for series in whole["series"]] == ["train/loss", "val/mAP50"]
    loss, m_ap = whole["series"]
    assert (loss["total_points"], loss["sampled"], loss["steps"]) == (ROWS, False, list(range(ROWS)))
    assert loss["values"][300] == "NaN"
    assert (m_ap["steps"], m_ap["epochs"], m_ap["values"]) == ([None, None], [1, 2], [0.25, 0.5])
    few = (await client.get(path, params={"names": "train/loss", "max_points": 50})).json()["series"]
    assert [(one["name"], one["sampled"], one["total_points"]) for one in few] == [("train/loss", True, ROWS)]
    assert len(few[0]["values"]) <= 50
    assert {99.0, "NaN"} <= set(few[0]["values"])
    assert (few[0]["steps"][0], few[0]["steps"][-1]) == (0, ROWS - 1)
    unknown = (await client.get(path, params={"names": "train/nothing"})).json()["series"]
    assert [(one["name"], one["values"]) for one in unknown] == [("train/nothing", [])]


async def test_arrow_carries_the_same_points(client: httpx.AsyncClient, job_id: int) -> None:
    headers = {"Accept": "application/vnd.apache.arrow.stream"}
    answer = await client.get(f"training/jobs/{job_id}/metrics/series", headers=headers)
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    rows = pyarrow.ipc.open_stream(answer.content).read_all().to_pylist()
    assert len(rows) == ROWS + 2
    assert rows[0] == {"name": "train/loss", "step": 0, "epoch": 1, "time": 1_000.0, "value": 1.0}
    assert math.isnan(rows[300]["value"])
    assert rows[-1] == {"name": "val/mAP50", "step": None, "epoch": 2, "time": 2.0, "value": 0.5}


@pytest.mark.parametrize(
    ("query", "levels"),
    [
        ({}, ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ({"level": "INFO"}, ["INFO"]),
        ({"min_level": "WARNING"}, ["WARNING", "ERROR"]),
        ({"level": "INFO", "min_level": "ERROR"}, []),
        ({"since": "2026-01-02T12:00:01Z", "until": "2026-01-02T12:00:02Z"}, ["INFO", "WARNING"]),
        ({"search": "100% e"}, ["ERROR"]),
        ({"search": "1_0"}, []),
        ({"source": "system"}, []),
        ({"limit": 2, "offset": 1}, ["INFO", "WARNING"]),
    ],
)
async def test_log_lines_are_filtered(
    client: httpx.AsyncClient, job_id: int, query: dict[str, str | int], levels: list[str]
) -> None:
    page = (await client.get(f"training/jobs/{job_id}/logs", params=query)).json()
    assert [line["level"] for line in page["logs"]] == levels
    assert page["has_more"] == (query.get("limit") == 2)


async def test_readiness_names_every_dependency_and_read_model(client: httpx.AsyncClient, job_id: int) -> None:
    answer = await client.get("../../readyz")
    assert answer.status_code == 200
    ready = answer.json()
    assert ready["status"] == "ready"
    assert {name: state["ok"] for name, state in ready["dependencies"].items()} == {
        "kafka": True,
        "postgres": True,
        "s3": True,
    }
    core = ("jobs", "checkpoints", "metrics", "logs", "system", "datasets", "models")
    assert all(ready["projections"][name]["worker_alive"] for name in core)
    # No mirror runs in this world: that is said, and does not make the service unready.
    assert ready["projections"]["mlflow-metrics"]["worker_alive"] is False


async def test_prometheus_and_the_logs_contract_are_served(client: httpx.AsyncClient, job_id: int) -> None:
    metrics = (await client.get("../../metrics")).text
    for name in (
        'epochlog_projection_lag{projection="metrics"}',
        'epochlog_dead_letters{projection="logs"} 0.0',
        'epochlog_dependency_up{dependency="kafka"} 1.0',
        "epochlog_outbox_unsent",
        'route="/api/v1/training/jobs/{job_id}/events"',
    ):
        assert name in metrics, name
    assert (await client.get("../../asyncapi.json")).json() == asyncapi_document()
    page = await client.get("../../asyncapi")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert 'id="training.stop.decided.v1"' in page.text
