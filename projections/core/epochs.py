"""One value a series and epoch, out of metric reports. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from events.envelope import Event
from events.types.metrics import MetricsReported
from events.types.vocabulary import Phase
from projections.core.names import series_name

WHOLE_EPOCH: Final = math.inf
"""Step of a report that was made for the epoch as a whole: it counts before those of the epoch's steps."""


def epoch_values(events: Sequence[Event[MetricsReported]]) -> list[dict[str, Any]]:
    """The rows that may count, of each job, series and epoch the one that counts before the others last: the newest
    attempt's, then the last step's. The others come before it: an opening may have superseded that one alone.

    Training's steps are left out: they are many, and what judges a run is said once an epoch.
    """
    rows: dict[tuple[int, str, int, int, float], tuple[tuple[int, int], float]] = {}
    for event in events:
        assert event.position is not None
        data = event.data
        if data.phase == Phase.TRAIN and None not in data.steps:
            continue
        for index, (step, epoch) in enumerate(zip(data.steps, data.epochs, strict=True)):
            if epoch is None or (data.phase == Phase.TRAIN and step is not None):
                continue
            rank = (event.attempt, WHOLE_EPOCH if step is None else float(step))
            report = (event.position.offset, index)
            for key, column in data.values.items():
                value, place = column[index], (event.job_id, series_name(data.phase, key), epoch, *rank)
                if value is not None and (place not in rows or rows[place][0] < report):
                    rows[place] = (report, value)
    return [
        {
            "job_id": job_id,
            "name": name,
            "epoch": epoch,
            "attempt": attempt,
            "step": step,
            "log_offset": offset,
            "value": value,
        }
        for (job_id, name, epoch, attempt, step), ((offset, _), value) in sorted(rows.items())
    ]
