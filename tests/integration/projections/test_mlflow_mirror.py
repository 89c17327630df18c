"""What the mirror writes, read back with MLflow's own client from MLflow's own store in a file."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from events.types.artifacts import ArtifactSaved
from events.types.checkpoints import CheckpointSaved
from events.types.deletion import JobPurged
from events.types.jobs import JobDescribed, JobStopped
from events.types.requests import CancelRequested, LimitExceeded, PauseRequested, RetryRequested
from producers.database import Pool, transaction
from projections.mlflow_mirror.mirror import Mlflow, follow_runs
from projections.registry import projection_named
from projections.runtime.apply import apply_batch
from tests.builders import event, job_completed, job_created, job_started, metrics_reported, process_exited
from tests.given import log_of
from tests.integration.projections.test_read_models import run_of
from training_sdk.wire import METRICS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, about MLflow's own code
OBJECT = "s3://b/artifacts/25/attempt-1/ab/confusion_matrix.png"


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # MLflow puts artifacts of a local store into the working folder
    return f"sqlite:///{tmp_path}/mlflow.db"


def read_json(client: MlflowClient, run_id: str, name: str) -> Any:
    return orjson.loads(Path(client.download_artifacts(run_id, name)).read_bytes())


async def test_names_checkpoints_and_artifacts_of_a_job_are_in_its_run(pool: Pool, mlflow: str) -> None:
    facts = (
        job_created(),
        job_started(),
        JobDescribed(name="second", tags=["a", "b"], requested_by="api"),
        CheckpointSaved(epoch=2, checkpoint_path="s3://b/checkpoints/25/best.pt", is_best=True, object_uri="s3://b/x"),
        ArtifactSaved(
            name="plots/confusion matrix?.png", kind="plot", object_uri=OBJECT, file_size_bytes=3, sha256="ab"
        ),
        job_completed(),
    )
    projection = projection_named("mlflow-runs")
    mirror = Mlflow(mlflow)
    await apply_batch(pool, projection, log_of(run_of(*facts)), outside=mirror)
    async with transaction(pool, readonly=True) as tx:
        run_id = await tx.fetchval("SELECT run_id FROM mlflow_runs WHERE job_id = 25")
    client = MlflowClient(mlflow)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "second"
    tags = run.data.tags
    assert tags["epochlog.tags"] == "a, b"
    assert tags["epochlog.checkpoint.best.object"] == "s3://b/x"
    assert tags["epochlog.artifact.plots/confusion matrix_.png"] == OBJECT
    assert read_json(client, run_id, "checkpoints/best.pt.json")["object_uri"] == "s3://b/x"
    assert read_json(client, run_id, "artifacts/confusion_matrix.png.json")["object_uri"] == OBJECT

    # A store of MLflow's that takes no files: the run goes on, the tags say the same.
    folder = Path(run.info.artifact_uri) / "artifacts"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("no folder any more")
    other = ArtifactSaved(name="b.png", kind="plot", object_uri="s3://b/y/b.png", file_size_bytes=3, sha256="ab")
    async with transaction(pool) as tx:
        await tx.execute(f'SET LOCAL search_path TO "{await schema_of(tx)}", public')
        await follow_runs(tx, run_of(other), mirror)
    assert client.get_run(run_id).data.tags["epochlog.artifact.b.png"] == "s3://b/y/b.png"


async def schema_of(tx: Any) -> str:
    name: str = await tx.fetchval("SELECT schema_name FROM write.read_models WHERE projection = 'mlflow-runs'")
    return name


PAUSE = PauseRequested(requested_by="api", reason="urgent work")
STOPPED, KILLED = JobStopped(stopped_at_epoch=2), process_exited(signal="SIGKILL")


async def test_the_status_of_a_run_is_that_of_the_folded_job(pool: Pool, mlflow: str) -> None:
    projection, mirror, client = projection_named("mlflow-runs"), Mlflow(mlflow), MlflowClient(mlflow)
    limit = LimitExceeded(limit="max_seconds", allowed=1, used=2, error_code="TIMEOUT", reason="too long")
    cancel = CancelRequested(requested_by="api", reason="wrong")
    retry = RetryRequested(requested_by="launcher", reason="1 of 3", automatic=True)
    expected: dict[str, list[Any]] = {
        "SCHEDULED": [(job_created(),), (job_created(), job_started(), PAUSE, STOPPED)],
        "RUNNING": [(job_created(), job_started()), (job_created(), job_started(), PAUSE)],
        "KILLED": [(job_created(), job_started(), STOPPED), (job_created(), job_started(), cancel, KILLED)],
        "FAILED": [(job_created(), job_started(), KILLED), (job_created(), job_started(), limit, STOPPED)],
    }
    expected["SCHEDULED"].append((job_created(), job_started(), KILLED, retry))
    offset = 0
    for status, histories in expected.items():
        for facts in histories:
            offset += 100
            job_id = offset
            events = [replace(found, key=str(job_id), session=f"{job_id:032x}") for found in run_of(*facts)]
            await apply_batch(pool, projection, log_of(events, first_offset=offset), outside=mirror)
            async with transaction(pool, readonly=True) as tx:
                run_id = await tx.fetchval("SELECT run_id FROM mlflow_runs WHERE job_id = $1", job_id)
            run = client.get_run(run_id)
            assert run.info.status == status, facts
            assert (run.info.end_time is not None) == (status in ("KILLED", "FAILED")) or facts[-1] == retry


MARKER = "xq7doomedxq7"
PURGED = JobPurged(requested_by="ann")


def rows_with(database: str, marker: str) -> list[str]:
    """Tables of MLflow's own database that hold the marker."""
    with contextlib.closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [name for name in tables if marker in repr(connection.execute(f'SELECT * FROM "{name}"').fetchall())]


async def test_of_a_purged_job_no_run_is_left_whichever_topic_comes_last(pool: Pool, mlflow: str) -> None:
    runs, metrics, client = projection_named("mlflow-runs"), projection_named("mlflow-metrics"), MlflowClient(mlflow)
    saved = CheckpointSaved(epoch=1, checkpoint_path=f"s3://b/{MARKER}.pt", is_best=True, object_uri="s3://b/x")
    life = (job_created(name=MARKER, config={"owner": MARKER}), job_started(), saved, job_completed())
    measured = metrics_reported({MARKER: [0.5]})
    without_trash = Mlflow(mlflow)
    await apply_batch(pool, runs, log_of(run_of(*life)), outside=without_trash)
    experiment = client.get_experiment_by_name("epochlog")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert MARKER in run.data.tags["epochlog.checkpoint.best"] and client.list_artifacts(run.info.run_id)
    last = [replace(found, seq=99) for found in run_of(PURGED)]
    await apply_batch(pool, runs, log_of(last, first_offset=90), outside=without_trash)
    # Metrics that are read later make a run again.
    batch = [event(measured, seq=1), event(PURGED, seq=2, topic=METRICS)]
    await apply_batch(pool, metrics, log_of(batch), outside=without_trash)
    found = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    assert len(found) == 2 and {one.info.lifecycle_stage for one in found} == {"deleted"}
    assert all(MARKER not in repr(one.data.tags) and one.info.run_name == "purged" for one in found)
    assert client.list_artifacts(run.info.run_id) == []
    async with transaction(pool, readonly=True) as tx:
        remains = await tx.fetchval("SELECT remains FROM mlflow_metrics_purged_jobs WHERE job_id = 25")
        assert await tx.fetchval("SELECT count(*) FROM mlflow_runs") == 0
    assert remains.endswith("mlflow gc --run-ids " + ",".join(sorted(one.info.run_id for one in found)))
    assert set(rows_with(mlflow, MARKER)) == {"params", "metrics", "latest_metrics"}
    # Where the mirror knows MLflow's database, it empties the trash, too.
    with_trash = Mlflow(mlflow, mlflow)
    assert await with_trash.forget(25) is None
    assert rows_with(mlflow, MARKER) == []
    assert client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL) == []
    assert await with_trash.forget(25) is None
