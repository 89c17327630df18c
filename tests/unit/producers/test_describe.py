"""Names, tags and notes of a job, before, during and after its run."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.codec import data_bytes
from events.types.jobs import JobDescribed
from events.types.vocabulary import Fact
from producers.commands import CreateJob
from producers.describe import DescribeJob
from producers.errors import NotFound
from tests.unit.producers.test_decide import CREATE, ENDED, RUNNING, ask, job_of, kinds


def described(command: dict[str, Any], *given: Fact) -> Fact | None:
    facts = ask(DescribeJob.model_validate(command), *given).facts
    return facts[0] if facts else None


@pytest.mark.parametrize("given", [RUNNING, ENDED])
def test_only_what_differs_is_a_fact(given: tuple[Fact, ...]) -> None:
    fact = described({"name": "Vehicle Detection v1", "tags": ["a"], "notes": None}, *given)
    assert fact == JobDescribed(tags=["a"], requested_by="api")
    job = job_of(*given, fact)
    assert job is not None and (job.name, job.tags, job.notes) == ("Vehicle Detection v1", ["a"], None)
    assert described({"tags": ["a"]}, *given, fact) is None
    assert described({}, *given, fact) is None


def test_null_takes_away_and_what_is_not_sent_stays() -> None:
    first = JobDescribed(description="d", tags=["a", "b"], notes="n", requested_by="api")
    gone = described({"name": None, "tags": None, "notes": "", "requested_by": "ann"}, *RUNNING, first)
    assert isinstance(gone, JobDescribed)
    assert data_bytes(gone) == b'{"name":"","tags":[],"notes":"","requested_by":"ann"}'
    job = job_of(*RUNNING, first, gone)
    assert job is not None
    assert (job.name, job.description, job.tags, job.notes) == (None, "d", None, None)
    assert described({"name": None, "tags": []}, *RUNNING, first, gone) is None


def test_tags_and_notes_may_come_with_the_creation() -> None:
    assert kinds(ask(CREATE)) == ["JobCreated"]
    command = CreateJob.model_validate({**CREATE.model_dump(mode="json"), "tags": [" a ", "a", "b"], "notes": "n"})
    decision = ask(command)
    assert kinds(decision) == ["JobCreated", "JobDescribed"]
    job = job_of(*decision.facts)
    assert job is not None and (job.tags, job.notes) == (["a", "b"], "n")


def test_a_job_that_is_not_there_has_no_name() -> None:
    with pytest.raises(NotFound):
        ask(DescribeJob(name="x"))


@pytest.mark.parametrize(
    "body",
    [
        {"tags": ["x" * 65]},
        {"tags": [""]},
        {"tags": [" \t"]},
        {"tags": ["a\nb"]},
        {"tags": ["a\x00b"]},
        {"tags": [f"tag {number}" for number in range(51)]},
        {"tags": "a"},
        {"notes": "x" * 65_537},
        {"notes": "a\x00b"},
        {"name": "x" * 4_097},
        {"name": 7},
    ],
)
def test_what_cannot_be_a_description_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DescribeJob.model_validate(body)
