from __future__ import annotations

from typing import Any

import orjson
import pytest

from training_sdk import ApiError
from training_sdk.service.follow import Update, has_ended
from training_sdk.service.requests import Service, _refusal


@pytest.mark.parametrize(
    ("update", "line"),
    [
        (
            Update(
                "snapshot", {"job": {"id": 25, "name": "n", "state": "lost", "current_epoch": 5, "total_epochs": 9}}
            ),
            "job 25 (n): lost, epoch 5 of 9",
        ),
        (Update("job_status", {"status": "running", "state": "paused"}), "status: running (paused)"),
        (
            Update("progress", {"epoch": 5, "total": 100, "phase": "train", "eta_seconds": 12.3}),
            "epoch 5 of 100 (train), 12 s left",
        ),
        (
            Update("metrics", {"phase": "val", "epochs": [1, 2], "values": {"loss": [0.5, 0.25], "lr": [None, "NaN"]}}),
            "val, epoch 2: loss 0.25, lr NaN",
        ),
        (Update("checkpoint", {"path": "s3://b/best.pt", "is_best": True}), "checkpoint s3://b/best.pt (best)"),
        (Update("log", {"level": "INFO", "message": "hello"}), "INFO: hello"),
        (Update("error", {"code": "OOM", "message": "no memory"}), "OOM: no memory"),
        (Update("gap", {"lost": 3}), "lost 3"),
        (Update("gap", {}), "gap"),
    ],
)
def test_an_update_is_a_line_for_people(update: Update, line: str) -> None:
    assert str(update) == line


@pytest.mark.parametrize(
    ("status", "awaits_retry", "ended"),
    [("running", False, False), ("completed", False, True), ("failed", True, False), ("failed", False, True)],
)
def test_a_failure_that_is_tried_again_is_no_end(status: str, awaits_retry: bool, ended: bool) -> None:
    assert has_ended({"status": status, "awaits_retry": awaits_retry}) is ended


def test_a_refusal_is_told_in_the_words_of_the_service() -> None:
    problems = [
        {"location": ["body", "name"], "message": "too long"},
        {"location": ["body", "tags", 0], "message": "empty"},
    ]
    body = orjson.dumps({"detail": "body/name: too long", "problems": problems})
    error = _refusal("POST", "training/jobs", 422, body)
    assert str(error) == "POST training/jobs: 422 body/name: too long\n  body/tags/0: empty"
    assert (error.status, len(error.problems)) == (422, 2)
    assert str(_refusal("GET", "x", 502, b"<html>")) == "GET x: 502 b'<html>'"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ApiError, match="BACKEND_URL is"):
        Service(url)


def test_a_host_alone_is_enough() -> None:
    assert Service("http://host:1/").url == "http://host:1/api/v1"
    assert Service("http://host:1/api/v1/").url == "http://host:1/api/v1"


def test_a_service_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pause(*_: Any) -> float:
        return 0.0

    monkeypatch.setattr("training_sdk.service.requests.backoff_s", no_pause)
    with pytest.raises(ApiError, match="cannot be reached") as caught:
        Service("http://127.0.0.1:9").ask("GET", "training/jobs")
    assert caught.value.status == 0
