from __future__ import annotations

from datetime import date

import pytest

from training_sdk.replay.columns import ARCHIVE_SCHEMA, ArchiveObject, parse_key

METRICS = ArchiveObject("training.metrics", "training.metrics.reported.v1", date(2026, 11, 24), 7, 1200, 4711)


def test_a_name_says_what_the_file_holds() -> None:
    assert METRICS.key == (
        "training.metrics/event=training.metrics.reported.v1/day=2026-11-24"
        "/07-00000000000000001200-00000000000000004711.parquet"
    )
    assert parse_key(METRICS.key) == METRICS


@pytest.mark.parametrize(
    "key",
    [
        "readme.txt",
        METRICS.key + ".tmp",
        METRICS.key.replace("event=", "type="),
        METRICS.key.replace("2026-11-24", "2026-13-24"),
        "other/" + METRICS.key,
    ],
)
def test_a_foreign_name_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"none of the archive|month must be in"):
        parse_key(key)


def test_the_columns_are_those_that_files_were_written_with() -> None:
    assert ARCHIVE_SCHEMA.names == [
        *("topic", "partition", "offset", "append_time", "key", "headers", "value"),
        *("event_id", "type", "version", "job_id", "session", "seq", "attempt", "rank", "time"),
    ]
