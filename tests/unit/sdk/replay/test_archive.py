from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from training_sdk.replay.archive import StoredObject, holes, wanted
from training_sdk.replay.columns import UNREADABLE, ArchiveObject
from training_sdk.replay.selection import select
from training_sdk.wire import LOGS

WRITTEN = "training.log.written.v1"


def stored(first: int, after: int, day: int = 24, event: str = WRITTEN, partition: int = 3) -> StoredObject:
    return StoredObject(ArchiveObject(LOGS, event, date(2026, 11, day), partition, first, after), 100, None)


def test_files_are_chosen_by_their_names() -> None:
    files = [stored(0, 10, 22), stored(10, 20, 23), stored(20, 30, 24), stored(20, 30, 24, UNREADABLE)]
    files += [stored(20, 30, 24, "training.session.opened.v1"), stored(0, 10, 24, partition=4)]
    chosen: Callable[..., list[StoredObject]] = lambda **asked: wanted(files, select(LOGS, **asked), LOGS)  # noqa: E731
    assert chosen() == files
    assert chosen(since="2026-11-23T23:00Z") == files[1:]
    assert chosen(until="2026-11-23") == files[:1]
    # What was no event to the archive's writer may be one to this reader.
    assert chosen(types="training.session.opened") == files[3:5]
    assert chosen(offsets={LOGS: {3: (15, 20)}}) == [files[1]]
    assert chosen(offsets={LOGS: {4: (None, None)}}) == [files[5]]


@pytest.mark.parametrize(
    ("files", "start", "stop", "expected"),
    [
        ([], 0, None, []),
        ([], 0, 10, [(0, 10)]),
        ([stored(0, 10), stored(10, 20)], 0, 20, []),
        ([stored(0, 10), stored(0, 10, 25), stored(10, 20)], 0, 15, []),
        ([stored(5, 10), stored(12, 20)], 0, None, [(0, 5), (10, 12)]),
        ([stored(5, 10), stored(12, 20)], 7, 25, [(10, 12), (20, 25)]),
        ([stored(5, 10)], 0, 3, [(0, 3)]),
    ],
)
def test_offsets_that_no_file_covers(
    files: list[StoredObject], start: int, stop: int | None, expected: list[tuple[int, int]]
) -> None:
    assert holes(files, start, stop, select(LOGS)) == expected


def test_a_hole_that_is_too_old_or_too_new_is_not_missed() -> None:
    files = [stored(5, 10, 22), stored(12, 20, 24)]
    assert holes(files, 0, 25, select(LOGS, since="2026-11-23")) == [(10, 12), (20, 25)]
    assert holes(files, 0, 25, select(LOGS, since="2026-11-25")) == [(20, 25)]
    assert holes(files, 0, 25, select(LOGS, until="2026-11-24")) == [(0, 5), (10, 12)]
    assert holes(files, 0, 25, select(LOGS, until="2026-11-22")) == [(0, 5)]
