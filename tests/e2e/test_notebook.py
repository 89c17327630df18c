"""The notebooks of docs/ run from their first cell to their last, over a log that holds runs."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from producers.kafka.publisher import KafkaPublisher
from tests.builders import wire
from tests.past_runs import RunOf, failed
from tests.services import ROOT, World

NOTEBOOK = ROOT / "docs" / "early-stopping-what-if.ipynb"


def some_runs(source: random.Random) -> list[RunOf]:
    """Curves as trainers draw them: they rise, flatten and shiver; one rises late, one crashed and went on, one was
    stopped by its own rule."""
    runs = []
    for job_id in range(1, 11):
        run = RunOf(job_id=job_id, gpus=job_id % 3)
        best, speed = source.uniform(0.6, 0.9), source.uniform(0.72, 0.9)
        late = 12 if job_id == 7 else 0
        values: list[float | None] = [
            round(best * (1 - speed ** max(1, epoch - late)) + source.gauss(0, 0.012), 4) for epoch in range(1, 41)
        ]
        if job_id == 3:
            run.attempt(values[:20], end=failed()).attempt(values[15:], number=2, first=16)
        elif job_id == 5:
            run.attempt(values[:25]).stopped_live()
        else:
            run.attempt(values)
        runs.append(run)
    return runs


@pytest.mark.full
async def test_the_notebook_runs_from_its_first_cell_to_its_last(
    migrated_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = migrated_world
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    try:
        for run in some_runs(random.Random(5)):
            await publisher.publish([wire(event) for event in run.events])
    finally:
        await publisher.close()
    for name, value in world.environment(WHAT_IF_OUTPUT=str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    await client.async_execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    for number, picture in enumerate(pictures):
        (tmp_path / f"{number}.png").write_bytes(base64.b64decode(picture))
    printed = "".join(output.get("text", "") for output in outputs)
    assert "Early stopping over 10 past runs" in printed
    assert "epochs saved" in printed and "1 run ended by early stopping when trained" in printed
    # Nothing was warned of.
    assert not [output for output in outputs if output.get("name") == "stderr"]
