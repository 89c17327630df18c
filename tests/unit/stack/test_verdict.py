from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from stack.demo.evidence import Applied, Evidence, Written, sorted_points
from stack.demo.verdict import Row, judge, percentile, print_table, same_points
from training_sdk.wire import JOBS, LOGS, METRICS, SYSTEM

BEST, LAST = "s3://training-checkpoints/checkpoints/7/best.pt", "s3://training-checkpoints/checkpoints/7/last.pt"


def evidence() -> Evidence:
    """What a good run leaves behind."""
    events = Counter({JOBS: 90, METRICS: 50, LOGS: 12, SYSTEM: 8})
    series = {"train/loss": [(1, 2.5), (2, 1.5)], "val/mAP50": [(1, 0.4), (2, 0.9)]}
    return Evidence(
        job={
            "status": "completed",
            "training_results": {"best_epoch": 2, "best_metrics": {"mAP50": 0.9}},
            "checkpoints": {"best": BEST, "last": LAST},
        },
        epochs_wanted=2,
        epochs_seen=2,
        written=Written(events=events, points=4, lines=30, checkpoints=3, series=set(series)),
        applied={
            "jobs": Applied(JOBS, 90, 0, 90, 90, "events"),
            "metrics": Applied(METRICS, 50, 0, 4, 4, "points"),
            "logs": Applied(LOGS, 12, 0, 30, 30, "lines"),
            "system": Applied(SYSTEM, 8, 0),
            "mlflow-runs": Applied(JOBS, 90, 0),
        },
        checkpoints={BEST: 5_000_000, LAST: 5_000_000},
        series=series,
        mlflow_run_id="abc",
        mlflow_status="FINISHED",
        mlflow_series={name: list(points) for name, points in series.items()},
        latencies_s=[0.005, 0.006, 0.2],
    )


def failing(rows: list[Row]) -> list[str]:
    return [row.name for row in rows if not row.holds]


def test_a_good_run_holds_in_every_row() -> None:
    rows = judge(evidence())
    assert failing(rows) == []
    assert next(row for row in rows if row.name == "event to WebSocket").value == "p50 6.0 ms, p99 200.0 ms (3 events)"


def _failed(found: Evidence) -> None:
    found.job = {**found.job, "status": "failed", "error_code": "OOM", "error_message": "no memory"}


def _weak(found: Evidence) -> None:
    found.job = {**found.job, "training_results": {"best_metrics": {"mAP50": 0.8}}}


def _no_results(found: Evidence) -> None:
    found.job = {**found.job, "training_results": None}


def _epoch_missing(found: Evidence) -> None:
    found.epochs_seen = 1


def _checkpoint_gone(found: Evidence) -> None:
    found.checkpoints[LAST] = None


def _no_run(found: Evidence) -> None:
    found.mlflow_status = None


def _run_differs(found: Evidence) -> None:
    found.mlflow_series["val/mAP50"][1] = (2, 0.91)


def _run_lacks_a_point(found: Evidence) -> None:
    found.mlflow_series["train/loss"].pop()


def _topic_silent(found: Evidence) -> None:
    found.written.events[LOGS] = 1
    found.applied["logs"] = Applied(LOGS, 1, 0, 30, 30, "lines")


def _event_lost(found: Evidence) -> None:
    found.applied["system"].events = 7


def _point_doubled(found: Evidence) -> None:
    found.applied["metrics"].rows = 5


def _dead_letter(found: Evidence) -> None:
    found.applied["jobs"].dead_letters = 1


def _nothing_live(found: Evidence) -> None:
    found.latencies_s = []


@pytest.mark.parametrize(
    ("spoil", "row"),
    [
        (_failed, "status"),
        (_weak, "best mAP50"),
        (_no_results, "best mAP50"),
        (_epoch_missing, "epochs"),
        (_checkpoint_gone, "checkpoint last"),
        (_no_run, "MLflow run"),
        (_run_differs, "MLflow run"),
        (_run_lacks_a_point, "MLflow run"),
        (_topic_silent, "training.logs"),
        (_event_lost, "read model system"),
        (_point_doubled, "read model metrics"),
        (_dead_letter, "read model jobs"),
        (_nothing_live, "event to WebSocket"),
    ],
)
def test_whatever_does_not_hold_fails_its_own_row_only(spoil: Callable[[Evidence], None], row: str) -> None:
    found = evidence()
    spoil(found)
    assert failing(judge(found)) == [row]


def test_a_failure_says_its_reason_and_the_table_shows_every_row() -> None:
    found = evidence()
    _failed(found)
    rows = judge(found)
    output = StringIO()
    print_table(Console(file=output, width=200), rows)
    assert "failed: OOM no memory" in output.getvalue()
    assert all(row.name in output.getvalue() for row in rows)


def test_percentiles_are_of_the_values_themselves() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.5) in (50.0, 51.0)
    assert percentile(values, 0.99) == 99.0
    assert percentile([3.0], 0.99) == 3.0


def test_not_a_number_equals_itself_and_nothing_else() -> None:
    nan = float("nan")
    assert same_points(sorted_points([(1, nan), (0, 2.0)]), sorted_points([(0, 2.0), (1, nan)]))
    assert not same_points(sorted_points([(1, nan)]), sorted_points([(1, 2.0)]))
