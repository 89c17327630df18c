"""What an attempt is told to go on from."""

from __future__ import annotations

from typing import Any

import pytest

from events.job import Checkpoint, Job
from trainers.launcher.environment import resume_variables


def job(**fields: Any) -> Job:
    given = {"path": "s3://c/25/last.pt", "object_uri": "s3://c/25/attempt-1/ab.pt", "epoch": 3, "attempt": 1}
    checkpoint = Checkpoint.model_validate({**given, "sha256": "ab", "file_size_bytes": 7, "step": 300, **fields})
    return Job(id=25, attempt=checkpoint.attempt, resume_checkpoint=checkpoint)


def test_a_later_attempt_goes_on_from_the_object_and_never_from_the_alias() -> None:
    assert resume_variables(job(), 2) == {
        "TRAINING_RESUME_URI": "s3://c/25/attempt-1/ab.pt",
        "TRAINING_RESUME_SHA256": "ab",
        "TRAINING_RESUME_SIZE": "7",
        "TRAINING_RESUME_EPOCH": "3",
        "TRAINING_RESUME_STEP": "301",
    }


@pytest.mark.parametrize("fields", [{"attempt": 2}, {"object_uri": None}])
def test_an_attempt_never_goes_on_from_its_own_checkpoint_nor_without_an_object(
    fields: dict[str, Any],
) -> None:
    assert resume_variables(job(**fields), 2) == {}
    assert resume_variables(Job(id=25), 1) == {}


def test_without_a_step_none_is_named() -> None:
    assert "TRAINING_RESUME_STEP" not in resume_variables(job(step=None), 2)
