"""Which files a part becomes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from events.envelope import Record
from projections.archive.ledger import Kept, Part
from projections.archive.parquet import day_of, event_of, job_of, to_parquet
from projections.archive.ranges import Ranges, ranges_of
from projections.archive.store import sha256_of
from training_sdk.replay.columns import ArchiveObject

PURGED: Final = b"training.job.purged.v"
"""How the type begins of the fact that a job's records were taken away for good."""


@dataclass(frozen=True, slots=True)
class Made:
    """An object before it is written."""

    kept: Kept
    content: bytes


def is_purge(record: Record) -> bool:
    """Whether it is the fact that a job was purged, which itself is kept."""
    # Asked of every record: one header tells most of them.
    said = any(name == "ce_type" and (value or b"").startswith(PURGED) for name, value in record.headers)
    return said and event_of(record).encode().startswith(PURGED)


def purged_jobs(records: Sequence[Record]) -> set[int]:
    """Of which jobs the records say that they were purged."""
    return {job for record in records if (job := job_of(record)) is not None and is_purge(record)}


def files_of(part: Part, records: Sequence[Record], forgotten_jobs: Collection[int]) -> list[Made]:
    """One file a type and day, with the records of jobs that must be forgotten left out. Pure."""
    groups: dict[ArchiveObject, tuple[list[Record], list[int]]] = {}
    for record in records:
        name = ArchiveObject(
            topic=part.topic,
            event=event_of(record),
            day=day_of(record),
            partition=part.partition,
            first_offset=part.first_offset,
            next_offset=part.next_offset,
        )
        stays, goes = groups.setdefault(name, ([], []))
        if job_of(record) in forgotten_jobs and not is_purge(record):
            goes.append(record.offset)
        else:
            stays.append(record)
    names = {name.key: len(stays) + len(goes) for name, (stays, goes) in sorted(groups.items())}
    return [_made(name.key, stays, names, ranges_of(goes)) for name, (stays, goes) in sorted(groups.items())]


def _made(key: str, records: Sequence[Record], names: dict[str, int], forgotten: Ranges) -> Made:
    content = to_parquet(records, names, forgotten)
    return Made(describe(key, records, content, forgotten), content)


def describe(key: str, records: Sequence[Record], content: bytes, forgotten: Ranges) -> Kept:
    """What the ledger keeps of a file."""
    return Kept(
        key=key,
        rows=len(records),
        bytes=len(content),
        sha256=sha256_of(content),
        job_ids=sorted({job for record in records if (job := job_of(record)) is not None}),
        forgotten=forgotten,
    )
