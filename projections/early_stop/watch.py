"""From reports to points, and from points to a verdict. Pure: the same reports in the same order, the same decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import TypeAdapter

from events.early_stopping import EarlyStopping
from events.envelope import Event
from events.types.metrics import MetricsReported
from events.types.vocabulary import Phase
from projections.core.names import series_name
from projections.early_stop.history import EpochValue, History
from projections.early_stop.names import is_loss, preference
from projections.early_stop.rules import (
    RULES,
    LossValue,
    Point,
    State,
    Verdict,
    better_by,
    warming_up,
)

_JSON: Final = TypeAdapter(State)


def to_json(state: State) -> Any:
    return _JSON.dump_python(state, mode="json")


def from_json(value: Any) -> State:
    return _JSON.validate_python(value)


@dataclass(frozen=True, slots=True)
class Row:
    """One report. ``time`` is the sender's, in Unix seconds; ``watched`` is the watched metric's name, its place in
    names.PREFERENCE and its value."""

    attempt: int
    offset: int
    time: float
    phase: str
    epoch: int | None
    step: int | None
    watched: tuple[str, int, float] | None
    losses: Mapping[str, float]


def rows_of(settings: EarlyStopping, event: Event[MetricsReported]) -> Iterator[Row]:
    """The reports that an event carries, with what the rules look at."""
    assert event.position is not None
    data = event.data
    fitting = [(fit, key) for key in data.values if (fit := preference(settings.metric, data.phase, key)) is not None]
    losses = [(series_name(data.phase, key), column) for key, column in data.values.items() if is_loss(key)]
    fitting.sort()
    for row, (epoch, step, time) in enumerate(zip(data.epochs, data.steps, data.times, strict=True)):
        watched = None
        for (place, _), key in fitting:
            value = data.values[key][row]
            if value is not None:
                watched = (series_name(data.phase, key), place, value)
                break
        found = {name: value for name, column in losses if (value := column[row]) is not None}
        yield Row(event.attempt, event.position.offset, time, data.phase, epoch, step, watched, found)


def judge(settings: EarlyStopping, state: State, row: Row) -> tuple[State, Verdict | None]:
    """The state after a report, and the verdict if it ends the attempt."""
    if state.decided is not None:
        return state, None
    state, points = _points(state, row)
    for point in points:
        if isinstance(point, EpochValue):
            recorded = _recorded(settings, state, point)
            if recorded is None:
                continue
            state = recorded
        for rule in RULES.values():
            state, verdict = rule(settings, state, point)
            if verdict is not None:
                return replace(state, decided=verdict.rule), verdict
    return state, None


def trace(settings: EarlyStopping, state: State, row: Row) -> State:
    """As judge, but no rule is asked: what the watched metric was goes on being known to the end of the run."""
    state, points = _points(state, row)
    for point in points:
        if isinstance(point, EpochValue):
            state = _recorded(settings, state, point) or state
    return state


def ended(settings: EarlyStopping, state: State) -> State:
    """When the run is over, its last epoch is, too."""
    last = state.going_on
    return state if last is None else _recorded(settings, replace(state, going_on=None), last) or state


def _recorded(settings: EarlyStopping, state: State, point: EpochValue) -> State | None:
    """The state with this value in its history; None where it does not count."""
    history = None if warming_up(settings, point.epoch) else state.history.recorded(point, better_by(settings))
    return None if history is None else replace(state, history=history)


def next_attempt(state: State) -> State:
    """What the attempt after this one begins with. One that goes on after a decision gets its patience anew."""
    history = state.history.inherited_by_the_next()
    return State(place=state.place, history=history, counts_from=(history.inherited or 0) if state.decided else 0)


def _points(state: State, row: Row) -> tuple[State, list[Point]]:
    """What is known for certain after this report: an epoch's last step is its last one when a later epoch began."""
    epoch = row.epoch if row.epoch is not None else state.epoch
    late = epoch is not None and state.epoch is not None and epoch < state.epoch
    points: list[Point] = []
    if epoch is not None:
        state, ended = _in_epoch(state, row.attempt, epoch)
        points += ended
    points += [LossValue(name, row.epoch, row.step, value, row.offset) for name, value in row.losses.items()]
    if row.watched is None or epoch is None:
        return state, points
    name, place, value = row.watched
    if state.place is None or place < state.place:
        # A better source than the one so far, such as validation after training: their values are not to be mixed.
        state = replace(state, place=place, going_on=None, history=History())
        points = [point for point in points if isinstance(point, LossValue)]
    elif place > state.place:
        return state, points
    whole = row.step is None or row.phase != Phase.TRAIN
    point = EpochValue(name, row.attempt, epoch, row.step, whole, value, row.offset)
    if whole or late:
        points.append(point)
    elif state.going_on is None or (point.step or 0) >= (state.going_on.step or 0):
        state = replace(state, going_on=point)
    return state, points


def _in_epoch(state: State, attempt: int, epoch: int) -> tuple[State, list[EpochValue]]:
    """The state when a report of this epoch came, and the value of the epoch that it ends, if any."""
    history = state.history.superseded(attempt, epoch)
    if history is not state.history:
        state = replace(state, history=history, counts_from=min(state.counts_from, epoch - 1))
    if state.epoch is not None and epoch <= state.epoch:
        return state, []
    ended = [] if state.going_on is None else [state.going_on]
    return replace(state, epoch=epoch, going_on=None), ended
