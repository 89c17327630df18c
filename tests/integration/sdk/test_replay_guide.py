"""The examples of docs/replay.md, run as they stand there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import polars as pl
import pytest

from producers.kafka.create_topics import create_topics
from tests.builders import event, job_created, log_written, metrics_reported, wire
from tests.integration.sdk.test_replay import append
from tests.services import ROOT, World


async def test_the_examples_of_the_guide_run(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await create_topics(world.kafka_bootstrap_servers, world.topic_prefix)
    facts = (job_created(), metrics_reported({"loss": [0.5, 0.25]}), log_written("a line"))
    await append(world, *(wire(event(fact, seq=1)) for fact in facts))
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    guide = await asyncio.to_thread((ROOT / "docs/replay.md").read_text)
    examples = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    names: dict[str, object] = {}
    for example in examples:
        # In the test's own running event loop, as in a notebook.
        exec(compile(example, "docs/replay.md", "exec"), names)
    assert len(examples) == 3
    assert "training.job.created 1 {" in capsys.readouterr().out
    for name, rows in (("points", 2), ("curve", 2), ("lines", 1), ("frame", 0), ("per_day", 1)):
        assert len(names[name]) == rows, name  # type: ignore[arg-type]
    assert pl.read_parquet("points.parquet").height == 2
