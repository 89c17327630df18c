"""Fewer points that still tell the truth: deterministic, with every bucket's extremes, gaps, first and last point."""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy
import numpy.typing

POINTS_PER_BUCKET: Final = 3
"""Smallest, largest, and a non-finite point where the bucket has one."""
POINTS_MIN: Final = 5

Floats = numpy.typing.NDArray[numpy.float64]
Indices = numpy.typing.NDArray[Any]


def downsample(values: Floats, max_points: int) -> Indices:
    """Indices to keep, ascending, at most ``max_points`` (at least POINTS_MIN) of them; all when they fit.

    Buckets are equal runs of points. Raises ValueError when ``max_points`` is below POINTS_MIN.
    """
    if max_points < POINTS_MIN:
        raise ValueError(f"max_points is {max_points}, at least {POINTS_MIN} are needed")
    count = len(values)
    if count <= max_points:
        return numpy.arange(count)
    buckets = (max_points - 2) // POINTS_PER_BUCKET
    edges = numpy.linspace(0, count, buckets + 1).astype(numpy.int64)
    finite = numpy.isfinite(values)
    kept = [numpy.array([0, count - 1])]
    for start, end in itertools.pairwise(edges):
        inside = finite[start:end]
        if inside.any():
            part = values[start:end]
            kept.append(start + numpy.array([numpy.where(inside, part, numpy.inf).argmin()]))
            kept.append(start + numpy.array([numpy.where(inside, part, -numpy.inf).argmax()]))
        if not inside.all():
            kept.append(start + numpy.array([inside.argmin()]))
    return numpy.unique(numpy.concatenate(kept))
