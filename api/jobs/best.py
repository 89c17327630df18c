"""The best value per epoch as it stood at some moment: what projections/core/metrics.sql keeps, folded again. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Opening(NamedTuple):
    """Where an attempt goes on, and at which offset that was said."""

    attempt: int
    resume_step: int | None
    resume_epoch: int | None
    opened_offset: int


class Point(NamedTuple):
    """A value reported for an epoch. ``step`` is NaN where it was reported for the epoch as a whole."""

    log_offset: int
    attempt: int
    step: float
    epoch: float
    value: float


def best_epoch(points: Sequence[Point], openings: Sequence[Opening], *, least: bool) -> tuple[int, float] | None:
    """Epoch and value of the best finite one; None where there is none. Both lists are in log order."""
    kept: dict[float, tuple[tuple[int, float, int], float]] = {}
    opened, known = iter(openings), list[Opening]()
    following = next(opened, None)
    for point in points:
        while following is not None and following.opened_offset < point.log_offset:
            known.append(following)
            _forget(kept, following)
            following = next(opened, None)
        step = math.inf if math.isnan(point.step) else point.step
        rank = (point.attempt, step, point.log_offset)
        if any(_supersedes(newer, rank, point.epoch) for newer in known):
            continue
        if point.epoch not in kept or kept[point.epoch][0] <= rank:
            kept[point.epoch] = (rank, point.value)
    while following is not None:
        _forget(kept, following)
        following = next(opened, None)
    finite = [(value if least else -value, epoch) for epoch, (_, value) in kept.items() if math.isfinite(value)]
    if not finite:
        return None
    _, epoch = min(finite)
    return int(epoch), kept[epoch][1]


def _forget(kept: dict[float, tuple[tuple[int, float, int], float]], newer: Opening) -> None:
    for epoch in [epoch for epoch, (rank, _) in kept.items() if _supersedes(newer, rank, epoch)]:
        del kept[epoch]


def _supersedes(newer: Opening, rank: tuple[int, float, int], epoch: float) -> bool:
    """The rule of the function ``supersedes`` in projections/core/metrics.sql."""
    attempt, step, _ = rank
    if newer.attempt <= attempt:
        return False
    if step < math.inf and newer.resume_step is not None:
        return step >= newer.resume_step
    return newer.resume_epoch is not None and epoch > newer.resume_epoch
