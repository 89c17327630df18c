from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from training_sdk.replay.archive import StoredObject
from training_sdk.replay.columns import ArchiveObject
from training_sdk.replay.scan import conjuncts, named
from training_sdk.wire import JOBS, LOGS

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TIME, TYPE = pl.col("append_time"), pl.col("type")


def stored(event: str, day: int, topic: str = LOGS, partition: int = 3) -> StoredObject:
    return StoredObject(ArchiveObject(topic, event, date(2026, 11, day), partition, 0, 10), 100, None)


FILES = [
    stored("training.log.written.v1", 23),
    stored("training.log.written.v1", 24),
    stored("training.session.opened.v1", 24, partition=4),
    stored("training.session.opened.v2", 25),
]


def test_a_condition_falls_into_those_that_all_must_hold() -> None:
    one, two, three = TYPE == "a", pl.col("seq") > 1, pl.col("job_id").is_in([1, 2])
    found = conjuncts(one & two & three)
    assert len(found) == 3
    assert all(any(part.meta.eq(condition) for part in found) for condition in (one, two, three))
    assert [part.meta.eq(one | two) for part in conjuncts(one | two)] == [True]
    assert [part.meta.eq(~(one & two)) for part in conjuncts(~(one & two))] == [True]


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        (TYPE == "training.session.opened", [2, 3]),
        (TYPE.str.contains("log"), [0, 1]),
        ((TYPE == "training.session.opened") & (pl.col("version") == 1), [2]),
        ((TYPE == "training.session.opened") | (pl.col("partition") == 3), [0, 1, 2, 3]),
        (pl.col("partition").is_in([4]), [2]),
        (pl.col("topic") == JOBS, []),
        (TIME > NOON, [1, 2, 3]),
        (TIME <= NOON, [0, 1, 2]),
        (pl.lit(NOON) >= TIME, [0, 1, 2]),
        (datetime(2026, 11, 24, tzinfo=UTC) > TIME, [0]),
        (TIME.is_between(NOON, NOON), [1, 2]),
        # What names and days do not decide is left to the files.
        (TIME == NOON, [0, 1, 2, 3]),
        (TIME.dt.hour() == 12, [0, 1, 2, 3]),
        (pl.col("seq") > 5, [0, 1, 2, 3]),
    ],
    ids=str,
)
def test_names_and_days_decide_which_files_are_read(condition: pl.Expr, left: list[int]) -> None:
    assert named(FILES, conjuncts(condition)) == [FILES[number] for number in left]
