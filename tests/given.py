"""Given these events: apply them to real read models, each twice, cut into batches anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from events.envelope import Event, Record
from events.types.vocabulary import Fact
from producers.database import Connection, Pool, transaction
from projections.registry import CORE, Projection, of_process
from projections.runtime.apply import Applied, apply_batch
from tests.builders import record


def log_of(events: Sequence[Event[Fact]], *, first_offset: int = 0) -> list[Record]:
    """The events as records of their topics, offsets counting up per topic and partition."""
    next_offset: dict[tuple[str, int], int] = {}
    records = []
    for event in events:
        placed = record(event, offset=0)
        place = (placed.topic, placed.partition)
        offset = next_offset.get(place, first_offset)
        next_offset[place] = offset + 1
        records.append(record(event, offset=offset))
    return records


async def apply_all(
    pool: Pool,
    records: Sequence[Record],
    *,
    projections: Sequence[Projection] = of_process(CORE),
    cuts: Sequence[int] = (),
) -> list[Applied]:
    """Apply records, cut at the given places, to every projection of their topic."""
    edges = [0, *sorted(set(cuts)), len(records)]
    done = []
    for projection in projections:
        mine = [found for found in records if found.topic == projection.topic]
        for start, end in itertools.pairwise(edges):
            done.append(await apply_batch(pool, projection, mine[start:end]))
    return done


async def given(pool: Pool, events: Sequence[Event[Fact]]) -> None:
    """Events happened. Everything is delivered twice: the second time must change nothing."""
    records = log_of(events)
    await apply_all(pool, records)
    before = await all_rows(pool)
    await apply_all(pool, records)
    # By their texts: NaN is not equal to itself.
    assert repr(await all_rows(pool)) == repr(before)


TABLES = (
    *(
        "training_jobs",
        "job_events",
        "training_checkpoints",
        "training_metrics",
        "metric_attempts",
        "metric_epochs",
        "training_logs",
    ),
    *("training_artifacts", "system_samples", "heartbeats", "datasets", "models"),
    *("metric_trail", "log_trail", "system_trail", "dead_letter_actions"),
)


async def all_rows(pool: Pool) -> dict[str, list[dict[str, Any]]]:
    """Every row of every read model, in an order of its own: what a reader could see."""
    async with transaction(pool, readonly=True) as tx:
        return {table: await rows_of(tx, table) for table in TABLES}


async def rows_of(tx: Connection, table: str) -> list[dict[str, Any]]:
    rows = [dict(row) for row in await tx.fetch(f'SELECT * FROM "{table}"')]
    return sorted(rows, key=repr)
