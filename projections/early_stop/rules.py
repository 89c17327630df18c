"""The rules of early stopping: pure, over one point after the other.

``rule(settings, state, point) -> (state, verdict or None)``. A point is the watched metric's value of an epoch (after
the warm-up, and in the history already) or a value of a loss. A new rule is a function and a row in RULES.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from events.early_stopping import EarlyStopping
from events.types.vocabulary import MetricValue
from projections.early_stop.history import Better, EpochValue, History

EXPLOSION_FACTOR: Final = 1_000.0
"""A loss that is so many times the highest of its first values has exploded ..."""
EXPLOSION_POINTS: Final = 3
"""... if so many points in a row say so: one bad batch does not."""
FIRST_POINTS: Final = 10
LOSSES_MAX: Final = 64
"""Losses that are followed; a trainer that reports more has the first ones followed."""


@dataclass(frozen=True, slots=True)
class LossValue:
    name: str
    epoch: int | None
    step: int | None
    value: MetricValue
    offset: int


Point = EpochValue | LossValue


@dataclass(frozen=True, slots=True)
class Loss:
    """What is known of a loss: how many of its first points were seen, the highest of them, and how many points in a
    row lie far above it."""

    points: int = 0
    highest: float = 0.0
    above: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What the rules remember of an attempt: a small value that JSON can hold.

    ``epoch`` is the highest one of any report, ``going_on`` the last step of an epoch that may have more of them.
    ``place`` is the watched phase's place in names.PREFERENCE. Patience is not counted from before ``counts_from``.
    ``decided`` names the rule that ended the attempt: nothing is judged after it.
    """

    epoch: int | None = None
    place: int | None = None
    going_on: EpochValue | None = None
    history: History = field(default_factory=History)
    counts_from: int = 0
    losses: dict[str, Loss] = field(default_factory=dict)
    decided: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """That the attempt should end, and the points that this rests on."""

    rule: str
    point: Point
    reason: str
    best: EpochValue | None = None
    evidence: tuple[Point, ...] = ()


Judged = tuple[State, Verdict | None]
Rule = Callable[[EarlyStopping, State, Point], Judged]


def better_by(settings: EarlyStopping) -> Better:
    if settings.mode == "max":
        return lambda value, best: value > best + settings.min_delta
    return lambda value, best: value < best - settings.min_delta


def warming_up(settings: EarlyStopping, epoch: int | None) -> bool:
    return settings.warmup_epochs > 0 and (epoch or 0) <= settings.warmup_epochs


def patience(settings: EarlyStopping, state: State, point: Point) -> Judged:
    """No better value for as many epochs."""
    if settings.patience is None or not isinstance(point, EpochValue):
        return state, None
    history = state.history
    best = history.best(better_by(settings))
    newest = history.epochs[-1]
    since = best.epoch if best is not None else (history.first or 0) - 1
    if newest.epoch - max(since, state.counts_from) < settings.patience:
        return state, None
    evidence = tuple(value for value in history.epochs if best is None or value.epoch > best.epoch)
    if best is None:
        reason = f"{newest.name} was never a finite number in epochs {history.first} to {newest.epoch}"
    else:
        margin = f" by more than {settings.min_delta:g}" if settings.min_delta else ""
        reason = (
            f"{newest.name} has not become better{margin} for {newest.epoch - best.epoch} epochs: it was best at epoch "
            f"{best.epoch} with {best.value:.6g} and is {newest.value:.6g} at epoch {newest.epoch}"
        )
        evidence = (best, *evidence)
    return state, Verdict("patience", newest, reason, best, evidence)


def target(settings: EarlyStopping, state: State, point: Point) -> Judged:
    """The watched metric has reached what was wanted."""
    if settings.target is None or not isinstance(point, EpochValue):
        return state, None
    if not math.isfinite(point.value):
        return state, None
    if point.value < settings.target if settings.mode == "max" else point.value > settings.target:
        return state, None
    reason = f"{point.name} has reached its target {settings.target:g}: it is {point.value:.6g} at epoch {point.epoch}"
    return state, Verdict("target", point, reason, state.history.best(better_by(settings)), (point,))


def divergence(settings: EarlyStopping, state: State, point: Point) -> Judged:
    """A loss is no number any more, also while warming up, or it has exploded."""
    if not isinstance(point, LossValue):
        return state, None
    if not math.isfinite(point.value):
        return state, Verdict("divergence", point, f"{point.name} became {point.value}{_where(point)}", None, (point,))
    loss = state.losses.get(point.name)
    if loss is None:
        if len(state.losses) >= LOSSES_MAX:
            return state, None
        loss = Loss()
    size = abs(point.value)
    if loss.points < FIRST_POINTS:
        loss = replace(loss, points=loss.points + 1, highest=max(loss.highest, size))
    else:
        exploded = 0 < loss.highest * EXPLOSION_FACTOR < size and not warming_up(settings, point.epoch)
        if not exploded and not loss.above:
            return state, None
        loss = replace(loss, above=loss.above + 1 if exploded else 0)
    state = replace(state, losses={**state.losses, point.name: loss})
    if loss.above < EXPLOSION_POINTS:
        return state, None
    reason = (
        f"{point.name} exploded: for {loss.above} reports it is over {EXPLOSION_FACTOR:g} times the highest of its "
        f"first {FIRST_POINTS} values ({loss.highest:.6g}), at last {point.value:.6g}{_where(point)}"
    )
    return state, Verdict("divergence", point, reason, None, (point,))


def _where(point: LossValue) -> str:
    parts = [
        f"{name} {number}" for name, number in (("epoch", point.epoch), ("step", point.step)) if number is not None
    ]
    return f" at {', '.join(parts)}" if parts else ""


RULES: Final[Mapping[str, Rule]] = {
    # in the order in which they are asked
    "divergence": divergence,
    "target": target,
    "patience": patience,
}
