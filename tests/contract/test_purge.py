"""Everybody who holds something of a job forgets it when it is purged, and says so."""

from __future__ import annotations

import re
from pathlib import Path

from api.jobs import purge
from events.registry import event_type_of
from events.types.deletion import JobPurged
from projections.registry import PROJECTIONS
from training_sdk.wire import JOB_TOPICS

OF_JOBS = tuple(projection for projection in PROJECTIONS if projection.topic in JOB_TOPICS)


def test_a_purge_stands_on_every_topic_of_jobs() -> None:
    assert event_type_of(JobPurged).topics == JOB_TOPICS


def test_every_read_model_of_jobs_can_forget_one_and_is_asked_whether_it_did() -> None:
    for projection in OF_JOBS:
        assert hasattr(projection.queries, "forget_job"), f"{projection.tables} has no query forget_job"
    assert {projection.name for projection in OF_JOBS} == set(purge.READ_MODELS)
    asked = Path(purge.__file__).with_suffix(".sql").read_text()
    for projection in OF_JOBS:
        assert f"{projection.name.replace('-', '_')}_purged_jobs" in asked, projection.name


def test_a_job_is_forgotten_by_every_table_that_knows_of_one() -> None:
    for projection in OF_JOBS:
        text = projection.tables.read_text()
        forgets = text.split("-- name: forget_job!")[1]
        tables = re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", text, re.DOTALL)
        assert tables, projection.tables
        for table, columns in tables:
            if "job_id bigint" in columns or table == "training_jobs":
                assert f"DELETE FROM {table} " in forgets, f"{projection.tables}: forget_job leaves {table}"
