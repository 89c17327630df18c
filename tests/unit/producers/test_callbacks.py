"""What the callbacks' bodies take, and what they name when they do not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from producers.callbacks import Body, ReportCompletion, ReportLogs, ReportMetrics, ReportProgress, ReportStarted
from producers.commands import CreateJob

CREATE = {"model_name": "yolo11n", "task_type": "detection", "dataset_id": 1}


def places(body: type[Body], content: dict[str, Any]) -> list[tuple[int | str, ...]]:
    with pytest.raises(ValidationError) as caught:
        body.model_validate(content)
    return [fault["loc"] for fault in caught.value.errors()]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-11-20T10:35:00.123Z", datetime(2025, 11, 20, 10, 35, 0, 123_000, UTC)),
        ("2025-11-20t10:35:00z", datetime(2025, 11, 20, 10, 35, tzinfo=UTC)),
        ("2025-11-20T10:35:00+09:00", datetime(2025, 11, 20, 1, 35, tzinfo=UTC)),
        ("2025-11-20 10:35:00Z", datetime(2025, 11, 20, 10, 35, tzinfo=UTC)),
        ("2025-11-20T10:35:00", datetime(2025, 11, 20, 10, 35, tzinfo=UTC)),
    ],
)
def test_times_of_lines_become_utc(text: str, moment: datetime) -> None:
    (line,) = ReportLogs.model_validate({"message": "m", "timestamp": text}).logs
    assert line.timestamp is not None
    assert (line.timestamp, line.timestamp.utcoffset()) == (moment, moment.utcoffset())


@pytest.mark.parametrize(
    "value",
    ["123", "1763634900", "2025-11-20", "noon", "", 12, 1.5, True, "0001-01-01T00:00:00+14:00", "2025-13-01T00:00:00Z"],
)
def test_what_is_no_time_is_refused(value: object) -> None:
    assert places(ReportLogs, {"message": "m", "timestamp": value}) == [("logs", 0, "timestamp")]


def test_every_bad_line_is_named() -> None:
    lines = [{"message": "good"}, {"level": "LOUD", "message": "m"}, {"level": "INFO"}, {"message": "\x00"}]
    assert places(ReportLogs, {"logs": lines}) == [
        ("logs", 1, "level"),
        ("logs", 2, "message"),
        ("logs", 3, "message"),
    ]


@pytest.mark.parametrize(
    "value",
    ["a\x00b", {"\x00": 1}, [{"deep": ["\x00"]}], "a\ud800b", {"\udfff": 1}, 2**64, float("nan"), float("inf")],
    ids=repr,
)
@pytest.mark.parametrize(
    ("body", "content", "place"),
    [
        (ReportLogs, {"message": "m", "metadata": None}, ("logs", 0, "metadata")),
        (ReportStarted, {"gpu_info": None}, ("gpu_info",)),
        (CreateJob, {**CREATE, "config": None}, ("config",)),
        (CreateJob, {**CREATE, "advanced_config": None}, ("advanced_config",)),
    ],
)
def test_free_json_that_could_not_be_stored_is_refused(
    body: type[Body], content: dict[str, Any], place: tuple[int | str, ...], value: object
) -> None:
    assert places(body, {**content, str(place[-1]): {"key": value}}) == [place]


def test_free_json_is_kept_as_given() -> None:
    config = {"text": "한국어 🙂", "large": 2**63, "small": -(2**63), "list": [1, 1.5, None, True, {"a": []}]}
    assert CreateJob.model_validate({**CREATE, "config": config}).config == config


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (ReportProgress, {"epoch": -1, "total_epochs": 10}),
        (ReportProgress, {"epoch": 11, "total_epochs": 10}),
        (ReportProgress, {"epoch": 1.0, "total_epochs": 10}),
        (ReportProgress, {"epoch": True, "total_epochs": 10}),
        (ReportProgress, {"epoch": 1, "total_epochs": 10, "phase": "sleep"}),
        (ReportProgress, {"epoch": 1, "total_epochs": 10, "eta_seconds": float("nan")}),
        (ReportMetrics, {"metrics": {"loss": 1}}),
        (ReportMetrics, {"epoch": 1, "metrics": {}}),
        (ReportMetrics, {"epoch": 1, "metrics": {"loss": "1.5"}}),
        (ReportMetrics, {"epoch": 1, "metrics": {"loss": True}}),
        (ReportMetrics, {"epoch": 1, "metrics": {"a\ud800": 1}}),
        (ReportMetrics, {"epoch": 1, "metrics": {"a\nb": 1}}),
        (ReportCompletion, {"status": "completed"}),
        (ReportCompletion, {"status": "failed", "error_code": "OOM"}),
        (ReportCompletion, {"status": "paused"}),
    ],
)
def test_bodies_out_of_range_are_refused(body: type[Body], content: dict[str, Any]) -> None:
    assert places(body, content)


def test_epoch_zero_unknown_fields_and_non_finite_metrics_are_taken() -> None:
    assert ReportProgress.model_validate({"epoch": 0, "total_epochs": 10, "mood": "good"}).epoch == 0
    metrics = ReportMetrics.model_validate({"epoch": 1, "metrics": {"loss": "NaN", "norm": "-Infinity"}}).metrics
    assert repr(metrics) == "{'loss': nan, 'norm': -inf}"
