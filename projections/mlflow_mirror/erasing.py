"""Erasing the MLflow run of a purged job.

The server's API only moves a run to its trash, and changes neither parameters nor metrics that it has: artifacts, tags
and the name are erased here. The rest goes with ``mlflow gc``, which needs the server's own database: it is run here
where that is known, and else it is said how.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from projections.mlflow_mirror.names import EXPERIMENT, TAG_JOB

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

GC_TIMEOUT_S: Final = 120.0
WORDS_MAX: Final = 500


def erase_runs(client: MlflowClient, tracking_uri: str, job_id: int) -> list[str]:
    """To be repeated until it is through. Returns the ids of the runs that are in the trash then."""
    from mlflow.entities import ViewType

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return []
    wanted = f"tags.`{TAG_JOB}` = '{job_id}'"
    runs = client.search_runs([experiment.experiment_id], filter_string=wanted, run_view_type=ViewType.ALL)
    for run in runs:
        if run.info.lifecycle_stage == "active":
            _erase(client, tracking_uri, run)
    return sorted(run.info.run_id for run in runs)


def _erase(client: MlflowClient, tracking_uri: str, run: Run) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    run_id = run.info.run_id
    if client.list_artifacts(run_id):
        artifacts = get_artifact_repository(run.info.artifact_uri, tracking_uri)
        artifacts.delete_artifacts()  # type: ignore[no-untyped-call]  # mlflow has no types here
    for name in run.data.tags:
        # By that tag the run is found again; MLflow gives a run its name's tag back.
        if name not in (TAG_JOB, "mlflow.runName"):
            client.delete_tag(run_id, name)
    client.update_run(run_id, name="purged")
    client.delete_run(run_id)


async def empty_trash(run_ids: Sequence[str], tracking_uri: str, backend_store_uri: str | None) -> str | None:
    """Returns what is left, and how it is erased; None for nothing."""
    listed = ",".join(run_ids)
    remains = f"parameters and metrics stay in MLflow's trash until somebody runs: mlflow gc --run-ids {listed}"
    if backend_store_uri is None:
        return remains
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mlflow", "gc", "--run-ids", listed),
        env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri, "MLFLOW_BACKEND_STORE_URI": backend_store_uri},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(GC_TIMEOUT_S):
            _, words = await process.communicate()
    except TimeoutError:
        return f"{remains} (it was not through within {GC_TIMEOUT_S:.0f} s)"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return None
    return f"{remains} (it ended with {process.returncode}: {words.decode('utf-8', 'replace').strip()[-WORDS_MAX:]})"
