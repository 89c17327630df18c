"""The closing table: what must hold after the demo, each row with its numbers. Pure, apart from the printing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from stack.demo.evidence import Evidence
from training_sdk.wire import JOB_TOPICS

MAP50_WANTED: Final = 0.8
PROCESS_OF: Final = {"mlflow": "projections-mlflow", "early-stop": "projections-early-stop"}
"""Who builds the read models whose names begin so; the others are built by projections-core."""
RELATIVE_TOLERANCE: Final = 1e-9
"""MLflow keeps double precision; only its text on the way may differ."""


@dataclass(frozen=True, slots=True)
class Row:
    """``log`` names the service whose log explains a failure."""

    name: str
    value: str
    holds: bool
    log: str = "api"


def judge(evidence: Evidence) -> list[Row]:
    """Every row of the table, in its order."""
    job = evidence.job
    results = job.get("training_results") or {}
    status = str(job.get("status"))
    reason = f": {job.get('error_code')} {job.get('error_message') or ''}" if status == "failed" else ""
    best = (results.get("best_metrics") or {}).get("mAP50")
    best_epoch = results.get("best_epoch")
    return [
        Row("status", status + reason, status == "completed", "trainer"),
        Row(
            "epochs",
            f"{evidence.epochs_seen} of {evidence.epochs_wanted} with validation metrics",
            evidence.epochs_seen == evidence.epochs_wanted,
            "trainer",
        ),
        Row(
            "best mAP50",
            "none" if best is None else f"{best:.3f} at epoch {best_epoch} (wanted > {MAP50_WANTED})",
            best is not None and best > MAP50_WANTED,
            "trainer",
        ),
        *_checkpoint_rows(evidence),
        _mlflow_row(evidence),
        *_event_rows(evidence),
        *_read_model_rows(evidence),
        _latency_row(evidence.latencies_s),
    ]


def _checkpoint_rows(evidence: Evidence) -> list[Row]:
    wanted = evidence.job.get("checkpoints") or {}
    rows = []
    for kind in ("best", "last"):
        uri = wanted.get(kind)
        size = None if uri is None else evidence.checkpoints.get(uri)
        if uri is None:
            value = "not announced"
        else:
            value = f"{uri} ({size / 1e6:.1f} MB)" if size is not None else f"{uri} is not in the store"
        rows.append(Row(f"checkpoint {kind}", value, bool(size), "trainer"))
    return rows


def _mlflow_row(evidence: Evidence) -> Row:
    if evidence.mlflow_run_id is None or evidence.mlflow_status is None:
        return Row("MLflow run", f"{evidence.mlflow_run_id or 'none'} does not exist", False, "projections-mlflow")
    differing = [
        name
        for name, points in evidence.series.items()
        if not same_points(points, evidence.mlflow_series.get(name, []))
    ]
    points = sum(len(points) for points in evidence.series.values())
    if differing:
        value = f"{evidence.mlflow_run_id}: differs from the API in {', '.join(differing[:4])}"
    else:
        value = f"{evidence.mlflow_run_id} {evidence.mlflow_status}, the same {len(evidence.series)} series"
        value += f" ({points} points)"
    holds = not differing and points > 0 and evidence.mlflow_status == "FINISHED"
    return Row("MLflow run", value, holds, "projections-mlflow")


def same_points(first: Sequence[tuple[int, float]], second: Sequence[tuple[int, float]]) -> bool:
    return len(first) == len(second) and all(
        one[0] == other[0] and abs(one[1] - other[1]) <= RELATIVE_TOLERANCE * max(abs(one[1]), abs(other[1]))
        for one, other in zip(first, second, strict=True)
    )


def _event_rows(evidence: Evidence) -> list[Row]:
    written = evidence.written
    inside = {
        "training.metrics": f", {written.points} points",
        "training.logs": f", {written.lines} lines",
        "training.jobs": f", {written.checkpoints} checkpoints",
    }
    return [
        # Every topic opens with session.opened, so one event alone would mean that nothing was said.
        Row(
            topic,
            f"{written.events[topic]} events in Kafka{inside.get(topic, '')}",
            written.events[topic] > 1,
            "trainer",
        )
        for topic in JOB_TOPICS
    ]


def _read_model_rows(evidence: Evidence) -> list[Row]:
    rows = []
    for name, applied in evidence.applied.items():
        wanted = evidence.written.events[applied.topic]
        value = f"{wanted} events written, {applied.events} applied"
        if applied.rows is not None:
            value += f"; {applied.rows} of {applied.rows_wanted} {applied.unit} stored"
        if applied.dead_letters:
            value += f"; {applied.dead_letters} dead letters"
        holds = applied.events == wanted and applied.rows == applied.rows_wanted and not applied.dead_letters
        process = next((process for start, process in PROCESS_OF.items() if name.startswith(start)), "projections-core")
        rows.append(Row(f"read model {name}", value, holds, process))
    return rows


def _latency_row(latencies_s: Sequence[float]) -> Row:
    if not latencies_s:
        return Row("event to WebSocket", "no event was seen live", False, "api")
    p50, p99 = (percentile(latencies_s, share) * 1000 for share in (0.5, 0.99))
    return Row("event to WebSocket", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms ({len(latencies_s)} events)", True, "api")


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile of at least one value; ``share`` from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def print_table(console: Console, rows: Sequence[Row]) -> None:
    table = Table(title="What came of it", title_justify="left", show_lines=False)
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    for row in rows:
        table.add_row("[green]ok[/]" if row.holds else "[bold red]NO[/]", row.name, row.value)
    console.print(table)
