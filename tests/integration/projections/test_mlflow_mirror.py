"""What the mirror writes, read back with MLflow's own client from MLflow's own store in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from mlflow import MlflowClient

from events.types.artifacts import ArtifactSaved
from events.types.checkpoints import CheckpointSaved
from events.types.jobs import JobDescribed, JobStopped
from events.types.requests import CancelRequested, LimitExceeded, PauseRequested, RetryRequested
from producers.database import Pool, transaction
from projections.mlflow_mirror.mirror import Mlflow, follow_runs
from projections.registry import projection_named
from projections.runtime.apply import apply_batch
from tests.builders import job_completed, job_created, job_started, process_exited
from tests.given import log_of
from tests.integration.projections.test_read_models import run_of

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
