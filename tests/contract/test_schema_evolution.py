"""A schema changes with a new version or not at all: tried on a copy of the contract, by the command that CI runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


class Contract:
    """A copy of the packages that make the contract, to be changed at will."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "events", folder / "events", ignore=ignore)
        shutil.copytree(ROOT / "sdk" / "training_sdk", folder / "training_sdk", ignore=ignore)
        (folder / "docs").mkdir()
        for name in ("events.md", "asyncapi.json"):
            shutil.copy(ROOT / "docs" / name, folder / "docs" / name)

    def change(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        (self.folder / path).write_text(text.replace(old, new))

    def events(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of ``python -m events``."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "events", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    return Contract(tmp_path)


QUEUED = "class JobQueued(Fact):\n    reason: Text\n"


@pytest.mark.parametrize(
    "changed",
    [
        "class JobQueued(Fact):\n    reason: Text\n    priority: int = 0\n",
        "class JobQueued(Fact):\n    why: Text\n",
        "class JobQueued(Fact):\n    reason: int\n",
        "class JobQueued(Fact):\n    reason: Text | None = None\n",
    ],
    ids=["a field more", "another name", "another type", "no longer required"],
)
def test_a_schema_that_changes_under_its_version_is_refused(contract: Contract, changed: str) -> None:
    contract.change("events/types/jobs.py", QUEUED, changed)
    for arguments in (["--check"], []):
        code, said = contract.events(*arguments)
        assert code == 1, said
        assert "refused: training.job.queued.v1.schema.json would change under an old version" in said
        assert "register a new version instead" in said


def test_a_new_version_with_its_step_and_example_passes_and_the_old_example_is_still_read(contract: Contract) -> None:
    assert contract.events("--check") == (0, "")
    contract.change("events/types/jobs.py", QUEUED, "class JobQueued(Fact):\n    reason: Text\n    priority: int\n")
    row = '    EventType("training.job.queued", 1, JobQueued, (JOBS,), "the launcher took the job into its queue"),\n'
    new = row.replace(", 1,", ", 2,")
    contract.change("events/registry.py", row, row.replace("JobQueued", "upcasters.job_queued_1_to_2") + new)
    step = "def job_queued_1_to_2(data: JsonObject) -> JsonObject:\n    return {**data, 'priority': 0}\n\n\n"
    contract.change("training_sdk/upcasters.py", "STEPS: Final", step + "STEPS: Final")
    named = '    "training.checkpoint.saved.v1": checkpoint_saved_1_to_2,\n'
    contract.change("training_sdk/upcasters.py", named, named + '    "training.job.queued.v1": job_queued_1_to_2,\n')
    example = contract.folder / "events/examples/training.job.queued.v1.json"
    document = json.loads(example.read_text().replace("training.job.queued.v1", "training.job.queued.v2"))
    document["data"]["priority"] = 5
    example.with_name("training.job.queued.v2.json").write_text(json.dumps(document))
    code, said = contract.events("--check")
    assert (code, "refused" in said) == (1, False), said
    assert "out of date: events/schemas/training.job.queued.v2.schema.json" in said
    code, said = contract.events()
    assert code == 0, said
    assert contract.events("--check") == (0, "")
    read = subprocess.run(
        [sys.executable, "-c", READ_OLD],
        cwd=contract.folder,
        env={**os.environ, "PYTHONPATH": str(contract.folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (read.returncode, read.stdout.strip()) == (0, "JobQueued 0"), read.stderr


READ_OLD = """
import json
from events.codec import parse_data
from events.asyncapi import example_of
from events.registry import BY_WIRE_NAME
old = example_of(BY_WIRE_NAME["training.job.queued.v1"])
data = parse_data("training.job.queued.v1", old["topic"], json.dumps(old["data"]).encode())
print(type(data).__name__, data.priority)
"""
