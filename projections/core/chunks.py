"""Cut points into chunks of about a thousand. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

CHUNK_POINTS_MAX: Final = 1_000


@dataclass(slots=True)
class Points:
    """Columns of one series' points, in log order. NaN in steps and epochs stands for none."""

    steps: list[float] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    log_offsets: list[int] = field(default_factory=list)
    append_times: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, end: int) -> Points:
        return Points(
            self.steps[start:end],
            self.epochs[start:end],
            self.times[start:end],
            self.values[start:end],
            self.log_offsets[start:end],
            self.append_times[start:end],
        )


@dataclass(frozen=True, slots=True)
class Tail:
    """The last chunk of a series, and how many points it holds; (0, 0) for a new series."""

    chunk: int = 0
    points: int = 0


def cut(points: Points, tail: Tail) -> Iterator[tuple[Tail, Points]]:
    """Fill the tail up, then new chunks. Yields (chunk and its points afterwards, the points that go there)."""
    position, current = 0, tail
    while position < len(points):
        if current.points >= CHUNK_POINTS_MAX:
            current = Tail(current.chunk + 1, 0)
        taken = points.part(position, position + CHUNK_POINTS_MAX - current.points)
        position += len(taken)
        current = Tail(current.chunk, current.points + len(taken))
        yield current, taken


def finite_range(values: list[float]) -> tuple[float | None, float | None]:
    """Smallest and largest finite value, or None twice when there is none."""
    if values and math.isfinite(sum(values)):
        return min(values), max(values)  # with a NaN or an infinity among them the sum would not be finite
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (None, None)
