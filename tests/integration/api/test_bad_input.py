"""Bad input to every endpoint: a 4xx with a reason, and nothing half-written."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.running import JOB, create_job

CALLBACKS: dict[str, dict[str, Any]] = {
    "started": {"pid": 1, "hostname": "pod"},
    "progress": {"epoch": 1, "total_epochs": 100, "phase": "train"},
    "metrics": {"epoch": 1, "step": 1, "phase": "train", "metrics": {"loss": 0.5}},
    "checkpoint": {"epoch": 1, "checkpoint_path": "s3://c/25/best.pt", "is_best": True},
    "completion": {"status": "completed", "training_results": {"total_epochs": 2}},
    "log": {"level": "INFO", "message": "one"},
}

BAD: list[tuple[str, dict[str, Any], str]] = [
    # callback, changed fields, what the problem names
    ("started", {"pid": "one"}, "pid"),
    ("started", {"pid": -1}, "pid"),
    ("started", {"hostname": "a\x00b"}, "hostname"),
    ("started", {"gpu_info": "RTX"}, "gpu_info"),
    ("progress", {"epoch": -1}, "epoch"),
    ("progress", {"epoch": 1.5}, "epoch"),
    ("progress", {"epoch": "1"}, "epoch"),
    ("progress", {"epoch": None}, "epoch"),
    ("progress", {"epoch": 101}, "beyond total_epochs"),
    ("progress", {"phase": "nap"}, "phase"),
    ("progress", {"eta_seconds": "NaN"}, "eta_seconds"),
    ("progress", {"eta_seconds": -5}, "eta_seconds"),
    ("metrics", {"epoch": 101}, "beyond the job's 100 epochs"),
    ("metrics", {"epoch": -1}, "epoch"),
    ("metrics", {"step": 10**30}, "step"),
    ("metrics", {"metrics": {"loss": "high"}}, "loss"),
    ("metrics", {"metrics": {"loss": True}}, "loss"),
    ("metrics", {"metrics": {"loss": [1]}}, "loss"),
    ("metrics", {"metrics": {"a\x07b": 1}}, "control characters"),
    ("metrics", {"metrics": {}}, "metrics is empty"),
    ("metrics", {"metrics": {f"m{number}": 1 for number in range(600)}}, "512"),
    ("metrics", {"epoch": None, "step": None}, "epoch or step"),
    ("checkpoint", {"checkpoint_path": ""}, "checkpoint_path"),
    ("checkpoint", {"checkpoint_path": 7}, "checkpoint_path"),
    ("checkpoint", {"file_size_bytes": -1}, "file_size_bytes"),
    ("checkpoint", {"metrics": {"mAP50": "best"}}, "mAP50"),
    ("completion", {"status": "exploded"}, "status"),
    ("completion", {"training_results": None}, "training_results"),
    ("completion", {"training_results": {"training_time_seconds": -1}}, "training_time_seconds"),
    ("completion", {"status": "failed"}, "error_code"),
    ("log", {"level": "LOUD"}, "level"),
    ("log", {"message": None}, "message"),
    ("log", {"message": "a\x00b"}, "U+0000"),
    ("log", {"message": "x" * 70_000}, "message"),
    ("log", {"source": "cat"}, "source"),
    ("log", {"timestamp": "noon"}, "timestamp"),
    ("log", {"timestamp": 12}, "timestamp"),
    ("log", {"metadata": {"deep": ["a\x00b"]}}, "metadata"),
    ("log", {"metadata": {"big": "x" * 1_100_000}}, "at most 999000 are accepted"),
    ("started", {"gpu_info": {"name\x00": 1}}, "gpu_info"),
    ("started", {"gpu_info": {"name": "x" * 1_100_000}}, "at most 1000000 fit"),
    ("log", {"logs": []}, "logs"),
    ("log", {"logs": [{"message": "good"}, {"level": "LOUD", "message": "bad"}, {"message": 1}]}, "logs"),
]


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"].startswith("/")
    return problem


async def events_of(client: httpx.AsyncClient, job_id: int) -> int:
    answer = await client.get(f"training/jobs/{job_id}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "pending"
    return len((await client.get(f"training/jobs/{job_id}/events")).json()["events"])


@pytest.mark.parametrize(("callback", "changes", "words"), BAD)
async def test_a_bad_callback_is_refused_by_name(
    client: httpx.AsyncClient, dataset_id: int, callback: str, changes: dict[str, Any], words: str
) -> None:
    job_id = await create_job(client, dataset_id)
    body = {**CALLBACKS[callback], **changes}
    problem = assert_problem(await client.post(f"training/jobs/{job_id}/callback/{callback}", json=body), 422)
    assert words in json.dumps(problem), problem
    assert problem["problems"]
    assert await events_of(client, job_id) <= 2  # session opened, job created


async def test_every_bad_line_of_a_log_batch_is_named_and_none_is_written(
    client: httpx.AsyncClient, dataset_id: int
) -> None:
    job_id = await create_job(client, dataset_id)
    logs = [{"message": "good"}, {"level": "LOUD", "message": "bad"}, {"message": 1}]
    answer = await client.post(f"training/jobs/{job_id}/callback/log", json={"logs": logs})
    places = [problem["location"] for problem in assert_problem(answer, 422)["problems"]]
    assert places == [["body", "logs", 1, "level"], ["body", "logs", 2, "message"]]
    assert (await client.get(f"training/jobs/{job_id}/logs")).json()["total"] == 0


async def test_a_large_batch_of_log_lines_is_written_whole(client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await create_job(client, dataset_id)
    logs = [{"message": f"{number} {'x' * 6_000}", "timestamp": "2026-01-02T12:00:00"} for number in range(1_000)]
    answer = await client.post(f"training/jobs/{job_id}/callback/log", json={"logs": logs})
    assert answer.json() == {"status": "ok", "received": 1_000}
    after = answer.headers["Epochlog-Position"]
    page = (await client.get(f"training/jobs/{job_id}/logs", params={"limit": 1000, "after": after})).json()
    assert page["total"] == 1_000
    assert [line["message"].split()[0] for line in page["logs"]] == [str(number) for number in range(1_000)]


@pytest.mark.parametrize("callback", sorted(CALLBACKS))
async def test_callbacks_of_an_unknown_job_are_not_found(client: httpx.AsyncClient, callback: str) -> None:
    path = f"training/jobs/999999/callback/{callback}"
    assert_problem(await client.post(path, json=CALLBACKS[callback]), 404)


@pytest.mark.parametrize("callback", sorted(CALLBACKS))
@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 422),
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b'"text"', "application/json", 422),
        (b'{"epoch": NaN}', "application/json", 422),
        (b'{"x": "\xff"}', "application/json", 422),
        ('{"epoch": 1}'.encode("utf-16"), "application/json", 422),
        (b"[" * 70 + b"]" * 70, "application/json", 422),
        (b'{"metadata":' * 100 + b"1" + b"}" * 100, "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b"epoch=1", "application/x-www-form-urlencoded", 415),
        (b"<x/>", "text/xml", 415),
        (b'{"x": "' + b"y" * (8 * 1024 * 1024) + b'"}', "application/json", 413),
    ],
    ids=lambda value: repr(value)[:24] if isinstance(value, bytes) else None,
)
async def test_a_body_that_is_no_good_json_is_refused(
    client: httpx.AsyncClient, dataset_id: int, callback: str, content: bytes, content_type: str, status: int
) -> None:
    job_id = await create_job(client, dataset_id)
    answer = await client.post(
        f"training/jobs/{job_id}/callback/{callback}", content=content, headers={"Content-Type": content_type}
    )
    assert_problem(answer, status)


async def test_non_finite_numbers_are_welcome_in_metric_maps_only(client: httpx.AsyncClient, dataset_id: int) -> None:
    job_id = await create_job(client, dataset_id)
    path = f"training/jobs/{job_id}/callback/metrics"
    as_text = {"epoch": 1, "step": 1, "metrics": {"loss": "NaN", "norm": "Infinity"}}
    assert (await client.post(path, json=as_text)).status_code == 200
    bare = b'{"epoch": 1, "step": 2, "metrics": {"loss": NaN, "norm": -Infinity}}'
    assert (await client.post(path, content=bare, headers={"Content-Type": "application/json"})).status_code == 200
    elsewhere = b'{"epoch": NaN, "step": 3, "metrics": {"loss": 1}}'
    refused = await client.post(path, content=elsewhere, headers={"Content-Type": "application/json"})
    assert_problem(refused, 422)

    from tests.waiting import eventually

    async def values() -> dict[str, list[Any]] | None:
        series = (await client.get(f"training/jobs/{job_id}/metrics/series")).json()["series"]
        found = {one["name"]: one["values"] for one in series}
        return found if len(found.get("train/loss", [])) == 2 else None

    found = await eventually(values, what="both points")
    assert found == {"train/loss": ["NaN", "NaN"], "train/norm": ["Infinity", "-Infinity"]}


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"model_name": ""}, ["model_name"]),
        ({"model_name": None}, ["model_name"]),
        ({"task_type": "cooking"}, ["task_type"]),
        ({"task_type": "pose"}, ["task_type"]),
        ({"dataset_id": 999_999}, ["dataset_id"]),
        ({"dataset_id": "42"}, ["dataset_id"]),
        ({"dataset_id": -1}, ["dataset_id"]),
        ({"config": []}, ["config"]),
        ({"config": {"epochs": 0, "imgsz": "big", "lr0": -1}}, ["epochs", "imgsz", "lr0"]),
        ({"config": {"batch_size": 0, "learning_rate": "fast"}}, ["batch_size", "learning_rate"]),
        ({"advanced_config": {"a": 1}, "config": {"advanced_config": {"b": 1}}}, ["body"]),
        ({"name": "a\x00b"}, ["name"]),
        ({"name": "x" * 5000}, ["name"]),
        ({"launch": "perhaps"}, ["launch"]),
        ({"config": {"note": "a\x00b"}}, ["config"]),
        ({"config": {"note": "x" * 1_100_000}}, ["body"]),
        ({"model_name": "mystery", "framework": None}, ["framework"]),
    ],
)
async def test_a_bad_job_is_refused_with_every_problem_at_once(
    client: httpx.AsyncClient, dataset_id: int, changes: dict[str, Any], places: list[str]
) -> None:
    before = (await client.get("training/jobs", params={"limit": 1})).json()["total"]
    problem = assert_problem(await client.post("training/jobs", json={**JOB, "dataset_id": dataset_id, **changes}), 422)
    named = {part for found in problem["problems"] for part in found["location"]}
    assert set(places) <= named, problem
    assert (await client.get("training/jobs", params={"limit": 1})).json()["total"] == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "training/jobs/0", 422),
        ("GET", "training/jobs/abc", 422),
        ("GET", "training/jobs/999999", 404),
        ("GET", "training/jobs/99999999999999999999", 422),
        ("GET", "training/jobs/999999/metrics", 404),
        ("GET", "training/jobs/999999/metrics/series", 404),
        ("GET", "training/jobs/999999/logs", 404),
        ("GET", "training/jobs/999999/checkpoints", 404),
        ("GET", "training/jobs/999999/events", 404),
        ("GET", "training/jobs/999999/commands", 404),
        ("POST", "training/jobs/999999/stop", 404),
        ("GET", "training/jobs?limit=0", 422),
        ("GET", "training/jobs?limit=100000", 422),
        ("GET", "training/jobs?offset=-1", 422),
        ("GET", "training/jobs?status=sleeping", 422),
        ("GET", "training/jobs?search=%00", 200),
        ("GET", "training/jobs?search=%25_", 200),
        ("GET", "datasets/999999", 404),
        ("GET", "datasets?task_type=cooking", 422),
        ("DELETE", "training/jobs/999999", 404),
        ("GET", "nowhere", 404),
    ],
)
async def test_bad_paths_and_queries_are_refused(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert_problem(answer, status)


@pytest.mark.parametrize(
    "query",
    ["level=LOUD", "min_level=x", "source=cat", "since=noon", "limit=-1", "limit=5000", "offset=x"],
)
async def test_bad_log_filters_are_refused(client: httpx.AsyncClient, dataset_id: int, query: str) -> None:
    job_id = await create_job(client, dataset_id)
    assert_problem(await client.get(f"training/jobs/{job_id}/logs?{query}"), 422)


@pytest.mark.parametrize(
    "query", ["max_points=0", "max_points=x", "names=" + ",".join(map(str, range(1500))), "names=%00"]
)
async def test_bad_series_queries_are_refused(client: httpx.AsyncClient, dataset_id: int, query: str) -> None:
    job_id = await create_job(client, dataset_id)
    assert_problem(await client.get(f"training/jobs/{job_id}/metrics/series?{query}"), 422)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "", "s3_uri": "s3://bucket/x/"},
        {"name": "x", "s3_uri": "http://elsewhere/x"},
        {"name": "x", "s3_uri": "s3://bucket"},
        {"name": "x", "s3_uri": "s3://no-such-bucket-here/x/"},
        {"name": "x", "s3_uri": 7},
    ],
)
async def test_a_bad_data_set_is_refused_and_not_listed(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    before = (await client.get("datasets")).json()["total"]
    assert_problem(await client.post("datasets", json=body), 422)
    assert (await client.get("datasets")).json()["total"] == before


async def test_pages_of_other_origins_and_foreign_hosts_are_refused(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("training/jobs", headers={"Host": "attacker.example"}), 403)
    assert_problem(await client.get("training/jobs", headers={"Origin": "http://attacker.example"}), 403)
    assert (await client.get("training/jobs", headers={"Origin": "http://localhost:3000"})).status_code == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"topic": "training.datasets"}, "is none of"),
        ({"key": "7"}, "is not the job"),
        ({"type": "training.job.danced.v1"}, "is not known"),
        ({"seq": 0}, "seq"),
        ({"session": "a b"}, "session"),
        ({"time": "noon"}, "RFC 3339"),
        ({"data": {"phase": "train", "steps": [1], "epochs": [], "times": [1.0], "values": {}}}, "rows"),
    ],
)
async def test_events_that_could_not_be_read_are_not_taken_over_http(
    client: httpx.AsyncClient, dataset_id: int, changes: dict[str, Any], words: str
) -> None:
    job_id = await create_job(client, dataset_id)
    good = {
        "topic": "training.metrics",
        "key": str(job_id),
        "type": "training.metrics.reported.v1",
        "time": "2026-01-02T12:00:00Z",
        "source": "/test",
        "attempt": 1,
        "rank": 0,
        "session": "ab" * 16,
        "seq": 1,
        "data": {"phase": "train", "steps": [1], "epochs": [1], "times": [1.0], "values": {"loss": [0.5]}},
    }
    path = f"training/jobs/{job_id}/events"
    problem = assert_problem(await client.post(path, json={"events": [good, {**good, **changes}]}), 422)
    assert words in json.dumps(problem)
    assert (await client.post(path, json={"events": [good]})).json() == {"status": "ok", "received": 1}
