"""Series of metric points as columns, in the order of epoch and step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy
import numpy.typing

from api.metrics.downsample import downsample
from events.types.vocabulary import number_text
from producers.database import Connection
from producers.queries import load_queries

queries: Final = load_queries(Path(__file__).parent / "queries.sql")
NAMES_MAX: Final = 1_000
ARRAY_HEADER_BYTES: Final = 20

Floats = numpy.typing.NDArray[numpy.float64]
_FLOAT_ELEMENT: Final = numpy.dtype([("length", ">i4"), ("value", ">f8")])
_INTEGER_ELEMENT: Final = numpy.dtype([("length", ">i4"), ("value", ">i8")])


@dataclass(frozen=True, slots=True)
class Series:
    """``steps`` and ``epochs`` hold NaN where the report named none; ``times`` are Unix seconds."""

    name: str
    steps: Floats
    epochs: Floats
    times: Floats
    values: Floats
    total_points: int
    sampled: bool


class Window(NamedTuple):
    """Points of these Unix seconds, inclusive."""

    since: float = -math.inf
    until: float = math.inf


EVERYTHING: Final = Window()


class Resume(NamedTuple):
    """Where an attempt goes on: its first step and the epochs done before it; None where nobody said."""

    step: int | None
    epoch: int | None


def array_elements(raw: bytes, *, integers: bool = False) -> numpy.typing.NDArray[Any]:
    """The elements of a one-dimensional array in Postgres' binary format (array_send in arrayfuncs.c): a header of
    20 bytes, then length and value of each element, all big endian. NULLs are not expected."""
    if len(raw) <= ARRAY_HEADER_BYTES:
        return numpy.empty(0, dtype=numpy.int64 if integers else numpy.float64)
    element = _INTEGER_ELEMENT if integers else _FLOAT_ELEMENT
    values = numpy.frombuffer(raw, dtype=element, offset=ARRAY_HEADER_BYTES)["value"]
    return values.astype(numpy.int64 if integers else numpy.float64)


async def load_series(
    tx: Connection,
    job_id: int,
    names: Sequence[str] | None,
    max_points: int | None,
    until: int | None = None,
    window: Window = EVERYTHING,
) -> list[Series]:
    """The named series (all for None), superseded points left out. A name without points gives an empty series.

    Of ``window`` only, which is cut out before it is sampled: whoever looks closer sees more.

    With ``until`` as they were when the log stood at that offset: what came later is not there, and supersedes nothing.
    """
    if names is None:
        rows = await queries.series_names(tx, job_id=job_id, limit=NAMES_MAX, until=until)
        names = [row["name"] for row in rows]
    attempts = await queries.attempts(tx, job_id=job_id, until=until)
    resumes = {row["attempt"]: Resume(row["resume_step"], row["resume_epoch"]) for row in attempts}
    parts: dict[str, list[Chunk]] = {name: [] for name in names}
    for row in await queries.chunks(tx, job_id=job_id, names=list(names), until=until):
        parts[row["name"]].append(chunk_of(row, until))
    return [_series(name, chunks, resumes, max_points, window) for name, chunks in parts.items()]


class Chunk(NamedTuple):
    """Columns of points of one attempt, in log order."""

    attempt: int
    steps: Floats
    epochs: Floats
    times: Floats
    values: Floats
    log_offsets: numpy.typing.NDArray[Any]


def chunk_of(row: Mapping[str, Any], until: int | None) -> Chunk:
    """A row's points, of those up to an offset."""
    offsets = array_elements(row["log_offsets"], integers=True)
    # A series grows in log order: what was there is the beginning.
    count = len(offsets) if until is None else int(numpy.searchsorted(offsets, until, side="right"))
    return Chunk(
        row["attempt"],
        array_elements(row["steps"])[:count],
        array_elements(row["epochs"])[:count],
        array_elements(row["times"])[:count],
        array_elements(row["points_values"])[:count],
        offsets[:count],
    )


def _series(
    name: str,
    chunks: list[Chunk],
    resumes: Mapping[int, Resume],
    max_points: int | None,
    window: Window = EVERYTHING,
) -> Series:
    parts: list[tuple[numpy.typing.NDArray[Any], ...]] = []
    reported = _whole_epochs(chunks)
    for attempt, steps, epochs, *others in chunks:
        # The latest attempt wins from where it goes on, and for every epoch that it reported as a whole.
        kept = ~_superseded(steps, epochs, [resume for newer, resume in resumes.items() if newer > attempt])
        if repeated := [epoch for newer, epochs in reported.items() if newer > attempt for epoch in epochs]:
            kept &= ~(numpy.isnan(steps) & numpy.isin(epochs, repeated))
        parts.append(tuple(column[kept] for column in (steps, epochs, *others)))
    if not chunks:
        empty = numpy.empty(0)
        return Series(name, empty, empty, empty, empty, 0, False)
    steps, epochs, times, values, offsets = (numpy.concatenate(column) for column in zip(*parts, strict=True))
    # By epoch, then step; a report of the whole epoch comes after the epoch's steps; then as the log has them.
    order = numpy.lexsort((offsets, numpy.nan_to_num(steps, nan=numpy.inf), _known(epochs)))
    order = order[(times[order] >= window.since) & (times[order] <= window.until)]
    total = len(order)
    if max_points is not None and total > max_points:
        order = order[downsample(values[order], max_points)]
    return Series(name, steps[order], epochs[order], times[order], values[order], total, len(order) < total)


def _superseded(steps: Floats, epochs: Floats, newer: Sequence[Resume]) -> numpy.typing.NDArray[numpy.bool_]:
    """The rule of the function ``supersedes`` in projections/core/metrics.sql, for a column of points."""
    first_step = min((resume.step for resume in newer if resume.step is not None), default=math.inf)
    # By epoch: what has no step, and each step where an attempt named no step.
    done = min((resume.epoch for resume in newer if resume.epoch is not None), default=math.inf)
    stepless = [resume.epoch for resume in newer if resume.epoch is not None and resume.step is None]
    done_stepless = min(stepless, default=math.inf)
    return numpy.where(numpy.isnan(steps), epochs > done, (steps >= first_step) | (epochs > done_stepless))


def _whole_epochs(chunks: list[Chunk]) -> dict[int, set[float]]:
    """Of every attempt but the first, the epochs that it made a report of without a step."""
    found: dict[int, set[float]] = {}
    for chunk in chunks:
        if chunk.attempt != chunks[0].attempt:
            found.setdefault(chunk.attempt, set()).update(chunk.epochs[numpy.isnan(chunk.steps)].tolist())
    return found


def _known(epochs: Floats) -> Floats:
    """Epochs for sorting: where none was named, all points count as of one epoch."""
    return numpy.nan_to_num(epochs, nan=0.0)


def whole_numbers(column: Floats) -> Any:
    """Steps or epochs for JSON: integers, and null for none."""
    missing = numpy.isnan(column)
    if not missing.any():
        return column.astype(numpy.int64)
    return [None if none else int(value) for value, none in zip(column.tolist(), missing.tolist(), strict=True)]


def numbers(column: Floats) -> Any:
    """Values for JSON: non-finite ones as strings."""
    if numpy.isfinite(column).all():
        return column
    return [number_text(value) for value in column.tolist()]
